"""A fit at other weights, with responses that are correct to first order."""

from functools import partial

from skinfluence.checks import RESPONSES


class FirstOrder:
    """A fitted estimator at other weights, whose responses are correct to first order.

    It has the responses of the estimator, which `respond` returns.

    Parameters
    ----------
    fitted : estimator
        The estimator or pipeline at the weights of its fit.
    """

    def __init__(self, fitted):
        self.fitted = fitted

    def __getattr__(self, name):
        if name in RESPONSES and hasattr(self.fitted, name):
            respond = partial(self.respond, name)
            respond.__name__ = name  # scikit-learn reads the name
            return respond
        if name == "classes_":
            return self.fitted.classes_
        raise AttributeError(name)

    def __sklearn_tags__(self):
        return self.fitted.__sklearn_tags__()

    def respond(self, name, X):
        """Return a response for samples."""
        raise NotImplementedError


class FirstOrderPipeline(FirstOrder):
    """A pipeline on other samples or weights, from its raw predictions to first order.

    Parameters
    ----------
    problem : WholeProblem
        The fitted pipeline's problem.
    raw : callable
        ``raw(X)`` returns raw predictions (m, K) for raw samples.
    """

    def __init__(self, problem, raw):
        super().__init__(problem.pipe)
        self.problem = problem
        self.raw = raw

    def respond(self, name, X):
        return self.problem.respond(self.raw(X), name)

    def score(self, X, y, **metadata):
        """Return the pipeline's own score."""
        pooled = self.problem.pooled(self.raw(X))
        return self.problem.own_score(pooled, X, y, metadata)

    def sample_loss(self, X, y):
        """Return losses for samples, (m,)."""
        form = self.problem.formulation
        return form.loss.loss(form.target.encode(y), self.raw(X))
