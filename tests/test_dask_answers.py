"""Samples in dask arrays give the numbers of arrays in memory, and are never one array.

The oracle is the same call on arrays.
"""

import copy
import pickle

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted, optimum
from skinfluence.distributed import DistributedPoint
from skinfluence.linear_model import LogisticRegression
from tests.cases import LINEAR, one_of_each
from tests.dask_rows import (
    ROWS,
    X_WINE,
    Y_WINE,
    arrays,
    assert_close,
    chunked,
    evaluate,
    ids,
    in_chunks,
    logistic,
    refusal,
)
from tests.fits import NEWTON, data

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask[array] is not installed")
pytestmark = pytest.mark.usefixtures("scheduler")


# Class weights, intercepts and solvers do not change how sums are taken.
each_case_taken = ids([case for case in one_of_each(LINEAR) if refusal(case) is None])


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


# Every second one: the sums that a step takes are those of the numbers above.
@pytest.mark.parametrize("case", **ids(each_case_taken["argvalues"][::2]))
def test_newton_is_that_of_arrays(case, never_whole):
    # Away from the optimum, so that there is something to correct.
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


def test_full_steps_too_long_are_cut_as_on_arrays(monkeypatch, never_whole):
    # Far from the optimum the probabilities are saturated.
    X, y, w = data("wine")
    fitted = LogisticRegression(**NEWTON).fit(X, y, w)
    fitted.coef_ = 10 * fitted.coef_
    chunks = from_fitted(fitted, *arrays(X, y, w))
    minima, minimum = [], optimum.brentq

    def count(*arguments, **options):
        minima.append(minimum(*arguments, **options))
        return minima[-1]

    monkeypatch.setattr(optimum, "brentq", count)
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
def test_fits_on_dask_arrays_keep_them(class_weight):
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
