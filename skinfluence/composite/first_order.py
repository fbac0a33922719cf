"""A composite at other sample weights, with responses that are correct to first order."""

import copy

import numpy as np

from skinfluence.checks import RESPONSES
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem import parent_class
from skinfluence.problem.metrics import check_pooled
from skinfluence.problem.requests import Influence
from skinfluence.whole import FirstOrder, ForSameRows


class MovedAnswers:
    """Influence on the responses and losses of samples, computed once for the same samples.

    Parameters
    ----------
    problem : CompositeProblem or BehindSteps
        The fitted composite.
    hessian_solver : str or HessianSolver
        How to apply H^-1.
    """

    def __init__(self, problem, hessian_solver):
        request = Influence(hessian_solver)

        def respond(X, name):
            moved = problem.influence_prediction(X, request, response_method=name)
            return problem.response(X, name), moved

        self.responses = ForSameRows(respond)
        self.losses = ForSameRows(lambda X, y: problem.influence_loss(X, y, request))
        self.is_told = False

    def tell_outside(self, probabilities):
        """Warn once of probabilities to first order that are below 0 or above 1."""
        beyond = min(min(p.min(), 1.0 - p.max()) for p in probabilities if p.size)
        if beyond < 0.0 and not self.is_told:
            self.is_told = True
            warn(
                f"To first order, probabilities reach {-beyond:.2g} below 0 or above 1, where "
                "the log loss is NaN. Use method='newton' or 'exact'."
            )


class FirstOrderComposite(FirstOrder):
    """A composite at other weights, if its parts there are not parameters alone.

    Parameters
    ----------
    problem : CompositeProblem or BehindSteps
        The fitted composite.
    change : ndarray of shape (n,)
        The change in each training row's weight over S, the sum of the weights.
    moved : MovedAnswers
        The composite's influence, which all of its changes share.
    """

    def __init__(self, problem, change, moved):
        super().__init__(problem.fitted_model)
        self.problem = problem
        self.rows = np.flatnonzero(change)
        self.change = change[self.rows]
        self.moved = moved

    def score(self, X, y, **metadata):
        """Return the composite's own score."""
        found = {name: self.respond(name, X) for name in RESPONSES if hasattr(self, name)}
        return pool(self.problem.estimator, found).score(X, y, **metadata)

    def respond(self, name, X):
        problem = self.problem
        if name == "predict" and problem.is_classifier:
            return self.labels(X)
        value, moved = self.moved.responses(X, name)
        several = isinstance(value, list)
        found = [
            one + np.tensordot(step[:, self.rows], self.change, (1, 0))
            for one, step in zip(
                value if several else [value], moved if several else [moved], strict=True
            )
        ]
        if name == "predict_proba":
            self.moved.tell_outside(found)
        return found if several else found[0]

    def labels(self, X):
        """Return the labels that the responses to first order predict."""
        estimator = self.problem.estimator
        for name in RESPONSES[:0:-1]:
            if hasattr(estimator, name):
                value, classes = self.respond(name, X), estimator.classes_
                break
        else:
            raise UnsupportedEstimatorError(
                f"{self.problem.name} has neither predict_proba nor decision_function, and "
                "method='influence' predicts labels from one of them: use method='newton' or "
                "'exact'."
            )
        if isinstance(value, list):
            found = [c[np.argmax(v, axis=1)] for c, v in zip(classes, value, strict=True)]
            return np.column_stack(found)
        middle = 0.5 if name == "predict_proba" else 0.0
        if value.ndim == 1:
            return classes[(value > middle).astype(int)]
        if isinstance(classes, list):
            pairs = zip(classes, middle < value.T, strict=True)
            return np.column_stack([c[above.astype(int)] for c, above in pairs])
        if getattr(estimator, "multilabel_", False):
            return (value > middle).astype(int)
        return classes[np.argmax(value, axis=1)]

    def sample_loss(self, X, y):
        """Return losses (q,)."""
        problem, method = self.problem, self.problem.loss_method
        if method is not None:
            return problem.loss(self.respond(method, X), y)[0]
        moved = self.moved.losses(X, y)
        return problem.sample_loss(X, y) + moved[:, self.rows] @ self.change


def pool(estimator, responses):
    """Return a copy of an estimator that returns precomputed responses."""
    attributes = {name: _response(name, value) for name, value in responses.items()}
    attributes["is_pooled"] = True
    pooled = copy.copy(estimator)
    parent = parent_class(type(estimator))
    if not hasattr(parent, "fit"):
        attributes["fit"] = lambda self, X, y: self  # scorers require it and never call it
    pooled.__class__ = type(f"Pooled{parent.__name__}", (parent,), attributes)
    return pooled


def _response(name, value):
    n = len(value[0] if isinstance(value, list) else value)

    def respond(self, X):
        check_pooled(X, n)
        return value

    respond.__name__ = name  # scikit-learn reads the name
    return respond
