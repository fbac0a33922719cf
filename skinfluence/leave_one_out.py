"""Leave-one-out scorer from a single fit, for any search from scikit-learn."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import (
    MetadataRequest,
    MetadataRouter,
    MethodMapping,
    process_routing,
)

from skinfluence._compat import WeightedScorer, scores_with_weights
from skinfluence._typing import Accuracy, Scoring
from skinfluence.checks import count_rows
from skinfluence.distributed import is_dask
from skinfluence.exceptions import warn
from skinfluence.namespaces import to_host
from skinfluence.pipeline import problem_of, with_data
from skinfluence.problem.requests import Removal
from skinfluence.solvers import HessianSolver
from skinfluence.steps import innermost, routing_enabled, warn_of_leaks


def leave_one_out_scorer(
    scoring: Scoring = None,
    *,
    method: Accuracy = "newton",
    refine: float | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Callable[..., Any]:
    """Return a scorer for leave-one-out predictions, for any search from scikit-learn.

    Call the scorer as ``scorer(estimator, X, y)`` with a fitted skinfluence estimator, or a
    pipeline that ends in one. Each training sample is predicted by the model without it, and
    all predictions are scored together, as in `leave_out_score`. For this reason a search
    should train on all samples: pass ``cv=[(rows, rows)]`` with
    ``rows = np.arange(n_samples)``.

    With other splits, each score uses only the training samples in its split and ignores the
    test samples. The scorer warns if there are not as many test samples as training samples.
    With ``return_train_score=True``, train scores equal test scores.

    The scorer accepts `sample_weight` and `groups` (samples that leave together) as keywords.
    They must belong to the training samples, so the scorer raises ValueError if `y` shows
    that it got other samples. A search passes `sample_weight` to the scorer if its `fit`
    method gets them. It passes `groups` only with metadata routing, after
    ``scorer.set_score_request(groups=True)``. Metadata that `scoring` requests are routed to
    it.

    Parameters
    ----------
    scoring : str, callable, list, tuple or dict, default=None
        Scoring, as in :class:`sklearn.model_selection.GridSearchCV`. None uses the `score`
        method of the estimator. Several metrics use the same predictions, and the scorer
        then returns a dict.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Fraction of samples to leave out exactly, starting with the largest Newton decrement.
        Only for "newton".
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads over samples.

    Returns
    -------
    scorer : callable
        Scorer with the signature ``scorer(estimator, X, y, *, groups=None,
        sample_weight=None, **metadata)``. It can be pickled and cloned.

    Raises
    ------
    TypeError
        If `scoring` is a leave-one-out scorer already.
    ValueError
        If `method` is not known, or `refine` is given with another method than "newton".

    See Also
    --------
    LeaveOneOutSearchCV : A grid search with this scorer.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import RandomizedSearchCV
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.model_selection import leave_one_out_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> rows = np.arange(len(y))
    >>> search = RandomizedSearchCV(
    ...     Ridge(),
    ...     {"alpha": loguniform(1e-4, 1e2)},
    ...     scoring=leave_one_out_scorer("neg_mean_absolute_error"),
    ...     cv=[(rows, rows)],
    ...     random_state=0,
    ... ).fit(X, y)
    >>> round(float(search.best_score_), 1)
    -44.4
    """
    Removal(method=method, refine=refine).check()
    options = {
        "method": method,
        "refine": refine,
        "hessian_solver": hessian_solver,
        "n_jobs": n_jobs,
    }
    return LeaveOneOutScorer(scoring, options)


class LeaveOneOutScorer(WeightedScorer):
    """Scorer for the leave-one-out predictions of training samples.

    Parameters
    ----------
    scoring : str, callable, list, tuple, dict or None
        Metric or metrics for the predictions.
    options : dict
        Keyword arguments for `leave_out_score`.
    groups : array-like, default=None
        Samples that leave together, unless the call passes others.
    estimator : object, default=None
        Estimator whose `score` method, with its metadata requests, is used if `scoring` is
        None.
    error_score : "raise" or float, default="raise"
        Score for a metric that fails, if there are several.
    """

    def __init__(self, scoring, options, *, groups=None, estimator=None, error_score="raise"):
        if isinstance(scoring, LeaveOneOutScorer):
            raise scoring.repeated()
        self.scoring = scoring
        self.options = options
        self.groups = groups
        self.estimator = estimator
        self.error_score = error_score
        self.requests = {"groups": None}
        self.scorer = None
        if scoring is not None:
            self.scorer = check_scoring(scoring=scoring, raise_exc=error_score == "raise")
        elif estimator is None:
            self.requests["sample_weight"] = None

    def __repr__(self):
        given = {name: value for name, value in self.options.items() if value is not None}
        listed = "".join(f", {name}={value!r}" for name, value in given.items())
        return f"leave_one_out_scorer({self.scoring!r}{listed})"

    def __call__(self, estimator, X, y=None, *, groups=None, sample_weight=None, **metadata):
        if getattr(estimator, "is_pooled", False):  # inside leave_out_score
            raise self.repeated()
        if sample_weight is not None:
            metadata["sample_weight"] = sample_weight
        is_ours = hasattr(estimator, "leave_out_score")
        problem = problem_of(estimator if is_ours else innermost(estimator), composites=True)
        _check_rows(problem, X, y, [*metadata, *(["groups"] if groups is not None else [])])
        explained = estimator
        if not is_ours:  # scikit-learn's pipeline does not know its samples
            weight = problem.sample_weight
            is_weighted = not is_dask(weight) and np.any(to_host(weight) != 1)
            explained = with_data(estimator, X, y, weight if is_weighted else None)
            if count_rows(X) != problem.n_rows:
                explained = problem.estimator
                warn_of_leaks(estimator, "leave_one_out_scorer")
        score = partial(
            explained.leave_out_score,
            self.groups if groups is None else groups,
            **self.options,
        )
        metadata = self.route(estimator, metadata)
        if self.scorer is None:
            return score(**metadata)
        results = []

        def keep(predicted, X, y):
            """Score the predictions here, because `leave_out_score` returns one number."""
            results.append(self.scorer(predicted, X, y, **metadata))
            return 0.0

        score(scoring=keep)
        return self._without_errors(results[0])

    def repeated(self):
        """Return the error for a scorer of predictions that are leave-one-out already."""
        return TypeError(
            f"scoring={self!r} is leave-one-out already: pass {self.scoring!r}, the metric "
            "for the leave-one-out predictions."
        )

    def refuse_samples(self):
        """Raise for a call that scores models on samples that it is given."""
        raise TypeError(
            f"scoring={self!r} scores training samples, each by the model without it, and "
            f"this call scores models on the X and y that it is given: pass {self.scoring!r}. "
            "For the leave-one-out score of the model itself use leave_out_score."
        )

    def route(self, estimator, metadata):
        """Return the metadata for the inner scorer, or for the estimator's `score`."""
        if not routing_enabled():
            weighted = self.scorer is None or scores_with_weights(self.scorer)
            if weighted or "sample_weight" not in metadata:
                return metadata
            warn(
                f"scoring={self.scoring!r} takes no sample_weight, so scores do not use it. "
                "Choose a metric that takes sample_weight."
            )
            return {name: metadata[name] for name in metadata if name != "sample_weight"}
        if self.scorer is not None:
            routed = process_routing(self._router(self.scorer), "score", **metadata)
            if is_multimetric(self.scoring):
                process_routing(self.scorer, "score", **routed["inner"].score)  # may raise
            return routed["inner"].score
        if self.estimator is None:
            return metadata
        metadata = process_routing(self._router(estimator), "score", **metadata)["inner"].score
        while isinstance(estimator, Pipeline):
            name, last = estimator.steps[-1]
            metadata = process_routing(estimator, "score", **metadata)[name].score
            estimator = last
        return metadata

    def _without_errors(self, result):
        """Return scores, with `error_score` for metrics that failed."""
        if not isinstance(result, Mapping):
            return float(result)
        failed = {name: text for name, text in result.items() if isinstance(text, str)}
        for name, text in failed.items():
            warn(f"Scoring {name} failed and is set to {self.error_score}. Details:\n{text}")
        return dict(result) | dict.fromkeys(failed, self.error_score)

    def _router(self, inner):
        """Return the router from this scorer to the inner scorer or estimator."""
        scores = MethodMapping().add(caller="score", callee="score")
        return MetadataRouter(owner=self).add(inner=inner, method_mapping=scores)

    def set_score_request(self, **requests):
        """Request metadata from a search with metadata routing.

        Parameters
        ----------
        **requests : dict of str -> bool, None or str
            Requests for `groups` and `sample_weight`, as in other scikit-learn scorers.

        Returns
        -------
        self : object
            The scorer.

        Raises
        ------
        RuntimeError
            If metadata routing is not enabled.
        TypeError
            If the inner scorer cannot request a parameter.
        """
        if not routing_enabled():
            raise RuntimeError(
                "set_score_request needs metadata routing: "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        inner = {name: value for name, value in requests.items() if name not in self.requests}
        if inner:
            if not hasattr(self.scorer, "set_score_request"):
                raise TypeError(
                    f"{self!r} cannot request {', '.join(inner)}: call set_score_request of "
                    "the scorers that are passed as its scoring."
                )
            self.scorer = copy.deepcopy(self.scorer).set_score_request(**inner)
        self.requests |= {name: value for name, value in requests.items() if name not in inner}
        return self

    def get_metadata_routing(self):
        """Return the metadata routing of the scorer."""
        request = MetadataRequest(owner=self)
        for name, alias in self.requests.items():
            request.score.add_request(param=name, alias=alias)
        inner = self.estimator if self.scorer is None else self.scorer
        router = MetadataRouter(owner=self) if inner is None else self._router(inner)
        return router.add_self_request(request)


def _check_rows(problem, X, y, metadata):
    """Raise an error or warn if the samples for a scorer are not the training samples.

    It is an error if there are metadata, because these belong to the samples.
    """
    n_passed, n_training = count_rows(X), problem.n_rows
    if metadata:
        target = np.ravel(problem.training_target)
        same_target = y is None or np.array_equal(np.ravel(y), target)
        if n_passed != n_training or not same_target:
            raise ValueError(
                f"{', '.join(metadata)} must belong to the {n_training} training samples, but "
                f"the {n_passed} samples passed to the leave-one-out scorer are others, or in "
                "another order. Pass cv=[(rows, rows)] with rows=np.arange(n_samples) to the "
                "search, and an integer random_state to a halving search."
            )
    elif n_passed != n_training:
        warn(
            f"The leave-one-out score is that of the {n_training} training samples; the "
            f"{n_passed} samples passed to the scorer are not used. To train on all samples, "
            "pass cv=[(rows, rows)] with rows=np.arange(n_samples) to the search."
        )


def is_multimetric(scoring):
    """Return whether a scoring is a list or dict of metrics."""
    return not (scoring is None or isinstance(scoring, str) or callable(scoring))
