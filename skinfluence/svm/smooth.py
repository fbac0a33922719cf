"""Support vector machines with a smooth hinge and influence functions."""

from __future__ import annotations

from skinfluence.losses import SmoothHingeLoss
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.parameters import DualCoefficients
from skinfluence.responses import PairResponses
from skinfluence.svm.shared import linear_classification, one_vs_one_classification
from skinfluence.svm.smooth_models import SmoothHingeKernelModel, SmoothHingeLinearModel
from skinfluence.whole import gamma_problem

# Parameters for refits, with the smallest tolerance that rounding allows.
_TIGHT = {"tol": 1e-11, "max_iter": 1000}


class SmoothHingeLinearSVC(InfluenceEstimatorMixin, SmoothHingeLinearModel):
    """Linear support vector classifier with a smooth hinge, and influence functions.

    `fit` minimises this objective, with temperature t, sample weights w, class weights c
    ("balanced" ones move with the samples) and labels y = +-1 in problem k::

        F = sum_ik C w_i c_ik t log(1 + exp((1 - y_ik eta_ik)/t))
            + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

    As t approaches 0, this becomes the objective for ``LinearSVC(loss="hinge")``. If t > 0,
    all derivatives exist. Two classes are one problem, and c_i is the weight for the class of
    row i. With more classes there is one problem for each class, and c_ik is the weight for
    class k if row i belongs to class k, else 1, as in :class:`sklearn.svm.LinearSVC`.

    `fit` uses a damped Newton method. It starts with zeros at temperature 1 and follows the
    optimum as the temperature falls to t.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the loss relative to the penalty.
    temperature : float, default=0.1
        Width t of the smooth hinge, in units of the margin.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    intercept_scaling : float, default=1.0
        Scale for the intercept in the penalty. A larger value penalises the intercept less.
    class_weight : dict or "balanced", default=None
        Weight for each class; None for ones. "balanced" weights are inversely proportional
        to the sum of sample weights in each class.
    tol : float, default=1e-8
        Stop if the Newton decrement, relative to the square root of the objective, is
        smaller.
    max_iter : int, default=100
        Largest number of Newton steps over all temperatures.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; zeros if `fit_intercept=False`.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_iter_ : int
        Number of Newton steps over all temperatures.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Feature names, if X had names that are all strings.

    See Also
    --------
    LinearSVC : The hinge and the squared hinge, fitted by liblinear.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.svm import SmoothHingeLinearSVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SmoothHingeLinearSVC(temperature=0.1).fit(scale(X), y)
    >>> round(clf.score(scale(X), y), 2)
    0.99
    >>> clf.influence_loss(scale(X)[:3], y[:3]).shape
    (3, 569)
    """

    def _formulate(self, y, sample_weight):
        loss = SmoothHingeLoss(self.temperature)
        return linear_classification(self, loss, y, sample_weight)

    def _tight_params(self, params):
        return _TIGHT


class _SmoothCoefficients(DualCoefficients):
    """Dual coefficients in `dual_coef_`, with one row for each pair of classes."""

    gamma_by_weight = True

    def forget(self, model):
        """Keep the kernel, which `fit` itself sets."""

    def kernel(self, model, X):
        return model._fitted_kernel

    def weights_move(self, model, params):
        if params["gamma"] != "scale" or "gamma" not in model._fitted_kernel.params:
            return None
        gamma = model._fitted_kernel.params["gamma"]
        return (
            "gamma='scale' of SmoothHingeSVC depends on the sample weights, and the kernel "
            f"with it: fit with gamma={gamma:.6g}, its present value."
        )

    def problems(self, model):
        return len(model.dual_coef_), True

    def n_training_rows(self, model):
        return model.dual_coef_.shape[1]

    def kept_rows(self, model):
        return slice(None), model.X_fit_

    def read_dual(self, model, n):
        return model.dual_coef_, model.intercept_

    def write_dual(self, model, coef, intercept, objective):
        model.dual_coef_, model.intercept_ = coef, intercept
        model.X_fit_ = objective.design.basis.X


class SmoothHingeSVC(InfluenceEstimatorMixin, SmoothHingeKernelModel):
    """Kernel support vector classifier with a smooth hinge, and influence functions.

    For each pair of classes, `fit` minimises this objective over the rows in both classes,
    with temperature t, sample weights w, class weights c ("balanced" weights depend on the
    number of samples) and labels y = +-1::

        F = sum_i C w_i c_i t log(1 + exp((1 - y_i f(x_i))/t)) + 1/2 |f - b|^2_K
        f = sum_j a_j K(., x_j) + b

    The intercept b is not penalised. "balanced" class weights and ``gamma="scale"`` move with
    the samples. As t approaches 0, this becomes the objective for
    :class:`sklearn.svm.SVC`. If t > 0, all derivatives exist.

    `fit` uses a damped Newton method on functions. It starts with zeros at temperature 1 and
    follows the optimum as the temperature falls to t.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the loss relative to the penalty.
    temperature : float, default=0.1
        Width t of the smooth hinge, in units of the margin.
    kernel : {"linear", "rbf", "poly", "sigmoid", "precomputed"} or callable, default="rbf"
        Kernel. A function takes two matrices and returns K between their rows. The kernel
        must be positive semidefinite; "sigmoid" may not be.
    gamma : {"scale", "auto"} or float, default="scale"
        Coefficient in "rbf", "poly" and "sigmoid". "auto" means 1 / n_features. "scale"
        means 1 / (n_features * X.var()). This variance uses the sample weights, so weight 2
        is equivalent to a repeated row.
    degree : int, default=3
        Degree for "poly".
    coef0 : float, default=0.0
        Constant in "poly" and "sigmoid".
    class_weight : dict or "balanced", default=None
        Weight for each class; None for ones. "balanced" weights are inversely proportional
        to the number of samples in each class.
    tol : float, default=1e-8
        Stop if the Newton decrement, relative to the square root of the objective, is
        smaller.
    max_iter : int, default=100
        Largest number of Newton steps over all temperatures.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_pairs, n_samples)
        Coefficients a, with one row for each pair of classes in the order (0, 1), (0, 2),
        ..., (1, 2), ... If there are two classes, coefficients are positive for the second;
        with more classes they are positive for the first class in a pair, as in libsvm.
    intercept_ : ndarray of shape (n_pairs,)
        Intercepts b.
    X_fit_ : {ndarray, sparse matrix} of shape (n_samples, n_features)
        Training samples, which predictions need.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_iter_ : int
        Number of Newton steps over all temperatures.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Feature names, if X had names that are all strings.

    See Also
    --------
    SVC : The hinge itself, fitted by libsvm.
    SmoothHingeLinearSVC : The linear model with a penalised intercept.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.svm import SmoothHingeSVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SmoothHingeSVC(temperature=0.1).fit(scale(X), y)
    >>> round(clf.score(scale(X), y), 2)
    0.99
    >>> clf.influence_loss(scale(X)[:3], y[:3]).shape
    (3, 569)
    """

    _parameters = _SmoothCoefficients()
    _responses = PairResponses()
    _fitted_kernel = None

    def _formulate(self, y, sample_weight):
        loss = SmoothHingeLoss(self.temperature)
        return one_vs_one_classification(self, loss, y, self.dual_coef_.shape[1])

    def _tight_params(self, params):
        return _TIGHT | self._fitted_kernel.params


get_problem.register(SmoothHingeSVC, gamma_problem)
