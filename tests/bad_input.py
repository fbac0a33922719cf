"""Valid calls of every public method, and how a call with changed input is checked.

The registries from `LABELLED` to `BARE` have a valid call of every method, by what it takes.
The test files for samples, labels, weights, indices and arguments say for each kind of input
what is done to it and what becomes of the call:

    SAME          the answer for the input as it was
    AS(clean)     the answer for this clean input
    "..."         an error with this in its message, and the estimator as it was before
"""

import pickle
import random
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import joblib
import numpy as np
import pytest
from sklearn.feature_selection import VarianceThreshold

from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.methods import get_problem
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.fits import NEWTON, data

X, CODES, W = data("wine")


X, W = X[::4], W[::4]


Y = np.array(["barbera", "grignolino", "nebbiolo"])[CODES[::4]]


REAL = X[:, 0] + 0.5 * X[:, 1] ** 2


N, Q = len(X), 6


XQ, YQ, REALQ = X[5 : 5 + Q], Y[5 : 5 + Q], REAL[5 : 5 + Q]


ESTIMATORS = {
    "softmax": lambda: LogisticRegression(C=0.5, **NEWTON).fit(X, Y, W),
    "pipeline": lambda: make_pipeline(VarianceThreshold(), LogisticRegression(**NEWTON)).fit(
        X, Y
    ),
    "svc": lambda: SVC(gamma=0.05, tol=1e-10).fit(X, Y),
    "ridge": lambda: Ridge(solver="cholesky").fit(X, REAL, W),
    "kernel ridge": lambda: KernelRidge(kernel="rbf", gamma=0.05).fit(X, REAL),
}


CLASSIFIERS = ("softmax", "pipeline", "svc")


@cache
def fitted(name):
    return ESTIMATORS[name]()


@cache
def fitted_hash(name):
    return joblib.hash(own(name))


@cache
def pickled(name):
    return pickle.dumps(fitted(name))


def own(name):
    """Return an estimator that a call may change."""
    return pickle.loads(pickled(name))


def labels_of(name):
    return YQ if name in CLASSIFIERS else REALQ


# A valid call of each method, grouped by its arguments.


def listed(blocks):
    return np.concatenate(list(blocks))


def changed(estimator):
    """Return influences of an estimator after a method has changed it."""
    return np.concatenate([estimator.influence_loss(XQ[:2], own_labels(estimator)).ravel()])


def own_labels(estimator):
    return YQ[:2] if hasattr(estimator, "classes_") else REALQ[:2]


def summary(estimator, groups=None):
    return np.array(list(estimator.influence_summary(groups=groups).values()))


# X and y
LABELLED = {
    "sample_loss": lambda e, X, y: e.sample_loss(X, y),
    "loss_gradient": lambda e, X, y: e.loss_gradient(X, y),
    "influence_params": lambda e, X, y: e.influence_params(X, y),
    "influence_loss": lambda e, X, y: e.influence_loss(X, y),
    "influence_loss_chunked": lambda e, X, y: listed(e.influence_loss_chunked(X, y)),
    "influence_perturbation": lambda e, X, y: e.influence_perturbation(X, y, index=3),
    "influence_relabel": lambda e, X, y: e.influence_relabel(X, y, y_new=training(e)[::-1]),
    "influential_samples": lambda e, X, y: e.influential_samples(X, y, 3)[0],
    "newton_step": lambda e, X, y: e.newton_step(0.01, X, y),
    "leave_out_loss": lambda e, X, y: e.leave_out_loss(X, y, [[0], [1, 2]]),
    "reweight_loss": lambda e, X, y: e.reweight_loss(X, y, np.ones(get_problem(e).n_rows)),
    "set_training_data": lambda e, X, y: changed(e.set_training_data(X, y)),
    "add_samples": lambda e, X, y: changed(e.add_samples(X, y)),
}


# X alone
UNLABELLED = {
    "influence_prediction": lambda e, X: e.influence_prediction(X),
    "influential_samples": lambda e, X: e.influential_samples(X, n_influential=3)[0],
    "reweight_predict": lambda e, X: e.reweight_predict(X, np.ones(get_problem(e).n_rows)),
}


# weights of training samples
WEIGHTED = {
    "set_training_data": lambda e, w: changed(e.set_training_data(X, training(e), w)),
    "add_samples": lambda e, w: changed(e.add_samples(X, training(e), w)),
}


# indices of training samples
INDEXED = {
    "leave_out_params": lambda e, i: e.leave_out_params([i]),
    "leave_out_loss": lambda e, i: e.leave_out_loss(XQ[:2], own_labels(e), [i]),
    "leave_out_check": lambda e, i: e.leave_out_check(1, [i]).predicted,
    "remove_samples": lambda e, i: changed(e.remove_samples(i)),
}


# labels of groups of training samples
GROUPED = {
    "leave_out_params": lambda e, g: e.leave_out_params(g),
    "leave_out_loss": lambda e, g: e.leave_out_loss(XQ[:2], own_labels(e), g),
    "leave_out_predict": lambda e, g: e.leave_out_predict(g),
    "leave_out_score": lambda e, g: np.array([e.leave_out_score(g)]),
    "leave_out_metric": lambda e, g: e.leave_out_metric(XQ[:2], own_labels(e), groups=g),
    "params_covariance": lambda e, g: e.params_covariance(groups=g),
    "influence_summary": lambda e, g: summary(e, g),
    "dfbetas": lambda e, g: e.dfbetas(g),
}


# vectors of parameters
VECTORED = {
    "solve_hessian": lambda e, V: e.solve_hessian(V),
    "influence_functional": lambda e, V: e.influence_functional(V),
    "split_params": lambda e, V: e.split_params(V)[0],
}


# nothing
BARE = {
    "self_influence": lambda e: e.self_influence(),
    "influence_summary": lambda e: summary(e),
    "dfbetas": lambda e: e.dfbetas(),
    "reweight_params": lambda e: e.reweight_params(np.ones(get_problem(e).n_rows)),
    "newton_correction": lambda e: e.newton_correction(),
    "convergence_report": lambda e: e.convergence_report().correction,
    "polish": lambda e: changed(e.polish()),
    "drop_training_data": lambda e: e.drop_training_data().params_,
    "param_names": lambda e: np.array(e.param_names()),
}


KINDS = (LABELLED, UNLABELLED, WEIGHTED, INDEXED, GROUPED, VECTORED, BARE)


def training(estimator):
    return Y if hasattr(estimator, "classes_") else REAL


@dataclass(frozen=True)
class AS:
    """The answer for other input, clean."""

    clean: object


SAME = AS(lambda a: a)


def check(name, call, clean, make, outcome):
    """Assert the outcome of a call on an input made from a clean one."""
    estimator = own(name)
    if isinstance(outcome, AS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            expected = call(own(name), outcome.clean(clean))
            found = call(estimator, make(clean))
        if expected.dtype.kind == "U":
            np.testing.assert_array_equal(found, expected)
            return
        assert np.all(np.isfinite(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises((ValueError, TypeError), match=outcome):
            call(estimator, make(clean))
    assert joblib.hash(estimator) == fitted_hash(name)


def cells(estimators, methods, table):
    """Return cells of a matrix that hold each estimator, method and kind with each other.

    Not all cells: each two of the three meet in one of them.
    """
    every = [
        cell
        for cell in product(estimators, methods, table)
        if hasattr(fitted(cell[0]), cell[1])
        and not excluded(*cell[:2])
        # Without labels it is about predictions.
        and cell[1:] != ("influential_samples", "nothing")
    ]
    random.Random(0).shuffle(every)
    met, kept = set(), []
    for cell in every:
        pairs = set(combinations(enumerate(cell), 2))
        if pairs - met:
            met |= pairs
            kept.append(cell)
    return [pytest.param(*cell, id="-".join(map(str, cell))) for cell in sorted(kept)]


def excluded(name, method):
    # Parameters of kernel models are about training samples, and so are those samples.
    of_kernels = {"influence_params", "newton_step", "set_training_data"}
    return name in ("svc", "kernel ridge") and method in of_kernels


# Samples.


def put(value, dtype=None):
    def make(X):
        bad = np.array(X, dtype=dtype)
        bad[2, 3] = value
        return bad

    return make


def frozen(a):
    a = np.array(a)
    a.setflags(write=False)
    return a


def strided(a):
    return np.repeat(np.repeat(a, 2, axis=0), 2, axis=1)[::2, ::2]
