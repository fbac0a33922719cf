"""Scores and searches by leave-one-out, from one fit for each candidate."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import (
    MetadataRequest,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_consistent_length

from skinfluence._compat import WeightedScorer, scores_with_weights
from skinfluence._typing import Accuracy, Estimator, GroupsLike, MatrixLike
from skinfluence.exceptions import warn
from skinfluence.mixins.checks import check_option, check_refine
from skinfluence.removal import METHODS
from skinfluence.solvers import HessianSolver
from skinfluence.steps import final_estimator
from skinfluence.supervised import warn_of_leaks

__all__ = ["LeaveOneOutSearchCV", "is_leave_one_out", "leave_one_out_scorer", "scoring_name"]

Scoring = str | Callable[..., Any] | Iterable[str] | Mapping[str, Any] | None


def leave_one_out_scorer(
    scoring: Scoring = None,
    *,
    method: Accuracy = "newton",
    refine: float | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Callable[..., Any]:
    """Return a scorer of leave-one-out predictions, for any search of scikit-learn.

    The scorer is called as ``scorer(estimator, X, y)`` with a fitted estimator of
    skinfluence, or a pipeline that ends in one. Each of the estimator's own training samples
    is predicted by the model without it, and these predictions are scored together, as by
    `leave_out_score`. A search should therefore train on all samples: pass it
    ``cv=[(rows, rows)]`` with ``rows = np.arange(n_samples)``.

    With other splits each score is that of the training samples of its split, and the test
    samples are not used. The scorer warns if their number is not that of the training
    samples. The train scores of ``return_train_score=True`` equal the test scores.

    The scorer takes `sample_weight` and `groups` (samples that leave together) as keywords.
    These belong to the training samples, so the scorer raises ValueError if it gets them with
    other samples than those, judged by `y`. A search passes `sample_weight` to the scorer if
    its `fit` is given them. It passes `groups` only with metadata routing, after
    ``scorer.set_score_request(groups=True)``. Metadata of `scoring` are routed to it.

    Parameters
    ----------
    scoring : str, callable, list, tuple or dict, default=None
        Scoring as for :class:`sklearn.model_selection.GridSearchCV`; None for the
        estimator's own score. Several are evaluated on the same predictions, and the scorer
        then returns a dict.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Share of the samples, those with the largest Newton decrement, that are left out
        exactly. With "newton" only.
    hessian_solver : str or HessianSolver, default="auto"
        How to apply H^-1; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads over samples.

    Returns
    -------
    scorer : callable
        Scorer with the signature ``scorer(estimator, X, y, *, groups=None,
        sample_weight=None, **metadata)``. It can be pickled and cloned.

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
    check_option("method", method, METHODS)
    check_refine(refine, method)
    options = {
        "method": method,
        "refine": refine,
        "hessian_solver": hessian_solver,
        "n_jobs": n_jobs,
    }
    return _LeaveOneOutScorer(scoring, options)


class _LeaveOneOutScorer(WeightedScorer):
    """Scores the leave-one-out predictions of a fitted estimator's training samples.

    Parameters
    ----------
    scoring : str, callable, list, tuple, dict or None
        What to score the predictions by.
    options : dict
        Keywords of `leave_out_score`.
    groups : array-like, default=None
        Samples that leave together, if no others are passed.
    estimator : object, default=None
        Estimator whose own score counts if `scoring` is None; its requests are respected.
    error_score : "raise" or float, default="raise"
        Value of a metric that fails while others are computed.
    """

    def __init__(self, scoring, options, *, groups=None, estimator=None, error_score="raise"):
        if isinstance(scoring, _LeaveOneOutScorer):
            raise TypeError(
                f"scoring={scoring!r} is leave-one-out already: pass {scoring.scoring!r}, by "
                "which the leave-one-out predictions are scored."
            )
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
        if sample_weight is not None:
            metadata["sample_weight"] = sample_weight
        final = final_estimator(estimator)
        _check_rows(final, X, y, [*metadata, *(["groups"] if groups is not None else [])])
        # A pipeline of skinfluence has the method itself, scikit-learn's has not.
        explained = estimator if hasattr(estimator, "leave_out_score") else final
        if explained is not estimator:
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
            """Score the predictions; `leave_out_score` could return one score only."""
            results.append(self.scorer(predicted, X, y, **metadata))
            return 0.0

        score(scoring=keep)
        return self._without_errors(results[0])

    def route(self, estimator, metadata):
        """Return the metadata that go on to the scorer, or to the estimator's own score."""
        if not _routing():
            weighted = self.scorer is None or scores_with_weights(self.scorer)
            if weighted or "sample_weight" not in metadata:
                return metadata
            warn(f"scoring={self.scoring!r} takes no sample_weight: scores are without.")
            return {name: metadata[name] for name in metadata if name != "sample_weight"}
        if self.scorer is not None:
            routed = process_routing(self._router(self.scorer), "score", **metadata)
            if _is_multimetric(self.scoring):
                process_routing(self.scorer, "score", **routed["inner"].score)  # may refuse
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
        """Return scores, with the `error_score` for metrics that failed."""
        if not isinstance(result, Mapping):
            return float(result)
        failed = {name: text for name, text in result.items() if isinstance(text, str)}
        for name, text in failed.items():
            warn(f"Scoring {name} failed and is set to {self.error_score}. Details:\n{text}")
        return dict(result) | dict.fromkeys(failed, self.error_score)

    def _router(self, inner):
        """Return the router from this scorer to what it calls."""
        scores = MethodMapping().add(caller="score", callee="score")
        return MetadataRouter(owner=self).add(inner=inner, method_mapping=scores)

    def set_score_request(self, **requests):
        """Say which metadata a search with metadata routing passes to the scorer.

        Parameters
        ----------
        **requests : dict of str -> bool, None or str
            For `groups` and `sample_weight`, as for other scorers of scikit-learn.

        Returns
        -------
        self : object
            The scorer.
        """
        if not _routing():
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
        """Return which metadata go where."""
        own = MetadataRequest(owner=self)
        for name, alias in self.requests.items():
            own.score.add_request(param=name, alias=alias)
        inner = self.estimator if self.scorer is None else self.scorer
        router = MetadataRouter(owner=self) if inner is None else self._router(inner)
        return router.add_self_request(own)


def _check_rows(final, X, y, metadata):
    """Raise or warn unless the samples passed to a scorer are the training samples."""
    objective = final._get_objective()
    n_passed, n_training = _count(X), objective.n_rows
    if metadata:
        own = np.ravel(final._decode(objective.target))
        if n_passed != n_training or (y is not None and not np.array_equal(np.ravel(y), own)):
            raise ValueError(
                f"{', '.join(metadata)} must belong to the {n_training} training samples, but "
                f"the {n_passed} samples passed to the leave-one-out scorer are others, or in "
                "another order. Pass the search cv=[(rows, rows)] with "
                "rows=np.arange(n_samples), and a halving search an integer random_state."
            )
    elif n_passed != n_training:
        warn(
            f"The leave-one-out score is that of the {n_training} training samples; the "
            f"{n_passed} samples passed to the scorer are not used. To train on all samples, "
            "pass the search cv=[(rows, rows)] with rows=np.arange(n_samples)."
        )


def is_leave_one_out(search):
    """Whether the scores of a search are leave-one-out scores of this module."""
    scorer = isinstance(search.scoring, _LeaveOneOutScorer)
    return scorer or isinstance(search, LeaveOneOutSearchCV)


def scoring_name(search):
    """Return the name of the scoring of a search with one metric."""
    scoring = search.scoring
    if isinstance(scoring, _LeaveOneOutScorer):
        scoring = scoring.scoring
    return "score" if scoring is None else str(scoring)


def _is_multimetric(scoring):
    """Whether a scoring is a list or a dict of several."""
    return not (scoring is None or isinstance(scoring, str) or callable(scoring))


def _count(X):
    """Return the number of samples."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def _routing():
    """Whether scikit-learn's metadata routing is on."""
    return get_config()["enable_metadata_routing"]


class _AllRows:
    """A splitter with one split, whose training and test samples are all samples."""

    def split(self, X, y=None, groups=None):
        rows = np.arange(_count(X))
        yield rows, rows

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1

    def __repr__(self):
        return "all samples"


class LeaveOneOutSearchCV(GridSearchCV):
    """Search over parameter values by leave-one-out without refitting.

    :class:`sklearn.model_selection.GridSearchCV` with another `cv` and `scoring`: each
    candidate is fitted once, on all samples, and its score is that of the predictions of the
    models without each sample, pooled (`leave_out_score`). With `refit` the best candidate is
    fitted once more.

    In a pipeline the preprocessing is fitted on all samples and frozen: a left-out sample
    stays in the means of a scaler. Class weights given as "balanced" are those of all
    samples.

    Parameters
    ----------
    estimator : object
        Estimator of skinfluence, or a pipeline that ends in one.
    param_grid : dict or list of dict
        Values to try, as for :class:`sklearn.model_selection.GridSearchCV`.
    scoring : str, callable, list, tuple or dict, default=None
        Scoring as for :class:`sklearn.model_selection.GridSearchCV`; None for the
        estimator's own score. Several are evaluated on the same predictions.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Share of the samples, those with the largest Newton decrement, that are left out
        exactly. With "newton" only.
    n_jobs : int, default=None
        Number of joblib jobs over candidates.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate on all samples. With several metrics, the name of
        the one that decides. A callable gets `cv_results_` and returns the best index.
    verbose : int, default=0
        Messages while the search runs.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of jobs that are dispatched ahead.
    error_score : "raise" or float, default=np.nan
        Score of a candidate whose fit or scoring fails.
    return_train_score : bool, default=False
        Whether `cv_results_` holds the plain scores of the fits on their training samples,
        too. These take one more fit for each candidate.

    Attributes
    ----------
    best_estimator_ : object
        Estimator with the highest score, fitted on all samples, with influence methods; a
        pipeline if one was given. Only with `refit`.
    best_score_ : float
        Its leave-one-out score.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its index in `cv_results_`.
    cv_results_ : dict of ndarrays
        Results as of :class:`sklearn.model_selection.GridSearchCV` with one split, whose
        score is the pooled one.
    scorer_ : callable or dict
        Scorer, or several by name, as `score` applies them to other samples.
    multimetric_ : bool
        Whether there are several metrics.
    refit_time_ : float
        Seconds that the last fit took.
    n_splits_ : int
        1.

    See Also
    --------
    leave_one_out_scorer : Leave-one-out scores in other searches of scikit-learn.
    sklearn.model_selection.GridSearchCV : Refits for every candidate and fold.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.model_selection import LeaveOneOutSearchCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    >>> grid = {"logisticregression__C": np.logspace(-3, 2, 6)}
    >>> search = LeaveOneOutSearchCV(pipe, grid, scoring="neg_log_loss").fit(X, y)
    >>> {name: float(value) for name, value in search.best_params_.items()}
    {'logisticregression__C': 1.0}
    >>> search.best_estimator_[-1].self_influence().shape
    (569,)
    """

    def __init__(
        self,
        estimator: Estimator,
        param_grid: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        scoring: Scoring = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=_AllRows(),
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.method = method
        self.refine = refine

    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
        groups: GroupsLike = None,
        **params: Any,
    ) -> Self:
        """Fit and score every candidate.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Training data.
        y : array-like of shape (n,) or (n, n_targets)
            Targets or labels.
        groups : array-like of shape (n,), default=None
            Samples that leave together, as with scikit-learn's ``LeaveOneGroupOut``.
        **params : dict of str -> object
            Passed to the `fit` of the estimator and to the scorer, as by
            :class:`sklearn.model_selection.GridSearchCV`: `sample_weight` goes to both, for
            a step of a pipeline it is ``step__sample_weight`` and goes to that step; with
            metadata routing each consumer gets the metadata that it requested.

        Returns
        -------
        self : object
            The search.
        """
        self._check(X, y, groups)
        train_scores = self._train_scores(X, y, params) if self.return_train_score else {}
        # The scorer of other samples stays `scoring`: a copy searches by leave-one-out.
        search = copy.copy(self)
        search.scoring = _LeaveOneOutScorer(
            self.scoring,
            {"method": self.method, "refine": self.refine},
            groups=groups,
            estimator=clone(self.estimator),
            error_score=self.error_score,
        )
        search.return_train_score = False
        if callable(self.refit):
            search.refit = partial(_refit_with, self.refit, train_scores)
        if _routing():  # within the search an error would cost each candidate its score
            routed = process_routing(search, "fit", **params)
            search.scoring.route(self.estimator, routed["scorer"].score)
        super(LeaveOneOutSearchCV, search).fit(X, y, **params)
        search.cv_results_ |= train_scores
        search.scorer_ = self._plain_scorers()
        self.__dict__.update(vars(search) | self.get_params(deep=False))
        return self

    def _check(self, X, y, groups):
        """Raise before anything is fitted; later errors cost a candidate its score."""
        check_option("method", self.method, METHODS)
        check_refine(self.refine, self.method)
        check_consistent_length(X, y, groups)
        if y is not None and len(np.asarray(y)) < 2:
            raise ValueError("Leaving one out needs at least 2 samples, but n_samples=1.")
        decides = self.refit is False or callable(self.refit)
        if _is_multimetric(self.scoring) and not decides and self.refit not in self.scoring:
            raise ValueError(
                f"refit={self.refit!r} is none of the metrics {list(self.scoring)}: pass the "
                "name of the one that decides, a callable, or False."
            )
        for params in ParameterGrid(self.param_grid):
            candidate = clone(self.estimator).set_params(**clone(params, safe=False))
            final_estimator(candidate)

    def _train_scores(self, X, y, params):
        """Return the columns of `cv_results_` with the scores of the fits themselves."""
        options = self.get_params(deep=False) | {"refit": False, "return_train_score": False}
        del options["method"], options["refine"]
        found = GridSearchCV(**options, cv=self.cv).fit(X, y, **params).cv_results_
        return {
            name.replace("_test_", "_train_", 1): column
            for name, column in found.items()
            if name.startswith(("split0_test_", "mean_test_", "std_test_"))
        }

    def _plain_scorers(self):
        """Return the scorers of other samples, by name if there are several."""
        if not _is_multimetric(self.scoring):
            return check_scoring(self.estimator, scoring=self.scoring)
        scoring = self.scoring
        named = scoring if isinstance(scoring, Mapping) else {name: name for name in scoring}
        return {name: check_scoring(scoring=one) for name, one in named.items()}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return which metadata go where.

        Returns
        -------
        routing : MetadataRouter
            As scikit-learn's meta-estimators do.
        """
        return super().get_metadata_routing().add_self_request(self)


def _refit_with(refit, train_scores, results):
    """Return the index that a user's `refit` chooses, which may look at train scores."""
    return refit(results | train_scores)
