"""Support vector machines with influence: scikit-learn's linear ones and a smooth one.

Same names, same parameters, same `fit` where the class is scikit-learn's. With margins
m_ik = y_ik eta_ik, one problem k for two classes and one for each of several,

    F = sum_ik C w_i c_ik l(m_ik) + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

the intercept is penalised, as liblinear has it. With two classes every row has the weight
of its class; with several, c_ik is the weight of class k for the rows of that class and 1
for the others.
"""

import warnings
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from sklearn import svm
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skinfluence import convergence
from skinfluence._compat import LinearClassifierMixin, check_sample_weight
from skinfluence.design import make_design
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.layout import ParameterLayout
from skinfluence.losses import (
    HingeLoss,
    SmoothHingeLoss,
    SquaredEpsilonInsensitiveLoss,
    SquaredHingeLoss,
)
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.objective import Formulation, Objective
from skinfluence.solvers import get_solver
from skinfluence.targets import OneVsRestLabels, RealTarget, SignedLabels

__all__ = ["LinearSVC", "LinearSVR", "SmoothHingeLinearSVC"]

# Temperatures fall by this factor from one stage of the fit to the next. With the path
# followed to first order a stage then takes two to four Newton steps.
_COOLING = 0.2
# How exactly the stages before the last are solved, see `convergence.polish`.
_STAGE_TOL = 1e-3


class LinearSVC(InfluenceEstimatorMixin, svm.LinearSVC):
    """Linear support vector classifier of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.svm.LinearSVC`. The
    objective with ``loss="squared_hinge"``, sample weights w, class weights c (frozen at
    fit, "balanced" ones too) and labels y = +-1 of problem k:

        F = sum_ik C w_i c_ik max(0, 1 - y_ik eta_ik)^2
            + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

    Two classes are one problem with the weights of both classes; several are one problem
    for each, where c_ik is the weight of class k for its own rows and 1 for the others.
    The loss has no second derivative at a margin of exactly 1; results are derivatives as
    long as no row's margin crosses it.

    ``loss="hinge"`` fits and predicts, and `smooth` turns it into a smooth model with
    influence; ``penalty="l1"`` and ``multi_class="crammer_singer"`` fit and predict, but
    have no influence here.

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

    def smooth(self, temperature=0.1):
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
        _check_number("temperature", temperature)
        problem = self._get_problem()
        if problem.refusal is None and not isinstance(problem.formulation.loss, HingeLoss):
            raise UnsupportedEstimatorError(
                f"LinearSVC(loss={problem.params['loss']!r}) has influence of its own and "
                "is not made smooth: call its methods, or fit with loss='hinge'."
            )
        formulation = super()._get_formulation()
        formulation = replace(formulation, loss=SmoothHingeLoss(temperature))
        shared = ("C", "fit_intercept", "intercept_scaling")
        smooth = SmoothHingeLinearSVC(
            temperature=temperature,
            class_weight=_frozen_class_weight(formulation),
            **{name: problem.params[name] for name in shared},
        )
        smooth._set_fitted(formulation.layout.from_public(self.params_), formulation.layout)
        smooth.n_iter_ = 0
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(smooth, name, getattr(self, name))
        objective = problem.objective
        if objective is not None:
            objective = replace(objective, formulation=formulation)
        smooth._influence_problem = replace(
            problem,
            formulation=formulation,
            objective=objective,
            params=smooth.get_params(deep=False),
        )
        smooth._influence_state = None
        return smooth

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
        return _classification(self, loss, y, sample_weight)

    def _get_formulation(self):
        formulation = super()._get_formulation()
        if isinstance(formulation.loss, HingeLoss):
            raise UnsupportedEstimatorError(
                "LinearSVC(loss='hinge') is not smooth and has no influence function of "
                "this kind: use loss='squared_hinge', SmoothHingeLinearSVC, or smooth() "
                "for a smooth model at the same parameters."
            )
        return formulation

    def _tight_params(self, params):
        form = self._influence_problem.formulation
        return _TIGHT | {"class_weight": _frozen_class_weight(form)}


class LinearSVR(InfluenceEstimatorMixin, svm.LinearSVR):
    """Linear support vector regression of scikit-learn with influence functions.

    Parameters, attributes and fit are those of :class:`sklearn.svm.LinearSVR`. The
    objective with ``loss="squared_epsilon_insensitive"`` and sample weights w:

        F = sum_i C w_i max(0, |y_i - eta_i| - epsilon)^2
            + 1/2 |coef|^2 + 1/2 (intercept / intercept_scaling)^2

    The loss has no second derivative where a residual is exactly epsilon; results are
    derivatives as long as no row's residual crosses it. ``loss="epsilon_insensitive"``,
    scikit-learn's default, fits and predicts, but has no influence here.

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
        if self.loss != "squared_epsilon_insensitive":
            raise UnsupportedEstimatorError(
                f"LinearSVR(loss={self.loss!r}) is not smooth and has no influence "
                "function here: use loss='squared_epsilon_insensitive'."
            )
        layout = ParameterLayout(1, self.n_features_in_, self.fit_intercept)
        return Formulation(
            loss=SquaredEpsilonInsensitiveLoss(self.epsilon),
            target=RealTarget(1),
            layout=layout,
            penalty=_penalty(self, layout),
            loss_scale=float(self.C),
        )

    def _tight_params(self, params):
        return _TIGHT


class _SmoothHingeLinearModel(LinearClassifierMixin, BaseEstimator):
    """The estimator without influence: parameters, fit and predictions."""

    def __init__(
        self,
        C=1.0,
        temperature=0.1,
        *,
        fit_intercept=True,
        intercept_scaling=1.0,
        class_weight=None,
        tol=1e-8,
        max_iter=100,
    ):
        self.C = C
        self.temperature = temperature
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X, y, sample_weight=None):
        self._check_params()
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype="numeric")
        check_classification_targets(y)
        weight = check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(
                "A classifier needs samples of at least 2 classes, but y holds only one "
                f"class: {self.classes_[0]!r}."
            )
        formulation = self._formulate(y, weight)
        design = make_design(X, formulation.layout.fit_intercept)
        target = formulation.target.encode(y)
        optimum = _anneal(
            Objective(formulation, design, target, weight), self.tol, self.max_iter
        )
        self.n_iter_ = optimum.n_iter
        self._set_fitted(optimum.theta, formulation.layout)
        if not optimum.converged:
            warnings.warn(
                f"SmoothHingeLinearSVC stopped after {optimum.n_iter} Newton steps at a "
                f"Newton decrement of {optimum.decrement:.3g}. Raise max_iter, scale the "
                "features, or choose a higher temperature.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _check_params(self):
        for name in ("C", "temperature", "intercept_scaling", "tol"):
            _check_number(name, getattr(self, name))
        if not isinstance(self.max_iter, Integral) or self.max_iter < 1:
            raise ValueError(f"max_iter={self.max_iter!r} must be a positive integer.")

    def _set_fitted(self, theta, layout):
        d = layout.n_features
        self.coef_ = theta[:, :d].copy()
        self.intercept_ = np.zeros(layout.n_outputs)
        if layout.fit_intercept:
            self.intercept_ = theta[:, d].copy()

    def _formulate(self, y, sample_weight):
        return _classification(self, SmoothHingeLoss(self.temperature), y, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class SmoothHingeLinearSVC(InfluenceEstimatorMixin, _SmoothHingeLinearModel):
    """Linear support vector classifier with a smooth hinge, and influence functions.

    With temperature t, sample weights w, class weights c (frozen at fit, "balanced" ones
    too) and labels y = +-1 of problem k:

        F = sum_ik C w_i c_ik t log(1 + exp((1 - y_ik eta_ik)/t))
            + 1/2 |coef|^2 + 1/2 |intercept / intercept_scaling|^2

    As t goes to 0 this becomes the objective of ``LinearSVC(loss="hinge")``; at t > 0 it
    has all derivatives. Two classes are one problem with the weights of both classes;
    several are one problem for each, where c_ik is the weight of class k for its own rows
    and 1 for the others, as in :class:`sklearn.svm.LinearSVC`.

    The fit is a damped Newton method. It starts at zero with a temperature of 1 and
    follows the optimum down to the temperature asked for.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the loss against the penalty.
    temperature : float, default=0.1
        Width t of the smooth hinge.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    intercept_scaling : float, default=1.0
        The larger, the less the intercept is penalised.
    class_weight : dict or "balanced", default=None
        Weight of each class; "balanced" for weights inversely proportional to the sums of
        the sample weights of the classes.
    tol : float, default=1e-8
        Newton decrement to reach, relative to the square root of the objective.
    max_iter : int, default=100
        Largest number of Newton steps over all temperatures.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; zeros when `fit_intercept=False`.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_iter_ : int
        Newton steps over all temperatures.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X had names that are all strings.

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

    def _tight_params(self, params):
        form = self._influence_problem.formulation
        return {
            "tol": 1e-11,
            "max_iter": 1000,
            "class_weight": _frozen_class_weight(form),
        }


def _anneal(objective, tol, max_iter):
    """Return the optimum at the temperature of the objective, as `Polished`.

    Newton's method from zero converges at a temperature near 1, the scale of margins. At a
    low one nearly every row is on a flat piece of the loss and says nothing of where the
    optimum is. So the temperature falls in stages, and each one starts where the optimum
    is going: d theta / d t = -H^-1 d G / d t keeps (1 - y eta)/t of the rows near the kink,
    on which their gradients depend, where it was.
    """
    t = objective.formulation.loss.temperature
    stages = max(0, int(np.ceil(np.log(t) / np.log(_COOLING) - 1e-9)))
    theta, n_iter = np.zeros(objective.formulation.layout.shape), 0
    for stage in range(stages, -1, -1):
        warm = _at_temperature(objective, t / _COOLING**stage)
        solver = get_solver("auto", warm)
        polished = convergence.polish(
            warm,
            theta,
            solver,
            tol=_STAGE_TOL if stage else tol,
            max_iter=max_iter - n_iter,
        )
        n_iter += polished.n_iter
        if stage and n_iter >= max_iter:
            return replace(polished, n_iter=n_iter, converged=False)
        if stage:
            theta = _follow(warm.at(polished.theta), solver, _COOLING)
    return replace(polished, n_iter=n_iter)


def _at_temperature(objective, t):
    formulation = objective.formulation
    loss = replace(formulation.loss, temperature=t)
    return replace(objective, formulation=replace(formulation, loss=loss))


def _follow(point, solver, cooling):
    """Return the optimum at `cooling` times the temperature, to first order."""
    objective = point.objective
    loss = objective.formulation.loss
    slope = loss.temperature_slope(objective.target, point.raw_prediction)
    moved = objective.design.adjoint(objective.row_weight * slope)
    path = -solver.factorise(point).solve(moved[None])[0]
    return point.theta + (cooling - 1.0) * loss.temperature * path


# Parameters of refits with liblinear, as tight as it goes: its primal solver stops at 1e-7
# of the optimum whatever the tolerance, the dual one goes to rounding. Below 1e-11 it may
# wander off.
_TIGHT = {"dual": True, "tol": 1e-10, "max_iter": 100_000, "verbose": 0}


def _classification(estimator, loss, y, sample_weight):
    """Return the formulation of a linear classifier with penalised intercepts."""
    classes = estimator.classes_
    several = len(classes) > 2
    encoder = (OneVsRestLabels if several else SignedLabels)(classes)
    n_outputs = len(classes) if several else 1
    layout = ParameterLayout(n_outputs, estimator.n_features_in_, estimator.fit_intercept)
    weight = encoder.class_weight(estimator.class_weight, y, sample_weight)
    if weight is not None and several:
        # Problem k gives class k its weight, and all other rows 1.
        weight = np.where(np.eye(n_outputs, dtype=bool), weight[:, None], 1.0)
    elif weight is not None:
        weight = weight[:, None]
    return Formulation(
        loss=loss,
        target=encoder,
        layout=layout,
        penalty=_penalty(estimator, layout),
        class_weight=weight,
        loss_scale=float(estimator.C),
    )


def _penalty(estimator, layout):
    """Return the diagonal of the penalty Hessian, shape (K, D)."""
    penalty = np.ones(layout.shape)
    if layout.fit_intercept:
        penalty[:, -1] = 1.0 / estimator.intercept_scaling**2
    return penalty


def _frozen_class_weight(formulation):
    """Return the class weights of a fit as the dict that gives the same ones again."""
    weight = formulation.class_weight
    if weight is None:
        return None
    weight = weight.diagonal() if weight.shape[1] > 1 else weight[:, 0]
    labels = formulation.target.classes.tolist()
    return dict(zip(labels, weight.tolist(), strict=True))


def _check_number(name, value):
    """Raise unless the value is a positive, finite number."""
    if not isinstance(value, Real) or not 0 < value < np.inf:
        raise ValueError(f"{name}={value!r} must be a positive number.")
