"""Scores of the models without each group of rows, with any scikit-learn scorer.

scikit-learn's own scorers use an estimator's responses alone. They get a thin estimator with
precomputed responses, which come from one matrix product for many models. Other callables may
use any attribute, so they get a copy of the fitted estimator with the moved parameters.
"""

from collections.abc import Mapping
from copy import copy
from functools import cached_property, partial

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, check_scoring, d2_tweedie_score, make_scorer
from sklearn.utils.metaestimators import available_if

from skinfluence import removal
from skinfluence.blocks import row_blocks
from skinfluence.checks import count_rows
from skinfluence.namespaces import is_foreign, to_host

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
        single = self.own_score or isinstance(scoring, str) or callable(scoring)
        listed = [scoring] if single else list(scoring)
        if isinstance(scoring, Mapping):
            listed = list(scoring.values())
        for one in listed:
            if hasattr(one, "refuse_samples"):
                one.refuse_samples()
        self.scorer = check_scoring(model, scoring=scoring)
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
        known = np.flatnonzero(~np.isnan(theta).all(axis=(1, 2)))
        if self.metric.needs_model:
            layout = problem.formulation.layout
            for j in np.flatnonzero(np.isfinite(theta).all(axis=(1, 2))):
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


def pooled_predictions(problem, raw_prediction):
    """Return an estimator whose responses come from precomputed raw predictions.

    Parameters
    ----------
    problem : Problem
        The fitted estimator's problem. Its `score` and response shapes are kept.
    raw_prediction : ndarray of shape (n, K)
        Raw predictions for the rows to be scored, in the same order.

    Returns
    -------
    object
        A fitted classifier or regressor.
    """
    estimator = problem.estimator
    if problem.is_classifier:
        pooled = _PooledClassifier()
        pooled.classes_ = to_host(estimator.classes_)
        pooled.labels_ = partial(problem.responses.labels, estimator)
        pooled.transform_ = problem.responses.transform(estimator)
    else:
        pooled = _PooledRegressor()
        pooled.flat_ = problem.has_flat_target
        pooled.power_ = problem.responses.deviance_power(problem.fitted.params)
    pooled.loss_ = problem.formulation.loss
    pooled.has_probabilities_ = hasattr(estimator, "predict_proba")
    pooled.has_decision_ = hasattr(estimator, "decision_function")
    pooled.check_ = problem.responses.check
    pooled.raw_prediction_ = raw_prediction
    return pooled


def score_known(score, missing):
    """Return ``score()`` as a number, or name the samples (m,) without a prediction."""
    try:
        return float(score())
    except ValueError as error:
        if not len(missing):
            raise
        raise ValueError(
            f"There is no prediction without the groups of {len(missing)} sample(s), and the "
            f"scoring takes no NaN: {missing[:5].tolist()}. A warning says why. Use "
            "leave_out_predict, where they are NaN."
        ) from error


def respond_to(raw_prediction, pooled, response_method):
    """Return a response of `pooled_predictions` for other raw predictions."""
    pooled = copy(pooled)
    pooled.raw_prediction_ = raw_prediction
    return getattr(pooled, response_method)(None)


def check_pooled(X, n):
    """Raise if a scorer asks for other responses than those of the n samples."""
    if X is not None and count_rows(X) != n:
        raise ValueError(
            f"scoring asks for responses for {count_rows(X)} samples. A prediction for each "
            f"sample without itself is not from one model: ask for the {n} samples of X in "
            "the call, and take some of the responses. leave_out_metric has scorers that need "
            "a model."
        )


class _Pooled(BaseEstimator):
    """A stand-in for a model, with a prediction for each sample from a model without it."""

    is_pooled = True

    def fit(self, X, y):
        return self  # scorers require `fit`; there is nothing to fit

    def _raw_for(self, X):
        """Return the raw predictions, which are known for one X only."""
        check_pooled(X, len(self.raw_prediction_))
        return self.raw_prediction_


class _PooledClassifier(ClassifierMixin, _Pooled):
    @available_if(lambda self: self.has_decision_)
    def decision_function(self, X):
        return self._response("decision_function", X)

    @available_if(lambda self: self.has_probabilities_)
    def predict_proba(self, X):
        return self._response("predict_proba", X)

    def predict(self, X):
        return self._response("predict", X)

    def _response(self, method, X):
        raw = self._raw_for(X)
        self.check_(method)
        if method == "predict_proba":
            return self.loss_.response(raw)
        if method == "decision_function":
            if self.transform_ is not None:
                return self.transform_(raw)
            return raw[:, 0] if raw.shape[1] == 1 else raw
        return self.labels_(raw)


class _PooledRegressor(RegressorMixin, _Pooled):
    def predict(self, X):
        return self._response("predict", X)

    def score(self, X, y, sample_weight=None):
        if self.power_ is None:
            return super().score(X, y, sample_weight)
        weight = {"sample_weight": sample_weight}
        return d2_tweedie_score(y, self.predict(X), power=self.power_, **weight)

    def _response(self, method, X):
        response = self.loss_.response(self._raw_for(X))
        return response[:, 0] if self.flat_ else response


class PredictionsWithout:
    """Responses of the models without each group, for a problem with an objective."""

    def predictions_without(self, X, request, visit, *, response_method):
        """Call `visit` with the responses of the models without each group.

        A call has all groups for some samples in X, or all samples in X for some groups.
        Groups without a model are left out, with a warning.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, d)
            Samples.
        request : Removal
            The groups, of which one has each training row, and the accuracy.
        visit : callable
            Called as ``visit(queries, rows, owner, own, predicted)`` with a slice of X, the
            training rows (r,) in g groups, the position (r,) of their groups, the responses
            (r, ...) for them and those (m, g, ...) for the slice. Threads may call it.
        response_method : {"predict", "predict_proba", "decision_function"}
            The response.
        """
        objective = self.objective
        layout = objective.formulation.layout
        design = self.check_X(objective.formulation, X)
        groups = self.groups_for(request.groups, request.cv)
        groups.partition()
        params = self.leave_out_params(request.of(groups))
        known = np.isfinite(self.params)
        kept = np.flatnonzero(np.isfinite(params[:, known]).all(axis=1))
        if not kept.size:
            return
        theta = layout.from_public(params[kept])
        rows, owner = flat_rows(groups, kept)
        responses = self.responses_of(self._own_raw(groups, kept, theta), response_method)
        for block in row_blocks(design.n_rows, 8 * 5 * len(theta) * self.n_scores):
            raw = design.take(block).predict(theta)  # (m, g, K)
            visit(block, rows, owner, responses, self.responses_of(raw, response_method))

    def responses_of(self, raw, response_method):
        """Return responses (..., R) or (...) from raw predictions (..., K)."""
        *lead, K = raw.shape
        pooled = self.pooled(raw.reshape(-1, K))
        found = np.asarray(getattr(pooled, response_method)(None))
        return found.reshape(*lead, *found.shape[1:])

    def _own_raw(self, groups, kept, theta):
        """Return raw predictions (r, K) for each group's rows by the model without them."""
        design = self.objective.design
        if groups.sizes().max() > 1:
            pairs = zip(kept, theta, strict=True)
            return np.concatenate(
                [design.take(groups.rows(g)).predict(one) for g, one in pairs]
            )
        (rows, _), (_, K, D) = flat_rows(groups, kept), theta.shape
        blocks = row_blocks(len(rows), 8 * 3 * (K + 1) * D)
        each = [design.take(rows[b]).predict_each(theta[b]) for b in blocks]
        return np.concatenate(each)


def flat_rows(groups, kept):
    """Return the rows in some groups, (r,), and the positions of their groups, (r,)."""
    members = [groups.rows(group) for group in kept]
    owner = np.repeat(np.arange(len(members)), [len(rows) for rows in members])
    return np.concatenate(members), owner
