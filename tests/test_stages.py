"""Every stage has the derivative of scikit-learn's own fit in the multiplicity of each row.

By the oracle of copies, see `tests.stages`.
"""

from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import yeojohnson
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from skinfluence.exceptions import InfluenceWarning, UnsupportedEstimatorError
from skinfluence.stages import STAGES, make_stage
from skinfluence.stages.base import dense
from skinfluence.stages.order import OrderStatistics
from skinfluence.stages.power import yeo_johnson
from tests.stages import (
    check_added,
    cotangent_for,
    derivative,
    missing,
    numeric,
    product,
    sparse_rows,
)
from tests.test_discrete_stages import CASES as DISCRETE


class Case(NamedTuple):
    """A transformer and the data that it is tried on."""

    name: str
    transformer: object
    data: object
    # Which entries are moved, of the rows; None for every seventh.
    entries: object = None
    # Relative to the largest; more than this where the fit itself has fewer digits.
    tolerance: float = 1e-5
    input_tolerance: float = 1e-6
    # By how much an entry is moved for a fit.
    step: float = 1e-6
    # Changes what was fitted to copies into what was fitted to multiplicities.
    adjust: object = None


def distinct():
    """Return 41 rows, so that n f is no whole number at the quantiles f that are tried.

    Where it is one, a quantile jumps with the multiplicity of a row, see `OrderStatistics`.
    """
    rng = np.random.default_rng(1)
    X = rng.standard_normal((41, 4)) + np.arange(4)
    X[:, 3] = np.exp(X[:, 3])
    return X, rng.standard_normal(41)


def distinct_missing():
    """Return rows of which 41 are observed in every column."""
    X, _ = distinct()
    for j in range(X.shape[1]):
        X = np.insert(X, 3 * j + 2, np.nan, axis=0)
    rng = np.random.default_rng(2)
    for j in range(X.shape[1]):
        X[:, j] = rng.permutation(X[:, j])
    return X, rng.standard_normal(len(X))


def missing_column():
    X, y = distinct_missing()
    X[:, 1] = np.nan
    return X, y


def coded_missing():
    """Return rows with the number -9 for what is missing."""
    X, y = distinct_missing()
    return np.nan_to_num(X, nan=-9.0), y


def with_mode():
    """Return rows whose columns have a most frequent value by a wide margin."""
    rng = np.random.default_rng(3)
    X = rng.choice([1.0, 2.0, 5.0], p=[0.2, 0.6, 0.2], size=(40, 3))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X, rng.standard_normal(40)


def distinct_sparse():
    X, y = distinct()
    return sparse.csr_array(np.where(X > 0.7, X, 0.0)), y


def sparse_missing():
    X, y = distinct_missing()
    return sparse.csr_array(np.where((X > 1.0) | np.isnan(X), X, 0.0)), y


def wide():
    """Return more columns than rows."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((25, 30)) + np.arange(30) / 10
    return X * np.geomspace(8, 0.3, 30), rng.standard_normal(25)


def wide_sparse():
    X, y = wide()
    return sparse.csr_array(np.where(X > 0.6, X, 0.0)), y


def positive():
    X, y = distinct()
    return np.exp(X[:, :3] / 4), y


def positive_missing():
    X, y = distinct_missing()
    return np.exp(X[:, :3] / 4), y


def few(X):
    chosen = np.zeros(X.shape, dtype=bool)
    chosen[::6, ::7] = True
    return chosen


def count_multiplicities(pca, n_rows, copies):
    """Take the variances of n rows over n - 1, where n is the sum of the multiplicities."""
    n = n_rows / copies
    pca.explained_variance_ *= (n_rows - 1) / n_rows * n / (n - 1)


def every(X):
    return np.ones(X.shape, dtype=bool)


def not_extreme(X):
    return (np.nanmin(X, axis=0) < X) & (np.nanmax(X, axis=0) > X)


def not_coded(X):
    return X != -9.0


ORDER_CASES = [
    Case("minmax", MinMaxScaler(feature_range=(-1, 3)), distinct, every),
    Case("minmax-missing", MinMaxScaler(), distinct_missing, every),
    Case("minmax-clip", MinMaxScaler(clip=True), distinct, not_extreme),
    Case("maxabs", MaxAbsScaler(), distinct, every),
    Case("maxabs-missing", MaxAbsScaler(), distinct_missing, every),
    Case("maxabs-sparse", MaxAbsScaler(), distinct_sparse, every),
    Case("robust", RobustScaler(), distinct, every),
    Case("robust-range", RobustScaler(quantile_range=(11, 87)), distinct, every),
    Case("robust-unit", RobustScaler(unit_variance=True), distinct_missing, every),
    Case("robust-without-centering", RobustScaler(with_centering=False), distinct, every),
    Case("robust-without-scaling", RobustScaler(with_scaling=False), distinct, every),
    Case("robust-sparse", RobustScaler(with_centering=False), distinct_sparse, every),
]
IMPUTE_CASES = [
    Case("impute-mean", SimpleImputer(), missing),
    Case("impute-mean-indicator", SimpleImputer(add_indicator=True), missing, every),
    Case("impute-mean-sparse", SimpleImputer(), sparse_missing, every),
    Case("impute-mean-code", SimpleImputer(missing_values=-9.0), coded_missing, not_coded),
    Case("impute-mean-column", SimpleImputer(add_indicator=True), missing_column),
    Case("impute-empty", SimpleImputer(keep_empty_features=True), missing_column),
    Case("impute-median", SimpleImputer(strategy="median"), distinct_missing, every),
    Case("impute-most-frequent", SimpleImputer(strategy="most_frequent"), with_mode),
    Case("impute-constant", SimpleImputer(strategy="constant"), missing),
    Case("impute-median-sparse", SimpleImputer(strategy="median"), sparse_missing, every),
]
whitened = {"adjust": count_multiplicities}
DECOMPOSITION_CASES = [
    Case("pca", PCA(2), numeric),
    Case("pca-all", PCA(), distinct),
    Case("pca-share", PCA(0.8, svd_solver="full"), numeric),
    Case("pca-covariance", PCA(3, svd_solver="covariance_eigh"), numeric),
    Case("pca-arpack", PCA(2, svd_solver="arpack", random_state=0), numeric),
    Case("pca-whiten", PCA(2, whiten=True), numeric, **whitened),
    Case("pca-wide", PCA(3), wide, few),
    Case("pca-wide-whiten", PCA(2, whiten=True), wide, few, **whitened),
    Case("pca-sparse", PCA(2, svd_solver="covariance_eigh"), distinct_sparse),
    Case("pca-wide-sparse", PCA(2, svd_solver="arpack", random_state=0), wide_sparse, few),
    Case("svd-arpack", TruncatedSVD(2, algorithm="arpack", random_state=0), numeric),
    Case("svd-all", TruncatedSVD(4, random_state=0), distinct),
    Case("svd-sparse", TruncatedSVD(2, algorithm="arpack", random_state=0), distinct_sparse),
    Case("svd-wide", TruncatedSVD(3, random_state=0, n_oversamples=30), wide, few),
    Case("svd-wide-sparse", TruncatedSVD(2, algorithm="arpack"), wide_sparse, few),
]
# scikit-learn finds the power to about 1e-8 only, which the differences of fits divide by
# small changes. On training rows, what an entry does itself and through the fit nearly cancel.
searched = {"entries": few, "tolerance": 1e-4, "input_tolerance": 3e-4, "step": 3e-3}
POWER_CASES = [
    Case("yeo-johnson", PowerTransformer(), distinct, **searched),
    Case("yeo-johnson-raw", PowerTransformer(standardize=False), distinct, **searched),
    Case("yeo-johnson-missing", PowerTransformer(), distinct_missing, **searched),
    Case("box-cox", PowerTransformer(method="box-cox"), positive, **searched),
    Case(
        "box-cox-raw",
        PowerTransformer(method="box-cox", standardize=False),
        positive_missing,
        **searched,
    ),
]
QUANTILE_CASES = [
    Case("quantile", QuantileTransformer(n_quantiles=10), distinct, every),
    Case("quantile-missing", QuantileTransformer(n_quantiles=8), distinct_missing, every),
    Case(
        "quantile-normal",
        QuantileTransformer(n_quantiles=10, output_distribution="normal"),
        distinct,
        not_extreme,
    ),
    *(
        Case(
            f"bins-{strategy}",
            KBinsDiscretizer(3, encode=encode, strategy=strategy, quantile_method="linear"),
            distinct,
            few,
        )
        for strategy, encode in (
            ("uniform", "onehot"),
            ("quantile", "onehot-dense"),
            ("kmeans", "ordinal"),
        )
    ),
    *(
        Case(
            f"spline-{knots}-{beyond}",
            SplineTransformer(5, knots=knots, extrapolation=beyond),
            distinct,
            not_extreme,
        )
        for knots in ("uniform", "quantile")
        for beyond in ("constant", "linear", "continue", "periodic")
    ),
    Case("spline-1", SplineTransformer(4, degree=1, knots="quantile"), distinct, not_extreme),
    Case(
        "spline-0",
        SplineTransformer(4, degree=0, extrapolation="continue"),
        distinct,
        not_extreme,
    ),
    Case(
        "spline-sparse",
        SplineTransformer(4, degree=2, sparse_output=True),
        distinct,
        not_extreme,
    ),
    Case("spline-unbiased", SplineTransformer(4, include_bias=False), distinct, not_extreme),
    Case(
        "spline-given",
        SplineTransformer(knots=np.linspace(-9, 99, 8)[:, None] + np.arange(4)),
        distinct,
    ),
    Case(
        "spline-missing",
        SplineTransformer(4, handle_missing="zeros"),
        distinct_missing,
        not_extreme,
    ),
]
CASES = [
    *ORDER_CASES,
    *IMPUTE_CASES,
    *DECOMPOSITION_CASES,
    *POWER_CASES,
    *QUANTILE_CASES,
    Case("standard", StandardScaler(), numeric),
    Case("standard-without-mean", StandardScaler(with_mean=False), numeric),
    Case("standard-without-std", StandardScaler(with_std=False), numeric),
    Case("standard-missing", StandardScaler(), missing),
    Case("standard-sparse", StandardScaler(with_mean=False), sparse_rows),
]
each_case = {"argvalues": CASES, "argnames": "case", "ids": [case.name for case in CASES]}
# An imputer says so whenever it leaves out a column without a value.
skipping_is_expected = pytest.mark.filterwarnings("ignore:Skipping features:UserWarning")
ROWS = (0, 7, 23)


def fitted(case):
    X, y = case.data()
    transformer = clone(case.transformer).fit(X, y)
    return make_stage(transformer, X, y), X, y


@skipping_is_expected
@pytest.mark.parametrize(**each_case)
def test_statistics_move_with_the_multiplicity_of_a_row(case):
    stage, X, y = fitted(case)
    output = stage.transformer.transform(X)
    B = cotangent_for(output)
    c = stage.pull_statistics(stage.X, B)
    found = stage.row_influence(c)
    check_added(stage, c, X, found)

    def value(X_again, y_again, copies):
        again = clone(case.transformer).fit(X_again, y_again)
        if case.adjust is not None:
            case.adjust(again, X_again.shape[0], copies)
        return product(B, again.transform(X))

    scale = np.abs(found).max()
    for row in ROWS:
        expected = derivative(value, X, y, row)
        assert abs(found[row] - expected) <= case.tolerance * scale


def slope(value, X, i, j, step=1e-6):
    """Return the derivative of value(X) in an entry."""
    values = []
    for sign in (1, -1):
        changed = X.copy()
        changed[i, j] += sign * step
        values.append(value(changed))
    return (values[0] - values[1]) / (2 * step)


def moved_entries(case, X, every_so_many, moves=False):
    """Return the places of the entries of rows that a test moves.

    Of many that a case names, every fifth one and those that move the fit.
    """
    values = dense(X)
    place = np.add.outer(*map(np.arange, values.shape))
    chosen = place % every_so_many == 0
    if case.entries is not None:
        chosen = case.entries(values)
        if chosen.mean() > 0.5:
            chosen &= (place % 5 == 0) | moves
    places = list(zip(*np.nonzero(chosen & (np.nan_to_num(values) != 0)), strict=True))
    assert places
    return places


@skipping_is_expected
@pytest.mark.parametrize(**each_case)
def test_inputs_move_the_output(case):
    """Of the transform as fitted, and of the statistics that are fitted to the rows."""
    stage, X, y = fitted(case)
    transformer = stage.transformer
    B = cotangent_for(transformer.transform(X), 1)
    direct = dense(stage.pull_input(stage.X, B))
    through_fit = stage.pull_fit(stage.pull_statistics(stage.X, B))
    moves = False if through_fit is None else dense(through_fit) != 0
    whole = direct if through_fit is None else direct + dense(through_fit)

    def refitted(changed):
        return product(B, clone(transformer).fit(changed, y).transform(changed))

    for i, j in moved_entries(case, X, 17, moves):
        frozen = slope(lambda rows: product(B, transformer.transform(rows)), X, i, j)
        assert abs(direct[i, j] - frozen) <= 1e-6 * np.abs(direct).max()
        found = slope(refitted, X, i, j, case.step)
        assert abs(whole[i, j] - found) <= case.input_tolerance * np.abs(whole).max()


@skipping_is_expected
@pytest.mark.parametrize(**each_case)
def test_queries_move_with_the_fit(case):
    """Of rows that lie partly beyond the training rows."""
    stage, X, y = fitted(case)
    transformer, queries = stage.transformer, stage.X[:15] * 1.4
    B = cotangent_for(transformer.transform(queries), 2)
    direct = dense(stage.pull_input(queries, B))
    through_fit = stage.pull_fit(stage.pull_statistics(queries, B))
    through_fit = np.zeros(X.shape) if through_fit is None else dense(through_fit)

    def refitted(changed):
        return product(B, clone(transformer).fit(changed, y).transform(queries))

    for i, j in moved_entries(case, queries, 13):
        frozen = slope(lambda rows: product(B, transformer.transform(rows)), queries, i, j)
        assert abs(direct[i, j] - frozen) <= 1e-6 * np.abs(direct).max()
    # The extremes may move here: no query is one.
    whole = case._replace(entries=every) if case.entries is not_extreme else case
    for i, j in moved_entries(whole, X, 17, through_fit != 0):
        found = slope(refitted, X, i, j, case.step)
        size = np.abs(through_fit).max()
        assert abs(through_fit[i, j] - found) <= case.input_tolerance * size


@pytest.mark.parametrize("knots", ["uniform", "quantile"])
def test_weighted_knots_move_with_the_rows_that_hold_them(knots):
    X, y = distinct()
    weight = np.random.default_rng(5).integers(0, 4, len(y)).astype(float)
    spline = SplineTransformer(5, knots=knots).fit(X, sample_weight=weight)
    stage, queries = make_stage(spline, X, y, weight), X[:15] * 1.4
    B = cotangent_for(spline.transform(queries))
    pulled = stage.pull_fit(stage.pull_statistics(queries, B))
    assert np.abs(pulled).max() > 0

    def refitted(changed):
        again = clone(spline).fit(changed, sample_weight=weight)
        return product(B, again.transform(queries))

    for i, j in np.ndindex(*X.shape):
        found = slope(refitted, X, i, j)
        assert abs(pulled[i, j] - found) <= 1e-6 * np.abs(pulled).max()


def test_quantiles_of_rows_drawn_at_random_are_refused():
    X, y = distinct()
    fitted_to_some = QuantileTransformer(n_quantiles=5, subsample=20, random_state=0).fit(X)
    with pytest.raises(UnsupportedEstimatorError, match="has drawn 20 of 41 rows"):
        make_stage(fitted_to_some, X, y)


def test_the_power_transforms_are_smooth_at_the_powers_0_and_2():
    x = np.array([-3.0, -0.5, -1e-3, 0.0, 1e-3, 0.7, 20.0])
    for power in (-1.0, -1e-9, 0.0, 1e-9, 0.3, 1.0, 2.0 - 1e-9, 2.0, 3.5):
        bent = yeo_johnson(x, power)
        above, below = yeo_johnson(x, power + 1e-5), yeo_johnson(x, power - 1e-5)
        np.testing.assert_allclose(bent.value, yeojohnson(x, power), rtol=1e-13)
        once = (above.value - below.value) / 2e-5
        np.testing.assert_allclose(bent.by_power, once, rtol=1e-8, atol=1e-13)
        twice = (above.by_power - below.by_power) / 2e-5
        np.testing.assert_allclose(bent.by_power_twice, twice, rtol=1e-8, atol=1e-13)


def test_components_that_nearly_meet_are_named():
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((30, 5)))[0]
    svd = TruncatedSVD(2, algorithm="arpack").fit(X)
    with pytest.warns(InfluenceWarning, match="TruncatedSVD has an eigenvalue 1 that nearly"):
        make_stage(svd, X)


def test_a_component_beyond_the_rank_is_named():
    X, y = wide()
    with pytest.warns(InfluenceWarning, match="Component 24 of PCA .* nearly equals"):
        make_stage(PCA().fit(X), X, y)


@pytest.mark.parametrize(
    "transformer",
    [
        MinMaxScaler(),
        MaxAbsScaler(),
        RobustScaler(),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=5, output_distribution="normal"),
        SplineTransformer(3),
        PCA(2),
    ],
    ids=lambda transformer: type(transformer).__name__,
)
def test_a_constant_column_and_ties_leave_all_numbers_finite(transformer):
    X = np.random.default_rng(0).integers(0, 3, (30, 4)).astype(float)
    X[:, 2] = 7.0
    stage = make_stage(transformer.fit(X), X)
    B = cotangent_for(dense(transformer.transform(X)))
    c = stage.pull_statistics(X, B)
    assert np.isfinite(stage.row_influence(c)).all()
    assert np.isfinite(stage.pull_input(X, B)).all()
    assert np.isfinite(stage.pull_fit(c)).all()


def test_quantiles_that_tie_up_to_rounding_have_no_slope():
    X = np.random.default_rng(0).integers(11, 14, (61, 4)) / 10
    stage = make_stage(QuantileTransformer(n_quantiles=11).fit(X), X)
    steps = np.diff(stage.transformer.quantiles_, axis=0)
    assert 0 < steps[steps > 0].min() < 1e-14
    assert np.abs(stage.pull_input(X, np.ones(X.shape))).max() < 10


def test_components_of_an_approximate_solver_are_named():
    X, y = wide()
    svd = TruncatedSVD(3, n_iter=0, n_oversamples=1, random_state=0).fit(X)
    with pytest.warns(InfluenceWarning, match="differ from eigenvectors by"):
        make_stage(svd, X, y)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_order_statistics_are_those_of_numpy(make):
    X, fractions = missing()[0], [0.0, 0.012, 0.5, 0.75, 0.988, 1.0]
    found = OrderStatistics(make(X), fractions).values()
    np.testing.assert_allclose(found, np.nanquantile(X, fractions, axis=0), rtol=1e-12)


def test_imputed_strings_have_no_derivative():
    X = np.array([["a"], ["b"], ["a"], [np.nan]], dtype=object)
    imputer = SimpleImputer(strategy="most_frequent").fit(X)
    stage = make_stage(imputer, X)
    assert not stage.takes_numbers
    assert stage.pull_statistics(X, np.ones((4, 1))) is None
    np.testing.assert_array_equal(stage.row_influence(None), np.zeros(4))
    assert stage.training_output()[3, 0] == "a"


def test_an_imputer_by_a_function_is_refused():
    X, y = missing()
    imputer = SimpleImputer(strategy=np.mean).fit(X)
    with pytest.raises(UnsupportedEstimatorError, match="is a function"):
        make_stage(imputer, X, y)


def test_every_stage_has_a_case():
    tried = {type(case.transformer) for case in [*CASES, *DISCRETE]}
    assert tried >= set(STAGES)
