"""Estimators with several outputs, built from estimators with one."""

from __future__ import annotations

from typing import Any

from sklearn import multioutput
from sklearn.utils.validation import check_is_fitted

from skinfluence.composite import (
    CompositeMixin,
    remembering,
)
from skinfluence.composite.chains import (
    ChainProblem,
    CrossFittedChainProblem,
    MultiOutputProblem,
)
from skinfluence.methods import get_problem

__all__ = [
    "ClassifierChain",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "RegressorChain",
]


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


class ChainMixin(CompositeMixin):
    """Influence methods for a chain."""

    _problem_class = ChainProblem
    cv: Any


@get_problem.register(ChainMixin)
def problem_of_chain(chain, method=None):
    """Return a chain's problem."""
    check_is_fitted(chain)
    problem = ChainProblem(chain)
    return problem if problem.as_fitted.cv is None else CrossFittedChainProblem(chain)


class ClassifierChain(ChainMixin, multioutput.ClassifierChain):
    """Chain of binary classifiers that use the preceding outputs, with influence.

    Parameters, attributes and `fit` are those of :class:`sklearn.multioutput.ClassifierChain`.
    A sample's loss is the log loss for `predict_proba`, summed over the outputs.

    With ``chain_method="predict"`` members use labels as features, which have no derivative.
    Probabilities and decision values have one, and influence passes through them. With `cv` it
    also passes through the fold models' responses that the members were fitted on. The fold
    models are fitted again, because scikit-learn does not keep them, so `cv` must not be
    random. Removal takes rows out of the folds as drawn.

    Parameters
    ----------
    estimator : estimator
        Classifier or pipeline that has influence here, ours or scikit-learn's.
    order : array-like of shape (n_outputs,), "random" or None, default=None
        The order of the outputs.
    cv : int, cross-validation generator or iterable, default=None
        Folds for cross-fitted features; None for the true outputs as features.
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

    fit = remembering(multioutput.ClassifierChain.fit)


class RegressorChain(ChainMixin, multioutput.RegressorChain):
    """Chain of regressors that use the preceding outputs, with influence.

    Parameters, attributes and `fit` are those of :class:`sklearn.multioutput.RegressorChain`.
    A sample's loss is the squared error ``l = sum_k (y_k - f_k)^2``. Influence passes through
    the predictions that members use as features. With `cv` it also passes through the fold
    models' predictions that the members were fitted on. The fold models are fitted again,
    because scikit-learn does not keep them, so `cv` must not be random. Removal takes rows out
    of the folds as drawn.

    Parameters
    ----------
    estimator : estimator
        Regressor or pipeline that has influence here, ours or scikit-learn's.
    order : array-like of shape (n_outputs,), "random" or None, default=None
        The order of the outputs.
    cv : int, cross-validation generator or iterable, default=None
        Folds for cross-fitted features; None for the true outputs as features.
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

    fit = remembering(multioutput.RegressorChain.fit)
