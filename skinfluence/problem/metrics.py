"""Scores of the models without each group of rows, with any scikit-learn scorer.

scikit-learn's own scorers use an estimator's responses alone. They get a thin estimator with
precomputed responses, which come from one matrix product for many models. Other callables may
use any attribute, so they get a copy of the fitted estimator with the moved parameters.
"""

from collections.abc import Mapping
from copy import copy
from functools import cached_property

import numpy as np
from sklearn.metrics import accuracy_score, check_scoring, make_scorer

from skinfluence import removal
from skinfluence.blocks import row_blocks
from skinfluence.namespaces import is_foreign, to_host

__all__ = ["Metric", "MetricAnswers"]

#: Class of scikit-learn's scorers, which call an estimator's responses and nothing else.
_OF_RESPONSES = type(make_scorer(accuracy_score))


class Metric:
    """One or several scorers with the samples on which models are scored.

    The fitted model is scored first, so that invalid samples or scorers raise an error before
    any long computation.

    Parameters
    ----------
    problem : Problem
        The fitted model's problem.
    X, y : array-like
        The samples, as users gave them.
    scoring : str, callable, list, tuple, set, dict or None
        See `methods.removal`.
    sample_weight : array-like or None, default=None
        The samples' weights in the score.

    Attributes
    ----------
    needs_model : bool
        Whether a scorer may use more of a model than its responses for X.
    """

    def __init__(self, problem, X, y, scoring, sample_weight=None):
        self.problem, self.X, self.y = problem, X, y
        self.own_score = scoring is None
        self.metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        model = problem.fitted_model
        self.scorer = check_scoring(model, scoring=scoring)
        single = self.own_score or isinstance(scoring, str) or callable(scoring)
        listed = [scoring] if single else list(scoring)
        if isinstance(scoring, Mapping):
            listed = list(scoring.values())
        self.needs_model = not all(
            one is None or isinstance(one, str) or type(one) is _OF_RESPONSES for one in listed
        )
        self.names = list(self.of_model(model))

    def with_problem(self, problem):
        """Return this metric with another problem for the same model."""
        other = copy(self)
        other.problem = problem
        return other

    def of_model(self, model):
        """Return a model's scores, a dict; a single score has the name None."""
        return self._named(self.scorer(model, self.X, self.y, **self.metadata))

    def of_raw(self, problem, raw):
        """Return the scores for raw predictions (q, K) of a problem's model for X.

        They are None if a raw prediction is unknown.
        """
        if np.isnan(raw).any():
            return None
        X, y, metadata = self.with_responses
        pooled = problem.pooled(to_host(raw))
        if not self.own_score:
            return self._named(self.scorer(pooled, X, y, **metadata))
        return self._named(problem.own_score(pooled, X, y, metadata))

    @cached_property
    def with_responses(self):
        """X, y and the metadata beside responses, which are on the host."""
        if not is_foreign(self.X):
            return self.X, self.y, self.metadata
        metadata = {name: to_host(value) for name, value in self.metadata.items()}
        return np.empty((self.X.shape[0], 0)), to_host(self.y), metadata

    def table(self, n_models):
        """Return a `Scores` for models."""
        return Scores(self, n_models)

    @staticmethod
    def _named(found):
        scores = found if isinstance(found, Mapping) else {None: found}
        try:
            return {name: float(score) for name, score in scores.items()}
        except (TypeError, ValueError):
            kinds = {type(score).__name__ for score in scores.values()}
            raise ValueError(
                f"scoring returned {', '.join(sorted(kinds))}: a scorer must return a number, "
                "or a dict of numbers."
            ) from None


class Scores:
    """Scores of many models on the same samples, NaN until they are computed.

    Parameters
    ----------
    metric : Metric
        The scorers.
    n_models : int
        Number of models.
    """

    def __init__(self, metric, n_models):
        self.metric = metric
        self.columns = {name: np.full(n_models, np.nan) for name in metric.names}

    def add_model(self, at, model):
        """Score a model and store the scores at its position."""
        self.store(at, self.metric.of_model(model))

    def add_raw(self, at, problem, raw):
        """Store the scores for raw predictions (q, K) if all of them are known."""
        self.store(at, self.metric.of_raw(problem, raw))

    def add_params(self, at, problem, design, theta):
        """Store the scores for parameters theta (b, K, D) on a design with the samples.

        Scores for parameters that are NaN stay NaN.
        """
        at = np.asarray(at)
        known = np.flatnonzero(np.isfinite(theta).all(axis=(1, 2)))
        if self.metric.needs_model:
            layout = problem.formulation.layout
            for j in known:
                params = layout.to_public(theta[[j]])[0]
                self.add_model(at[j], problem.model_at(params))
            return
        for block in row_blocks(len(known), 8 * 4 * design.n_rows * theta.shape[1]):
            raw = design.predict(theta[known[block]])  # (q, b, K)
            for j, one in zip(known[block], raw.swapaxes(0, 1), strict=True):
                self.add_raw(at[j], problem, one)

    def forget(self, at):
        """Set the scores at a position to NaN."""
        for column in self.columns.values():
            column[at] = np.nan

    def store(self, at, scores):
        """Store a dict of scores at a position, unless it is None."""
        if scores is not None:
            for name, column in self.columns.items():
                column[at] = scores[name]

    @property
    def result(self):
        """The scores, (n_models,), or a dict of such arrays for several scorers."""
        return self.columns[None] if list(self.columns) == [None] else self.columns


class MetricAnswers:
    """`leave_out_metric` for an estimator with an objective."""

    def leave_out_metric(self, X, y, request, *, scoring=None, sample_weight=None):
        self.refuse_dask("leave_out_metric", X, y, sample_weight, training=False)
        request = self.resolve(request)
        metric = Metric(self, X, y, scoring, sample_weight)
        if self.objective.is_distributed and request.groups.members is None:
            return self.lazy_scores(metric, X, request)
        return self.scores_without(metric, X, request).result

    def scores_without(self, metric, X, request):
        """Return the `Scores` without each group for samples X as `fit` takes them."""
        design = self.check_X(self.objective.formulation, X)
        base = self.start_base(request.method, request.hessian_solver)
        scores = metric.table(len(request.groups))

        def emit(indices, _rows, theta):
            scores.add_params(indices, self, design, theta)

        for group, directions in self.remove(base, request, emit):
            if removal.depends(directions, design).any():
                scores.forget(group)
        return scores
