"""Ensembles that average members, fitted on all rows or on drawn rows."""

import copy
from numbers import Integral

import numpy as np
from sklearn import ensemble
from sklearn.utils.validation import has_fit_parameter

from skinfluence._compat import drawn_from, draws_by_weight
from skinfluence.composite import CompositeMixin, CompositeProblem, remembering
from skinfluence.composite.draws import draw_rows, drawn_again
from skinfluence.composite.stacking import StackingProblem, name_members
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.steps import innermost

__all__ = [
    "BaggingClassifier",
    "BaggingRegressor",
    "StackingClassifier",
    "StackingRegressor",
    "VotingClassifier",
    "VotingRegressor",
]


class VotingProblem(CompositeProblem):
    """Members on all rows; their responses are averaged with weights."""

    takes_weights = codes_classes = True
    response_params = ("voting", "weights")

    def put(self, estimator, members):
        estimator.estimators_ = members
        name_members(estimator, self.as_fitted)

    def prepare(self, data):
        if getattr(self.estimator, "voting", "hard") == "soft":
            for k, member in enumerate(self.members()):
                if not hasattr(member, "predict_proba"):
                    raise UnsupportedEstimatorError(
                        f"{self.name}(voting='soft') takes the mean of probabilities, and "
                        f"{self.path_of(k)}, a {type(innermost(member)).__name__}, has no "
                        "predict_proba. Fit with voting='hard', or put this member into a "
                        "CalibratedClassifierCV."
                    )
        super().prepare(data)

    @property
    def mean_weights(self):
        given = self.estimator.weights
        if given is None:
            return None
        named = zip(given, self.estimator.estimators, strict=True)
        return np.array([w for w, (_, e) in named if e != "drop"], dtype=np.float64)


class BaggingProblem(CompositeProblem):
    """Members on drawn rows and features; their responses are averaged."""

    takes_arrays = takes_weights = codes_classes = True

    def columns(self):
        return self.estimator.estimators_features_

    #: Members see drawn rows.
    draws = True

    def drawn(self, data):
        n, remembered = data.n_rows, self.remembered
        drawn_n, _ = drawn_from(self.estimator)
        if n != drawn_n:
            if remembered.parts is None or remembered.data.n_rows != n:
                raise ValueError(
                    f"X has {n} rows, but {self.name} drew from {drawn_n} rows of training "
                    "data: pass the samples of the fit."
                )
            return [(part.rows, part.counts) for part in remembered.parts]  # rows were removed
        samples = draw_rows(self, data)
        if has_fit_parameter(self.estimator.estimator_, "sample_weight"):
            return [(None, np.bincount(rows, minlength=n)) for rows in samples]
        return [(rows, None) for rows in samples]

    def fit_again(self, data):
        estimator = copy.copy(self.estimator)
        kept = {name: vars(estimator)[name] for name in ("estimators_", "estimator_")}
        fitted = self.as_fitted
        is_fixed = isinstance(fitted.random_state, Integral)
        if not is_fixed or fitted.oob_score or fitted.warm_start:
            raise UnsupportedEstimatorError(
                f"add_samples of {self.name}: fit draws rows again, which is known for an "
                "integer random_state, and without oob_score and warm_start. Fit it again."
            )
        drawer = drawn_again(self, data)
        drawn = {
            name: vars(drawer)[name] for name in vars(drawer).keys() - drawer.get_params()
        }
        vars(estimator).update(drawn | kept)
        return super(BaggingProblem, type(self)(estimator)).fit_again(data)

    def reaches(self, member, routing):
        return not draws_by_weight(self.estimator) and super().reaches(member, routing)

    @property
    def smooth_responses(self):
        if all(hasattr(member, "predict_proba") for member in self.members()):
            return super().smooth_responses
        return [name for name in super().smooth_responses if name != "predict_proba"]


class VotingClassifier(CompositeMixin, ensemble.VotingClassifier):
    """Classifiers that vote, or whose probabilities are averaged, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.ensemble.VotingClassifier`. With soft voting, a sample's loss is the log
    loss ``l = -log p_y`` for the mean probability ``p = sum_k w_k p_k / sum_k w_k``. Votes
    have no derivative, so with hard voting it is the sum over the members' losses.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Estimators or pipelines that have influence here, ours or scikit-learn's.
    voting : {"hard", "soft"}, default="hard"
        Whether labels are counted or probabilities averaged.
    weights : array-like of shape (n_classifiers,), default=None
        The members' weights.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    flatten_transform : bool, default=True
        Whether `transform` flattens the probabilities.
    verbose : bool, default=False
        Print the time that each fit takes.

    See Also
    --------
    VotingRegressor : The same for regressors.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.ensemble import VotingClassifier
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> weak, strong = LogisticRegression(C=0.01), LogisticRegression(C=1.0, max_iter=1000)
    >>> clf = VotingClassifier([("weak", weak), ("strong", strong)], voting="soft").fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 150)
    """

    _problem_class = VotingProblem
    fit = remembering(ensemble.VotingClassifier.fit)


class VotingRegressor(CompositeMixin, ensemble.VotingRegressor):
    """Regressors whose predictions are averaged, with influence.

    Parameters, attributes and `fit` are those of :class:`sklearn.ensemble.VotingRegressor`.
    The prediction is ``f = sum_k w_k f_k / sum_k w_k``, and a sample's loss is the squared
    error ``l = (y - f)^2``.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Estimators or pipelines that have influence here, ours or scikit-learn's.
    weights : array-like of shape (n_regressors,), default=None
        The members' weights.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    verbose : bool, default=False
        Print the time that each fit takes.

    See Also
    --------
    VotingClassifier : The same for classifiers.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.ensemble import VotingRegressor
    >>> from skinfluence.linear_model import PoissonRegressor, Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = VotingRegressor([("ridge", Ridge()), ("poisson", PoissonRegressor())])
    >>> reg.fit(X, y).influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    _problem_class = VotingProblem
    fit = remembering(ensemble.VotingRegressor.fit)


class BaggingClassifier(CompositeMixin, ensemble.BaggingClassifier):
    """Classifiers on drawn rows and features, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.ensemble.BaggingClassifier`. A sample's loss is the log loss
    ``l = -log p_y`` for the mean probability, or the sum over the members' losses if they have
    no probabilities.

    Frozen: the draws. A row counts as often as it was drawn. Removal takes it out of the
    members that drew it, without new draws. `add_samples` draws from all samples as `fit`
    would, which needs an integer `random_state`.

    Parameters
    ----------
    estimator : estimator
        Estimator or pipeline that has influence here, ours or scikit-learn's.
    n_estimators : int, default=10
        Number of members.
    max_samples : int or float, default=None
        How many rows to draw.
    max_features : int or float, default=1.0
        How many features to draw.
    bootstrap : bool, default=True
        Whether rows are drawn with replacement.
    bootstrap_features : bool, default=False
        Whether features are drawn with replacement.
    oob_score : bool, default=False
        Whether to compute a score from the samples that members did not draw.
    warm_start : bool, default=False
        Whether to keep the members from an earlier fit.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    random_state : int, RandomState instance or None, default=None
        Seed for the draws.
    verbose : int, default=0
        Verbosity for joblib's progress messages.

    See Also
    --------
    BaggingRegressor : The same for regressors.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.ensemble import BaggingClassifier
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = BaggingClassifier(LogisticRegression(max_iter=1000), 3, random_state=0)
    >>> clf.fit(X, y).influence_loss(X[:2], y[:2]).shape
    (2, 150)
    """

    _problem_class = BaggingProblem
    fit = remembering(ensemble.BaggingClassifier.fit)


class BaggingRegressor(CompositeMixin, ensemble.BaggingRegressor):
    """Regressors on drawn rows and features, with influence.

    Parameters, attributes and `fit` are those of :class:`sklearn.ensemble.BaggingRegressor`.
    A sample's loss is the mean prediction's squared error ``l = (y - f)^2``.

    Frozen: the draws. A row counts as often as it was drawn. Removal takes it out of the
    members that drew it, without new draws. `add_samples` draws from all samples as `fit`
    would, which needs an integer `random_state`.

    Parameters
    ----------
    estimator : estimator
        Estimator or pipeline that has influence here, ours or scikit-learn's.
    n_estimators : int, default=10
        Number of members.
    max_samples : int or float, default=None
        How many rows to draw.
    max_features : int or float, default=1.0
        How many features to draw.
    bootstrap : bool, default=True
        Whether rows are drawn with replacement.
    bootstrap_features : bool, default=False
        Whether features are drawn with replacement.
    oob_score : bool, default=False
        Whether to compute a score from the samples that members did not draw.
    warm_start : bool, default=False
        Whether to keep the members from an earlier fit.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    random_state : int, RandomState instance or None, default=None
        Seed for the draws.
    verbose : int, default=0
        Verbosity for joblib's progress messages.

    See Also
    --------
    BaggingClassifier : The same for classifiers.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.ensemble import BaggingRegressor
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = BaggingRegressor(Ridge(), 3, random_state=0).fit(X, y)
    >>> reg.influence_prediction(X[:2]).shape
    (2, 442)
    """

    _problem_class = BaggingProblem
    fit = remembering(ensemble.BaggingRegressor.fit)


class StackingClassifier(CompositeMixin, ensemble.StackingClassifier):
    """A final classifier on the predictions of others, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.ensemble.StackingClassifier`. A sample's loss is the log loss
    ``l = -log p_y`` for `predict_proba`, or the loss of the final estimator if that has no
    probabilities.

    The final estimator is fitted on cross-fitted predictions. Influence passes through the
    members, the fold models and the final estimator. The fold models are fitted again, because
    scikit-learn does not keep them. The final estimator may be a pipeline or contain others.

    Frozen: the folds. They are drawn again as `fit` drew them, so `cv` must not be random.
    Removal takes rows out of the folds as drawn; `add_samples` draws them on all samples.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Estimators or pipelines that have influence here, ours or scikit-learn's.
    final_estimator : estimator, default=None
        Combines the members; logistic regression by default.
    cv : int, cross-validation generator or iterable, default=None
        The folds.
    stack_method : str, default="auto"
        The members' response that the final estimator uses.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    passthrough : bool, default=False
        Whether the final estimator sees the samples, too.
    verbose : int, default=0
        Messages of joblib about progress.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.ensemble import StackingClassifier
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> weak, strong = LogisticRegression(C=0.01), LogisticRegression(max_iter=1000)
    >>> clf = StackingClassifier([("weak", weak), ("strong", strong)], cv=3).fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 150)
    """

    _problem_class = StackingProblem
    fit = remembering(ensemble.StackingClassifier.fit)


class StackingRegressor(CompositeMixin, ensemble.StackingRegressor):
    """A final regressor on the predictions of others, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.ensemble.StackingRegressor`. A sample's loss is the squared error
    ``l = (y - f)^2``.

    The final estimator is fitted on cross-fitted predictions. Influence passes through the
    members, the fold models and the final estimator. The fold models are fitted again, because
    scikit-learn does not keep them. The final estimator may be a pipeline or contain others.

    Frozen: the folds. They are drawn again as `fit` drew them, so `cv` must not be random.
    Removal takes rows out of the folds as drawn; `add_samples` draws them on all samples.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Estimators or pipelines that have influence here, ours or scikit-learn's.
    final_estimator : estimator, default=None
        Combines the members; ridge regression with a search by default.
    cv : int, cross-validation generator or iterable, default=None
        The folds.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    passthrough : bool, default=False
        Whether the final estimator sees the samples, too.
    verbose : int, default=0
        Messages of joblib about progress.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.ensemble import StackingRegressor
    >>> from skinfluence.linear_model import PoissonRegressor, Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = StackingRegressor([("ridge", Ridge()), ("poisson", PoissonRegressor())], cv=3)
    >>> reg.fit(X, y).influence_prediction(X[:2]).shape
    (2, 442)
    """

    _problem_class = StackingProblem
    fit = remembering(ensemble.StackingRegressor.fit)
