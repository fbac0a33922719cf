"""Kernel support vector machines of scikit-learn, fitted by libsvm.

    F = sum_i C w_i c_i l(y_i, f(x_i)) + 1/2 |f - b|^2_K,     f = sum_j a_j K(., x_j) + b

with the hinge for each pair of classes, or the epsilon-insensitive loss, and a free
intercept b. The optimum holds rows exactly on the margin, or on the border of the tube; its
derivatives follow from which rows these are (`active_set.py`).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import svm
from sklearn.utils.validation import check_is_fitted

from skinfluence._compat import fitted_gamma, write_libsvm
from skinfluence.losses import EpsilonInsensitiveLoss, HingeLoss
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.parameters import DualCoefficients
from skinfluence.responses import PairResponses
from skinfluence.svm.shared import (
    check_number,
    dual_penalty,
    one_vs_one_classification,
    resolve_kernel,
    smoothed,
)
from skinfluence.svm.smooth import SmoothHingeSVC
from skinfluence.targets import RealTarget

__all__ = ["SVC", "SVR"]

# Parameters of refits as tight as libsvm goes.
_TIGHT = {"tol": 1e-9, "max_iter": -1, "verbose": False}


class _LibsvmCoefficients(DualCoefficients):
    """Dual coefficients of the support vectors, as libsvm keeps them."""

    def forget(self, model):
        super().forget(model)
        model._counted_rows = None

    def remember(self, model, objective):
        if model._counted_rows is None:
            model._counted_rows = np.flatnonzero(objective.sample_weight > 0)

    def support(self, model):
        """Return the rows of the support vectors of a fit or of a refit."""
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
        if not model.support_vectors_.size:  # if the kernel is not scikit-learn's
            return None
        return self.support(model), model.support_vectors_

    def reads_raw_samples(self, model):
        fitted = model._fitted_kernel
        # libsvm leaves the samples to the function.
        return callable(model.kernel if fitted is None else fitted.metric)

    def read_dual(self, model, n):
        dual, support = model.dual_coef_, self.support(model)
        dual = dual.toarray() if issparse(dual) else dual
        n_classes = len(model.classes_)
        coef = np.zeros((n_classes * (n_classes - 1) // 2, n))
        if n_classes == 2:
            coef[0, support] = dual[0]
            return coef, model.intercept_
        # A support vector of class i has its coefficients of the pairs with all other
        # classes below each other, those with classes after its own one row higher.
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
        kernel = model._fitted_kernel.metric
        write_libsvm(model, coef, np.ravel(intercept), X, labels, kernel)
        model._counted_rows = np.arange(X.shape[0])


class _RegressionCoefficients(_LibsvmCoefficients):
    """Those of a regression, which is one problem."""

    def problems(self, model):
        return 1, True

    def read_dual(self, model, n):
        dual = model.dual_coef_
        coef = np.zeros(n)
        coef[self.support(model)] = (dual.toarray() if issparse(dual) else dual)[0]
        return coef, model.intercept_


class _LibsvmMixin(InfluenceEstimatorMixin):
    """Influence for the estimators that libsvm fits."""

    _has_curvature = False
    _fitted_kernel: Any = None
    #: Rows with a weight at the time of fit: libsvm counts only these.
    _counted_rows = None

    def _frozen(self):
        """Return the constructor parameters that a refit takes over as numbers."""
        gamma = self._fitted_kernel.params.get("gamma")
        return {} if gamma is None else {"gamma": gamma}


class SVC(_LibsvmMixin, svm.SVC):
    """Kernel support vector classifier of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.svm.SVC`. The objective of
    each pair of classes, with sample weights w, class weights c (frozen at fit; "balanced"
    ones from the numbers of samples), labels y = +-1 and f = sum_j a_j K(., x_j) + b::

        F = sum_i C w_i c_i max(0, 1 - y_i f(x_i)) + 1/2 |f - b|^2_K

    over the rows of both classes, with a free intercept b. Margins of exactly 1 are held
    there, and results are derivatives on the active set: zero for rows beyond the margin and
    for those held on it. They hold as long as no row enters or leaves the margin; "exact"
    removal follows these changes.

    Newton corrections and `polish` have no meaning for the hinge; `smooth` returns a smooth
    model at the same parameters that has them.

    `params_` holds the dual coefficients a of all training samples, zero off the support,
    one problem after the other in the order (0, 1), (0, 2), ..., (1, 2), ... of pairs, then
    the intercepts. ``probability=True`` fits and predicts, but probabilities, which an
    internal cross-validation calibrates, have no influence.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.svm import SVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = SVC(tol=1e-6).fit(scale(X), y)
    >>> influence = clf.influence_prediction(scale(X)[:3])
    >>> influence.shape, len(clf.support_), int((influence != 0).any(axis=0).sum())
    ((3, 569), 119, 62)
    """

    _parameters = _LibsvmCoefficients()
    _responses = PairResponses()

    def smooth(self, temperature: float = 0.1) -> SmoothHingeSVC:
        """Return a smooth model at the parameters of this hinge fit, not refitted.

        Its objective is that of `SmoothHingeSVC` with the same C, kernel, class weights and
        training data, all as they were at `fit`: the protocol of Koh & Liang, who evaluate
        the influence of the smooth hinge at the parameters of the hinge. These are not
        the optimum of that objective: `convergence_report` says how far from it,
        `newton_correction` points there, and `polish` goes there.

        Parameters
        ----------
        temperature : float, default=0.1
            Width t of the smooth hinge t log(1 + exp((1 - y f)/t)).

        Returns
        -------
        smooth : SmoothHingeSVC
            Fitted, with `dual_coef_` of all training samples.

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
        check_number("temperature", temperature)
        problem, kernel = self._problem(), self._fitted_kernel
        params = problem.fitted.params
        smooth = SmoothHingeSVC(
            C=params["C"], temperature=temperature, kernel=kernel.metric, **kernel.params
        )
        return smoothed(self, smooth, temperature)

    def _formulate(self, y, sample_weight):
        return one_vs_one_classification(self, HingeLoss(), y, self.shape_fit_[0])

    def _tight_params(self, params):
        form = self._problem().fitted.formulation
        return _TIGHT | self._frozen() | {"class_weight": form.frozen_class_weight()}


class SVR(_LibsvmMixin, svm.SVR):
    """Kernel support vector regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.svm.SVR`. The objective, with
    sample weights w and f = sum_j a_j K(., x_j) + b::

        F = sum_i C w_i max(0, |y_i - f(x_i)| - epsilon) + 1/2 |f - b|^2_K

    with a free intercept b. Residuals of exactly epsilon are held there, and results are
    derivatives on the active set: zero for rows inside the tube and for those held at its
    border. Newton corrections and `polish` have no meaning for this loss.

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

    def _tight_params(self, params):
        return _TIGHT | self._frozen()
