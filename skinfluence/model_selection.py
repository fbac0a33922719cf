"""Choosing hyperparameters by leave-one-out from one fit per value; prediction intervals."""

import copy
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skinfluence import convergence
from skinfluence._compat import scores_with_weights
from skinfluence._typing import Accuracy, Estimator, Floats, MatrixLike
from skinfluence.blocks import row_blocks
from skinfluence.exceptions import warn
from skinfluence.mixins.checks import check_option
from skinfluence.removal import METHODS
from skinfluence.solvers import HessianSolver
from skinfluence.steps import final_estimator, transform
from skinfluence.supervised import warn_of_leaks

__all__ = ["LeaveOneOutSearchCV", "jackknife_plus_interval"]

# Newton decrement, relative to sqrt(F), that is near enough for one more Newton step.
_NEAR = 1e-4


def _best_has(name):
    """Return a check whether the best estimator, or the one to be searched, has a method."""

    def check(search):
        return hasattr(getattr(search, "best_estimator_", search.estimator), name)

    return check


class LeaveOneOutSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Search over parameter values by leave-one-out without refitting.

    Each candidate is fitted once, on all samples, beginning at the parameters of the one
    before where the estimator has ``warm_start``; its score is that of the predictions of
    the models without each sample, pooled (`leave_out_score`), from the optimum that the fit
    was going to. The best one is kept as fitted: there is no refit.

    In a pipeline the preprocessing is fitted once for every setting of its own parameters,
    on all samples, and frozen: a left-out sample stays in the means of a scaler. Class
    weights given as "balanced" are those of all samples.

    Parameters
    ----------
    estimator : object
        Estimator of skinfluence, or a pipeline that ends in one.
    param_grid : dict or list of dict
        Values to try, as for :class:`sklearn.model_selection.GridSearchCV`; neighbours in
        this order warm-start each other.
    scoring : str or callable, default=None
        A scoring of scikit-learn, or a scorer; None for the estimator's own score.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Share of the samples, those with the largest Newton decrement, that are left out
        exactly. With "newton" only.
    n_jobs : int, default=None
        Number of joblib threads over samples; candidates follow each other.

    Attributes
    ----------
    best_estimator_ : object
        The fitted estimator with the highest score, with influence methods; a pipeline
        where one was given.
    best_score_ : float
        Its leave-one-out score.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its place in `cv_results_`.
    cv_results_ : dict of ndarrays
        As scikit-learn's, with one split, whose score is the pooled one: keys ``params``,
        ``param_*``, ``split0_test_score``, ``mean_test_score``, ``std_test_score`` (zero),
        ``rank_test_score``, ``mean_fit_time``, ``std_fit_time``, ``mean_score_time``,
        ``std_score_time``, times in seconds.
    scorer_ : callable
        The scorer.
    n_splits_ : int
        1.

    See Also
    --------
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
        scoring: str | Callable[..., Any] | None = None,
        method: Accuracy = "newton",
        refine: float | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.scoring = scoring
        self.method = method
        self.refine = refine
        self.n_jobs = n_jobs

    def fit(
        self, X: MatrixLike, y: ArrayLike, *, groups: ArrayLike | None = None, **params: Any
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
            metadata routing what was requested goes to whom requested it.

        Returns
        -------
        self : object
            The search.
        """
        check_option("method", self.method, METHODS)
        check_consistent_length(X, y, groups)
        if y is not None and len(np.asarray(y)) < 2:
            raise ValueError("Leaving one out needs at least 2 samples, but n_samples=1.")
        candidates = list(ParameterGrid(self.param_grid))
        scorer = self._get_scorer()
        routed = self._route(scorer, params)
        fits = _WarmFits(self.estimator, X, y, routed.estimator.fit)
        scores, fit_times, score_times = [], [], []
        best: Estimator = None
        best_score = -np.inf
        for candidate in candidates:
            started = time.perf_counter()
            fitted = fits.fit(candidate)
            fit_times.append(time.perf_counter() - started)
            started = time.perf_counter()
            score = self._at_optimum(final_estimator(fitted))._leave_out_score(
                groups,
                scoring=None if self.scoring is None else scorer,
                method=self.method,
                refine=self.refine,
                n_jobs=self.n_jobs,
                metadata=routed.scorer.score,
            )
            score_times.append(time.perf_counter() - started)
            scores.append(score)
            if best is None or score > best_score:
                best, best_score = fitted, np.nan_to_num(score, nan=-np.inf)
        self.scorer_ = scorer
        self.n_splits_ = 1
        self.cv_results_ = _tabulate(candidates, scores, fit_times, score_times)
        self.best_estimator_ = best
        warn_of_leaks(best, type(self).__name__)
        self.best_index_ = int(np.argmin(self.cv_results_["rank_test_score"]))
        self.best_score_ = float(scores[self.best_index_])
        self.best_params_ = candidates[self.best_index_]
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(best, name):
                setattr(self, name, getattr(best, name))
        return self

    def _get_scorer(self):
        """Return the scorer, for None one that asks the estimator."""
        return check_scoring(self.estimator, scoring=self.scoring)

    def _route(self, scorer, params):
        """Return what `fit` was given, for the fits and for the scorer."""
        if _routing():
            routed = process_routing(self, "fit", **params)
            if self.scoring is None and isinstance(self.estimator, Pipeline):
                # The score of a pipeline routes once more, to that of the last step.
                asked = process_routing(self.estimator, "score", **routed.scorer.score)
                routed.scorer.score = asked[self.estimator.steps[-1][0]].score
            return routed
        score, weight = {}, params.get("sample_weight")
        if weight is not None:
            if scores_with_weights(scorer):
                score = {"sample_weight": weight}
            else:
                warn(f"scoring={self.scoring!r} takes no sample_weight: scores are without.")
        return Bunch(estimator=Bunch(fit=params), scorer=Bunch(score=score))

    def get_metadata_routing(self) -> MetadataRouter:
        """Return which metadata go where.

        Returns
        -------
        routing : MetadataRouter
            As scikit-learn's meta-estimators do.
        """
        fit_to_score = MethodMapping().add(caller="score", callee="score")
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                estimator=self.estimator,
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
            .add(
                scorer=self._get_scorer(),
                method_mapping=fit_to_score.add(caller="fit", callee="score"),
            )
        )

    def _at_optimum(self, final):
        """Return a copy at its optimum, where one can be reached; `final` stays as fitted.

        The removals predict the converged model. From a fit that stopped early one Newton
        step need not come near it, and candidates would be compared by that.
        """
        if self.method == "exact" or not hasattr(final, "polish"):
            return final
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # leave_out_score says what is wrong with it
            try:
                if _is_near_optimum(final):
                    return final  # its factorisation serves the removals, too
                return copy.copy(final).polish(tol=_NEAR, max_iter=20)
            except (ValueError, np.linalg.LinAlgError):
                return final

    @property
    def classes_(self) -> NDArray[Any]:
        """Class labels of the best estimator."""
        return self.best_estimator_.classes_

    def predict(self, X: MatrixLike) -> NDArray[Any]:
        """Return the predictions of the best estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.

        Returns
        -------
        prediction : ndarray of shape (m,) or (m, n_targets)
            Labels or targets.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict(X)

    @available_if(_best_has("predict_proba"))
    def predict_proba(self, X: MatrixLike) -> Floats:
        """Return the class probabilities of the best estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.

        Returns
        -------
        probability : ndarray of shape (m, n_classes)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_proba(X)

    @available_if(_best_has("predict_log_proba"))
    def predict_log_proba(self, X: MatrixLike) -> Floats:
        """Return the logarithm of the class probabilities of the best estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.

        Returns
        -------
        log_probability : ndarray of shape (m, n_classes)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_log_proba(X)

    @available_if(_best_has("decision_function"))
    def decision_function(self, X: MatrixLike) -> Floats:
        """Return the decision function of the best estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.

        Returns
        -------
        decision : ndarray of shape (m,) or (m, n_classes)
            One number for each sample with two classes.
        """
        check_is_fitted(self)
        return self.best_estimator_.decision_function(X)

    def score(self, X: MatrixLike, y: ArrayLike, **params: Any) -> float:
        """Return the score of the best estimator on other samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.
        y : array-like of shape (m,) or (m, n_targets)
            Their targets or labels.
        **params : dict of str -> object
            Passed to the scorer, with metadata routing only.

        Returns
        -------
        score : float
            By `scoring`; by the estimator's own score where that is None.
        """
        check_is_fitted(self)
        if params and not _routing():
            raise ValueError(
                f"score takes {', '.join(params)} with metadata routing only: "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        routed = process_routing(self, "score", **params)
        return self.scorer_(self.best_estimator_, X, y, **routed.scorer.score)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = self.estimator.__sklearn_tags__()
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = inner.classifier_tags
        tags.regressor_tags = inner.regressor_tags
        tags.input_tags = copy.copy(inner.input_tags)
        return tags


def _is_near_optimum(final):
    """Whether a fitted estimator is where `polish` would stop at once."""
    try:
        state = final._get_state("auto")
    except np.linalg.LinAlgError:
        return False  # flat where it is, which need not be so at the optimum
    decrement = convergence.newton_decrement(state.point, state.correction)
    return decrement <= _NEAR * np.sqrt(abs(state.point.value))


class _WarmFits:
    """Fits of one estimator at changing parameters, each from where the last one ended.

    Parameters
    ----------
    estimator : object
        What to clone.
    X, y : array-like
        Training data.
    metadata : dict
        What else `fit` of the estimator is given.
    """

    def __init__(self, estimator, X, y, metadata):
        final_estimator(estimator)
        self.estimator = estimator
        self.X, self.y, self.metadata = X, y, metadata
        self.steps, self.prepared = None, None
        self.last = None

    def fit(self, params):
        """Return a fitted copy of the estimator with these parameters."""
        candidate = clone(self.estimator).set_params(**clone(params, safe=False))
        final = final_estimator(candidate)
        X, metadata = self._prepare(candidate)
        self._warm(final).fit(X, self.y, **metadata)
        if hasattr(final, "warm_start"):
            final.warm_start = final_estimator(self.estimator).warm_start
        self.last = final
        return candidate

    def _prepare(self, candidate):
        """Give a pipeline its fitted steps; return what the last one is fitted on."""
        if not isinstance(candidate, Pipeline):
            return self.X, self.metadata
        before, own = _of_steps(candidate, self.metadata)
        if len(candidate.steps) == 1:
            return self.X, own
        steps = candidate[:-1]
        if self.steps is None or repr(_settings(steps)) != repr(_settings(self.steps)):
            self.steps = steps
            self.prepared = steps.fit_transform(self.X, self.y, **before)
        candidate.steps[:-1] = self.steps.steps
        return self.prepared, own

    def _warm(self, final):
        """Return the estimator with the last parameters, to start from."""
        if hasattr(final, "warm_start") and self.last is not None:
            final.warm_start = True
            # Copies: some solvers work in the arrays they are given.
            final.coef_ = copy.copy(self.last.coef_)
            final.intercept_ = copy.copy(self.last.intercept_)
        return final


def _routing():
    """Whether scikit-learn's metadata routing is on."""
    return get_config()["enable_metadata_routing"]


def _of_steps(pipe, metadata):
    """Return the metadata of a pipeline's `fit`, those of the steps before the last and its.

    With the names that the steps before it, as a pipeline, know them by.
    """
    last = pipe.steps[-1][0]
    if _routing():
        own = process_routing(pipe, "fit", **metadata)[last].fit
        known = []
        if len(pipe.steps) > 1:
            known = pipe[:-1].get_metadata_routing().consumes("fit_transform", metadata)
        return {name: metadata[name] for name in known}, own
    before, own = {}, {}
    for name, value in metadata.items():
        step, _, param = name.partition("__")
        if not param or step not in pipe.named_steps:
            raise ValueError(
                f"{name} does not say which step of the pipeline it is for: use the form "
                f"step__name, such as {last}__{name}."
            )
        if step == last:
            own[param] = value
        else:
            before[name] = value
    return before, own


def _settings(steps):
    """Return the parameters of a pipeline's steps, without the steps themselves."""
    return {
        name: value
        for name, value in steps.get_params().items()
        if name not in ("steps", *steps.named_steps)
    }


def _tabulate(candidates, scores, fit_times, score_times):
    """Return `cv_results_`."""
    n = len(candidates)
    results = {
        "mean_fit_time": np.array(fit_times),
        "std_fit_time": np.zeros(n),
        "mean_score_time": np.array(score_times),
        "std_score_time": np.zeros(n),
    }
    for name in sorted({name for params in candidates for name in params}):
        column = np.ma.masked_all(n, dtype=object)
        for i, params in enumerate(candidates):
            if name in params:
                column[i] = params[name]
        results[f"param_{name}"] = column
    scores = np.array(scores, dtype=np.float64)
    results["params"] = candidates
    results["split0_test_score"] = scores
    results["mean_test_score"] = scores.copy()
    results["std_test_score"] = np.zeros(n)
    # Candidates without a score share the last rank.
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    results["rank_test_score"] = rankdata(-ranked, method="min").astype(np.int32)
    return results


def jackknife_plus_interval(
    estimator: Estimator,
    X: MatrixLike,
    *,
    confidence_level: float = 0.9,
    method: Accuracy = "newton",
    refine: float | None = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Floats:
    """Return prediction intervals from leave-one-out residuals, without refitting.

    With mu_(i) the model without training sample i and r_i its absolute error on it,
    ``|y_i - mu_(i)(x_i)|``, the interval at x goes from the
    ``floor((1 - level) (n + 1))``-th smallest of ``mu_(i)(x) - r_i`` to the
    ``ceil(level (n + 1))``-th smallest of ``mu_(i)(x) + r_i``.

    If training and new samples are exchangeable, the interval holds the new target with
    probability at least ``2 level - 1``, whatever the model, and usually about `level`.
    Frozen: hyperparameters, in a pipeline also the preprocessing; for squared error the
    models without a sample are exact.

    Parameters
    ----------
    estimator : object
        Fitted regressor of skinfluence with one target, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (q, n_features)
        Samples to predict.
    confidence_level : float, default=0.9
        Share of new targets that the intervals are to hold. Sample weights do not enter.
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models without each sample.
    refine : float, default=None
        Share of the training samples left out exactly, see `leave_out_params`.
    hessian_solver : str or HessianSolver, default="auto"
        How to apply H^-1; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads over training samples.

    Returns
    -------
    interval : ndarray of shape (q, 2)
        Lower and upper ends; infinite where there are too few training samples for the
        level.

    References
    ----------
    Barber, Candes, Ramdas & Tibshirani, "Predictive inference with the jackknife+", Annals
    of Statistics 49, 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.model_selection import jackknife_plus_interval
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = Ridge(alpha=0.1).fit(X[:300], y[:300])
    >>> lower, upper = jackknife_plus_interval(reg, X[300:]).T
    >>> round(float(((lower <= y[300:]) & (y[300:] <= upper)).mean()), 2)
    0.9
    """
    final = final_estimator(estimator)
    final._refuse_dask("jackknife_plus_interval", X)
    if is_classifier(final) or final._get_formulation().layout.n_predictions != 1:
        raise ValueError(
            "jackknife_plus_interval is for regressors with one target: for a classifier use "
            "probabilities, for several targets a model for each."
        )
    if not isinstance(confidence_level, Real) or not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must be between 0 and 1.")
    objective = final._get_objective()
    formulation = objective.formulation
    design = final._check_X(formulation, transform(estimator, X))
    warn_of_leaks(estimator, "jackknife_plus_interval")
    params = final.leave_out_params(
        method=method, refine=refine, hessian_solver=hessian_solver, n_jobs=n_jobs
    )
    theta = formulation.layout.from_public(params)[:, 0]
    readings = objective.design.readings(theta)
    own = np.concatenate(
        [
            np.einsum("bd,bd->b", objective.design.take(block).rows(), readings[block])
            for block in row_blocks(len(theta), 8 * 3 * theta.shape[1])
        ]
    )
    y = objective.target[:, 0]
    residual = np.abs(y - formulation.loss.response(own[:, None])[:, 0])
    kept = np.isfinite(residual)  # samples that no model can do without are left out
    theta, residual = theta[kept], residual[kept]
    n = len(residual)
    # Rounding must not turn the 90th of 99 into the 91st.
    upper_rank = int(np.ceil(round(confidence_level * (n + 1), 9)))
    lower_rank = int(np.floor(round((1 - confidence_level) * (n + 1), 9)))
    interval = np.empty((design.n_rows, 2))
    interval[:] = -np.inf, np.inf
    for block in row_blocks(design.n_rows, 8 * 5 * n):
        raw = design.take(block).predict(theta)
        predicted = formulation.loss.response(raw[..., None])[..., 0]
        if lower_rank >= 1:
            below = np.partition(predicted - residual, lower_rank - 1, axis=1)
            interval[block, 0] = below[:, lower_rank - 1]
        if upper_rank <= n:
            above = np.partition(predicted + residual, upper_rank - 1, axis=1)
            interval[block, 1] = above[:, upper_rank - 1]
    return interval
