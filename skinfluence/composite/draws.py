"""Rows that a bagging ensemble drew, as scikit-learn keeps them or drawn again as in `fit`."""

from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.dummy import DummyClassifier, DummyRegressor

from skinfluence._compat import drawn_from, draws_by_weight
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem import parent_class

# Relative difference between weights that is rounding, in single precision.
_ROUNDED = 1e-6


def draw_rows(problem, data):
    """Return the rows that each member drew, a list of arrays.

    Parameters
    ----------
    problem : BaggingProblem
        The ensemble.
    data : TrainingData
        Its training data.
    """
    fitted, weight = problem.as_fitted, data.params["sample_weight"]
    if draws_by_weight(fitted):  # otherwise the members' gradients show it
        _warn_of_other_weights(problem.name, weight, drawn_from(fitted)[1])
    samples = fitted.estimators_samples_
    if len(samples) == len(problem.members()):
        return samples
    if not isinstance(fitted.random_state, Integral):
        raise UnsupportedEstimatorError(
            f"{problem.name} with warm_start: scikit-learn keeps the draws of the last fit "
            "alone, and draws the others again for an integer random_state. Fit without "
            "warm_start, or with such a random_state."
        )
    return drawn_again(problem, data).estimators_samples_


def drawn_again(problem, data):
    """Return scikit-learn's fit with new draws and members that learn nothing.

    The draws depend on the seed and on the shape of X alone.
    """
    params = problem.as_fitted.get_params(deep=False)
    dummy = DummyClassifier() if problem.is_classifier else DummyRegressor()
    params |= {"estimator": dummy, "warm_start": False, "oob_score": False}
    drawer = parent_class(type(problem.estimator))(**params)
    X = sparse.csr_matrix(np.shape(data.X))
    return drawer.fit(X, data.y, sample_weight=data.params["sample_weight"])


def _warn_of_other_weights(name, given, drawn):
    """Warn if the draws were made by other weights than the given ones."""
    given, drawn = (1.0 if weight is None else weight for weight in (given, drawn))
    size = np.maximum(np.maximum(given, drawn), np.finfo(np.float64).tiny)
    apart = float(np.max(np.abs(given - drawn) / size))
    if apart > _ROUNDED:
        warn(
            f"sample_weight is not that by which this {name} drew its samples: entries differ "
            f"by up to {apart:.0%} of their size. Pass the weights of the fit."
        )
