"""The fitted state that every chapter of methods stands on.

`fit` stores one immutable `FittedProblem`; everything else is derived from it and the
present parameters, lazily, and can be thrown away at any time.
"""

import copy
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skinfluence import (
    _version,
    convergence,
    data_check,
    distributed,
    existence,
    removal,
    stopping,
)
from skinfluence._compat import TOL_DECIDES_RANK, check_sample_weight
from skinfluence._typing import Floats, MatrixLike
from skinfluence.exceptions import (
    SingularHessianError,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    warn,
)
from skinfluence.layout import ParameterLayout
from skinfluence.mixins.hooks import Hooks
from skinfluence.objective import Formulation, Objective
from skinfluence.solvers import get_solver

__all__ = ["DASK_METHODS", "FittedProblem", "ProblemMixin"]

#: What takes dask arrays, as training data or as samples.
DASK_METHODS = (
    "convergence_report",
    "influence_loss",
    "influential_samples",
    "newton_correction",
    "polish",
    "sample_loss",
    "self_influence",
    "set_training_data",
)

# Above this share of change in the rows' gradients, influence values of some rows are off by
# more than a few per cent: a norm over all rows hides those with small gradients.
GRADIENT_SHIFT_LIMIT = 0.015
# The same for the largest change of the logarithm of a row's curvature.
CURVATURE_CHANGE_LIMIT = 0.5
# Predictions of an active set may differ by this share of the largest from those of the fit.
_LOST_PATH = 0.05
# Share by which directions that least squares drops turn into kept ones, to warn of.
_MIXED = 0.02


@dataclass(frozen=True, eq=False)
class FittedProblem:
    """What `fit` minimised.

    Parameters
    ----------
    formulation : Formulation or None
        The objective without data; None where the configuration has no influence, and
        where it depends on training data that are not known yet.
    objective : Objective or None
        The same with the training data; None when they were dropped.
    refusal : str or None
        Why the configuration has no influence.
    data_refusal : str or None
        Why the training data of the fit have none; other data may.
    layout : ParameterLayout
        Shapes of the fitted parameters.
    params : dict or None
        Constructor parameters at the time of fit, for refits.
    """

    formulation: Formulation | None = None
    objective: Objective | None = None
    refusal: str | None = None
    data_refusal: str | None = None
    layout: ParameterLayout | None = None
    params: dict | None = None


@dataclass(frozen=True, eq=False)
class _State:
    """A factorised point and what it was made for."""

    problem: FittedProblem
    params: bytes
    solver: Any
    point: Any
    factor: Any

    @cached_property
    def correction(self):
        """N = -H^-1 G."""
        return convergence.newton_correction(self.point, self.factor)

    @cached_property
    def gradient_shift(self):
        """How much one Newton step would change the rows' gradients.

        To a few digits is enough, unless N is there already.
        """
        return convergence.gradient_shift(self.point, self._rough_correction)

    @cached_property
    def curvature_change(self):
        """By how much one Newton step may change the curvature of a row."""
        return convergence.curvature_change(self.point, self._rough_correction)

    @property
    def is_near(self):
        """Whether influence at the point is that at the optimum, to a few per cent."""
        return (
            self.gradient_shift <= GRADIENT_SHIFT_LIMIT
            and self.curvature_change <= CURVATURE_CHANGE_LIMIT
        )

    @cached_property
    def recession(self):
        """The `Recession` of an objective without a minimum, None where it has one.

        A short Newton step shows that it has one, unless H is close to singular.
        """
        objective, doubt = self.point.objective, self.factor.doubt
        if not existence.may_recede(objective):
            return None
        if doubt is None and not existence.may_lack_minimum(objective, self._rough_correction):
            return None
        return existence.find_recession(objective, self.point.theta)

    @cached_property
    def _rough_correction(self):
        """N to a few digits, or to all where it is there already."""
        correction = vars(self).get("correction")
        if correction is None:
            correction = -self.factor.rough_solve(self.point.gradient[None])[0]
        return correction

    @cached_property
    def optimum(self):
        """The optimum of all rows near the point, from which removal starts."""
        return removal.find_optimum(self.point, self.factor, self.solver)


def _other_data(mismatch, name, parameter):
    """Return the warning that data are not those of a fit."""
    doubt = f"X, y and sample_weight are not those that this {name} was fitted on"
    if mismatch.excess is not None:
        number = (
            f"at its parameters the gradient of the objective is {mismatch.share:.2g} of the "
            f"largest possible in {parameter}, which is {mismatch.excess:.2g} times what the "
            "solver's stopping rule leaves"
        )
    elif mismatch.may_have_failed:
        doubt += ", or its solver failed"
        number = (
            f"at its parameters the objective is {mismatch.rise:.3g} times as large as for "
            "the best constant prediction"
        )
    else:
        number = (
            f"at its parameters the objective is {mismatch.rise:.3g} times as large as at "
            "parameters of zero, where the solver began to descend"
        )
    return (
        f"{doubt}: {number}. It looks like {mismatch.guess}. Pass the data of the fit; or, if "
        "other data are meant, call polish() first, because the parameters are no optimum on "
        "these."
    )


def distance(state):
    """Return how far a state is from the optimum, in words with the number."""
    if state.gradient_shift > GRADIENT_SHIFT_LIMIT:
        return (
            f"one Newton step would change the rows' gradients by {state.gradient_shift:.3g} "
            "of their size (gradient_shift), and influence values are wrong by about as much, "
            "those of rows with small gradients by more"
        )
    return (
        "one Newton step would change the curvature of some rows by a factor of up to "
        f"exp({state.curvature_change:.3g}), and their influence values are wrong by about "
        "as much"
    )


class ProblemMixin(Hooks):
    """Keeps the fitted problem; reads parameters as one vector.

    An estimator adds `_formulate(y, sample_weight)`, which returns the `Formulation` that
    its `fit` minimised, or raises `UnsupportedEstimatorError`.
    """

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model as scikit-learn does, and remember the training data.

        The arrays are kept by reference. Nothing is factorised before a method needs it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None for ones.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit_and_remember(X, y, sample_weight)

    def _fit_and_remember(self, X, y, sample_weight, **params):
        """Fit with whatever else scikit-learn's `fit` takes, and remember the data."""
        # With copy_X=False scikit-learn may centre and scale X in place, and the training
        # data would no longer be what was fitted.
        given = X if getattr(self, "copy_X", True) else _copied(X)
        before = vars(self).copy()
        try:
            self._forget_fit()
            super().fit(self._lend(X, sample_weight), y, sample_weight=sample_weight, **params)
            self._influence_problem = self._remember(given, y, sample_weight)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _forget_fit(self):
        """Drop what belongs to the fit before."""
        self._influence_problem = None
        self._forget_state()

    def _forget_state(self):
        """Drop what was computed for other parameters or training data."""
        self._influence_state = None
        for name in ("n_newton_iter_", "newton_decrement_"):
            self.__dict__.pop(name, None)

    def _remember(self, X, y, sample_weight):
        """Return the problem of a finished fit, or why it has no influence.

        `fit` refuses nothing that scikit-learn accepts. So it catches every error of this
        bookkeeping, whatever its type, and influence methods raise it later.
        """
        problem = FittedProblem()
        try:
            problem = replace(problem, params=self.get_params(deep=False))
            problem = replace(problem, layout=self._layout())
            problem = replace(problem, formulation=self._formulate_fit(y, sample_weight))
        except Exception as error:
            return replace(problem, refusal=self._reason(error, "parameters"))
        try:
            if X is None:
                raise MemoryError(
                    "copy_X=False: X is overwritten, and there was no copy of it"
                )
            objective = self._make_objective(problem.formulation, X, y, sample_weight)
        except Exception as error:
            return replace(problem, data_refusal=self._reason(error, "training data"))
        return replace(problem, objective=objective)

    def _reason(self, error, read):
        """Return why a fit has no influence: the message of an error while reading it."""
        if isinstance(error, ValueError):  # of our own checks or of scikit-learn's
            return str(error)
        return (
            f"scikit-learn has fitted this {type(self).__name__}, but its {read} cannot be "
            f"read for influence ({type(error).__name__}: {error}). Fit on a NumPy array or "
            "a sparse matrix of numbers."
        )

    def _adopt_fit(self, X, y, sample_weight, guess=None):
        """Remember a finished fit and data for it, or raise and change nothing.

        For fits that did not go through `fit` here. Without X the training data stay
        missing, and without y what depends on it: "balanced" class weights. `guess` is the
        likely reason for other data, if it is known.
        """
        before = getattr(self, "_influence_problem", None)
        problem = before or FittedProblem(
            layout=self._layout(), params=self.get_params(deep=False)
        )
        if problem.refusal is not None:
            raise UnsupportedEstimatorError(problem.refusal)
        if X is not None and y is None:
            raise ValueError("y is required: it is None.")
        params = self.get_params(deep=False)
        adopted = copy.copy(self).set_params(**problem.params)  # as they were at fit
        if problem.formulation is None:
            try:
                formulation = adopted._formulate_fit(y, sample_weight)
            except UnsupportedEstimatorError:
                raise
            except Exception:  # without y whatever needs it fails in its own way
                if y is not None:
                    raise
                formulation = None
            problem = replace(problem, formulation=formulation)
        if X is not None:
            objective = adopted._make_objective(problem.formulation, X, y, sample_weight)
            adopted._check_training_data(objective)
            adopted._warn_of_other_data(objective, problem, guess)
            problem = replace(problem, objective=objective, data_refusal=None)
        if problem is not before:
            vars(self).update(vars(adopted) | params)
            self._influence_problem = problem
            self._forget_state()

    def _warn_of_other_data(self, objective, problem, guess):
        """Warn if training data cannot be those that these parameters were fitted on.

        Dask arrays are left out: they are read once, for checks of their values, and this
        check would read them again.
        """
        if objective.is_distributed or objective.formulation.loss.is_piecewise_linear:
            return
        known = copy.copy(self)
        known._influence_problem = problem
        design = objective.design
        name = self._parent_class().__name__.lstrip("_")
        fit = stopping.Fit.of(self, name, problem.params, design.X.dtype)
        mismatch = data_check.check_data(objective, known._theta(), fit)
        if mismatch is None:
            return
        unit = np.zeros(objective.penalty.shape)
        unit[mismatch.parameter] = 1.0
        entry = objective.formulation.layout.to_public(unit).argmax()
        if guess is not None:
            mismatch = replace(mismatch, guess=guess)
        warn(_other_data(mismatch, type(self).__name__, known.param_names()[entry]))

    def _formulate_fit(self, y, sample_weight):
        """Return the formulation of a finished fit."""
        self._check_arrays()
        if distributed.is_dask(y, sample_weight):
            return self._formulate_dask(y, sample_weight)
        formulation, layout = self._formulate(y, sample_weight), self._layout()
        if formulation.layout.shape != layout.shape:
            raise UnsupportedEstimatorError(
                f"coef_ and intercept_ are those of {layout.n_outputs} output(s), but "
                f"{formulation.layout.n_outputs} are expected: scikit-learn left out a "
                "class whose samples all have weight zero. Drop those samples."
            )
        return formulation

    def _check_arrays(self):
        """Raise where `fit` kept the parameters in arrays of another library."""
        coef = vars(self).get("coef_")
        if not (coef is None or np.isscalar(coef) or isinstance(coef, np.ndarray)):
            if issparse(coef):  # after `sparsify`
                return
            library = type(coef).__module__.partition(".")[0]
            raise UnsupportedEstimatorError(
                f"coef_ is a {type(coef).__name__} of {library}: influence is computed with "
                "NumPy. Convert X, y and sample_weight to NumPy arrays and fit again."
            )

    def _formulate_dask(self, y, sample_weight):
        """Return the formulation, reading y only where it depends on y."""
        try:
            return self._formulate_fit(None, None)
        except UnsupportedEstimatorError:
            raise
        except Exception:  # without y whatever needs it fails in its own way
            return self._formulate_fit(*distributed.in_memory(y, sample_weight))

    #: What an entry of `params_` that multiplies a feature is called.
    _coef_name = "coef"

    def _refuse_dask(self, method, *arguments, training=True):
        """Raise where a method meets dask arrays that it does not take.

        With `training` as its training data too.
        """
        problem = getattr(self, "_influence_problem", None)
        objective = problem.objective if training and problem is not None else None
        held = objective is not None and objective.is_distributed
        if held or distributed.is_dask(*arguments):
            remedy = "give that to set_training_data" if held else "pass that"
            raise UnsupportedEstimatorError(
                f"{method} does not take dask arrays: call compute() on a part of the rows "
                f"and {remedy}. What takes them: {', '.join(DASK_METHODS)}."
            )

    def _has_flat_target(self):
        """Whether the fit saw one target, as a vector."""
        return np.ndim(self._read_params(self)[0]) == 1

    def drop_training_data(self) -> Self:
        """Forget the training data, for a small pickle.

        Predictions stay available, and so do methods that need no training row, such as
        `sample_loss` of models that are not made of them, as kernel models are.
        `set_training_data` brings the data back.

        Returns
        -------
        self : object
            The estimator.
        """
        check_is_fitted(self)
        if self._influence_problem is not None:
            self._replace_objective(None)
        return self

    def set_training_data(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Give the fitted estimator the data that its influence is to be measured on.

        Usually the data it was fitted on, after `drop_training_data` or from a pickle.
        Other rows may be given too: fit on a sample, explain on everything. Then the
        parameters are not the optimum of the objective on these rows;
        `convergence_report` says how far from it, and `polish` goes there.

        Frozen: class weights ("balanced" ones as computed at fit) and hyperparameters.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask array} of shape (n_samples, n_features)
            Training data, kept by reference. Dask arrays are read once, for checks.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values. Labels must be among those seen in `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None for ones.

        Returns
        -------
        self : object
            The estimator.
        """
        check_is_fitted(self)
        if X is None:
            raise ValueError("X is required: it is None.")
        self._get_problem()
        self._adopt_fit(X, y, sample_weight)
        return self

    @property
    def params_(self) -> Floats:
        """Parameters as one vector, `coef_.ravel()` then `intercept_`, shape (p,)."""
        check_is_fitted(self)
        return self._flat_params(self)

    def _flat_params(self, estimator):
        """Return the parameters of a fitted estimator, this one or a refit of it, (p,)."""
        coef, intercept = self._read_params(estimator)
        if not self._get_layout().fit_intercept:
            return np.ravel(coef).astype(np.float64)
        return np.concatenate([np.ravel(coef), np.ravel(intercept)]).astype(np.float64)

    def split_params(self, params: ArrayLike) -> tuple[Floats, Floats]:
        """Return parameter vectors in the shapes of `coef_` and `intercept_`.

        Parameters
        ----------
        params : array-like of shape (..., p)
            Vectors laid out as `params_`, such as rows of `influence_params`.

        Returns
        -------
        coef : ndarray
            Coefficients, the leading axes of `params` before those of `coef_`.
        intercept : ndarray
            Intercepts, likewise; zeros when `fit_intercept=False`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> coef, intercept = clf.split_params(clf.influence_params())
        >>> coef.shape, intercept.shape
        ((150, 3, 4), (150, 3))
        """
        check_is_fitted(self)
        layout = self._get_layout()
        params = check_array(
            params,
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite=False,
            input_name="params",
        )
        if params.ndim == 0 or params.shape[-1] != layout.size:
            raise ValueError(
                f"params has shape {params.shape}, but the last axis must hold the "
                f"{layout.size} parameters of the model."
            )
        lead, n_coef = params.shape[:-1], layout.n_outputs * layout.n_features
        fitted_coef, fitted_intercept = self._read_params(self)
        coef = params[..., :n_coef].reshape(*lead, *np.shape(fitted_coef))
        shape = (*lead, *np.shape(fitted_intercept))
        if not layout.fit_intercept:
            return coef, np.zeros(shape)
        return coef, params[..., n_coef:].reshape(shape)

    def param_names(self) -> list[str]:
        """Return a name for each entry of `params_`.

        Returns
        -------
        list of str
            Such as ``"coef[setosa, petal length (cm)]"`` and ``"intercept[setosa]"``;
            without the output where the model has only one.
        """
        check_is_fitted(self)
        layout = self._get_layout()
        outputs, coef = self._output_names(layout.n_outputs), self._coef_name
        names = [
            f"{coef}[{output}, {feature}]" if output else f"{coef}[{feature}]"
            for output in outputs
            for feature in self._column_names(layout.n_features)
        ]
        if layout.fit_intercept:
            names += [f"intercept[{output}]" if output else "intercept" for output in outputs]
        return names

    def _set_theta(self, theta, ndims=None):
        """Write parameters (K, D) into the attributes they were read from.

        With as many axes as (coef, intercept) have there, or had before other training data.
        """
        layout = self._get_formulation().layout
        if ndims is None:
            ndims = [np.ndim(part) for part in self._read_params(self)]
        coef = theta[:, : layout.n_features].copy()
        intercept = theta[:, -1].copy() if layout.fit_intercept else np.zeros(len(theta))
        self._write_params(
            coef if ndims[0] == 2 else coef[0],
            intercept if ndims[1] == 1 else float(intercept[0]),
        )

    def _warn_of_support(self, state):
        """Warn where the support of the fit is not that of the optimum."""
        if not self._support_holds(state):
            warn(
                "The fit is not at its optimum: there other coefficients are zero, or have "
                "other signs, and results on the support of the fit are wrong. Call polish() "
                "or refit with a smaller tol or a larger max_iter.",
            )

    def _theta(self):
        """Parameters as the mathematics wants them, (K, D)."""
        return self._get_formulation().layout.from_public(self.params_)

    def _get_problem(self):
        """Return the fitted problem, or say that there is none."""
        problem = getattr(self, "_influence_problem", None)
        if problem is None:
            raise TrainingDataMissingError(
                f"This {type(self).__name__} does not know what it was fitted on: call fit, "
                "or skinfluence.from_fitted(estimator, X, y)."
            )
        return problem

    def _get_layout(self):
        """Return the shapes of the fitted parameters."""
        layout = self._get_problem().layout
        return self._get_formulation().layout if layout is None else layout

    def _get_formulation(self):
        """Return the formulation, or say why there is none."""
        problem = self._get_problem()
        if problem.refusal is not None:
            raise UnsupportedEstimatorError(problem.refusal)
        if problem.formulation is None:
            raise TrainingDataMissingError(
                f"What this {type(self).__name__} minimised depends on its training data, "
                "and it does not hold them. Call set_training_data(X, y, sample_weight) to "
                "give them."
            )
        return problem.formulation

    def _get_objective(self):
        """Return the objective with the training data, or say that they are missing."""
        check_is_fitted(self)
        self._get_formulation()
        problem = self._influence_problem
        if problem.data_refusal is not None:
            raise UnsupportedEstimatorError(problem.data_refusal)
        objective = problem.objective
        if objective is None:
            raise TrainingDataMissingError(
                f"This {type(self).__name__} does not hold its training data. Call "
                "set_training_data(X, y, sample_weight) to give them."
            )
        return objective

    def _replace_objective(self, objective, theta=None):
        """Remember other training data, and the parameters that were moved to them."""
        ndims = [np.ndim(part) for part in self._read_params(self)]
        problem = replace(self._influence_problem, objective=objective, data_refusal=None)
        if objective is not None:
            form = objective.formulation
            problem = replace(problem, formulation=form, layout=form.layout)
        self._influence_problem = problem
        if theta is not None:
            self._set_theta(theta, ndims)
        self._forget_state()

    def _name_rows(self, index):
        """Remember the names of the training rows where the X that was fitted had none."""
        problem = self._influence_problem
        objective = None if problem is None else problem.objective
        if getattr(objective, "index", index) is None and len(index) == objective.n_rows:
            objective = replace(objective, index=index)
            self._influence_problem = replace(problem, objective=objective)

    def _refit_estimator(self):
        """Return scikit-learn's own estimator at the values frozen by fit, set tight."""
        params = dict(self._influence_problem.params)
        return self._parent_class()(**(params | self._tight_params(params)))

    @classmethod
    def _parent_class(cls):
        """Return the class whose `fit` this one adds influence to."""
        after = cls.__mro__[cls.__mro__.index(ProblemMixin) + 1 :]
        return next(parent for parent in after if issubclass(parent, BaseEstimator))

    def _make_objective(self, formulation, X, y, sample_weight):
        if distributed.is_dask(X, y, sample_weight):
            samples = self._dask_samples(formulation, X, y, sample_weight)
            objective, smallest = distributed.make_objective(formulation, samples)
        else:
            design, target = self._check_samples(formulation, X, y, training=True)
            weights = check_sample_weight(sample_weight, design.X, dtype=np.float64)
            smallest = weights.min()
            # X is kept by reference; targets and weights are small and kept as they are now.
            index = X.index if hasattr(X, "iloc") else None  # a DataFrame's
            objective = Objective(formulation, design, target.copy(), weights.copy(), index)
        if smallest < 0:
            raise UnsupportedEstimatorError(
                f"sample_weight holds {smallest}: influence is defined for weights "
                "that are not negative. Use weights of at least 0."
            )
        c = formulation.class_weight
        if c is not None and not (np.all(np.isfinite(c)) and c.min() >= 0):
            weights = dict(
                zip(formulation.target.classes.tolist(), c[:, 0].tolist(), strict=True)
            )
            raise UnsupportedEstimatorError(
                f"class_weight comes to {weights}: influence is defined for finite class "
                "weights that are not negative. Give weights as numbers, or drop the class "
                "whose samples all have weight zero."
            )
        return objective

    def _check_X(self, formulation, X, training=False):
        """Return the design of samples that scikit-learn's own checks accept."""
        return self._make_design(formulation, self._validate_X(X), training)

    def _validate_X(self, X):
        kind = np.asarray(X).dtype.kind if isinstance(X, list | np.ndarray) else ""
        # Arrays of other libraries become those of NumPy.
        with sklearn.config_context(array_api_dispatch=False):
            X = validate_data(
                self,
                X,
                reset=False,
                accept_sparse="csr",
                # Numbers as text, and dates as numbers, as scikit-learn's fit reads them.
                dtype=np.float64 if kind and kind in "SUMm" else "numeric",
            )
        if not hasattr(self, "n_features_in_"):  # after fit(check_input=False)
            expected = self._layout().n_features
            if X.shape[1] != expected:
                raise ValueError(
                    f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                    f"{expected} features as input."
                )
        return X

    def _check_samples(self, formulation, X, y, training=False):
        """Return (design, target) of labelled samples."""
        design = self._check_X(formulation, X, training)
        if y is None:
            raise ValueError("y is required: it is None.")
        target = formulation.target.encode(y)
        check_consistent_length(design.X, target)
        return design, target

    def _dask_samples(self, formulation, X, y, sample_weight=None):
        """Return labelled samples of dask arrays, whose chunks are checked when read."""
        self._check_takes_dask(formulation)
        samples = distributed.Samples.of(X, y, sample_weight)
        self._validate_X(np.zeros((1, samples.X.shape[1])))  # the number of features
        return samples

    def _dask_queries(self, formulation, X, y):
        """Return query samples of dask arrays at the fitted parameters."""
        samples = self._dask_samples(formulation, X, y)
        return distributed.make_queries(formulation, samples, self._theta())

    def _check_query(self, X, y):
        """Return gradients of the plain loss of query samples, as `GradientRows`.

        Of dask arrays the `DistributedPoint` that has them.
        """
        check_is_fitted(self)
        formulation = self._get_formulation()
        if distributed.is_dask(X, y):
            return self._dask_queries(formulation, X, y)
        design, target = self._check_samples(formulation, X, y)
        gradients = formulation.query_gradients(design, target, self._theta())
        unknown = np.flatnonzero(~np.isfinite(gradients.raw_gradient).all(axis=1))
        if len(unknown):
            warn(
                f"The loss of {len(unknown)} of {len(target)} sample(s), such as row "
                f"{unknown[0]}, has no finite gradient at the model's prediction, and results "
                "for them are not finite. Leave them out, or use influence_prediction."
            )
        return gradients

    def _get_state(self, hessian_solver, n_solves=None, *, quiet=False):
        """Return the state at the present parameters, factorised at most once.

        With a warning where the numbers are no good because there is no optimum or the Hessian
        is close to singular, unless `quiet`.

        The state is keyed by the problem, the bytes of the parameters and the solver; it
        is replaced and never changed, so copies and threads may share it. `n_solves` is how
        many right-hand sides are asked for, None where many: see `select_solver`.
        """
        objective = self._get_objective()
        key = self.params_.tobytes()
        # Few right-hand sides take the factor for many where it is there.
        solvers = [get_solver(hessian_solver, objective)]
        solvers.append(get_solver(hessian_solver, objective, n_solves))
        solver = solvers[-1]
        state = getattr(self, "_influence_state", None)
        if (
            state is None
            or state.problem is not self._influence_problem
            or state.params != key
            or state.solver not in solvers
            or not state.point.is_current()
        ):
            point = self._evaluate(objective)
            with self._naming_directions():
                factor = solver.factorise(point)
            state = _State(self._influence_problem, key, solver, point, factor)
            self._influence_state = state
        if quiet:
            return state
        if state.recession is not None:
            warn(self._describe_direction(state.recession.direction))
        elif state.factor.doubt is not None:
            warn(state.factor.doubt)
        return state

    def _warn_of_mixing(self, state):
        """Warn if directions that least squares drops have variance, which counts."""
        spectrum = getattr(state.point.objective, "spectrum", None)
        if spectrum is not None and spectrum.mixing > _MIXED:
            lower = ", or lower tol" if TOL_DECIDES_RANK else ""
            warn(
                "Least squares drops directions of the features whose singular values are up "
                f"to {spectrum.mixing:.2g} of the smallest one above {spectrum.tol:.2g} times "
                "the largest: first-order results, which keep the directions fixed, may be "
                f"off by about this share. Put the features in similar units{lower}."
            )

    def _get_influence_state(self, hessian_solver, n_solves=None):
        """Return the state, with a warning when the point is far from the optimum."""
        state = self._get_state(hessian_solver, n_solves)
        self._warn_of_mixing(state)
        self._warn_of_misfit(state)
        return state

    def _warn_of_misfit(self, state):
        """Warn where the derivatives are those at a point far from the optimum."""
        if state.point.objective.formulation.loss.is_piecewise_linear:
            self._warn_of_lost_path(state.point)
            return
        if state.recession is not None:
            return  # `_get_state` has said so: from no optimum every distance is infinite
        self._warn_of_support(state)
        if not state.is_near:
            warn(
                f"The fit is not at its optimum: {distance(state)}. Call polish() or refit "
                "with a smaller tol or a larger max_iter; or the training arrays changed "
                "since fit.",
            )

    def _warn_of_lost_path(self, point):
        """Warn where a fit is far from the optimum that its held rows belong to."""
        largest = np.abs(point.raw_prediction).max()
        if np.isfinite(point.misfit) and point.misfit <= _LOST_PATH * largest:
            return
        found = "no optimum was found from it"
        if np.isfinite(point.misfit):
            found = (
                f"predictions there differ by up to {point.misfit / largest:.3g} of the "
                "largest one"
            )
        warn(
            f"The fit is not at its optimum: {found}, and which rows the loss holds in place "
            "may be wrong. Refit with a smaller tol or a larger max_iter; or the training "
            "arrays changed since fit.",
        )

    @contextmanager
    def _naming_directions(self):
        """Raise a solver's SingularHessianError again with the names of parameters.

        It says so where the Hessian is singular because there is no optimum.
        """
        try:
            yield
        except SingularHessianError as error:
            found = existence.recession_direction(self._get_objective(), self._theta())
            if found is not None:
                public = self._get_layout().to_public(found)
                raise SingularHessianError(self._describe_direction(found), public) from None
            if error.direction is None:
                raise
            direction = self._get_layout().to_public(error.direction)
            terms = self._name_terms(direction)
            message = f"{error} The objective is flat along {terms}." if terms else error
            raise SingularHessianError(str(message), direction) from None

    def _name_terms(self, direction, weight=None):
        """Return the largest entries of a direction (p,) with the names of the parameters.

        By size, or by weights (p,) where units differ.
        """
        weight = np.abs(direction) if weight is None else weight
        weight = weight / max(weight.max(initial=0.0), np.finfo(np.float64).tiny)
        names = self.param_names()
        largest = [i for i in np.argsort(-weight, kind="stable")[:4] if weight[i] > 0.01]
        return ", ".join(f"{direction[i]:+.2g} {names[i]}" for i in largest)

    def _known_recession(self):
        """Return the `Recession` of the fit after `_get_state`, None if it has an optimum."""
        state = getattr(self, "_influence_state", None)
        return None if state is None else state.recession

    def _lost_params(self):
        """Return which parameters have no value, (p,) bool, after `_get_state`.

        They are those that a direction without an optimum leaves open.
        """
        recession, layout = self._known_recession(), self._get_layout()
        if recession is None:
            return np.zeros(layout.size, dtype=bool)
        return layout.to_public(recession.lost)

    def _describe_direction(self, direction, objective=None):
        """Return the sentence that an objective has no minimum, for all who say so.

        Parameters
        ----------
        direction : ndarray of shape (K, D)
            From `existence.recession_direction`.
        objective : Objective or None, default=None
            The objective that falls along it, None for that of the fit.
        """
        consequence = ""
        if objective is None:
            objective = self._get_objective()
            consequence = (
                " The parameters in this direction are only where the solver stopped, and "
                "results about them have no meaning."
            )
        layout, design = self._get_layout(), objective.design
        weight = np.abs(direction)
        if weight[:, : design.n_features].any():  # in units of the features
            present = (objective.sample_weight > 0)[:, None].astype(np.float64)
            weight = weight * np.sqrt(design.squared_adjoint(present)[0])
        terms = self._name_terms(layout.to_public(direction), layout.to_public(weight))
        moving = existence.moving_rows(objective, direction).sum()
        total = np.sum(objective.sample_weight > 0)
        remedy = "Add a penalty, or drop or merge the features in it"
        if not direction[:, : design.n_features].any():
            remedy = "Give weight to samples of other targets, or penalise the intercept"
        return (
            f"There is no optimum: the objective falls forever along {terms}, because the "
            f"loss of {moving} of {total} samples does and that of the others stays "
            f"(separation).{consequence} {remedy}."
        )

    def __copy__(self):
        # A shallow copy shares the factorisation; a pickle, which `copy` would otherwise
        # go through, leaves it out.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_influence_state", None)
        state["_skinfluence_versions"] = (_version.__version__, sklearn.__version__)
        return state

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_skinfluence_versions", None)
        super().__setstate__(state)
        present = (_version.__version__, sklearn.__version__)
        if saved is None or tuple(saved) == present:
            return
        warn(
            f"This {type(self).__name__} was pickled with skinfluence {saved[0]} and "
            f"scikit-learn {saved[1]} and is read with skinfluence {present[0]} and "
            f"scikit-learn {present[1]}: results may differ. Fit it again."
        )
        problem = getattr(self, "_influence_problem", None)
        if problem is not None:
            # scikit-learn may have taken away constructor parameters of the time of the fit.
            known = {n: v for n, v in problem.params.items() if n in self._get_param_names()}
            self._influence_problem = replace(problem, params=known)


def _copied(X):
    """Return a copy of X, None where there is no memory for one."""
    try:
        return copy.deepcopy(X)
    except Exception:
        return None
