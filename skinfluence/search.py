"""Grid search by leave-one-out, from one fit for each candidate."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.utils.metadata_routing import MetadataRouter, process_routing
from sklearn.utils.validation import check_consistent_length

from skinfluence._typing import Accuracy, Estimator, GroupsLike, MatrixLike
from skinfluence.checks import check_option, check_refine
from skinfluence.leave_one_out import (
    LeaveOneOutScorer,
    Scoring,
    count_rows,
    is_multimetric,
)
from skinfluence.removal import METHODS
from skinfluence.steps import final_estimator, routing_enabled

__all__ = ["LeaveOneOutSearchCV", "is_leave_one_out", "scoring_name"]


class _AllRows:
    """A splitter with one split, whose training and test samples are all samples."""

    def split(self, X, y=None, groups=None):
        rows = np.arange(count_rows(X))
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

    In a pipeline every step is left without the sample: steps that learn are fitted again, as
    in cross-validation. Class weights given as "balanced" are those of all samples, except in
    pipelines with a step that learns.

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
        search.scoring = LeaveOneOutScorer(
            self.scoring,
            {"method": self.method, "refine": self.refine},
            groups=groups,
            estimator=clone(self.estimator),
            error_score=self.error_score,
        )
        search.return_train_score = False
        if callable(self.refit):
            search.refit = partial(_refit_with, self.refit, train_scores)
        if routing_enabled():  # later an error would cost each candidate its score
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
        if is_multimetric(self.scoring) and not decides and self.refit not in self.scoring:
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
        if not is_multimetric(self.scoring):
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


def is_leave_one_out(search):
    """Whether the scores of a search are leave-one-out scores of this module."""
    scorer = isinstance(search.scoring, LeaveOneOutScorer)
    return scorer or isinstance(search, LeaveOneOutSearchCV)


def scoring_name(search):
    """Return the name of the scoring of a search with one metric."""
    scoring = search.scoring
    if isinstance(scoring, LeaveOneOutScorer):
        scoring = scoring.scoring
    return "score" if scoring is None else str(scoring)
