"""Stages name ties, constants, missing values and cases without a derivative."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import yeojohnson
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
)

from skinfluence.exceptions import InfluenceWarning, UnsupportedEstimatorError
from skinfluence.stages import make_stage
from skinfluence.stages.base import dense
from skinfluence.stages.order import OrderStatistics
from skinfluence.stages.power import yeo_johnson
from tests.stage_cases import distinct, slope, wide
from tests.stages import (
    cotangent_for,
    missing,
    product,
)


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
