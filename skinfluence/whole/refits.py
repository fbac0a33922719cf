"""A pipeline on other samples or weights, refitted or approximated to first order."""

from functools import cached_property, partial

import numpy as np
from scipy import sparse

from skinfluence import diagnostics
from skinfluence.exceptions import warn
from skinfluence.steps import feature_names, through
from skinfluence.whole.data import take_rows

__all__ = [
    "FirstOrder",
    "KernelRefit",
    "MovedRefit",
    "Refit",
    "is_plain",
    "warn_of_lost_features",
]

# Refits, and features of each, that a warning names.
_TOLD = 5


def warn_of_lost_features(lost, n_outputs):
    """Warn of refits that lack features.

    Parameters
    ----------
    lost : dict of str to list of str
        The features that a refit lacks, empty if they are unknown, by the words that begin its
        sentence.
    n_outputs : int
        Number of parameters of each feature.
    """
    told = []
    for where, names in list(lost.items())[:_TOLD]:
        if not names:
            told.append(f"{where} some parameters have no value and are NaN.")
            continue
        shown = ", ".join(names[:_TOLD])
        if len(names) > _TOLD:
            shown += f" and {len(names) - _TOLD} more"
        single = len(names) == 1
        there, its = ("is no feature", "its") if single else ("are no features", "their")
        parameters = "parameter is" if single and n_outputs == 1 else "parameters are"
        told.append(f"{where} there {there} {shown}; {its} {parameters} NaN.")
    if len(lost) > _TOLD:
        told.append(f"{len(lost) - _TOLD} more refits lack features or values.")
    warn(" ".join(told))


class Refit:
    """A pipeline fitted without some samples.

    Parameters
    ----------
    before : Pipeline
        The refitted transformers.
    model : Problem
        The refitted model's problem.
    """

    def __init__(self, before, model):
        self.before = before
        self.model = model

    @property
    def open(self):
        """Directions that the samples leave undetermined, (r, K, D); None without any."""
        return self.model.open

    @property
    def names(self):
        """Names of the model's features, None if they are unknown."""
        return feature_names(self.before)

    #: Parameters at the current positions, (p,), if they need no matching.
    params = None

    def transform(self, X):
        """Return the model's features for raw samples."""
        # Call each step, because a pipeline requires a last step with fitted attributes.
        steps = [step for _, step in self.before.steps if step not in (None, "passthrough")]
        return through(steps, X, self.last)

    @property
    def last(self):
        """An estimator with the refitted model's number of features."""
        return self.model.estimator

    def raw_predictions(self, X):
        """Return raw predictions for raw samples, (m, K)."""
        return self.model.raw_predictions(self.transform(X))

    def raw_predictions_of(self, data, rows):
        """Return raw predictions for some of the `TrainingData` of the fit, (m, K)."""
        return self.raw_predictions(take_rows(data.X, rows))

    def loss(self, X, y):
        """Return losses for raw samples, (m,)."""
        return self.model.sample_loss(self.transform(X), y)

    def chi_squares(self):
        """Return the sum of the chi-squares of the refit's samples, (K,)."""
        return diagnostics.chi_squares(self.model.objective.at(self.model.theta)).sum(axis=0)


def is_plain(X):
    """Return whether rows are finite float64 numbers, as a model's design takes them."""
    if sparse.issparse(X):
        return X.format == "csr" and X.dtype == np.float64 and np.isfinite(X.data).all()
    is_array = isinstance(X, np.ndarray) and X.dtype == np.float64 and X.ndim == 2
    return is_array and np.isfinite(X).all()


class MovedRefit(Refit):
    """A pipeline without some samples, whose refitted steps give the present features.

    Parameters
    ----------
    problem : WholeProblem
        The fitted pipeline's problem.
    before : Pipeline
        The refitted transformers.
    objective : Objective
        The model's objective for the other samples.

    Attributes
    ----------
    theta : ndarray of shape (K, D)
        Its optimum, found for many refits together.
    open : ndarray of shape (r, K, D) or None
        Directions that the samples leave undetermined.
    """

    theta = open = None

    def __init__(self, problem, before, objective):
        self.problem = problem
        self.before = before
        self.objective = objective

    @cached_property
    def model(self):
        """The refitted model's problem, for callers that need it."""
        fresh = self.problem.with_features(self.objective.design.X, None)
        fresh.replace_objective(self.objective, self.theta)
        fresh.open = self.open
        return fresh

    @property
    def last(self):
        return self.problem.estimator

    @property
    def params(self):
        if self.open is not None:
            return self.model.determined_params
        return self.objective.formulation.layout.to_public(self.theta[None])[0]

    def raw_predictions(self, X):
        rows, form = self.transform(X), self.objective.formulation
        plain = is_plain(rows) and rows.shape[1] == form.layout.n_features
        if not plain or self.open is not None:
            return self.model.raw_predictions(rows)
        design = self.problem.parameters.make_design(self.problem, form, rows, training=False)
        return design.predict(self.theta)

    def loss(self, X, y):
        form = self.objective.formulation
        return form.loss.loss(form.target.encode(y), self.raw_predictions(X))

    def chi_squares(self):
        return diagnostics.chi_squares(self.objective.at(self.theta)).sum(axis=0)


class KernelRefit(Refit):
    """A kernel estimator alone, fitted without some samples.

    Parameters
    ----------
    problem : Problem
        The fitted estimator's problem.
    model : Problem
        The refitted estimator's problem.
    """

    def __init__(self, problem, model):
        super().__init__(None, model)
        self.problem = problem

    def transform(self, X):
        # The refit was fitted on arrays and has no feature names.
        return self.problem.validate_X(X) if hasattr(X, "columns") else X


class FirstOrder:
    """A pipeline on other samples or weights, with raw predictions correct to first order.

    Parameters
    ----------
    problem : WholeProblem
        The fitted pipeline's problem.
    raw : callable
        ``raw(X)`` returns raw predictions (m, K) for raw samples.
    """

    def __init__(self, problem, raw):
        self.problem = problem
        self.raw = raw
        self.classes_ = getattr(problem.estimator, "classes_", None)

    def __getattr__(self, name):
        responses = ("predict", "predict_proba", "decision_function")
        if name in responses and hasattr(self.problem.pipe, name):
            respond = partial(self._respond, name)
            respond.__name__ = name  # scikit-learn reads the name
            return respond
        raise AttributeError(name)

    def __sklearn_tags__(self):
        return self.problem.pipe.__sklearn_tags__()

    def _respond(self, name, X):
        return self.problem.respond(self.raw(X), name)

    def score(self, X, y, **metadata):
        """Return the pipeline's own score."""
        pooled = self.problem.pooled(self.raw(X))
        return self.problem.own_score(pooled, X, y, metadata)

    def sample_loss(self, X, y):
        """Return losses for samples, (m,)."""
        form = self.problem.formulation
        return form.loss.loss(form.target.encode(y), self.raw(X))
