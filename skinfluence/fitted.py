"""Convert fitted scikit-learn estimators to estimators with influence, without a new fit."""

from __future__ import annotations

import copy
from functools import cache
from importlib import import_module

from numpy.typing import ArrayLike
from sklearn import pipeline
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.utils.validation import check_is_fitted

from skinfluence import (
    discriminant_analysis,
    gaussian_process,
    kernel_ridge,
    linear_model,
    naive_bayes,
    neighbors,
    svm,
    unsupported,
)
from skinfluence._typing import Estimator, MatrixLike
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.methods import InfluenceEstimatorMixin, InfluenceMethods, get_problem
from skinfluence.pipeline import Pipeline
from skinfluence.problem import parent_class
from skinfluence.steps import (
    name_rows,
    names_behind,
    routing_enabled,
    row_names,
    weights_reach,
)
from skinfluence.whole import rows_behind, training_data

__all__ = ["from_fitted"]

# Modules whose public classes mirror those of scikit-learn.
MIRROR_MODULES = (
    discriminant_analysis,
    gaussian_process,
    kernel_ridge,
    linear_model,
    naive_bayes,
    neighbors,
    svm,
)

# Modules whose public classes combine estimators. They import this module.
COMPOSITE_MODULES = (
    "calibration",
    "compose",
    "ensemble",
    "multiclass",
    "multioutput",
    "thresholds",
)

# Fitted objects that have no influence as a whole, although their inner models may. Maps the
# class name to the object to pass instead; i indexes the inner models.
PARTS = {
    "OutputCodeClassifier": "estimators_[i], with column i of the code",
    "RFE": "estimator_, with the features of transform(X)",
    "RFECV": "estimator_, with the features of transform(X)",
    "SelfTrainingClassifier": "estimator_, with the rows whose labeled_iter_ is not -1 and "
    "their labels transduction_",
}


def from_fitted(
    obj: Estimator,
    X: MatrixLike | None = None,
    y: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Estimator:
    """Return an estimator with influence from one that scikit-learn has fitted.

    `obj` is not changed, and its parameters are kept. Nothing is fitted again except
    cross-validation models that scikit-learn does not keep, for example in
    :class:`sklearn.ensemble.StackingClassifier`, steps of a pipeline whose `fit_transform`
    may differ from `transform`, as that of `TargetEncoder`, and models whose gradient does not
    show that `X` and `y` are their training data, see Notes.
    The result has `obj`'s parameters and fitted attributes, shares its arrays, and behaves as
    if it had been fitted with this package.

    - An estimator becomes this package's estimator with the same name. The same is true for a
      subclass that changes only the constructor. An estimator from this package is copied.
    - A pipeline that ends in such an estimator becomes a `skinfluence.pipeline.Pipeline` that
      shares the other steps. Its influence and removal take the whole fit into account, with
      every step.
    - A composite estimator, such as `VotingClassifier`, becomes this package's composite, and
      its members are converted, too, to any depth. A pipeline may end in one.
    - A pipeline from imbalanced-learn becomes a `Pipeline`, too. If it has samplers that
      choose rows, such as RandomUnderSampler, it becomes or ends in a `ResampledPipeline`, and
      results belong to the samples before the choice: those that were not chosen have
      influence only through steps before the sampler. The choice is frozen. Samplers that
      make new rows, such as SMOTE, are refused.
    - A search is replaced by its `best_estimator_`, and a `FrozenEstimator` by its inner
      estimator, also within a `FixedThresholdClassifier` or a `TunedThresholdClassifierCV`.

    Parameters
    ----------
    obj : object
        Fitted estimator.
    X : {array-like, sparse matrix, dataframe, dask array} of shape \
(n_samples, n_features), default=None
        `obj`'s training samples; raw samples for a pipeline. Without them, methods raise
        `TrainingDataMissingError` until `set_training_data` is called.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
        `obj`'s training targets.
    sample_weight : array-like of shape (n_samples,), default=None
        `obj`'s training weights; None for ones.

    Returns
    -------
    fitted : object
        An estimator from this package, or a `skinfluence.pipeline.Pipeline`.

    Raises
    ------
    UnsupportedEstimatorError
        There is no influence for this estimator or for these parameters. If the inner models
        have influence, as in ensembles, the message names the object to pass instead.
    sklearn.exceptions.NotFittedError
        The estimator is not fitted.

    Notes
    -----
    Frozen: hyperparameters, including those chosen by a search. "balanced" class weights are
    computed from `y` and `sample_weight`, as in `fit`, and move with the samples. To freeze a
    fitted pipeline's steps, pass its last step:
    ``from_fitted(pipe[-1], pipe[:-1].transform(X), y)``.

    The training data are the arguments given here, and they are checked: if a fit met its
    solver's stopping rule, its objective has a small gradient on its own data. If the gradient
    is larger, an `InfluenceWarning` reports it and the mistake that it suggests: another row
    order, another scale, omitted weights or other rows. If a fit ran out of iterations, the
    objective must be better than at the solver's initial parameters. `HuberRegressor`'s solver
    has no rule for gradients, so its fit has to be better than the best constant.

    If these checks prove little, scikit-learn fits a copy of `obj` again with the same
    settings, which takes as long as the first fit. The parameters must be equal. If the solver
    diverged or stopped at its start, this may prove nothing, and a warning says so. For losses
    with kinks, the dual coefficients have to agree with the samples' margins. Linear models do
    not keep them, so these are fitted again. Dask arrays are not checked.

    The parameters are not an optimum for other data. This matters for transformers such as
    :class:`sklearn.preprocessing.TargetEncoder` and :class:`sklearn.decomposition.NMF`: a
    pipeline is fitted with their `fit_transform`, which returns other values than `transform`.
    If the steps are not random, clones of them compute these values again. A `Pipeline` from
    this package keeps the values that were fitted.

    Fitting the returned pipeline fits the shared transformers again: `clone` it first.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence import from_fitted
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> pipe = make_pipeline(StandardScaler(), LogisticRegression())
    >>> search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}).fit(X, y)
    >>> from_fitted(search, X, y).influence_loss(X[:2], y[:2]).shape
    (2, 569)
    """
    if X is None and (y is not None or sample_weight is not None):
        raise ValueError("y or sample_weight was given without X: pass X too, or neither.")
    return convert(obj, X, y, sample_weight, "obj")


def convert(obj, X, y, sample_weight, path, guess=None, features=None):
    """Return `from_fitted` for the object at `path`.

    `guess` is a known reason why X may differ from the training samples, or None. `features`
    are the names of the columns of X behind the steps of pipelines, None if unknown.
    """
    known = composites()
    composite = next((cls for cls in type(obj).__mro__ if cls in known), None)
    if composite is not None and not _changes(type(obj), composite, known[composite]):
        ours = object.__new__(known[composite])
        vars(ours).update(vars(obj))
        if isinstance(obj, FixedThresholdClassifier | TunedThresholdClassifierCV):
            ours.estimator_ = _classifier(obj)
        check_is_fitted(ours)
        get_problem(ours).adopt(X, y, sample_weight, path)
        return ours
    if _chooses_rows(obj):
        resampled = import_module("skinfluence.composite.resampled")
        return resampled.convert_pipeline(obj, X, y, sample_weight, path)
    inner = _inside(obj, path)
    if inner is not None:
        attribute, inner = inner
        return convert(inner, X, y, sample_weight, f"{path}.{attribute}", guess, features)
    if type(obj) in (pipeline.Pipeline, Pipeline):
        if not obj.steps:
            raise UnsupportedEstimatorError(
                f"{path} is a pipeline without steps: add steps, the last one an estimator of "
                "scikit-learn, and fit it."
            )
        name, last = obj.steps[-1]
        Xt = X
        if X is not None:
            Xt, reason = rows_behind(obj, X, y, sample_weight)
            guess = guess or reason
        routing = routing_enabled()
        stops = weights_reach(obj, routing) and not weights_reach(last, routing)
        weight = None if stops else sample_weight
        features = None if X is None else names_behind(obj, features)
        last = convert(last, Xt, y, weight, f"{path}[-1]", guess, features)
        name_rows(last, row_names(X))
        pipe = Pipeline(
            [*obj.steps[:-1], (name, last)],
            transform_input=obj.transform_input,
            memory=obj.memory,
            verbose=obj.verbose,
        )
        if X is not None:
            pipe.training_data_ = training_data(pipe, X, y, sample_weight)
        elif "training_data_" in vars(obj):
            pipe.training_data_ = obj.training_data_
        return pipe
    mirror = _mirror(obj, path)
    get_problem(mirror).adopt(X, y, sample_weight, guess, features=features)
    return mirror


def _chooses_rows(obj):
    """Return whether a pipeline is from imbalanced-learn, or ours made from one."""
    if not isinstance(obj, pipeline.Pipeline):
        return isinstance(obj, InfluenceMethods) and hasattr(obj, "sample_indices_")
    steps = [step for _, step in obj.steps]
    is_theirs = type(obj).__module__.startswith("imblearn.")
    return is_theirs or any(hasattr(step, "fit_resample") for step in steps)


def _inside(obj, path):
    """Return (attribute, fitted estimator) for a wrapper, None if obj wraps nothing."""
    if isinstance(obj, FrozenEstimator):
        return "estimator", obj.estimator
    if hasattr(obj, "best_estimator_"):
        return "best_estimator_", obj.best_estimator_
    if getattr(obj, "refit", True) is False and hasattr(obj, "cv_results_"):
        raise UnsupportedEstimatorError(
            f"{path} is a {type(obj).__name__} with refit=False, which holds no fitted "
            f"estimator: fit {path}.estimator with {path}.best_params_ and pass that, or use "
            "refit=True."
        )
    return None


def _classifier(obj):
    """Return the fitted classifier of one with a threshold, without `FrozenEstimator`.

    FixedThresholdClassifier uses its estimator directly if that is already fitted.
    """
    found = vars(obj).get("estimator_", obj.estimator)
    while isinstance(found, FrozenEstimator):
        found = found.estimator
    check_is_fitted(found)
    return found


def _mirror(obj, path):
    """Return obj as an estimator from this package, with the same fitted attributes."""
    if isinstance(obj, InfluenceEstimatorMixin):
        check_is_fitted(obj)
        return copy.copy(obj)
    known = mirrors()
    parent = next((cls for cls in type(obj).__mro__ if cls in known), None)
    if parent is None:
        if hasattr(obj, "fit"):
            check_is_fitted(obj)
        raise UnsupportedEstimatorError(_no_mirror(obj, path, known))
    changed = _changes(type(obj), parent)
    if changed and unsupported.why(obj) is not None:  # MultiTaskLasso inherits from Lasso
        raise UnsupportedEstimatorError(_no_mirror(obj, path, known))
    if changed:
        raise UnsupportedEstimatorError(
            f"{path} is a {type(obj).__name__}, which is not {parent.__name__}: it has "
            f"{', '.join(changed)} of its own, so its objective is unknown. Pass a "
            f"{parent.__name__}, or a subclass that changes nothing but the constructor."
        )
    check_is_fitted(obj)
    mirror = object.__new__(known[parent])
    vars(mirror).update(vars(obj))
    return mirror


@cache
def composites():
    """Return our class for each scikit-learn class that combines estimators.

    The modules are imported at the first call, because `import skinfluence` stays fast
    without them.
    """
    modules = [import_module(f"skinfluence.{name}") for name in COMPOSITE_MODULES]
    ours = [getattr(module, name) for module in modules for name in module.__all__]
    return {parent_class(cls): cls for cls in ours}


def mirrors():
    """Return our class for each scikit-learn class that has one."""
    ours = [getattr(module, name) for module in MIRROR_MODULES for name in module.__all__]
    known = {parent_class(cls): cls for cls in ours}
    return {p: cls for p, cls in known.items() if p.__module__.startswith("sklearn.")}


def _changes(cls, parent, ours=None):
    """Return a parent's methods, except the constructor, that a subclass redefines.

    `ours` is our class for the parent. Its methods do not count as changes.
    """
    if ours is not None and issubclass(cls, ours):
        parent = ours
    above = cls.__mro__[: cls.__mro__.index(parent)]
    names = {name for between in above for name in vars(between)}
    return sorted(
        name
        for name in names
        if callable(getattr(parent, name, None))
        and not name.startswith("__")
        and not name.endswith("_request")  # each class has its own set_fit_request
    )


def _no_mirror(obj, path, known):
    """Return the error message for an object without influence."""
    if isinstance(obj, pipeline.Pipeline):
        return (
            f"{path} is a pipeline of the class {type(obj).__qualname__}, whose steps may not "
            f"only transform. Pass {path}[-1] with the samples that it was fitted on."
        )
    for cls in type(obj).__mro__:
        if cls.__name__ in PARTS:
            return (
                f"There is no influence for a {type(obj).__name__} as a whole. Pass a model "
                f"inside it: {path}.{PARTS[cls.__name__]}."
            )
    listed = unsupported.why(obj)
    if listed is not None:
        return f"{path} is a {type(obj).__name__}. {listed}"
    supported = ", ".join(sorted(cls.__name__ for cls in known.values()))
    named = repr(obj) if isinstance(obj, str | None) else type(obj).__name__
    return (
        f"{path} is a {named}, for which there is no influence here. Supported are "
        f"{supported}, pipelines that end in one, searches over them, and "
        f"{', '.join(sorted(cls.__name__ for cls in composites()))} of them."
    )
