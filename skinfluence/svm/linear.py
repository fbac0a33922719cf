"""scikit-learn's linear support vector machines, fitted by liblinear.

The objective is, with margins m_ik = y_ik eta_ik in problem k,

    F = sum_ik C w_i c_ik l(m_ik) + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

so the intercept is penalised. Two classes are one problem, and c_i is the weight for the
class of row i. With more classes there is one problem for each class, and c_ik is the weight
for class k if row i belongs to class k, else 1.
"""

from sklearn import svm
from sklearn.utils.validation import check_is_fitted

from skinfluence.checks import check_number
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.layout import ParameterLayout
from skinfluence.losses import (
    EpsilonInsensitiveLoss,
    HingeLoss,
    SquaredEpsilonInsensitiveLoss,
    SquaredHingeLoss,
)
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.objective import Formulation
from skinfluence.svm.shared import (
    linear_classification,
    penalty_with_intercept,
    smoothed,
)
from skinfluence.svm.smooth import SmoothHingeLinearSVC
from skinfluence.svm.smooth_models import store_linear
from skinfluence.targets import RealTarget

# Parameters for the most accurate refits by liblinear. The primal solver stops at a distance
# of 1e-7 from the optimum, even if the tolerance is smaller. The dual solver converges to
# rounding error, but may diverge if the tolerance is below 1e-11.
_TIGHT = {"dual": True, "tol": 1e-10, "max_iter": 100_000, "verbose": 0}


class LinearSVC(InfluenceEstimatorMixin, svm.LinearSVC):
    """Linear support vector classifier with influence functions.

    Parameters, attributes and `fit` are the same as in :class:`sklearn.svm.LinearSVC`. With
    ``loss="squared_hinge"``, `fit` minimises this objective, with sample weights w, class
    weights c ("balanced" ones move with the samples) and labels y = +-1 in problem k::

        F = sum_ik C w_i c_ik max(0, 1 - y_ik eta_ik)^2
            + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

    Two classes are one problem, and c_i is the weight for the class of row i. With more
    classes there is one problem for each class, and c_ik is the weight for class k if row i
    belongs to class k, else 1. The loss has no second derivative at a margin of exactly 1.
    Results are derivatives as long as no margin crosses 1.

    With ``loss="hinge"`` there is no square. Rows with a margin of exactly 1 then keep that
    margin, and results are derivatives on the active set. They are zero for rows beyond the
    margin and for rows on it. Newton corrections and `polish` are not defined for the hinge.
    `smooth` returns a smooth model with the same parameters, which has these methods.

    With ``penalty="l1"`` or ``multi_class="crammer_singer"`` the estimator fits and
    predicts, but has no influence functions.

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
        """Return a smooth model with the parameters of this hinge fit, without a refit.

        The hinge has no second derivative, so the usual influence function is not defined.
        Koh & Liang evaluate the influence function for the smooth hinge at the parameters
        for the hinge. The returned model does this. It has the objective of
        `SmoothHingeLinearSVC`, with the C, intercept scaling, class weights and training
        data of this fit. The parameters are not the optimum of the smooth objective.
        `convergence_report` measures the distance, `newton_correction` returns the first
        step towards the optimum, and `polish` moves the parameters there.

        Parameters
        ----------
        temperature : float, default=0.1
            Width t of the smooth hinge t log(1 + exp((1 - y eta)/t)), in units of the margin.

        Returns
        -------
        smooth : SmoothHingeLinearSVC
            Fitted model with copies of `coef_` and `intercept_`.

        Raises
        ------
        UnsupportedEstimatorError
            If the loss is not the hinge.

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
        check_number("temperature", temperature, "a positive number", least=0)
        problem = get_problem(self).fitted
        if not isinstance(get_problem(self).formulation.loss, HingeLoss):
            raise UnsupportedEstimatorError(
                f"LinearSVC(loss={problem.params['loss']!r}) already has influence methods, "
                "so smooth() does not apply: call its methods, or fit with loss='hinge'."
            )
        shared = ("C", "fit_intercept", "intercept_scaling")
        smooth = SmoothHingeLinearSVC(
            temperature=temperature, **{name: problem.params[name] for name in shared}
        )
        return smoothed(self, smooth, temperature, store_linear)

    def _formulate(self, y, sample_weight):
        for name, given, supported in [
            ("multi_class", self.multi_class, "ovr"),
            ("penalty", self.penalty, "l2"),
        ]:
            if given != supported:
                raise UnsupportedEstimatorError(
                    f"LinearSVC({name}={given!r}) has no influence functions here: use "
                    f"{name}={supported!r}."
                )
        loss = {"hinge": HingeLoss, "squared_hinge": SquaredHingeLoss}[self.loss]()
        return linear_classification(self, loss, y, sample_weight)

    def _tight_params(self, params):
        return _TIGHT


class LinearSVR(InfluenceEstimatorMixin, svm.LinearSVR):
    """Linear support vector regression with influence functions.

    Parameters, attributes and `fit` are the same as in :class:`sklearn.svm.LinearSVR`. With
    ``loss="squared_epsilon_insensitive"``, `fit` minimises this objective, with sample
    weights w::

        F = sum_i C w_i max(0, |y_i - eta_i| - epsilon)^2
            + 1/2 |coef|^2 + 1/2 (intercept / intercept_scaling)^2

    The loss has no second derivative if an absolute residual is exactly epsilon. Results are
    derivatives as long as no residual crosses epsilon.

    With ``loss="epsilon_insensitive"``, scikit-learn's default, there is no square. Rows with
    an absolute residual of exactly epsilon then keep it, and results are derivatives on the
    active set. They are zero for rows inside the tube and for rows at its border.

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
