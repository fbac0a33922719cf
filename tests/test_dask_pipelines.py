"""Pipelines on dask arrays: the whole fit, scaler included, is that of arrays in memory."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.functionals import mean_prediction
from skinfluence.inspection import rank_label_errors
from tests.dask_rows import assert_close, evaluate
from tests.fits import NEWTON, data

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask[array] is not installed")
pytestmark = pytest.mark.usefixtures("scheduler")


@dataclasses.dataclass(frozen=True)
class Case:
    """Steps before a model, and its data."""

    steps: tuple
    model: object
    dataset: str
    weighted: bool = False
    container: object = np.asarray

    def samples(self):
        X, y, w = data(self.dataset)
        rows = np.random.default_rng(0).permutation(len(y))[:54]
        X, y = 3 * X[rows] + 1, y[rows]
        if self.dataset == "diabetes":
            y = (y - y.mean()) / y.std()
        if isinstance(self.model, PoissonRegressor | GammaRegressor):
            y = np.exp(y)
        return X, y, w[rows] if self.weighted else None

    def fitted(self):
        """Return the fitted pipeline in memory, the same on dask arrays, and the rows."""
        X, y, w = self.samples()
        pipe = make_pipeline(*self.steps, self.model)
        name = pipe.steps[-1][0]
        pipe.fit(self.container(X), y, **{f"{name}__sample_weight": w})
        memory = from_fitted(pipe, self.container(X), y, w).polish()
        dX = da.from_array(X, chunks=(22, -1)).map_blocks(self.container)
        lazy = from_fitted(pipe, dX, da.from_array(y, chunks=12), w).polish()
        return lazy, memory, self.container(X), y


CASES = {
    "logistic": Case((StandardScaler(),), LogisticRegression(C=0.1, **NEWTON), "wine"),
    "scales only, sparse, weights": Case(
        (StandardScaler(with_mean=False),),
        LogisticRegression(C=0.1, **NEWTON),
        "wine",
        weighted=True,
        container=sparse.csr_array,
    ),
    "behind other steps, weights": Case(
        (PolynomialFeatures(1, include_bias=False), MinMaxScaler(), StandardScaler()),
        Ridge(alpha=3.0),
        "diabetes",
        weighted=True,
    ),
    "means only": Case((StandardScaler(with_std=False),), Ridge(alpha=3.0), "diabetes"),
    "penalty in mean form": Case((StandardScaler(),), PoissonRegressor(**NEWTON), "diabetes"),
    "class weights": Case(
        (StandardScaler(),), RidgeClassifier(class_weight="balanced"), "wine"
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
def test_influences_are_those_of_arrays(case):
    lazy, memory, X, y = case.fitted()
    queries = X[:7], y[:7]
    expected = memory.influence_loss(*queries)
    assert_close(evaluate(lazy.influence_loss(*queries)), expected)
    values, _ = lazy.influential_samples(*queries, n_influential=5)
    assert_close(values, memory.influential_samples(*queries, n_influential=5)[0])
    assert_close(evaluate(lazy.influence_params()), memory.influence_params())
    assert_close(evaluate(lazy.self_influence()), memory.self_influence())
    expected = memory.influence_prediction(X[:5])
    assert_close(evaluate(lazy.influence_prediction(X[:5])), expected)
    V = np.random.default_rng(0).normal(size=(3, len(memory.params_)))
    assert_close(evaluate(lazy.influence_functional(V)), memory.influence_functional(V))
    assert_close(lazy.params_covariance(), memory.params_covariance())


@each_case
def test_models_without_rows_and_groups_are_those_of_arrays(case):
    lazy, memory, X, y = case.fitted()
    groups = [[0, 2, len(y) - 1], np.arange(len(y) // 3)]  # in a stack; with its own Hessian
    for method in ("influence", "newton", "exact"):
        if method != "exact" or np.size(memory[-1].intercept_) == 1:  # else many passes
            expected = memory.leave_out_params(method=method)
            assert_close(evaluate(lazy.leave_out_params(method=method)), expected, 1e-8)
        expected = memory.leave_out_params(groups, method=method)
        assert_close(lazy.leave_out_params(groups, method=method), expected, 1e-8)
    queries = X[:7], y[:7]
    expected = memory.leave_out_loss(*queries)
    assert_close(evaluate(lazy.leave_out_loss(*queries)), expected, 1e-8)
    expected = memory.leave_out_loss(*queries, groups)
    assert_close(lazy.leave_out_loss(*queries, groups), expected, 1e-8)
    assert_close(lazy.leave_out_score(), memory.leave_out_score(), 1e-8)
    assert_close(
        evaluate(lazy.leave_out_metric(*queries)), memory.leave_out_metric(*queries), 1e-8
    )
    scores = rank_label_errors(lazy, return_scores=True)[1]
    assert_close(scores, rank_label_errors(memory, return_scores=True)[1], 1e-8)


@pytest.mark.parametrize("name", [name for name in CASES if name != "class weights"])
def test_measures_of_rows_and_groups_are_those_of_arrays(name):
    lazy, memory, _, y = CASES[name].fitted()
    found, expected = lazy.influence_summary(), memory.influence_summary()
    assert list(found) == list(expected)
    for column, values in dask.compute(dict(found))[0].items():
        assert_close(values, expected[column], 1e-8)
    assert_close(evaluate(lazy.dfbetas()), memory.dfbetas(), 1e-8)
    groups = [[0, 2, len(y) - 1], np.arange(len(y) // 3)]
    found, expected = (model.influence_summary(groups=groups) for model in (lazy, memory))
    for column in expected:
        assert_close(found[column], expected[column], 1e-8)
    assert_close(lazy.dfbetas(groups), memory.dfbetas(groups), 1e-8)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GammaRegressor(), "GammaRegressor with this loss"),
        (RidgeClassifier(class_weight="balanced"), "class_weight='balanced'"),
    ],
)
def test_measures_that_take_a_pass_for_each_row_refuse_by_name(model, message):
    dataset = "wine" if isinstance(model, RidgeClassifier) else "diabetes"
    lazy = Case((StandardScaler(),), model, dataset).fitted()[0]
    for method in (lazy.influence_summary, lazy.dfbetas):
        with pytest.raises(UnsupportedEstimatorError, match=rf"{message}.*compute\(\)"):
            method()


def test_functions_of_predictions_see_the_scaler_move():
    lazy, memory, X, _ = CASES["logistic"].fitted()
    mean = mean_prediction(memory, X[:9], label=1)
    expected = memory.influence_functional(mean)
    assert_close(evaluate(lazy.influence_functional(mean)), expected)


def test_steps_whose_statistics_are_no_sums_refuse_by_name():
    X, y, _ = data("wine")
    dX, dy = da.from_array(X, chunks=(90, -1)), da.from_array(y, chunks=90)
    pipe = make_pipeline(RobustScaler(), LogisticRegression(**NEWTON)).fit(X, y)
    lazy = from_fitted(pipe, dX, dy)
    for call in (lazy.leave_out_params, lazy.influence_summary, lazy.dfbetas):
        with pytest.raises(UnsupportedEstimatorError, match=r"RobustScaler.*FrozenEstimator"):
            call()
    steps = SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression()
    pipe = make_pipeline(*steps)
    pipe.fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=r"SimpleImputer is.*FrozenEstimator"):
        from_fitted(pipe, dX, dy).self_influence()
    pipe = make_pipeline(StandardScaler(), LogisticRegression(fit_intercept=False)).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="free intercept"):
        from_fitted(pipe, dX, dy).self_influence()
    frozen = FrozenEstimator(RobustScaler().fit(X))
    pipe = make_pipeline(frozen, LogisticRegression(**NEWTON)).fit(X, y)
    expected = from_fitted(pipe, X, y).self_influence()
    assert_close(evaluate(from_fitted(pipe, dX, dy).self_influence()), expected)


@pytest.mark.parametrize(
    "steps",
    [
        (MaxAbsScaler(),),
        (MinMaxScaler(), SelectKBest(k=6)),
        (RobustScaler(), SelectKBest(k=6), StandardScaler()),
        (OneHotEncoder(sparse_output=False), MinMaxScaler(), StandardScaler()),
    ],
)
def test_extremes_and_choices_have_no_derivative(steps):
    container = np.round if isinstance(steps[0], OneHotEncoder) else np.asarray
    lazy, memory, X, y = Case(steps, Ridge(), "diabetes", container=container).fitted()
    queries = X[:7], y[:7]
    expected = memory.influence_loss(*queries)
    assert_close(evaluate(lazy.influence_loss(*queries)), expected)
    assert_close(evaluate(lazy.influence_params()), memory.influence_params())
    assert_close(evaluate(lazy.self_influence()), memory.self_influence())
    with pytest.raises(UnsupportedEstimatorError, match=r"but not .*Scaler|groups=\[\[3\]"):
        lazy.leave_out_loss(*queries)


def with_gaps(X):
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    return X


@pytest.mark.parametrize(
    ("steps", "container", "weighted"),
    [
        # Two steps learn, the second from the results of the first.
        ((SimpleImputer(), StandardScaler()), with_gaps, True),
        (
            (TfidfTransformer(), StandardScaler(with_mean=False), Normalizer()),
            lambda X: sparse.csr_array(np.maximum(X, 0)),
            False,
        ),
    ],
    ids=["imputer, scaler", "tf-idf, scaler, norms"],
)
def test_influence_goes_through_steps_that_learn_sums(steps, container, weighted):
    case = Case(steps, LogisticRegression(**NEWTON), "wine", weighted, container)
    X, y, w = case.samples()
    X = container(X)
    pipe = make_pipeline(*steps, case.model).fit(X, y, logisticregression__sample_weight=w)
    dX = da.from_array(np.arange(len(y))[:, None], chunks=(37, 1))
    dX = dX.map_blocks(lambda i: X[i[:, 0]], chunks=(dX.chunks[0], (X.shape[1],)))
    memory, lazy = from_fitted(pipe, X, y, w), from_fitted(pipe, dX, y, w)
    queries = X[:4], y[:4]
    for average in (False, True):
        expected = memory.influence_loss(*queries, average=average)
        found = lazy.influence_loss(*queries, average=average)
        assert_close(evaluate(found), expected)
    assert_close(evaluate(lazy.influence_params()), memory.influence_params())
    expected = memory.influence_prediction(X[:3])
    assert_close(evaluate(lazy.influence_prediction(X[:3])), expected)
    line = np.arange(len(memory.params_))
    for functional in (mean_prediction(memory, X[:9], label=1), line):
        expected = memory.influence_functional(functional)
        assert_close(evaluate(lazy.influence_functional(functional)), expected)
    assert_close(evaluate(lazy.self_influence()), memory.self_influence())
    for y_query, average in ((y[:4], False), (y[:4], True), (None, False)):
        options = {"n_influential": 5, "average": average}
        found = lazy.influential_samples(X[:4], y_query, **options)
        expected = memory.influential_samples(X[:4], y_query, **options)
        assert_close(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    groups = [[3], np.arange(30)]
    expected = memory.leave_out_params(groups, method="exact")
    assert_close(lazy.leave_out_params(groups), expected, 1e-8)
    with pytest.raises(UnsupportedEstimatorError, match=r"every sample .*groups=\[\[3\]"):
        lazy.leave_out_params()


def test_groups_that_hold_extremes_leave():
    case = Case((MinMaxScaler(), PolynomialFeatures(1)), Ridge(), "diabetes", weighted=True)
    lazy, memory, X, y = case.fitted()
    queries, groups = (X[:7], y[:7]), [np.unique(X.argmax(axis=0)), [int(X[:, 0].argmin())]]
    expected = memory.leave_out_loss(*queries, groups, method="exact")
    assert_close(lazy.leave_out_loss(*queries, groups), expected, 1e-9)
    expected = memory.leave_out_metric(*queries, groups=groups, method="exact")
    assert_close(lazy.leave_out_metric(*queries, groups=groups), expected, 1e-9)
    folds = np.arange(len(y)) % 2
    expected = memory.leave_out_predict(folds, method="exact")
    assert_close(evaluate(lazy.leave_out_predict(folds)), expected, 1e-9)
    expected = memory.leave_out_score(folds, method="exact")
    assert_close(lazy.leave_out_score(folds), expected, 1e-9)


def test_groups_without_which_steps_return_other_features_are_named():
    X, y, _ = data("diabetes")
    X = X.copy()
    X[np.arange(len(y)) != 5, 0] = np.nan
    pipe = make_pipeline(SimpleImputer(), Ridge()).fit(X, y)
    lazy = from_fitted(pipe, da.from_array(X, chunks=(200, -1)), y)
    with pytest.warns(InfluenceWarning, match="1 of 2 .* other features .* row 5"):
        found = lazy.leave_out_params([[5], [6]])
    assert np.isnan(found).all(axis=1).tolist() == [True, False]


def test_a_scaler_of_other_rows_is_named():
    X, y, _ = data("wine")
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X[::2], y[::2])
    lazy = from_fitted(pipe, da.from_array(X, chunks=(90, -1)), y).polish()
    with pytest.warns(InfluenceWarning, match=r"fitted on other rows.*partial_fit"):
        lazy.self_influence()
    scaler = pipe[0].__class__()
    for rows in (X[:90], X[90:]):
        scaler.partial_fit(rows)
    pipe.steps[0] = ("standardscaler", scaler)
    found = from_fitted(pipe, da.from_array(X, chunks=(90, -1)), y).polish()
    expected = from_fitted(pipe, X, y).polish()
    assert_close(evaluate(found.self_influence()), expected.self_influence())


def test_a_row_with_almost_all_of_a_variance():
    X, y, _ = data("wine")
    X = X.copy()
    X[:, 0] = np.arange(len(y)) == 44  # constant without the row, as in a refit
    pipe = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    dX = da.from_array(X, chunks=(90, -1))
    expected = from_fitted(pipe, X, y).leave_out_loss(X[:5], y[:5])
    found = from_fitted(pipe, dX, y).leave_out_loss(X[:5], y[:5])
    assert_close(evaluate(found), expected, 1e-8)
    X[44, 0] = 1e9  # a code for missing values: the others vary
    X[:44, 0] += 1.0
    pipe.fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=r"Without row 44 .*compute\(\)"):
        from_fitted(pipe, da.from_array(X, chunks=(90, -1)), y).leave_out_loss(X[:5], y[:5])
