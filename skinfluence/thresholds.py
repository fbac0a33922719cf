"""Classifiers with a decision threshold of their own."""

import copy

import numpy as np
from sklearn import model_selection

from skinfluence.composite import CompositeMixin, CompositeProblem, remembering
from skinfluence.composite.first_order import pool
from skinfluence.composite.parts import is_frozen
from skinfluence.composite.refits import Remembered
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.methods import get_problem
from skinfluence.problem.requests import NEW

__all__ = ["FixedThresholdClassifier", "TunedThresholdClassifierCV"]


class ThresholdProblem(CompositeProblem):
    """One classifier on all rows. The threshold changes the labels that it predicts."""

    takes_weights = True
    path = "estimator_"
    has_one_member = True
    lacks = "has no vector of parameters of its own"
    holds = "its classifier, estimator_"
    #: The loss is the classifier's own, which does not depend on the threshold.
    loss_method = None
    response_params = ("pos_label", "response_method", "threshold")

    # The classifier computes all models without a sample together, which is faster.

    def leave_out_loss(self, X, y, request, output=NEW):
        problem = get_problem(self.parts[0].member, "leave_out_loss")
        return problem.leave_out_loss(X, y, request, output)

    def left_out(self, names, request):
        member, found = self.parts[0].member, {}
        problem = get_problem(member, "leave_out_predict")
        compared = self.estimator.response_method
        if compared == "auto":
            known = hasattr(member, "predict_proba")
            compared = "predict_proba" if known else "decision_function"
        for name in ("decision_function", "predict_proba"):
            if name in names or ("predict" in names and name == compared):
                found[name] = problem.leave_out_predict(request, response_method=name)
                if np.isnan(found[name]).any():
                    return super().left_out(names, request)  # it names groups without a model
        if "predict" in names:
            estimator = copy.copy(self.estimator)
            estimator.estimator_ = pool(member, found)
            found["predict"] = estimator.predict(self.data.X)
        return {name: found[name] for name in names}

    @property
    def is_prefit(self):
        """Whether the classifier was fitted before, and the threshold alone here."""
        cv = getattr(self.as_fitted, "cv", None)
        return isinstance(cv, str) and cv == "prefit"

    def remember(self, X, y, sample_weight):
        estimator = self.estimator
        if self.is_prefit or is_frozen(estimator):
            estimator._composite = Remembered(
                refusal=f"This fit of {self.name} has not fitted its classifier, so no sample "
                "has influence on it. Pass the classifier and the samples that it was fitted "
                "on to skinfluence.from_fitted."
            )
            return
        super().remember(X, y, sample_weight)

    def prepare(self, data):
        if not self.is_prefit and getattr(self.as_fitted, "refit", True) is False:
            raise UnsupportedEstimatorError(
                f"{self.name} with refit=False has no influence, because its classifier was "
                "fitted on a part of the samples. Use refit=True, or pass estimator_ and the "
                "samples of this part to skinfluence.from_fitted."
            )


class FixedThresholdClassifier(CompositeMixin, model_selection.FixedThresholdClassifier):
    """A binary classifier that predicts by a given threshold, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.model_selection.FixedThresholdClassifier`. A sample's loss is that of the
    classifier, which does not depend on the threshold. The labels that methods predict without
    samples are those at the threshold.

    Parameters
    ----------
    estimator : estimator
        Classifier or pipeline that has influence here, ours or scikit-learn's.
    threshold : {"auto"} or float, default="auto"
        The decision threshold.
    pos_label : int, float, bool or str, default=None
        The positive class.
    response_method : {"auto", "decision_function", "predict_proba"}, default="auto"
        The response that is compared with the threshold.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.model_selection import FixedThresholdClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = FixedThresholdClassifier(LogisticRegression(), threshold=0.9).fit(scale(X), y)
    >>> round(clf.leave_out_score(), 3)
    0.931
    """

    _problem_class = ThresholdProblem
    fit = remembering(model_selection.FixedThresholdClassifier.fit)


class TunedThresholdClassifierCV(CompositeMixin, model_selection.TunedThresholdClassifierCV):
    """A binary classifier that predicts by a threshold that it has tuned, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.model_selection.TunedThresholdClassifierCV`. A sample's loss is that of the
    classifier, which does not depend on the threshold.

    Frozen: the threshold, `best_threshold_`. The labels that methods predict without samples
    are those at this threshold, as those of a
    :class:`~skinfluence.model_selection.FixedThresholdClassifier`.

    Parameters
    ----------
    estimator : estimator
        Classifier or pipeline that has influence here, ours or scikit-learn's.
    scoring : str or callable, default="balanced_accuracy"
        The metric that the threshold maximises.
    response_method : {"auto", "decision_function", "predict_proba"}, default="auto"
        The response that is compared with the threshold.
    thresholds : int or array-like, default=100
        Number of thresholds to try, or the thresholds.
    cv : int, float, cross-validation generator, iterable or "prefit", default=None
        How to divide the samples for the choice of the threshold.
    refit : bool, default=True
        Whether to fit the classifier on all samples.
    n_jobs : int, default=None
        Number of jobs for the choice of the threshold.
    random_state : int, RandomState instance or None, default=None
        Random numbers for `cv` as a float.
    store_cv_results : bool, default=False
        Whether to keep the scores of all thresholds.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.model_selection import TunedThresholdClassifierCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = TunedThresholdClassifierCV(LogisticRegression(), cv=3).fit(scale(X), y)
    >>> clf.influence_loss(scale(X)[:2], y[:2]).shape
    (2, 569)
    """

    _problem_class = ThresholdProblem
    fit = remembering(model_selection.TunedThresholdClassifierCV.fit)
