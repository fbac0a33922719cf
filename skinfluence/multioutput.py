"""Estimators of several outputs that are made of estimators of one."""

import numpy as np
from sklearn import multioutput

from skinfluence.composite import CompositeMixin, CompositeProblem, log_loss, remembering
from skinfluence.composite.influence import codes_of

__all__ = ["MultiOutputClassifier", "MultiOutputRegressor"]


class MultiOutputProblem(CompositeProblem):
    """One member for each output, on all rows."""

    def targets(self, y):
        y = np.asarray(y)
        if y.ndim != 2 or y.shape[1] != len(self.members()):
            raise ValueError(
                f"y has shape {y.shape}, but {self.name} needs {len(self.members())} outputs: "
                "one column for each."
            )
        return [(None, column) for column in y.T]

    def loss(self, value, y):
        if not self.is_classifier:
            return super().loss(value, y)
        found = [
            log_loss(proba, codes_of(column, member.classes_))
            for proba, member, (_, column) in zip(
                value, self.members(), self.targets(y), strict=True
            )
        ]
        return sum(loss for loss, _ in found), [gradient for _, gradient in found]

    def tangent(self, X, method, moved):
        parts = [moved(k, method) for k in range(len(self.members()))]
        return parts if method == "predict_proba" else np.stack(parts, axis=-1)


class MultiOutputClassifier(CompositeMixin, multioutput.MultiOutputClassifier):
    """One classifier for each output, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.multioutput.MultiOutputClassifier`. The loss of a sample is the sum of the
    log losses of its outputs, ``l = -sum_k log p_k(y_k)``, or of the members' losses if they
    have no probabilities. `influence_prediction` of "predict_proba" is a list with an array
    for each output, as `predict_proba` is.

    Parameters
    ----------
    estimator : estimator
        Classifier or pipeline that has influence here, ours or scikit-learn's.
    n_jobs : int, default=None
        Number of jobs that fit the members.

    See Also
    --------
    MultiOutputRegressor : The same for regressors.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.multioutput import MultiOutputClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> Y = np.column_stack([y, y > 0])
    >>> clf = MultiOutputClassifier(LogisticRegression(max_iter=1000)).fit(X, Y)
    >>> clf.influence_loss(X[:2], Y[:2]).shape
    (2, 150)
    """

    _problem_class = MultiOutputProblem
    fit = remembering(multioutput.MultiOutputClassifier.fit)


class MultiOutputRegressor(CompositeMixin, multioutput.MultiOutputRegressor):
    """One regressor for each output, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.multioutput.MultiOutputRegressor`. The loss of a sample is the squared
    error ``l = sum_k (y_k - f_k)^2``.

    Parameters
    ----------
    estimator : estimator
        Regressor or pipeline that has influence here, ours or scikit-learn's.
    n_jobs : int, default=None
        Number of jobs that fit the members.

    See Also
    --------
    MultiOutputClassifier : The same for classifiers.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.multioutput import MultiOutputRegressor
    >>> X, Y = load_linnerud(return_X_y=True)
    >>> reg = MultiOutputRegressor(Ridge()).fit(X, Y)
    >>> reg.influence_prediction(X[:2]).shape
    (2, 20, 3)
    """

    _problem_class = MultiOutputProblem
    fit = remembering(multioutput.MultiOutputRegressor.fit)
