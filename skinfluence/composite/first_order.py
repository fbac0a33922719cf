"""A composite without some samples, with responses that are correct to first order."""

from functools import partial

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError

__all__ = ["FirstOrder"]

RESPONSES = ("predict", "decision_function", "predict_proba")


class FirstOrder:
    """A composite without some rows, if its parts without them are not parameters alone.

    Parameters
    ----------
    problem : CompositeProblem or BehindSteps
        The fitted composite.
    rows : ndarray of int
        The removed samples.
    hessian_solver : str or HessianSolver
        How to apply H^-1.
    """

    def __init__(self, problem, rows, hessian_solver):
        self.problem = problem
        self.rows = rows
        self.hessian_solver = hessian_solver

    def __getattr__(self, name):
        if name in RESPONSES and hasattr(self.problem.estimator, name):
            return partial(self.respond, name)
        raise AttributeError(name)

    def respond(self, name, X):
        """Return a response for samples."""
        problem = self.problem
        if name == "predict" and problem.is_classifier:
            return self.labels(X)
        w = problem.sample_weight
        moved = problem.influence_prediction(
            X, response_method=name, hessian_solver=self.hessian_solver
        )
        value = problem.response(X, name)
        several = isinstance(value, list)
        found = [
            one - np.tensordot(step[:, self.rows], w[self.rows] / w.sum(), (1, 0))
            for one, step in zip(
                value if several else [value], moved if several else [moved], strict=True
            )
        ]
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
                f"{self.problem.name} has no response that moves to first order, so there are "
                "no labels: use method='newton' or 'exact'."
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
        w = problem.sample_weight
        moved = problem.influence_loss(X, y, hessian_solver=self.hessian_solver)
        return problem.sample_loss(X, y) - moved[:, self.rows] @ (w[self.rows] / w.sum())
