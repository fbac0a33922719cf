"""Linear support vector machines of scikit-learn, fitted by liblinear.

With margins m_ik = y_ik eta_ik, one problem k for two classes and one for each of several,

    F = sum_ik C w_i c_ik l(m_ik) + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

the intercept is penalised. With two classes every row has the weight of its class; with
several, c_ik is the weight of class k for the rows of that class and 1 for the others.
"""

from sklearn import svm
from sklearn.utils.validation import check_is_fitted

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.layout import ParameterLayout
from skinfluence.losses import (
    EpsilonInsensitiveLoss,
    HingeLoss,
    SquaredEpsilonInsensitiveLoss,
    SquaredHingeLoss,
)
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.objective import Formulation
from skinfluence.svm.shared import (
    check_number,
    linear_classification,
    penalty_with_intercept,
    smoothed,
)
from skinfluence.svm.smooth import SmoothHingeLinearSVC
from skinfluence.targets import RealTarget

__all__ = ["LinearSVC", "LinearSVR"]

# Parameters of refits with liblinear, as tight as it goes: its primal solver stops at 1e-7
# of the optimum whatever the tolerance, the dual one goes to rounding. Below 1e-11 it may
# wander off.
_TIGHT = {"dual": True, "tol": 1e-10, "max_iter": 100_000, "verbose": 0}


class LinearSVC(InfluenceEstimatorMixin, svm.LinearSVC):
    """Linear support vector classifier of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.svm.LinearSVC`. The
    objective with ``loss="squared_hinge"``, sample weights w, class weights c (frozen at
    fit, "balanced" ones too) and labels y = +-1 of problem k::

        F = sum_ik C w_i c_ik max(0, 1 - y_ik eta_ik)^2
            + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

    Two classes are one problem with the weights of both classes; several are one problem
    for each, where c_ik is the weight of class k for its own rows and 1 for the others.
    The loss has no second derivative at a margin of exactly 1; results are derivatives as
    long as no row's margin crosses it.

    With ``loss="hinge"`` the square is left out. Margins of exactly 1 are then held there,
    and results are derivatives on the active set: zero for rows beyond the margin and for
    those held on it. Newton corrections and `polish` have no meaning for it; `smooth`
    returns a smooth model at the same parameters that has them. ``penalty="l1"`` and
    ``multi_class="crammer_singer"`` fit and predict, but have no influence here.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.svm import LinearSVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LinearSVC(tol=1e-8, dual=False).fit(scale(X), y)
    >>> influence = clf.influence_loss(scale(X)[:3], y[:3])
    >>> influence.shape
    (3, 569)
    """

    def smooth(self, temperature: float = 0.1) -> SmoothHingeLinearSVC:
        """Return a smooth model at the parameters of this hinge fit, not refitted.

        The hinge has no second derivative and with it no influence function of the usual
        kind. Koh & Liang evaluate that of the smooth hinge at the parameters of the hinge
        fit. The returned model does this: its objective is that of `SmoothHingeLinearSVC`
        with the same C, intercept scaling, class weights and training data, all as they
        were at `fit`. The parameters are not the optimum of that objective:
        `convergence_report` says how far from it, `newton_correction` points there, and
        `polish` goes there.

        Parameters
        ----------
        temperature : float, default=0.1
            Width t of the smooth hinge t log(1 + exp((1 - y eta)/t)).

        Returns
        -------
        smooth : SmoothHingeLinearSVC
            Fitted, with copies of `coef_` and `intercept_`.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        section 4.3.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.svm import LinearSVC
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = LinearSVC(loss="hinge", max_iter=100_000).fit(scale(X), y)
        >>> smooth = clf.smooth(temperature=0.1)
        >>> smooth.convergence_report().converged
        False
        >>> smooth.polish().convergence_report().converged
        True
        """
        check_is_fitted(self)
        check_number("temperature", temperature)
        problem = self._problem().fitted
        if not isinstance(self._problem().formulation.loss, HingeLoss):
            raise UnsupportedEstimatorError(
                f"LinearSVC(loss={problem.params['loss']!r}) has influence of its own and "
                "is not made smooth: call its methods, or fit with loss='hinge'."
            )
        shared = ("C", "fit_intercept", "intercept_scaling")
        smooth = SmoothHingeLinearSVC(
            temperature=temperature, **{name: problem.params[name] for name in shared}
        )
        return smoothed(self, smooth, temperature)

    def _formulate(self, y, sample_weight):
        for name, given, supported in [
            ("multi_class", self.multi_class, "ovr"),
            ("penalty", self.penalty, "l2"),
        ]:
            if given != supported:
                raise UnsupportedEstimatorError(
                    f"LinearSVC({name}={given!r}) has no influence function here: use "
                    f"{name}={supported!r}."
                )
        loss = {"hinge": HingeLoss, "squared_hinge": SquaredHingeLoss}[self.loss]()
        return linear_classification(self, loss, y, sample_weight)

    def _tight_params(self, params):
        form = self._problem().fitted.formulation
        return _TIGHT | {"class_weight": form.frozen_class_weight()}


class LinearSVR(InfluenceEstimatorMixin, svm.LinearSVR):
    """Linear support vector regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.svm.LinearSVR`. The
    objective with ``loss="squared_epsilon_insensitive"`` and sample weights w::

        F = sum_i C w_i max(0, |y_i - eta_i| - epsilon)^2
            + 1/2 |coef|^2 + 1/2 (intercept / intercept_scaling)^2

    The loss has no second derivative where a residual is exactly epsilon; results are
    derivatives as long as no row's residual crosses it. With
    ``loss="epsilon_insensitive"``, scikit-learn's default, the square is left out, and
    residuals of exactly epsilon are held there: results are derivatives on the active
    set, zero for rows inside the tube and for those held at its border.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.svm import LinearSVR
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0.0, 1.2, 1.8, 5.0]
    >>> reg = LinearSVR(loss="squared_epsilon_insensitive", tol=1e-10).fit(X, y)
    >>> int(np.abs(reg.influence_params()[:, 0]).argmax())
    3
    """

    def _formulate(self, y, sample_weight):
        losses = {
            "epsilon_insensitive": EpsilonInsensitiveLoss,
            "squared_epsilon_insensitive": SquaredEpsilonInsensitiveLoss,
        }
        layout = ParameterLayout(1, self.n_features_in_, self.fit_intercept)
        return Formulation(
            loss=losses[self.loss](self.epsilon),
            target=RealTarget(1),
            layout=layout,
            penalty=penalty_with_intercept(self, layout),
            loss_scale=float(self.C),
        )

    def _tight_params(self, params):
        return _TIGHT
