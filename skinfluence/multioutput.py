"""Estimators with several outputs, built from estimators with one."""

import numpy as np
from scipy import sparse
from sklearn import multioutput

from skinfluence.composite import (
    CompositeMixin,
    CompositeProblem,
    log_loss,
    marginal_log_loss,
    remembering,
)
from skinfluence.composite.influence import codes_of
from skinfluence.exceptions import UnsupportedEstimatorError

__all__ = [
    "ClassifierChain",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "RegressorChain",
]


class MultiOutputProblem(CompositeProblem):
    """One member for each output, on all rows."""

    takes_weights = True

    def targets(self, y):
        return [(None, column) for column in self.outputs(y).T]

    def outputs(self, y):
        """Return targets (q, n_outputs) after a check that there is a column for each."""
        y, n_outputs = np.asarray(y), len(self.members())
        if y.ndim != 2 or y.shape[1] != n_outputs:
            raise ValueError(
                f"y has shape {y.shape}, but {self.name} needs {n_outputs} outputs: one "
                "column for each."
            )
        return y

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


class ChainProblem(MultiOutputProblem):
    """One member for each output, with X and the preceding outputs as features.

    In `fit` these outputs are the targets. In a prediction they are the preceding members'
    responses r_j, so ``dr_k = moved_k + sum_(j < k) (dr_k/dr_j) dr_j``.
    """

    takes_arrays = True
    takes_weights = False

    def targets(self, y):
        y = self.outputs(y)
        return [(None, y[:, output]) for output in self.estimator.order_]

    def prepare(self, data):
        if self.estimator.cv is not None:
            raise UnsupportedEstimatorError(
                f"Influence of {self.name} with cv={self.estimator.cv!r}: its members are "
                "fitted on predictions of models that it does not keep. Use cv=None."
            )

    def shares(self, data):
        found = super().shares(data)
        before = np.array([y for _, _, y in found], dtype=np.float64).T
        return [(part, beside(X, before[:, :k]), y) for k, (part, X, y) in enumerate(found)]

    @property
    def loss_method(self):
        if super().loss_method is None:
            raise UnsupportedEstimatorError(
                f"The members of this {self.name} have no probabilities, and members that are "
                "fed with predictions have no loss of their own. Use influence_prediction or "
                "leave_out_predict."
            )
        return super().loss_method

    def loss(self, value, y):
        if not self.is_classifier:
            return super().loss(value, y)
        labels = np.empty(value.shape)
        for output, member, (_, column) in zip(
            self.estimator.order_, self.members(), self.targets(y), strict=True
        ):
            labels[:, output] = codes_of(column, member.classes_)
        return marginal_log_loss(value, labels)

    def tangent(self, X, method, moved):
        fed = getattr(self.estimator, "chain_method_", "predict")
        smooth = fed != "predict" or not self.is_classifier  # labels have no derivative
        order, before = self.estimator.order_, np.empty((X.shape[0], 0))
        fed_tangents, found = [], [None] * len(order)
        X = self.features(0, X)
        for k, member in enumerate(self.members()):
            rows = beside(X, before)

            def through(name, rows=rows, member=member, k=k, before=before):
                """Return the tangent for one of this member's responses."""
                total = positive(moved(k, name, rows))
                for j in range(len(fed_tangents)):
                    slope = derivative(member, name, X, before, j)
                    total = total + slope[:, None] * fed_tangents[j]
                return total

            found[order[k]] = through(method)
            if smooth:
                fed_tangents.append(found[order[k]] if fed == method else through(fed))
            response = np.asarray(getattr(member, fed)(rows), dtype=np.float64)
            column = response[:, 1] if response.ndim == 2 else response
            before = np.column_stack([before, column])
        return np.stack(found, axis=-1)


def beside(X, columns):
    """Return rows with more columns appended."""
    if sparse.issparse(X):
        return sparse.hstack([X, columns], format="csr") if columns.shape[1] else X
    return np.hstack([X, columns])


def positive(moved):
    """Return the tangent for the second probability, or the only number, (q, n)."""
    return moved[:, :, 1] if moved.ndim == 3 else moved


def derivative(member, name, X, before, j):
    """Return d response / d (column j of `before`) by a central difference, (q,).

    It is exact for responses that are linear in the features.
    """
    step = 1e-5 * max(1.0, np.abs(before[:, j]).max())
    sides = []
    for sign in (1.0, -1.0):
        shifted = before.copy()
        shifted[:, j] += sign * step
        value = np.asarray(getattr(member, name)(beside(X, shifted)), dtype=np.float64)
        sides.append(value[:, 1] if value.ndim == 2 else value)
    return (sides[0] - sides[1]) / (2 * step)


class MultiOutputClassifier(CompositeMixin, multioutput.MultiOutputClassifier):
    """One classifier for each output, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.multioutput.MultiOutputClassifier`. A sample's loss is the sum over its
    outputs' log losses, ``l = -sum_k log p_k(y_k)``. If the members have no probabilities, it
    is the sum over their losses. `influence_prediction` for "predict_proba" returns a list
    with an array for each output, like `predict_proba`.

    Parameters
    ----------
    estimator : estimator
        Classifier or pipeline that has influence here, ours or scikit-learn's.
    n_jobs : int, default=None
        Number of jobs that fit the members.

    See Also
    --------
    MultiOutputRegressor : For regressors.

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
    :class:`sklearn.multioutput.MultiOutputRegressor`. A sample's loss is the squared error
    ``l = sum_k (y_k - f_k)^2``.

    Parameters
    ----------
    estimator : estimator
        Regressor or pipeline that has influence here, ours or scikit-learn's.
    n_jobs : int, default=None
        Number of jobs that fit the members.

    See Also
    --------
    MultiOutputClassifier : For classifiers.

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


class ClassifierChain(CompositeMixin, multioutput.ClassifierChain):
    """Chain of binary classifiers that use the preceding outputs, with influence.

    Parameters, attributes and `fit` are those of :class:`sklearn.multioutput.ClassifierChain`.
    A sample's loss is the log loss for `predict_proba`, summed over the outputs.

    With ``chain_method="predict"`` members use labels as features, which have no derivative.
    Probabilities and decision values have one, and influence passes through them.

    Parameters
    ----------
    estimator : estimator
        Classifier or pipeline that has influence here, ours or scikit-learn's.
    order : array-like of shape (n_outputs,), "random" or None, default=None
        The order of the outputs.
    cv : int, cross-validation generator or iterable, default=None
        Must be None for influence.
    chain_method : str or list of str, default="predict"
        The responses that members use as features.
    random_state : int, RandomState instance or None, default=None
        Draws a random order.
    verbose : bool, default=False
        Whether to print the time for each fit.

    See Also
    --------
    RegressorChain : For regressors.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.multioutput import ClassifierChain
    >>> X, y = load_iris(return_X_y=True)
    >>> Y = np.column_stack([y > 0, y > 1]).astype(int)
    >>> clf = ClassifierChain(LogisticRegression(), chain_method="predict_proba").fit(X, Y)
    >>> clf.influence_loss(X[:2], Y[:2]).shape
    (2, 150)
    """

    _problem_class = ChainProblem
    fit = remembering(multioutput.ClassifierChain.fit)


class RegressorChain(CompositeMixin, multioutput.RegressorChain):
    """Chain of regressors that use the preceding outputs, with influence.

    Parameters, attributes and `fit` are those of :class:`sklearn.multioutput.RegressorChain`.
    A sample's loss is the squared error ``l = sum_k (y_k - f_k)^2``. Influence passes through
    the predictions that members use as features.

    Parameters
    ----------
    estimator : estimator
        Regressor or pipeline that has influence here, ours or scikit-learn's.
    order : array-like of shape (n_outputs,), "random" or None, default=None
        The order of the outputs.
    cv : int, cross-validation generator or iterable, default=None
        Must be None for influence.
    random_state : int, RandomState instance or None, default=None
        Draws a random order.
    verbose : bool, default=False
        Whether to print the time for each fit.

    See Also
    --------
    ClassifierChain : For classifiers.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skinfluence.linear_model import Ridge
    >>> from skinfluence.multioutput import RegressorChain
    >>> X, Y = load_linnerud(return_X_y=True)
    >>> reg = RegressorChain(Ridge()).fit(X, Y)
    >>> reg.influence_prediction(X[:2]).shape
    (2, 20, 3)
    """

    _problem_class = ChainProblem
    fit = remembering(multioutput.RegressorChain.fit)
