"""Samples in dask arrays: the same numbers as in memory, and no array that holds them all."""

import copy
import os
import pickle
import signal
import sys
import threading

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import UnsupportedEstimatorError, convergence, from_fitted
from skinfluence.blocks import run_blocks
from skinfluence.distributed import DistributedPoint
from skinfluence.inspection import (
    InfluenceDisplay,
    data_values,
    most_influential_set,
)
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.model_selection import jackknife_plus_interval, jackknife_plus_set
from skinfluence.pipeline import problem_of
from skinfluence.svm import SVC, LinearSVC
from tests.cases import LINEAR, METHODS, NEWTON, data, relative_error
from tests.memory import peak

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask[array] is not installed")


def refusal(case):
    """Return what refuses a linear case rows in dask arrays, or None where it takes them."""
    if case.dataset == "dependent":
        return "The features depend on each other"
    if case.name.startswith("huber"):
        return "HuberRegressor takes no dask arrays: its scale"
    if case.name.startswith(("lasso", "elastic-net", "l1-", "positive-", "ridge-ard")):
        name = type(case.estimator).__name__
        return f"{name} keeps coefficients at 0 and takes no dask arrays"
    return None


def ids(cases):
    return {"argvalues": cases, "ids": [case.name for case in cases]}


each_case_taken = ids([case for case in LINEAR if refusal(case) is None])
each_case_refused = ids([case for case in LINEAR if refusal(case) is not None])

ROWS = 67  # rows of a chunk; no divisor of the sizes of the data


@pytest.fixture(autouse=True)
def scheduler(request):
    """Run on the synchronous scheduler unless a test names another one."""
    with dask.config.set(scheduler=getattr(request, "param", "synchronous")):
        yield


@pytest.fixture
def never_whole(monkeypatch):
    """Fail where features or labels are turned into one array behind the user's back.

    Vectors of numbers, such as results with one for each row, may be.
    """
    load = da.Array.__array__

    def refuse(self, *args, **kwargs):
        if self.ndim == 1 and self.dtype == np.float64:
            return load(self, *args, **kwargs)
        raise AssertionError(f"a dask array of shape {self.shape} was loaded")

    monkeypatch.setattr(da.Array, "__array__", refuse)


def chunked(case, columns=4):
    """Return the data of a case as dask arrays, with several chunks along each axis."""
    X, y, w = data(case.dataset)
    X = da.from_array(X, chunks=(ROWS, columns)).rechunk({1: -1})
    X = X.map_blocks(case.container)
    w = da.from_array(w, chunks=60) if case.weighted else None
    return X, da.from_array(y, chunks=(80, *y.shape[1:])), w


def logistic(**params):
    X, y, w = data("wine")
    return LogisticRegression(**{"tol": 1e-3, **params}).fit(X, y, w)


def arrays(*given):
    return tuple(da.from_array(array, chunks=ROWS) for array in given)


def assert_close(found, expected, tolerance=1e-10):
    assert np.shape(found) == np.shape(expected)
    assert relative_error(np.asarray(found), expected) <= tolerance


def evaluate(array):
    """Return a lazy result in memory; what is no dask array is a mistake."""
    assert isinstance(array, da.Array)
    return array.compute()


@pytest.mark.parametrize("case", **each_case_taken)
def test_every_number_is_that_of_arrays(case, never_whole):
    fitted = case.fit()
    X, y, _ = case.data()
    dX, dy, dw = chunked(case)
    chunks = from_fitted(fitted, dX, dy, dw)
    expected = fitted.influence_loss(X[:7], y[:7])
    assert_close(evaluate(chunks.influence_loss(X[:7], y[:7])), expected)
    assert_close(
        evaluate(chunks.influence_loss(X, y, average=True)),
        fitted.influence_loss(X, y, average=True),
    )
    assert_close(evaluate(chunks.self_influence()), fitted.self_influence())
    assert_close(evaluate(chunks.sample_loss(dX, dy)), fitted.sample_loss(X, y))
    assert_close(evaluate(chunks.loss_gradient(dX, dy)), fitted.loss_gradient(X, y))
    assert_close(evaluate(chunks.influence_params()), fitted.influence_params())
    assert_close(evaluate(chunks.influence_params(dX, dy)), fitted.influence_params(X, y))
    assert_close(chunks.influence_params(X[:7], y[:7]), fitted.influence_params(X[:7], y[:7]))
    expected = fitted.influence_prediction(X[:60])
    assert_close(evaluate(chunks.influence_prediction(X[:60])), expected)
    assert_close(evaluate(chunks.influence_prediction(dX[:60])), expected)
    assert_close(evaluate(fitted.influence_prediction(dX[:60])), expected)
    gradient = np.random.default_rng(0).normal(size=(3, len(fitted.params_)))
    for V in (gradient, gradient[0]):
        expected = fitted.influence_functional(V)
        assert_close(evaluate(chunks.influence_functional(V)), expected)
    assert_close(chunks.params_covariance(), fitted.params_covariance())
    if fitted.predict(X).ndim == 1:
        values, _ = chunks.influential_samples(dX, n_influential=5)
        assert_close(values, fitted.influential_samples(X, n_influential=5)[0])
    values, indices = chunks.influential_samples(X[:7], y[:7], 5)
    assert_close(values, fitted.influential_samples(X[:7], y[:7], 5)[0])
    np.testing.assert_array_equal(
        values, np.take_along_axis(evaluate(chunks.influence_loss(X[:7], y[:7])), indices, 1)
    )


@pytest.mark.parametrize("method", ["decision_function", "predict_proba"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_responses_of_classes_are_those_of_arrays(method, n_classes, never_whole):
    of_classes = np.isin(Y_WINE, range(n_classes))
    X, y = X_WINE[of_classes], Y_WINE[of_classes]
    fitted = LogisticRegression(**NEWTON).fit(X, y)
    chunks = from_fitted(fitted, *arrays(X, y))
    expected = fitted.influence_prediction(X[:9], response_method=method)
    for queries in (X[:9], arrays(X[:9])[0]):
        assert_close(
            evaluate(chunks.influence_prediction(queries, response_method=method)), expected
        )


@pytest.mark.parametrize("case", **each_case_taken)
def test_newton_is_that_of_arrays(case, never_whole):
    # Away from the optimum, where there is something to correct.
    fitted = case.fit()
    fitted.coef_ = fitted.coef_ * 0.9
    chunks = from_fitted(fitted, *chunked(case))
    assert_close(chunks.newton_correction(), fitted.newton_correction())
    found, expected = chunks.convergence_report(), fitted.convergence_report()
    for name in ("gradient_norm", "newton_decrement", "gradient_shift", "convergence_ratio"):
        assert_close(found[name], expected[name])
    assert (found.message, found.converged) == (expected.message, expected.converged)
    chunks.polish(), fitted.polish()
    assert_close(chunks.params_, fitted.params_)


@pytest.mark.parametrize("case", **each_case_refused)
def test_what_rows_decide_beyond_sums_refuses_by_name(case, never_whole):
    with pytest.raises(UnsupportedEstimatorError, match=refusal(case)):
        from_fitted(case.fit(), *chunked(case)).influential_samples(*case.data()[:2])


def test_full_steps_too_long_are_cut_as_on_arrays(monkeypatch, never_whole):
    # From far out, where the probabilities are saturated.
    X, y, w = data("wine")
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    fitted.coef_ = 10 * fitted.coef_
    chunks = from_fitted(fitted, *arrays(X, y, w))
    minima, minimum = [], convergence.brentq

    def count(*arguments, **options):
        minima.append(minimum(*arguments, **options))
        return minima[-1]

    monkeypatch.setattr(convergence, "brentq", count)
    chunks.polish()
    cut = len(minima)
    fitted.polish()
    assert 0 < cut == len(minima) - cut
    assert chunks.n_newton_iter_ == fitted.n_newton_iter_
    assert_close(chunks.params_, fitted.params_)


def test_a_newton_step_takes_two_passes(monkeypatch):
    X, y, w = data("wine")
    fitted = from_fitted(logistic(), *arrays(X, y, w))
    passes, total = [], DistributedPoint.total

    def count(*arguments):
        passes.append(arguments)
        return total(*arguments)

    monkeypatch.setattr(DistributedPoint, "total", count)
    fitted.polish()
    assert len(passes) == 2 * (fitted.n_newton_iter_ + 1)


def in_chunks(array):
    return da.from_array(array, chunks=60)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"], indirect=True)
@pytest.mark.parametrize(
    ("training", "queries"),
    [(in_chunks, np.asarray), (np.asarray, in_chunks), (in_chunks, in_chunks)],
)
def test_either_side_may_be_in_chunks(training, queries):
    X, y, w = data("wine")
    fitted = logistic().polish()
    given = from_fitted(fitted, training(X), training(y), training(w))
    q = queries(X), queries(y)
    assert_close(evaluate(given.influence_loss(*q)), fitted.influence_loss(X, y))
    average = given.influence_loss(*q, average=True)
    assert_close(evaluate(average), fitted.influence_loss(X, y, average=True))
    for options in ({}, {"order": "helpful"}, {"order": "harmful", "average": True}):
        for own, labelled in ((q, (X, y)), (q[:1], (X,))):
            values, indices = given.influential_samples(*own, n_influential=60, **options)
            expected, at = fitted.influential_samples(*labelled, n_influential=60, **options)
            assert_close(values, expected)
            np.testing.assert_array_equal(indices, at)


def test_any_solver_answers_queries_in_chunks():
    X, y, _ = data("wine")
    fitted = logistic().polish()
    for solver in ("cholesky", "woodbury", "cg"):
        found = fitted.influence_loss(*arrays(X, y), hessian_solver=solver)
        assert_close(evaluate(found), fitted.influence_loss(X, y, hessian_solver=solver), 1e-8)


def test_polish_reaches_the_fit_on_everything_from_a_fit_on_a_sample():
    X, y, w = data("digits")
    sample = LogisticRegression(**NEWTON).fit(X[::5], y[::5], w[::5])
    everything = LogisticRegression(**NEWTON).fit(X, y, w)
    sample.set_training_data(*arrays(X, y, w))
    assert not sample.convergence_report().converged
    sample.polish()
    assert sample.convergence_report().converged
    np.testing.assert_allclose(sample.predict_proba(X), everything.predict_proba(X), rtol=1e-7)


def test_the_result_has_the_chunks_of_the_data_and_bounded_ones_in_memory():
    X, y, w = data("wine")
    chunks = from_fitted(logistic().polish(), *arrays(X, y, w))
    rows = problem_of(chunks).fitted.objective.samples.X.chunks[0]
    found = chunks.influence_loss(da.from_array(X, chunks=60), da.from_array(y, chunks=60))
    assert found.chunks == ((60, 60, 58), rows)
    row = 8 * (ROWS + 6 * 42)  # a row of the result, 42 parameters
    for q in ((X, y), (in_chunks(X), in_chunks(y))):
        with dask.config.set({"array.chunk-size": 10 * row}):
            found = chunks.influence_loss(*q, dtype=np.float32)
            indices = chunks.influential_samples(*q, 5)[1]
        assert found.chunks[1] == rows
        assert 1 < max(found.chunks[0]) <= 10
        assert found.dtype == np.float32 == found.compute().dtype
        np.testing.assert_array_equal(indices, chunks.influential_samples(X, y, 5)[1])


def test_memory_is_that_of_a_chunk():
    rows, d, chunk = 20_000, 200, 1_000
    X = da.map_blocks(
        _random_block,
        dtype=float,
        chunks=((chunk,) * (rows // chunk), (d,)),
        meta=np.empty((0, 0)),
    )
    y = (X[:, 0] + 2 * X[:, 1] * X[:, 2] > 0.3).astype(int)
    small, labels = X[:5_000].compute(), y[:5_000].compute() > 0
    clf = LogisticRegression().fit(small, labels)
    query = small[:20], labels[:20]
    from_fitted(clf, X[:chunk], y[:chunk] > 0).polish()  # imports
    with sklearn.config_context(working_memory=4):
        memory, _ = peak(
            lambda: from_fitted(clf, X, y > 0).polish().influential_samples(*query)
        )
    # Two chunks, as the random generator and y make copies, the temporaries, the graph.
    assert memory <= (2 * 8 * chunk * d) + (4 + 2) * 2**20
    assert memory <= 0.3 * 8 * rows * d


def _random_block(block_info=None):
    (first, last), (_, d) = block_info[None]["array-location"]
    return np.random.default_rng(first).standard_normal((last - first, d))


def test_pipelines_transform_chunk_by_chunk(never_whole):
    X, y, _ = data("wine")
    scaler = FrozenEstimator(StandardScaler().fit(3 * X + 1))
    pipe = make_pipeline(scaler, linear_model.LogisticRegression(**NEWTON))
    pipe.fit(3 * X + 1, y)
    expected = from_fitted(pipe, 3 * X + 1, y)
    raw, labels = arrays(3 * X + 1, y)
    found = from_fitted(pipe, raw, labels).influence_loss(raw, labels)
    assert_close(evaluate(found), expected.influence_loss(3 * X + 1, y))
    assert_close(
        evaluate(expected.sample_loss(raw, labels)), expected.sample_loss(3 * X + 1, y)
    )


def test_estimators_around_others_take_no_dask_arrays():
    X, y, _ = data("diabetes")
    model = TransformedTargetRegressor(linear_model.Ridge(), transformer=StandardScaler())
    with pytest.raises(UnsupportedEstimatorError, match="takes no dask arrays"):
        from_fitted(model.fit(X, y), *arrays(X, y))


def test_targets_and_weights_may_be_in_memory():
    X, y, w = data("wine")
    fitted = logistic().polish()
    for y_given, w_given in ((y.tolist(), w), (da.from_array(y, chunks=20), 2.0)):
        given = from_fitted(fitted, *arrays(X), y_given, w_given).polish()
        expected = from_fitted(fitted, X, y, w_given).polish()
        assert_close(evaluate(given.self_influence()), expected.self_influence())


def test_empty_chunks_are_passed_over():
    X, y, w = data("wine")
    fitted = logistic().polish()
    dX = da.from_array(X, chunks=((100, 0, 78), -1))
    found = from_fitted(fitted, dX, y, w).self_influence()
    assert_close(evaluate(found), fitted.self_influence())


def test_weights_may_be_zero_in_a_whole_chunk():
    X, y, w = data("wine")
    order = np.random.default_rng(0).permutation(len(y))
    X, y, w = X[order], y[order], w.copy()
    w[:ROWS] = 0.0
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    given = from_fitted(fitted, *arrays(X, y, w))
    assert_close(evaluate(given.self_influence()), fitted.self_influence())


@pytest.mark.filterwarnings("ignore:The `numpy.may_share_memory`")  # in scikit-learn's fit
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_what_was_fitted_on_dask_arrays_keeps_them(class_weight):
    X, y, w = data("wine")
    expected = LogisticRegression(class_weight=class_weight, **NEWTON).fit(X, y, w)
    fitted = clone(expected).fit(*arrays(X, y, w))
    assert_close(evaluate(fitted.self_influence()), expected.self_influence())


def test_copies_and_pickles():
    X, y, w = data("wine")
    given = from_fitted(logistic().polish(), *arrays(X, y, w))
    expected = given.self_influence().compute()
    for other in (copy.copy(given), pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert_close(evaluate(other.self_influence()), expected, 1e-14)


X_WINE, Y_WINE, W_WINE = data("wine")
REFUSED = {
    "influence_loss_chunked": lambda e, X, y: e.influence_loss_chunked(X_WINE, Y_WINE),
    "influence_relabel": lambda e, X, y: e.influence_relabel(X_WINE, Y_WINE, y_new=Y_WINE),
    "influence_perturbation": lambda e, X, y: e.influence_perturbation(
        X_WINE, Y_WINE, index=0
    ),
    "params_covariance": lambda e, X, y: e.params_covariance("jackknife"),
    "newton_step": lambda e, X, y: e.newton_step(0.1),
    "leave_out_check": lambda e, X, y: e.leave_out_check(),
    "reweight_params": lambda e, X, y: e.reweight_params(np.ones(len(Y_WINE))),
    "reweight_loss": lambda e, X, y: e.reweight_loss(X_WINE, Y_WINE, np.ones(len(Y_WINE))),
    "reweight_predict": lambda e, X, y: e.reweight_predict(X_WINE, np.ones(len(Y_WINE))),
    "remove_samples": lambda e, X, y: e.remove_samples([0]),
    "add_samples": lambda e, X, y: e.add_samples(X_WINE[:1], Y_WINE[:1]),
}
REFUSED_ARGUMENTS = {
    "influence_loss_chunked": lambda e, X, y: e.influence_loss_chunked(X, y),
    "influence_relabel": lambda e, X, y: e.influence_relabel(X, y, y_new=Y_WINE),
    "influence_perturbation": lambda e, X, y: e.influence_perturbation(X, y, index=0),
    "params_covariance": lambda e, X, y: e.params_covariance(groups=y),
    "newton_step": lambda e, X, y: e.newton_step(0.1, X, y),
    "leave_out_loss": lambda e, X, y: e.leave_out_loss(X, y),
    "reweight_params": lambda e, X, y: e.reweight_params(y),
    "reweight_loss": lambda e, X, y: e.reweight_loss(X, y, np.ones(len(Y_WINE))),
    "reweight_predict": lambda e, X, y: e.reweight_predict(X, np.ones(len(Y_WINE))),
    "leave_out_metric": lambda e, X, y: e.leave_out_metric(X, y),
    "add_samples": lambda e, X, y: e.add_samples(X, y),
}


FUNCTIONS = {
    "most_influential_set": lambda e: most_influential_set(e, target=0),
    "data_values": lambda e: data_values(e, X_WINE, Y_WINE),
    "InfluenceDisplay": lambda e: InfluenceDisplay.from_estimator(e, X_WINE[:1], Y_WINE[:1]),
    "jackknife_plus_interval": lambda e: jackknife_plus_interval(e, X_WINE),
    "jackknife_plus_set": lambda e: jackknife_plus_set(e, X_WINE),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_models_refuse_by_name(name, never_whole):
    given = from_fitted(Ridge().fit(X_WINE, Y_WINE), *arrays(X_WINE, Y_WINE))
    with pytest.raises(UnsupportedEstimatorError, match=rf"^{name} .*compute\(\)"):
        FUNCTIONS[name](given)


TAKEN = {
    "convergence_report",
    "dfbetas",
    "influence_functional",
    "influence_loss",
    "influence_params",
    "influence_prediction",
    "influence_summary",
    "influential_samples",
    "leave_out_loss",
    "leave_out_metric",
    "leave_out_params",
    "leave_out_predict",
    "leave_out_score",
    "loss_gradient",
    "newton_correction",
    "polish",
    "sample_loss",
    "self_influence",
    "set_training_data",
    "solve_hessian",
}


def test_every_method_takes_dask_arrays_or_refuses_them():
    without_data = {"drop_training_data", "split_params"}
    assert set(METHODS) - without_data == TAKEN | set(REFUSED)


@pytest.mark.parametrize("method", REFUSED)
def test_other_methods_refuse_by_name(method, never_whole):
    given = from_fitted(logistic(), *arrays(X_WINE, Y_WINE))
    with pytest.raises(UnsupportedEstimatorError, match=rf"^{method} .*compute\(\)"):
        REFUSED[method](given, *arrays(X_WINE, Y_WINE))


@pytest.mark.parametrize("method", REFUSED_ARGUMENTS)
def test_other_methods_refuse_arguments_by_name(method, never_whole):
    with pytest.raises(UnsupportedEstimatorError, match=rf"^{method} .*compute\(\)"):
        REFUSED_ARGUMENTS[method](logistic(), *arrays(X_WINE, Y_WINE))


@pytest.mark.parametrize("estimator", [KernelRidge(), SVC()], ids=["KernelRidge", "SVC"])
def test_kernel_models_refuse_by_name(estimator, never_whole):
    name = type(estimator).__name__
    fitted = clone(estimator).fit(X_WINE, Y_WINE)
    with pytest.raises(UnsupportedEstimatorError, match=f"{name} takes no dask arrays"):
        from_fitted(fitted, *arrays(X_WINE, Y_WINE))
    with pytest.raises(UnsupportedEstimatorError, match=f"{name} takes no dask arrays"):
        fitted.influence_loss(*arrays(X_WINE, Y_WINE))


def test_losses_with_kinks_refuse_by_name():
    X, y, _ = data("cancer")
    fitted = LinearSVC(loss="hinge", dual=True, max_iter=100_000).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="loss='squared_hinge'"):
        fitted.set_training_data(*arrays(X, y))


def bad_data(what):
    X, y, w = X_WINE.copy(), Y_WINE.copy(), np.ones(len(Y_WINE))
    if what == "nan":
        X[60, 2] = np.nan
    elif what == "label":
        y[60] = 17
    elif what == "weight":
        w[60] = -3.0
    elif what == "weights":
        w[:] = 0.0
    elif what == "weight dimensions":
        w = w.reshape(-1, 1)
    elif what == "features":
        X = X[:, :5]
    elif what == "rows":
        y = y[:50]
    elif what == "no rows":
        X, y, w = X[:0], y[:0], w[:0]
    return arrays(X, y, w)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "X contains NaN"),
        ("label", "17"),
        ("weight", "sample_weight holds -3.0"),
        ("weights", "sample_weight contains only zeros"),
        ("weight dimensions", "sample_weight has 2 dimensions"),
        ("features", "X has 5 features"),
        ("rows", r"y has shape \(50,\), but X has 178 rows"),
        ("no rows", "X has 0 rows"),
    ],
)
def test_bad_data_are_named_and_change_nothing(what, message, never_whole):
    given = from_fitted(logistic().polish(), *arrays(X_WINE, Y_WINE, W_WINE))
    before = given.self_influence().compute()
    with pytest.raises(ValueError, match=message):
        given.set_training_data(*bad_data(what))
    np.testing.assert_array_equal(given.self_influence().compute(), before)


@pytest.mark.parametrize(("what", "message"), [("nan", "X contains NaN"), ("label", "17")])
def test_bad_queries_are_named(what, message):
    X, y, _ = bad_data(what)
    with pytest.raises(ValueError, match=message):
        logistic().polish().influential_samples(X, y)


def test_what_is_no_dask_array_is_named():
    fitted = logistic().polish()
    X, y = arrays(X_WINE, Y_WINE)
    with pytest.raises(ValueError, match=r"X is a dask Delayed.*dask array or dataframe"):
        fitted.set_training_data(dask.delayed(X_WINE), Y_WINE)
    with pytest.raises(ValueError, match=r"X is a numpy ndarray, but must be a dask array"):
        fitted.set_training_data(X_WINE, y)
    with pytest.raises(ValueError, match=r"X\.compute_chunk_sizes\(\)"):
        fitted.set_training_data(X[X[:, 0] > 0], y)
    with pytest.raises(ValueError, match="y is required"):
        fitted.set_training_data(X, None)
    with pytest.raises(ValueError, match="y is required"):
        fitted.influence_loss(X, None)


def test_solvers_that_need_rows_refuse_by_name():
    given = from_fitted(logistic().polish(), *arrays(X_WINE, Y_WINE, W_WINE))
    for solver in ("cg", "woodbury"):
        with pytest.raises(ValueError, match=f"hessian_solver='{solver}'.*'cholesky'"):
            given.self_influence(hessian_solver=solver)
    chosen = given.self_influence(hessian_solver="cholesky").compute()
    np.testing.assert_array_equal(chosen, given.self_influence().compute())


def test_out_is_refused():
    given = from_fitted(logistic().polish(), *arrays(X_WINE, Y_WINE, W_WINE))
    with pytest.raises(ValueError, match=r"out cannot be filled.*store"):
        given.influence_loss(X_WINE, Y_WINE, out=np.empty((178, 178)))


def test_a_missing_part_of_dask_names_the_extra(monkeypatch):
    fitted, (X,) = logistic(), arrays(X_WINE)
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(ImportError, match=r"skinfluence\[dask\]"):
        fitted.set_training_data(X, Y_WINE)


def test_a_singular_hessian_names_the_direction():
    X, y, _ = data("diabetes")
    X = np.column_stack([X, X[:, 0]])
    fitted = Ridge(alpha=0.0).fit(X, y)
    given = from_fitted(fitted, *arrays(X, y))
    # The two entries are equal but for rounding, so either may be named first.
    either = r"coef\[x0\].*coef\[x10\]|coef\[x10\].*coef\[x0\]"
    with pytest.raises(np.linalg.LinAlgError, match=either):
        given.self_influence()


# On processes.


def _file_block(path, armed, block_info=None):
    """Return some rows of a file; the first reader of the third chunk dies if armed."""
    first, last = block_info[None]["array-location"][0]
    if block_info[None]["chunk-location"][0] == 2 and os.path.exists(armed):
        os.remove(armed)
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array(np.load(path, mmap_mode="r")[first:last])


@pytest.mark.slow
def test_a_killed_worker_changes_no_number(tmp_path):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    n, d, chunk = 8_000, 20, 1_000
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = (X[:, 0] + rng.logistic(size=n) > 0).astype(int)
    path, armed = str(tmp_path / "X.npy"), str(tmp_path / "armed")
    np.save(path, X)
    chunks = ((chunk,) * (n // chunk), (d,))
    meta = np.empty((0, 0))
    dX = da.map_blocks(_file_block, path, armed, chunks=chunks, dtype=float, meta=meta)
    sample = LogisticRegression().fit(X[:2_000], y[:2_000])
    memory = from_fitted(sample, X, y).polish()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GiB", dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
        dask.config.set(scheduler="distributed"),
    ):
        given = from_fitted(sample, dX, y)
        for step in (given.polish, lambda: given.influential_samples(X[:50], y[:50])):
            open(armed, "w").close()
            result = step()
            assert not os.path.exists(armed)
        assert_close(given.params_, memory.params_)
        values, indices = memory.influential_samples(X[:50], y[:50])
        assert_close(result[0], values)
        np.testing.assert_array_equal(result[1], indices)


@pytest.fixture(scope="module")
def two_threads():
    """Return a cluster of two threads in this process."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as client:
        yield client


def test_exact_removal_on_a_dask_backend_of_joblib(two_threads):
    X, y, w = data("cancer")
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    # Where single precision ends the iteration the last digits depend on the stack.
    expected = fitted.leave_out_params(method="exact") - fitted.params_
    with parallel_config(backend="dask"):
        for n_jobs in (None, 3):
            found = fitted.leave_out_params(method="exact", n_jobs=n_jobs) - fitted.params_
            error = np.linalg.norm(found - expected, axis=1)
            assert (error <= 1e-8 * np.linalg.norm(expected, axis=1)).all()


def test_on_a_dask_backend_blocks_run_on_threads_of_this_process(two_threads):
    # Of two blocks that wait for each other none ends unless both run, in shared memory.
    barrier = threading.Barrier(2, timeout=20)
    with parallel_config(backend="dask"):
        run_blocks(lambda block: barrier.wait(), [0, 1])
