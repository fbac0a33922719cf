"""Build the objective that a fit minimised from the fitted estimator and its data."""

import copy
from dataclasses import replace

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from skinfluence import data_check, distributed, stopping
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.namespaces import to_host
from skinfluence.problem import repeated_fit
from skinfluence.problem.fitted import FittedObjective
from skinfluence.problem.kinds import kind_of
from skinfluence.targets import check_target

# If other data leave a gradient as small with a larger probability, the fit is repeated.
_LARGEST_COINCIDENCE = 1e-3
# Below this one the parameters are an optimum up to rounding, for example after polish().
_OPTIMUM = 1e-9


class FittingAnswers:
    """Remembers a fit's objective, and accepts other training data."""

    def remember(self, X, y, sample_weight):
        """Store a finished fit's objective, or the reason why it has no influence.

        `fit` must accept everything that scikit-learn accepts. So errors of any type are
        caught here, and influence methods raise them later. X is None if there was not
        enough memory to copy training data that the fit overwrites.
        """
        self.fitted = FittedObjective()
        try:
            self.fitted = replace(self.fitted, params=self.estimator.get_params(deep=False))
            self.fitted = replace(self.fitted, layout=self.parameters.layout(self.estimator))
            self.fitted = replace(self.fitted, formulation=self.formulate(y, sample_weight))
        except Exception as error:
            self.fitted = replace(self.fitted, refusal=self.reason(error, "parameters"))
            return
        try:
            if X is None:
                raise ValueError(
                    f"This {self.name} with copy_X=False has overwritten X, and there was no "
                    "memory for a copy. Fit with copy_X=True, or on fewer samples."
                )
            form = self.fitted.formulation
            objective = self.make_objective(form, X, y, sample_weight)
        except Exception as error:
            reason = self.reason(error, "training data")
            self.fitted = replace(self.fitted, data_refusal=reason)
            return
        self.fitted = self.fitted.on(objective)

    def reason(self, error, part):
        """Return why a fit has no influence, from the error raised while reading a part."""
        if isinstance(error, ValueError):  # from our own checks or scikit-learn's
            return str(error)
        return (
            f"scikit-learn has fitted this {self.name}, but its {part} cannot be read for "
            f"influence ({type(error).__name__}: {error}). Fit on a NumPy array or a sparse "
            "matrix of numbers."
        )

    def forget_fit(self):
        """Drop everything that belongs to an earlier fit."""
        self.fitted = None
        self.forget_state()
        self.parameters.forget(self.estimator)

    def forget_state(self):
        """Drop results for other parameters or training data."""
        self.estimator._influence_state = None
        for name in ("n_newton_iter_", "newton_decrement_"):
            self.estimator.__dict__.pop(name, None)

    def replace_objective(self, objective, theta=None):
        """Store other training data, and the parameters updated for them."""
        ndims = self.parameters.ndims(self.estimator, self.layout)
        fitted = replace(self.fitted, objective=objective, data_refusal=None)
        if objective is not None:
            form = objective.formulation
            fitted = replace(fitted, formulation=form, layout=form.layout)
        self.fitted = fitted
        if theta is not None:
            self.write(theta, ndims)
        self.forget_state()

    def on(self, objective):
        """Return the problem for a copy of the estimator with other training data."""
        other = self.of(copy.copy(self.estimator))
        other.replace_objective(objective)
        return other

    def name_rows(self, index):
        """Store names for the training rows if the fitted X had none."""
        if index is None:
            return
        fitted = getattr(self.estimator, "_influence_problem", None)
        objective = None if fitted is None else fitted.objective
        if getattr(objective, "index", index) is None and len(index) == objective.n_rows:
            self.fitted = replace(fitted, objective=replace(objective, index=index))

    def take_as_draws(self):
        """Take the training weights as numbers of draws, see `Objective.drawn`."""
        if self.fitted.objective is not None:
            self.fitted = self.fitted.on(replace(self.objective, drawn=True))
            self.forget_state()

    #: Names of the features if they come from steps before the model, else None.
    features = None

    def adopt(self, X, y, sample_weight, guess=None, *, check=True, features=None):
        """Store a finished fit and its data, or raise and change nothing.

        Used for models that were not fitted by `fit` here. Without X the training data stay
        missing. Without y everything that depends on y stays missing too, for example
        "balanced" class weights.

        Parameters
        ----------
        X, y, sample_weight : array-like or None
            The training data.
        guess : str or None, default=None
            The likely reason why the data differ, if known.
        check : bool, default=True
            Whether to check that the parameters were fitted on these data.
        features : array-like of str or None, default=None
            Names of the features in warnings; None for those of the estimator.
        """
        estimator = self.estimator
        before = getattr(estimator, "_influence_problem", None)
        params = estimator.get_params(deep=False)
        fitted = before or FittedObjective(
            layout=self.parameters.layout(estimator), params=params
        )
        if fitted.refusal is not None:
            raise UnsupportedEstimatorError(fitted.refusal)
        if X is not None:
            check_target(y)
        adopted = self.of(copy.copy(estimator).set_params(**fitted.params))  # as at fit
        if fitted.formulation is None:
            try:
                formulation = adopted.formulate(y, sample_weight)
            except UnsupportedEstimatorError:
                raise
            except Exception:  # a formulation that needs y fails without it in its own way
                if y is not None:
                    raise
                formulation = None
            fitted = replace(fitted, formulation=formulation)
        if X is not None:
            rows = self.transform(X)
            objective = adopted.make_objective(fitted.formulation, rows, y, sample_weight)
            self.parameters.check_training_data(adopted.estimator, objective)
            adopted.fitted = fitted
            if check:
                adopted.features = features
                adopted.warn_of_other_data(objective, (rows, y, sample_weight), guess)
            fitted = fitted.on(objective)
        if fitted is not before:
            vars(estimator).update(vars(adopted.estimator) | params)
            self.fitted = fitted
            self.forget_state()

    def warn_of_other_data(self, objective, data, guess):
        """Warn if the parameters cannot have been fitted on these training data.

        Dask arrays are not checked, because this would read them again. They are read only
        once, to check their values.

        Parameters
        ----------
        objective : Objective
            The objective with the data.
        data : tuple
            `(X, y, sample_weight)` as `fit` takes them.
        guess : str or None
            The likely reason why the data differ, if known.
        """
        if not objective.is_distributed:
            kind_of(self, objective.formulation).warn_of_other_data(objective, data, guess)

    def warn_of_other_gradient(self, objective, data, guess):
        """Warn if the gradient on these training data is not that of a fit."""
        name = self.parent_class.__name__.lstrip("_")
        dtype = objective.design.X.dtype
        fit = stopping.Fit.of(self.estimator, name, self.fitted.params, dtype)
        sizes = data_check.sizes_at(objective, self.theta)
        mismatch = data_check.check_data(sizes, fit)
        if mismatch is None and _is_certain(sizes):
            return
        difference = repeated_fit.difference(self, objective, data)
        if difference is None and mismatch is None:
            return
        if difference is not None and repeated_fit.agrees(difference, objective, fit):
            self.warn_of_no_evidence(objective, data)
            return
        if mismatch is None:
            warn(_not_repeated(difference, self.name))
            return
        unit = np.zeros(objective.penalty.shape)
        unit[mismatch.parameter] = 1.0
        entry = objective.formulation.layout.to_public(unit).argmax()
        warn(_other_data(mismatch, self.name, self.names_in_warnings()[entry], guess))

    def names_in_warnings(self):
        """Return the parameter names, with the features' names behind steps."""
        if self.features is None:
            return self.param_names()
        named = copy.copy(self.estimator)
        named.feature_names_in_ = self.features
        return self.of(named).param_names()

    def warn_of_no_evidence(self, objective, data):
        """Warn if other data would have given the same parameters."""
        cause = (
            "all coefficients are 0. If this is not due to a strong penalty, the solver "
            "stopped where it started"
        )
        if not repeated_fit.is_unmoved(objective, self.theta):
            if not repeated_fit.is_diverged(objective, self.theta):
                return
            if repeated_fit.tells_targets_apart(self, objective, data):
                return
            cause = (
                "the model is worse than one that is 0 for every sample, so the solver "
                "diverged, and a fit on the targets in reverse order gives the same "
                "parameters up to signs and rounding"
            )
        warn(
            f"Nothing shows that X, y and sample_weight are those that this {self.name} was "
            f"fitted on: {cause}. Scale the features and fit again."
        )

    def formulate(self, y, sample_weight):
        """Return a finished fit's formulation."""
        self.check_arrays()
        if distributed.is_dask(y, sample_weight):
            return self.formulate_dask(y, sample_weight)
        estimator = self.as_fitted
        formulation = estimator._formulate(to_host(y), to_host(sample_weight))
        layout = self.parameters.layout(estimator)
        if formulation.layout.shape != layout.shape:
            raise UnsupportedEstimatorError(
                f"coef_ and intercept_ are those of {layout.n_outputs} output(s), but "
                f"{formulation.layout.n_outputs} are expected: scikit-learn left out a "
                "class whose samples all have weight zero. Drop those samples."
            )
        return formulation

    @property
    def as_fitted(self):
        """A copy of the estimator with its constructor parameters at fit time.

        `set_params` may have changed them since.
        """
        fitted = getattr(self.estimator, "_influence_problem", None)
        if fitted is None or fitted.params is None:
            return self.estimator
        estimator = copy.copy(self.estimator)
        vars(estimator).update(fitted.params)
        return estimator

    def check_arrays(self):
        """Raise if `fit` stored the parameters in arrays that cannot be read."""
        coef = to_host(vars(self.estimator).get("coef_"))
        if not (coef is None or np.isscalar(coef) or isinstance(coef, np.ndarray)):
            if issparse(coef):  # after `sparsify`
                return
            library = type(coef).__module__.partition(".")[0]
            raise UnsupportedEstimatorError(
                f"coef_ is a {type(coef).__name__} of {library}: influence is computed with "
                "NumPy. Convert X, y and sample_weight to NumPy arrays and fit again."
            )

    def formulate_dask(self, y, sample_weight):
        """Return the formulation; it reads y only if it depends on y."""
        try:
            return self.formulate(None, None)
        except UnsupportedEstimatorError:
            raise
        except Exception:  # a formulation that needs y fails without it in its own way
            return self.formulate(*distributed.in_memory(y, sample_weight))

    def drop_training_data(self):
        check_is_fitted(self.estimator)
        if self.estimator._influence_problem is not None:
            self.replace_objective(None)

    def set_training_data(self, X, y, sample_weight=None):
        check_is_fitted(self.estimator)
        if X is None:
            raise ValueError("X is required: it is None.")
        if self.fitted is not None:  # else it raises
            self.adopt(X, y, sample_weight)


def _is_certain(sizes):
    """Return whether a gradient within its bound proves that the data are the fit's."""
    objective = sizes.objective
    if objective.design.has_metric:
        return True
    if repeated_fit.is_unmoved(objective, sizes.theta):
        return False
    limit = _OPTIMUM if repeated_fit.is_cheap(objective) else _LARGEST_COINCIDENCE
    return data_check.coincidence(sizes) <= limit


def _not_repeated(difference, name):
    """Return the warning that a repeated fit differs."""
    return (
        f"X, y and sample_weight may not be those that this {name} was fitted on: a fit on "
        f"them with the same settings gives coefficients that differ by {difference:.2g} of "
        "their size. Pass the data of the fit, as the same type of array; or, if other data "
        "are meant, call polish() first, because the parameters are no optimum on these."
    )


def _other_data(mismatch, name, parameter, guess):
    """Return the warning that data differ from the fit's data, for a known reason or None."""
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
    if guess is not None:
        return (
            f"This {name} was fitted on other values than the steps before it return now: "
            f"{number}. It looks like {guess}. Fit again with such a number, or call polish() "
            "to take the present values."
        )
    return (
        f"{doubt}: {number}. It looks like {mismatch.guess}. Pass the data of the fit; or, if "
        "other data are meant, call polish() first, because the parameters are no optimum on "
        "these."
    )
