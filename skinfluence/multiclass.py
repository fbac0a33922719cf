"""Classifiers for several classes or labels, built from binary classifiers."""

from itertools import combinations

import numpy as np
from scipy import sparse
from sklearn import multiclass

from skinfluence.composite import CompositeMixin, CompositeProblem, remembering
from skinfluence.composite.influence import codes_of
from skinfluence.composite.losses import log_loss, marginal_log_loss
from skinfluence.responses import PairDecision
from skinfluence.stages.calibrators import normalised

__all__ = ["OneVsOneClassifier", "OneVsRestClassifier"]


class OneVsRestProblem(CompositeProblem):
    """One member for each class or label, on all rows."""

    takes_weights = True

    @property
    def compares_by_members(self):
        return len(self.members()) > 1

    def targets(self, y):
        if not self.estimator.multilabel_:
            codes_of(y, self.estimator.classes_)  # raises for a label that fit has not seen
        labels = self.estimator.label_binarizer_.transform(y)
        labels = labels.toarray() if sparse.issparse(labels) else labels
        return [(None, column) for column in labels.T]

    def loss(self, value, y):
        if self.estimator.multilabel_:
            return marginal_log_loss(value, np.array([c for _, c in self.targets(y)]).T)
        return log_loss(value, codes_of(y, self.estimator.classes_))

    def tangent(self, X, method, moved):
        members = range(len(self.members()))
        if method == "decision_function":
            parts = [moved(k, method) for k in members]
            return parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
        positive = np.stack([moved(k, method)[:, :, 1] for k in members], axis=-1)
        if positive.shape[-1] == 1:
            return np.concatenate([-positive, positive], axis=-1)
        if self.estimator.multilabel_:
            return positive
        found = [m.predict_proba(self.features(k, X)) for k, m in enumerate(self.members())]
        return normalised(np.stack(found)[:, :, 1].T, positive)


class OneVsOneProblem(CompositeProblem):
    """One member for each pair of classes, on these two classes' rows."""

    takes_arrays = takes_weights = True

    def put(self, estimator, members):
        estimator.estimators_ = tuple(members)

    def targets(self, y):
        codes = codes_of(y, self.estimator.classes_)
        pairs = combinations(range(len(self.estimator.classes_)), 2)
        rows = [(np.flatnonzero((codes == i) | (codes == j)), j) for i, j in pairs]
        return [(r, (codes[r] == j).astype(int)) for r, j in rows]

    def tangent(self, X, method, moved):
        members, n_classes = self.members(), len(self.estimator.classes_)
        values, parts = [], []
        for k, member in enumerate(members):
            Xk = self.features(k, X)
            if hasattr(member, "decision_function"):
                values.append(member.decision_function(Xk))
                parts.append(moved(k, "decision_function"))
            else:
                values.append(member.predict_proba(Xk)[:, 1])
                parts.append(moved(k, "predict_proba")[:, :, 1])
        # Positive is the second class of a pair here, and the first one there.
        slope = -PairDecision(n_classes).jacobian(-np.array(values).T)
        found = np.einsum("qcp,qnp->qnc", slope, np.stack(parts, axis=-1))
        return found[:, :, 1] if n_classes == 2 else found


class OneVsRestClassifier(CompositeMixin, multiclass.OneVsRestClassifier):
    """One binary classifier for each class or label, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.multiclass.OneVsRestClassifier`. A sample's loss is the log loss for
    `predict_proba`, which is summed over the labels if there are several:

        l = -log p_y   or   l = -sum_k [y_k log p_k + (1 - y_k) log(1 - p_k)].

    If the members have no probabilities, it is the sum over their losses.

    Parameters
    ----------
    estimator : estimator
        Estimator or pipeline that has influence here, ours or scikit-learn's.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    verbose : int, default=0
        Verbosity for joblib's progress messages.

    See Also
    --------
    OneVsOneClassifier : One classifier for each pair of classes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.multiclass import OneVsRestClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = OneVsRestClassifier(LogisticRegression()).fit(X, y)
    >>> clf.influence_loss(X[:2], y[:2]).shape
    (2, 150)
    """

    _problem_class = OneVsRestProblem
    fit = remembering(multiclass.OneVsRestClassifier.fit)


class OneVsOneClassifier(CompositeMixin, multiclass.OneVsOneClassifier):
    """One classifier for each pair of classes, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.multiclass.OneVsOneClassifier`. A sample's loss is the sum over the losses
    from the K - 1 members whose pair contains its class.

    Parameters
    ----------
    estimator : estimator
        Estimator or pipeline that has influence here, ours or scikit-learn's.
    n_jobs : int, default=None
        Number of jobs for fitting the members.

    See Also
    --------
    OneVsRestClassifier : One classifier for each class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.multiclass import OneVsOneClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = OneVsOneClassifier(LogisticRegression()).fit(X, y)
    >>> clf.influence_prediction(X[:2]).shape
    (2, 150, 3)
    """

    _problem_class = OneVsOneProblem
    fit = remembering(multiclass.OneVsOneClassifier.fit)
