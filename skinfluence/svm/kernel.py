"""scikit-learn's kernel support vector machines, fitted by libsvm.

    F = sum_i C w_i c_i l(y_i, f(x_i)) + 1/2 |f - b|^2_K,     f = sum_j a_j K(., x_j) + b

The loss l is the hinge, for each pair of classes, or the epsilon-insensitive loss. The
intercept b is not penalised. At the optimum some rows are exactly on the margin, or on the
border of the tube. The derivatives depend on the set of these rows (`active_set.py`).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import svm
from sklearn.utils.validation import check_is_fitted

from skinfluence._compat import fitted_gamma, write_libsvm
from skinfluence.checks import check_number
from skinfluence.losses import EpsilonInsensitiveLoss, HingeLoss
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.objective import Formulation
from skinfluence.parameters import DualCoefficients
from skinfluence.responses import PairResponses
from skinfluence.svm.shared import (
    dual_penalty,
    one_vs_one_classification,
    resolve_kernel,
    smoothed,
)
from skinfluence.svm.smooth import SmoothHingeSVC
from skinfluence.svm.smooth_models import store_dual
from skinfluence.targets import RealTarget
from skinfluence.whole import gamma_problem

# Parameters for refits, with the smallest tolerance that libsvm reaches. LIBSVM's own programs
# have this limit, because a hopeless fit never ends without one. scikit-learn warns if a fit
# reaches it.
_TIGHT = {"tol": 1e-9, "max_iter": 10_000_000, "verbose": False}


class _LibsvmCoefficients(DualCoefficients):
    """Dual coefficients of the support vectors, as libsvm stores them."""

    def forget(self, model):
        super().forget(model)
        model._counted_rows = None

    def remember(self, model, objective):
        if getattr(model, "_counted_rows", None) is None:
            model._counted_rows = np.flatnonzero(objective.sample_weight > 0)

    def support(self, model):
        """Return the row indices of the support vectors, after a fit or a refit."""
        counted = getattr(model, "_counted_rows", None)
        return model.support_ if counted is None else counted[model.support_]

    def kernel(self, model, X):
        kernel, gamma = resolve_kernel(model, X), fitted_gamma(model)
        if "gamma" not in kernel.params or gamma is None:
            return kernel
        return replace(kernel, params=kernel.params | {"gamma": float(gamma)})

    def problems(self, model):
        n_classes = len(model.classes_)
        return n_classes * (n_classes - 1) // 2, True

    def n_training_rows(self, model):
        return model.shape_fit_[0]

    def kept_rows(self, model):
        if not model.support_vectors_.size:  # a precomputed kernel, or a function
            return None
        return self.support(model), model.support_vectors_

    def reads_raw_samples(self, model):
        fitted = model._fitted_kernel
        # libsvm passes raw samples to the function.
        return callable(model.kernel if fitted is None else fitted.metric)

    def read_dual(self, model, n):
        dual, support = model.dual_coef_, self.support(model)
        dual = dual.toarray() if issparse(dual) else dual
        n_classes = len(model.classes_)
        coef = np.zeros((n_classes * (n_classes - 1) // 2, n))
        if n_classes == 2:
            coef[0, support] = dual[0]
            return coef, model.intercept_
        # A column belongs to a support vector, with one row for each other class. Rows for
        # classes after its own class are shifted up by one.
        codes = np.repeat(np.arange(n_classes), model.n_support_)
        for k, (i, j) in enumerate(zip(*np.triu_indices(n_classes, 1), strict=True)):
            coef[k, support[codes == i]] = dual[j - 1, codes == i]
            coef[k, support[codes == j]] = dual[i, codes == j]
        return coef, model.intercept_

    def write_dual(self, model, coef, intercept, objective):
        labels = None
        if hasattr(model, "classes_"):
            encoder = objective.formulation.target
            labels = encoder.class_codes(objective.target)
        coef, X = np.atleast_2d(coef), objective.design.basis.X
        kernel = model._fitted_kernel
        gamma = kernel.params.get("gamma")
        write_libsvm(model, coef, np.ravel(intercept), X, labels, kernel.metric, gamma)
        model._counted_rows = np.arange(X.shape[0])


class _RegressionCoefficients(_LibsvmCoefficients):
    """Dual coefficients of a regression, which is a single problem."""

    def problems(self, model):
        return 1, True

    def read_dual(self, model, n):
        dual = model.dual_coef_
        coef = np.zeros(n)
        coef[self.support(model)] = (dual.toarray() if issparse(dual) else dual)[0]
        return coef, model.intercept_


class _LibsvmMixin(InfluenceEstimatorMixin):
    """Influence methods for the estimators that libsvm fits."""

    _has_curvature = False
    _fitted_kernel: Any = None
    #: Rows with positive weight at `fit`, because libsvm ignores all others.
    _counted_rows = None

    def _tight_params(self, params):
        gamma = self._fitted_kernel.params.get("gamma")
        return _TIGHT | ({} if gamma is None else {"gamma": gamma})


get_problem.register(_LibsvmMixin, gamma_problem)


class SVC(_LibsvmMixin, svm.SVC):
    """Kernel support vector classifier with influence functions.

    Parameters, attributes and `fit` are the same as in :class:`sklearn.svm.SVC`. For each
    pair of classes, `fit` minimises this objective over the rows in both classes, with
    sample weights w, class weights c ("balanced" weights depend on the number of samples),
    labels y = +-1 and f = sum_j a_j K(., x_j) + b::

        F = sum_i C w_i c_i max(0, 1 - y_i f(x_i)) + 1/2 |f - b|^2_K

    The intercept b is not penalised. Rows with a margin of exactly 1 keep that margin, and
    results are derivatives on the active set. They are valid as long as no row enters or
    leaves the margin; "exact" removal follows these changes. For rows beyond the margin and
    for rows on it they are zero, except for the effect on "balanced" class weights and on
    ``gamma="scale"``, which move with the samples. If gamma does, the solver refits the model
    for each removal.

    Newton corrections and `polish` are not defined for the hinge. `smooth` returns a smooth
    model with the same parameters, which has these methods.

    `params_` contains the dual coefficients a for all training samples, and then the
    intercepts. Rows that are not support vectors have zeros. The coefficients are ordered by
    pairs of classes (0, 1), (0, 2), ..., (1, 2), ... With ``probability=True`` the estimator
    fits and predicts, but its probabilities have no influence functions, because an internal
    cross-validation calibrates them.

    With a function as kernel, or a precomputed one, and weights of zero, scikit-learn's own
    predictions read the kernel at other rows. Results here are those of the fit without these
    rows: leave them out of `fit`, and both agree.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.svm import SVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SVC(gamma="auto", tol=1e-6).fit(scale(X), y)
    >>> influence = clf.influence_prediction(scale(X)[:3])
    >>> influence.shape, len(clf.support_), int((influence != 0).any(axis=0).sum())
    ((3, 569), 119, 62)
    """

    _parameters = _LibsvmCoefficients()
    _responses = PairResponses()

    def smooth(self, temperature: float = 0.1) -> SmoothHingeSVC:
        """Return a smooth model with the parameters of this hinge fit, without a refit.

        The model has the objective of `SmoothHingeSVC`, with the C, kernel, class weights
        and training data of this fit. Koh & Liang compute influence in this way: they
        evaluate the influence functions for the smooth hinge at the parameters for the
        hinge. The parameters are not the optimum of the smooth objective.
        `convergence_report` measures the distance, `newton_correction` returns the first
        step towards the optimum, and `polish` moves the parameters there.

        Parameters
        ----------
        temperature : float, default=0.1
            Width t of the smooth hinge t log(1 + exp((1 - y f)/t)), in units of the margin.

        Returns
        -------
        smooth : SmoothHingeSVC
            Fitted model; `dual_coef_` has a column for each training sample.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        section 4.3.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.svm import SVC
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> smooth = SVC().fit(scale(X), y).smooth(temperature=0.1)
        >>> smooth.convergence_report().converged
        False
        >>> smooth.polish().convergence_report().converged
        True
        """
        check_is_fitted(self)
        check_number("temperature", temperature, "a positive number", least=0)
        problem, kernel = get_problem(self), self._fitted_kernel
        params = problem.fitted.params
        smooth = SmoothHingeSVC(
            C=params["C"], temperature=temperature, kernel=kernel.metric, **kernel.params
        )
        return smoothed(self, smooth, temperature, store_dual)

    def _formulate(self, y, sample_weight):
        return one_vs_one_classification(self, HingeLoss(), y, self.shape_fit_[0])


class SVR(_LibsvmMixin, svm.SVR):
    """Kernel support vector regression with influence functions.

    Parameters, attributes and `fit` are the same as in :class:`sklearn.svm.SVR`. `fit`
    minimises this objective, with sample weights w and f = sum_j a_j K(., x_j) + b::

        F = sum_i C w_i max(0, |y_i - f(x_i)| - epsilon) + 1/2 |f - b|^2_K

    The intercept b is not penalised. Rows with an absolute residual of exactly epsilon keep
    it, and results are derivatives on the active set. They are zero for rows inside the tube
    and for rows at its border, except for their effect on ``gamma="scale"``, which moves with
    the samples. Newton corrections and `polish` are not defined for this loss.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.svm import SVR
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = SVR(C=100, epsilon=20, tol=1e-6).fit(X, y)
    >>> reg.influence_prediction(X[:3]).shape
    (3, 442)
    """

    _parameters = _RegressionCoefficients()

    def _formulate(self, y, sample_weight):
        layout = self._layout()
        return Formulation(
            loss=EpsilonInsensitiveLoss(float(self.epsilon)),
            target=RealTarget(1),
            layout=layout,
            penalty=dual_penalty(layout),
            loss_scale=float(self.C),
        )
