"""Grid search by leave-one-out with one fit for each candidate."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.utils.metadata_routing import MetadataRouter, process_routing
from sklearn.utils.validation import check_consistent_length

from skinfluence._typing import Accuracy, Estimator, GroupsLike, MatrixLike, Scoring
from skinfluence.checks import count_rows
from skinfluence.leave_one_out import LeaveOneOutScorer, is_multimetric
from skinfluence.pipeline import is_composite
from skinfluence.problem.requests import Removal
from skinfluence.steps import final_estimator, innermost, routing_enabled


class _AllRows:
    """Splitter with one split, in which all samples are both training and test samples."""

    def split(self, X, y=None, groups=None):
        rows = np.arange(count_rows(X))
        yield rows, rows

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1

    def __repr__(self):
        return "all samples"


class LeaveOneOutSearchCV(GridSearchCV):
    """Grid search with leave-one-out scores, without a refit for each sample.

    This is :class:`sklearn.model_selection.GridSearchCV` with another `cv` and `scoring`.
    Each candidate is fitted once, on all samples. Each sample is then predicted by the model
    without it, and all predictions are scored together (`leave_out_score`). If `refit` is
    set, the best candidate is fitted once more.

    Everything is without the sample, as in cross-validation: "balanced" class weights, the
    kernel's ``gamma="scale"``, and in a pipeline the steps that learn, which are fitted again.

    Parameters
    ----------
    estimator : object
        A skinfluence estimator, a pipeline that ends in one, or an estimator around others.
    param_grid : dict or list of dict
        Parameter values to try, as in :class:`sklearn.model_selection.GridSearchCV`.
    scoring : str, callable, list, tuple or dict, default=None
        Scoring, as in :class:`sklearn.model_selection.GridSearchCV`. None uses the `score`
        method of the estimator. Several metrics use the same predictions.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Fraction of samples to leave out exactly, starting with the largest Newton decrement.
        Only for "newton".
    n_jobs : int, default=None
        Number of joblib jobs over candidates.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate on all samples. With several metrics, the name of
        the metric to select by. A callable gets `cv_results_` and returns the best index.
    verbose : int, default=0
        Verbosity during the search.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of jobs to dispatch in advance.
    error_score : "raise" or float, default=np.nan
        Score for a candidate if its fit or scoring fails.
    return_train_score : bool, default=False
        Whether to add scores on the training samples, without leave-one-out, to
        `cv_results_`. This needs one more fit for each candidate.

    Attributes
    ----------
    best_estimator_ : object
        Estimator with the highest score, fitted on all samples. It has influence methods,
        and is a pipeline if `estimator` is one. Only available if `refit` is set.
    best_score_ : float
        Leave-one-out score of the best candidate.
    best_params_ : dict
        Parameters of the best candidate.
    best_index_ : int
        Index of the best candidate in `cv_results_`.
    cv_results_ : dict of ndarrays
        Results, as in :class:`sklearn.model_selection.GridSearchCV` with one split. The
        score for the split is the leave-one-out score.
    scorer_ : callable or dict
        Scorer, or dict of scorers by name, which `score` applies to other samples.
    multimetric_ : bool
        Whether there are several metrics.
    refit_time_ : float
        Time for the last fit, in seconds.
    n_splits_ : int
        Always 1.

    See Also
    --------
    leave_one_out_scorer : Leave-one-out scores in other searches from scikit-learn.
    sklearn.model_selection.GridSearchCV : Refits for each candidate and fold.

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
            Group labels of the samples. Samples in one group leave together, as in
            scikit-learn's ``LeaveOneGroupOut``.
        **params : dict of str -> object
            Passed to the `fit` method of the estimator and to the scorer, as in
            :class:`sklearn.model_selection.GridSearchCV`. Both get `sample_weight`; a step
            in a pipeline gets ``step__sample_weight``. With metadata routing, each consumer
            gets the metadata that it requested.

        Returns
        -------
        self : object
            The fitted search.

        Raises
        ------
        ValueError
            If a parameter is not valid, or if there are fewer than 2 samples.
        """
        self._check(X, y, groups)
        train_scores = self._train_scores(X, y, params) if self.return_train_score else {}
        # A copy searches by leave-one-out, because `score` needs the scorer in `scoring`.
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
            search.refit = lambda results: self.refit(results | train_scores)
        if routing_enabled():  # raise routing errors now, not as a failed score
            routed = process_routing(search, "fit", **params)
            search.scoring.route(self.estimator, routed["scorer"].score)
        super(LeaveOneOutSearchCV, search).fit(X, y, **params)
        search.cv_results_ |= train_scores
        search.scorer_ = self._plain_scorers()
        self.__dict__.update(vars(search) | self.get_params(deep=False))
        return self

    def _check(self, X, y, groups):
        """Raise errors before any fit, because later they would become failed scores."""
        Removal(method=self.method, refine=self.refine).check()
        check_consistent_length(X, y, groups)
        if y is not None and len(np.asarray(y)) < 2:
            raise ValueError("Leaving one out needs at least 2 samples, but n_samples=1.")
        decides = self.refit is False or callable(self.refit)
        if is_multimetric(self.scoring) and not decides and self.refit not in self.scoring:
            raise ValueError(
                f"refit={self.refit!r} is not one of the metrics {list(self.scoring)}: pass "
                "the name of the metric to select by, a callable, or False."
            )
        for params in ParameterGrid(self.param_grid):
            candidate = clone(self.estimator).set_params(**clone(params, safe=False))
            if not is_composite(innermost(candidate)):
                final_estimator(candidate)

    def _train_scores(self, X, y, params):
        """Return columns for `cv_results_` with scores on the training samples."""
        options = self.get_params(deep=False) | {"refit": False, "return_train_score": False}
        del options["method"], options["refine"]
        found = GridSearchCV(**options, cv=self.cv).fit(X, y, **params).cv_results_
        return {
            name.replace("_test_", "_train_", 1): column
            for name, column in found.items()
            if name.startswith(("split0_test_", "mean_test_", "std_test_"))
        }

    def _plain_scorers(self):
        """Return the scorer for other samples, or a dict of scorers by name."""
        if not is_multimetric(self.scoring):
            return check_scoring(self.estimator, scoring=self.scoring)
        scoring = self.scoring
        named = scoring if isinstance(scoring, Mapping) else {name: name for name in scoring}
        return {name: check_scoring(scoring=metric) for name, metric in named.items()}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata routing of the search.

        Returns
        -------
        routing : MetadataRouter
            Router, as in scikit-learn's meta-estimators.
        """
        return super().get_metadata_routing().add_self_request(self)


def is_leave_one_out(search):
    """Return whether the scores of a search are leave-one-out scores."""
    scorer = isinstance(search.scoring, LeaveOneOutScorer)
    return scorer or isinstance(search, LeaveOneOutSearchCV)


def scoring_name(search):
    """Return the name of the metric in a search with one metric."""
    scoring = search.scoring
    if isinstance(scoring, LeaveOneOutScorer):
        scoring = scoring.scoring
    return "score" if scoring is None else str(scoring)
