"""Removal from dask arrays, and all that uses it, equals removal from arrays in memory."""

import dataclasses

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_diabetes
from sklearn.metrics import log_loss
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVR

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from tests.cases import LINEAR
from tests.dask_rows import assert_close, evaluate
from tests.fits import NEWTON, data
from tests.memory import peak

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask[array] is not installed")
pytestmark = pytest.mark.usefixtures("scheduler")

NAMES = (
    "ridge",  # squared error, weights
    "ridge-targets",  # several outputs
    "ridge-classifier-balanced",  # a step at new class weights
    "softmax-3",  # outputs that interact
    "gamma",  # a penalty in mean form, a dispersion
    "epsilon-insensitive-csr",  # kinks of the slope, sparse rows
)
CASES = [case for case in LINEAR if case.name in NAMES]
each_case = {"argvalues": CASES, "ids": [case.name for case in CASES]}


def in_chunks(case, n=48):
    """Return a case's model fitted on some rows, the same with dask arrays, and the rows."""
    X, y, w = case.data()
    w = w if case.weighted else np.ones(len(y))
    rows = np.random.default_rng(0).permutation(len(y))[:n]
    X, y, w = X[rows], y[rows], w[rows]
    fitted = from_fitted(dataclasses.replace(case).estimator.fit(X, y, w), X, y, w).polish()
    size = len(y) // 3 + 1
    dX = da.from_array(np.arange(len(y))[:, None], chunks=(size, 1))
    dX = dX.map_blocks(lambda i: X[i[:, 0]], chunks=(dX.chunks[0], (X.shape[1],)))
    dy = da.from_array(y, chunks=(20, *y.shape[1:]))
    lazy = from_fitted(fitted, dX, dy, w)
    return lazy, fitted, X, y


def assert_refits_agree(found, expected, params):
    # Single precision may end the iteration, with an error relative to the change.
    change = np.linalg.norm(expected - params, axis=1)
    assert (np.linalg.norm(found - expected, axis=1) <= 1e-7 * change + 1e-12).all()


def assert_labels_agree(found, expected):
    if expected.dtype.kind == "f":
        assert_close(found, expected)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("case", **each_case)
def test_models_without_rows_are_those_of_arrays(case):
    lazy, fitted, X, y = in_chunks(case)
    for method in ("influence", "newton"):
        params = evaluate(lazy.leave_out_params(method=method))
        assert_close(params, fitted.leave_out_params(method=method))
    found = evaluate(lazy.leave_out_params(method="exact"))
    assert_refits_agree(found, fitted.leave_out_params(method="exact"), fitted.params_)
    query = X[:7], y[:7]
    expected = fitted.leave_out_loss(*query)
    assert_close(evaluate(lazy.leave_out_loss(*query)), expected)
    chunks = da.from_array(np.asarray(y[:7]), chunks=4)
    if isinstance(X, np.ndarray):
        assert_close(evaluate(lazy.leave_out_loss(da.from_array(X[:7], 3), chunks)), expected)
    assert_labels_agree(evaluate(lazy.leave_out_predict()), fitted.leave_out_predict())
    assert_close(lazy.leave_out_score(), fitted.leave_out_score())


@pytest.mark.parametrize("case", **each_case)
def test_models_without_groups_are_those_of_arrays(case):
    lazy, fitted, X, y = in_chunks(case)
    few, many = [0, 2, len(y) - 1], np.arange(len(y) // 3)  # in a stack; with its own Hessian
    for method in ("influence", "newton"):
        found = lazy.leave_out_params([few, many], method=method)
        assert_close(found, fitted.leave_out_params([few, many], method=method))
    found = lazy.leave_out_params([few, many], method="exact")
    expected = fitted.leave_out_params([few, many], method="exact")
    assert_refits_agree(found, expected, fitted.params_)
    expected = fitted.leave_out_loss(X[:5], y[:5], [few, many])
    assert_close(lazy.leave_out_loss(X[:5], y[:5], [few, many]), expected)
    folds = np.arange(len(y)) % 3
    found = evaluate(lazy.leave_out_predict(da.from_array(folds, chunks=9)))
    assert_labels_agree(found, fitted.leave_out_predict(folds))
    if not hasattr(fitted, "classes_"):
        assert_close(lazy.leave_out_score(cv=3), fitted.leave_out_score(cv=3))


def test_bounds_of_groups_are_those_of_arrays():
    X, y, _ = data("wine")  # a penalty in mean form, which falls without rows
    fitted = PoissonRegressor(fit_intercept=False, **NEWTON).fit(X / X.max(axis=0), y)
    lazy = from_fitted(fitted, da.from_array(X / X.max(axis=0), chunks=(70, -1)), y)
    groups = [[0, 177], np.arange(60)]
    for found, expected in zip(
        lazy.leave_out_params(groups, return_bound=True),
        fitted.leave_out_params(groups, return_bound=True),
        strict=True,
    ):
        assert_close(found, expected)


@pytest.mark.parametrize("case", **each_case)
def test_measures_of_rows_and_groups_are_those_of_arrays(case):
    lazy, fitted, _, y = in_chunks(case)
    found, expected = lazy.influence_summary(), fitted.influence_summary()
    assert list(found) == list(expected)
    for name, column in dask.compute(dict(found))[0].items():
        assert_close(column, expected[name], 1e-9)
    assert_close(evaluate(lazy.dfbetas()), fitted.dfbetas(), 1e-9)
    thirds = np.arange(len(y)) % 3
    labels = da.from_array(thirds, chunks=30)
    found = lazy.influence_summary(groups=labels)
    expected = fitted.influence_summary(groups=thirds)
    assert list(found) == list(expected)
    for name, column in found.items():
        assert_close(column, expected[name], 1e-9)
    few = [[0, 2, len(thirds) - 1], np.arange(len(thirds) // 3)]
    assert_close(lazy.dfbetas(few), fitted.dfbetas(few), 1e-9)
    assert_close(lazy.params_covariance(), fitted.params_covariance())
    V = np.eye(len(fitted.params_))
    expected = fitted.solve_hessian(V)
    assert_close(lazy.solve_hessian(V), expected)
    assert_close(evaluate(fitted.solve_hessian(da.from_array(V, chunks=2))), expected)


@pytest.mark.parametrize("case", **each_case)
def test_rankings_and_scores_are_those_of_arrays(case):
    lazy, fitted, X, y = in_chunks(case)
    for strategy in ("relabel", "self_influence", "loss"):
        options = {"strategy": strategy, "return_scores": True}
        indices, scores = rank_label_errors(lazy, **options)
        expected = rank_label_errors(fitted, **options)
        np.testing.assert_array_equal(indices, expected[0])
        assert_close(scores, expected[1])
    found = evaluate(lazy.leave_out_metric(X[:30], y[:30]))
    assert_close(found, fitted.leave_out_metric(X[:30], y[:30]))
    thirds = np.arange(len(y)) % 3
    found = lazy.leave_out_metric(X[:30], y[:30], groups=thirds)
    assert_close(found, fitted.leave_out_metric(X[:30], y[:30], groups=thirds))


def test_scorers_of_models_and_dicts_of_scorers():
    X, y = (a[::3] for a in data("wine")[:2])
    fitted = LogisticRegression(**NEWTON).fit(X, y)
    lazy = from_fitted(fitted, da.from_array(X, chunks=(30, -1)), y)

    def of_model(model, X, y):
        return log_loss(y, model.predict_proba(X)) + model.coef_[0, 0]

    scoring = {"of model": of_model, "accuracy": "accuracy"}
    found = lazy.leave_out_metric(X[::9], y[::9], scoring=scoring)
    for name, column in fitted.leave_out_metric(X[::9], y[::9], scoring=scoring).items():
        assert_close(evaluate(found[name]), column)


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_rows_without_which_there_is_no_optimum_are_named(method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    y[17] = 1 - y[17]  # the only sample at which the classes overlap
    fitted = LogisticRegression(C=np.inf, **NEWTON).fit(X, y)
    lazy = from_fitted(fitted, da.from_array(X, chunks=(25, -1)), y)
    with pytest.warns(InfluenceWarning, match="did not converge: row 17"):
        params = evaluate(lazy.leave_out_params(method=method))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(params).any(axis=1)), [17])
    with (
        pytest.warns(InfluenceWarning),
        pytest.raises(ValueError, match=r"no predicted class: \[17\]"),
    ):
        lazy.leave_out_predict(method=method)


def test_a_sample_that_alone_determines_a_parameter_is_named():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    X[:, 2] = np.arange(60) == 33
    y = X[:, 0] + rng.normal(size=60)
    fitted = LinearRegression().fit(X, y)
    lazy = from_fitted(fitted, da.from_array(X, chunks=(25, -1)), y)
    with pytest.warns(InfluenceWarning, match="row 33"):
        summary = dask.compute(dict(lazy.influence_summary()))[0]
    expected = fitted.influence_summary()
    rest = np.arange(60) != 33
    for name in ("leverage", "cooks_distance", "leave_out_loss"):
        assert_close(summary[name][rest], expected[name][rest])
    assert np.isnan(summary["leave_out_loss"][33])


def test_refined_rows_are_exact():
    X, y, _ = data("diabetes")
    fitted = PoissonRegressor(**NEWTON).fit(X[:90], y[:90])
    lazy = from_fitted(fitted, da.from_array(X[:90], chunks=(40, -1)), y[:90])
    expected = fitted.leave_out_params(refine=0.2)
    assert_close(evaluate(lazy.leave_out_params(refine=0.2)), expected, 1e-9)


def test_without_all_samples_that_have_weight_there_is_no_model():
    X, y, _ = data("diabetes")
    w = np.zeros(len(y))
    w[:30] = 1.0
    fitted = PoissonRegressor(**NEWTON).fit(X, y, w)
    lazy = from_fitted(fitted, da.from_array(X, chunks=(200, -1)), y, w)
    with pytest.raises(ValueError, match="contains every training sample with a weight"):
        lazy.leave_out_params([np.arange(30)])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda e, X, y: e.influence_summary(as_frame=True), "as_frame=True"),
        (lambda e, X, y: rank_label_errors(e, as_frame=True), "as_frame=True"),
        (lambda e, X, y: e.leave_out_metric(X, y), "leave_out_metric"),
    ],
)
def test_unsupported_calls_are_refused_by_name(call, named):
    X, y, _ = data("wine")
    dX, dy = da.from_array(X, chunks=(90, -1)), da.from_array(y, chunks=90)
    lazy = from_fitted(LogisticRegression(**NEWTON).fit(X, y), dX, dy)
    with pytest.raises(UnsupportedEstimatorError, match=rf"{named}.*compute\(\)"):
        call(lazy, dX, dy)
    with pytest.raises(UnsupportedEstimatorError, match=r"single samples.*groups=\[\[3\]"):
        lazy.leave_out_params(return_bound=True)


def _random_block(block_info=None):
    (first, last), (_, d) = block_info[None]["array-location"]
    return np.random.default_rng(first).standard_normal((last - first, d))


def test_memory_is_that_of_a_chunk():
    rows, d, chunk = 40_000, 50, 2_000
    chunks = ((chunk,) * (rows // chunk), (d,))
    X = da.map_blocks(_random_block, dtype=float, chunks=chunks, meta=np.empty((0, 0)))
    y = X[:, 0] + 2 * X[:, 1] * X[:, 2] > 0.3
    small, labels = X[:5_000].compute(), y[:5_000].compute()
    fitted = from_fitted(LogisticRegression().fit(small, labels), X, y).polish()
    first = from_fitted(fitted, X[:chunk], y[:chunk])
    rank_label_errors(first), first.influence_summary()  # imports
    with sklearn.config_context(working_memory=4):
        memory, _ = peak(lambda: rank_label_errors(fitted))
        summary, _ = peak(lambda: fitted.influence_summary().leave_out_loss.compute())
    # Two chunks, for the random generator and y make copies; temporaries; results.
    assert max(memory, summary) <= 3 * 8 * chunk * d + (4 + 4) * 2**20
    assert max(memory, summary) <= 0.7 * 8 * rows * d


def test_rows_that_stay_may_cross_kinks_in_any_chunk():
    # Beside a large C, directions that these rows held have hardly any curvature.
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X[:12, :5]), y[:12] / 50
    squared = {"loss": "squared_epsilon_insensitive", "epsilon": 1.0, "dual": False}
    model = LinearSVR(C=1e7, tol=1e-10, **squared).fit(X, y)
    lazy = from_fitted(model, da.from_array(X, chunks=(5, 5)), da.from_array(y, chunks=5))
    fitted = from_fitted(model, X, y)
    for row in (6, 9):
        found = lazy.leave_out_loss(X, y, [[row]])
        assert_close(found, fitted.leave_out_loss(X, y, [[row]]))
