"""Cross-validation folds that scikit-learn does not keep, drawn again as in `fit`."""

from numbers import Integral

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import check_cv

from skinfluence.composite.problem import CompositeProblem
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.whole import take_rows


class FoldedProblem(CompositeProblem):
    """A composite with models of folds, which see training folds and answer for test folds."""

    draws = True

    def folds(self, data):
        """Return (train, test) for each model of a fold."""
        return draw_folds(self, data)

    def trains(self, data):
        """Return (rows, counts) of the training folds, as `drawn` does."""
        return [(train, None) for train, _ in self.folds(data)]

    def tests(self, data):
        return [test for _, test in self.folds(data)]


def draw_folds(problem, data, y=None):
    """Return (train, test) for a composite's folds, which must not be random.

    Parameters
    ----------
    problem : CompositeProblem
        The composite, whose parameter `cv` makes the folds.
    data : TrainingData
        The composite's training data.
    y : ndarray of shape (n,) or None, default=None
        Targets to use instead of those in the data.
    """
    y = np.asarray(data.y if y is None else y)
    cv = check_cv(problem.estimator.cv, y, classifier=problem.is_classifier)
    seed = getattr(cv, "random_state", 0)
    if not isinstance(seed, Integral) and getattr(cv, "shuffle", True):
        raise UnsupportedEstimatorError(
            f"The folds of {problem.name} are random, and scikit-learn does not keep them: "
            "pass cv with an integer random_state, or without a shuffle, and fit again."
        )
    try:
        return list(cv.split(data.X, y))
    except ValueError as error:
        raise UnsupportedEstimatorError(
            f"The folds of {problem.name} cannot be drawn again: {error} If cv needs groups, "
            "pass its folds as a list, cv=list(splitter.split(X, y, groups)), and fit again."
        ) from error


def fit_folds(problem, member, folds, data, y):
    """Return a member's clones, one fitted on each training fold."""
    weight, fitted = data.params["sample_weight"], []
    for train, _ in folds:
        params = {}
        if weight is not None and problem.reaches(member, data.routing):
            params["sample_weight"] = weight[train]
        with config_context(enable_metadata_routing=data.routing):
            fitted.append(clone(member).fit(take_rows(data.X, train), y[train], **params))
    return fitted
