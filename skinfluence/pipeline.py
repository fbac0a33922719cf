"""Pipelines whose last step has influence.

The methods of the last step are methods of the pipeline. Samples that they take are raw.
Influence and removal are those of everything that the pipeline's fit did, see `whole`. Methods
about the last step alone see the samples behind the fitted transformers.
"""

import inspect
from collections.abc import Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike
from sklearn import pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence import unsupported
from skinfluence._typing import Estimator, Floats, MatrixLike
from skinfluence.distributed import is_dask
from skinfluence.exceptions import TrainingDataMissingError, warn
from skinfluence.groups import check_indices
from skinfluence.mixins import InfluenceEstimatorMixin, ProblemMixin
from skinfluence.stages import learns_from_rows
from skinfluence.steps import (
    innermost,
    name_rows,
    param_names,
    paths_of,
    routing_enabled,
    row_names,
    steps_of,
    transform,
)
from skinfluence.whole import TrainingData, WholeFit

__all__ = ["Pipeline", "make_pipeline"]

# Methods of the last step that the pipeline has too, and those of their arguments that are
# rows of X and go through the transformers.
DELEGATES = {
    "sample_loss": ["X"],
    "loss_gradient": ["X"],
    "solve_hessian": [],
    "influence_params": ["X"],
    "influence_loss": ["X"],
    "influence_loss_chunked": ["X"],
    "influence_prediction": ["X"],
    "influence_functional": [],
    "influence_perturbation": ["X"],
    "influence_relabel": ["X"],
    "self_influence": [],
    "influential_samples": ["X"],
    "influence_summary": [],
    "dfbetas": [],
    "params_covariance": [],
    "newton_correction": [],
    "newton_step": ["X"],
    "convergence_report": [],
    "polish": [],
    "leave_out_params": [],
    "leave_out_loss": ["X"],
    "leave_out_predict": [],
    "leave_out_score": [],
    "leave_out_check": [],
    "remove_samples": [],
    "add_samples": ["X"],
    "set_training_data": ["X"],
    "drop_training_data": [],
    "split_params": [],
}


def _final_with(name, pipe):
    """Return the final estimator, or say why it lacks a method and what to do."""
    final = innermost(pipe)
    if isinstance(final, pipeline.Pipeline):
        raise AttributeError(
            f"A pipeline without steps has no {name}: add steps, the last one an estimator of "
            "skinfluence."
        )
    try:
        getattr(final, name)
    except AttributeError:
        if isinstance(final, ProblemMixin):  # says itself why
            raise
        listed = unsupported.why(final)
        if listed is not None:
            raise AttributeError(f"This pipeline has no {name}. {listed}") from None
        raise AttributeError(
            f"The last step of this pipeline, {final!r}, has no {name}. Use an estimator of "
            "skinfluence in its place; if the pipeline is fitted already, "
            "skinfluence.from_fitted(pipe, X, y) does so without a new fit."
        ) from None
    return final


if TYPE_CHECKING:  # a checker cannot see what is set from DELEGATES
    _Delegates = InfluenceEstimatorMixin
else:
    _Delegates = object


class Pipeline(pipeline.Pipeline, _Delegates):
    """Pipeline of scikit-learn with the influence methods of its last step.

    Parameters, attributes and methods are those of :class:`sklearn.pipeline.Pipeline`.
    If the last step is an estimator of this package, its methods for influence, convergence
    and removal are methods of the pipeline too. Samples that they take are raw. Methods that
    change the model return the pipeline, which holds on to the `X` and `y` of `fit`.

    Influence and removal are those of the whole fit. `influence_*`, `influential_samples` and
    `self_influence` differentiate the fit of every step before the last one, and raise
    `UnsupportedEstimatorError` with the name of a step whose derivative is not known.
    `leave_out_*`, `remove_samples` and `add_samples` fit clones of all steps again. Methods
    about the last step alone, such as `influence_summary` and `convergence_report`, see
    transformed samples.

    Frozen: hyperparameters, steps in a `sklearn.frozen.FrozenEstimator`, and, in
    `influence_*`, class weights. To freeze all steps before the last one, explain that one
    alone, with transformed samples: ``from_fitted(pipe[-1], pipe[:-1].transform(X), y)``.

    Parameters are those of the last step, one for each of the features that it sees;
    `param_names` has their names. Those of `leave_out_params` belong to the features as the
    refitted steps make them.

    Parameters
    ----------
    steps : list of tuples
        Names and estimators, in the order in which they are applied.
    transform_input : list of str, default=None
        Metadata of `fit` that go through the transformers, with metadata routing.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the fitted transformers.
    verbose : bool, default=False
        Print the time that each step takes.

    See Also
    --------
    make_pipeline : The same without names.
    skinfluence.from_fitted : For a pipeline of scikit-learn that is fitted already.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.pipeline import Pipeline
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> pipe = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])
    >>> pipe.fit(X[::2], y[::2]).influence_loss(X[1::2], y[1::2]).shape
    (284, 285)
    """

    if TYPE_CHECKING:

        def fit(  # type: ignore[override]  # scikit-learn's, which routes metadata
            self, X: MatrixLike, y: ArrayLike | None = None, **params: Any
        ) -> Self: ...

    else:

        @wraps(pipeline.Pipeline.fit)
        def fit(self, X, y=None, **params):
            vars(self).pop("training_data_", None)
            super().fit(X, y, **params)
            name_rows(self, row_names(X))
            self.training_data_ = TrainingData(X, y, params)
            return self

    def _whole(self, method):
        """Return the `WholeFit` for a method; None if the last step alone decides."""
        data = vars(self).get("training_data_")
        if not hasattr(WholeFit, method):
            return None
        if data is None:
            self._check_that_nothing_learned(method)
            return None
        if is_dask(data.X, data.y):
            if any(learns_from_rows(step) for _, step in steps_of(self)):
                warn(
                    f"{method} takes the steps before the model as they were fitted, because "
                    "the training samples are dask arrays. Freeze these steps with "
                    "sklearn.frozen.FrozenEstimator, or call compute() on a part of the rows."
                )
            return None
        whole = vars(self).get("_whole_fit")
        if whole is None or not whole.is_of(self, data):
            whole = self._whole_fit = WholeFit(self, data)
        return whole if whole.learns(method) else None

    def _check_that_nothing_learned(self, method):
        """Raise if a step learns from training samples, which the pipeline does not have."""
        names = [type(step).__name__ for _, step in steps_of(self) if learns_from_rows(step)]
        if not names:
            return
        innermost(self)._get_objective()  # says itself if they are missing there, too
        raise TrainingDataMissingError(
            f"{method} is of the whole fit, {', '.join(names)} included, and this pipeline "
            "does not hold the raw samples of it. Call set_training_data(X, y, sample_weight) "
            "to give them. To take the steps as they stand, explain the last step alone."
        )

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_whole_fit", None)
        return state

    @property
    def params_(self) -> Floats:
        """Parameters of the last step as one vector, shape (p,)."""
        check_is_fitted(self)
        return _final_with("params_", self).params_

    @available_if(partial(_final_with, "param_names"))
    def param_names(self) -> list[str]:
        """Return a name for each entry of `params_`.

        Returns
        -------
        list of str
            As the last step has them, with the names of the features as
            `get_feature_names_out` of the transformers gives them.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.preprocessing import PolynomialFeatures
        >>> from skinfluence.linear_model import Ridge
        >>> from skinfluence.pipeline import make_pipeline
        >>> X, y = load_diabetes(return_X_y=True)
        >>> pipe = make_pipeline(PolynomialFeatures(include_bias=False), Ridge())
        >>> pipe.fit(X[:, :2], y).param_names()[1:5]
        ['coef[x1]', 'coef[x0^2]', 'coef[x0 x1]', 'coef[x1^2]']
        """
        check_is_fitted(self)
        return param_names(self)


def whole_of(estimator, method, name=None):
    """Return the `WholeFit` that a method has to see, None if the last step alone decides.

    Parameters
    ----------
    estimator : object
        Fitted estimator or pipeline.
    method : str
        Name of the method.
    name : str or None, default=None
        What to call the caller in the warning that steps of scikit-learn's own pipeline are
        taken as fitted; None for no warning.
    """
    if isinstance(estimator, Pipeline):
        return estimator._whole(method)
    if name is not None and any(learns_from_rows(step) for _, step in steps_of(estimator)):
        warn(
            f"{name} takes the steps before the model as they were fitted, because "
            "scikit-learn's Pipeline does not know its training samples. Use "
            "skinfluence.pipeline.Pipeline, or skinfluence.from_fitted(pipe, X, y)."
        )
    return None


def with_data(pipe, X, y):
    """Return a pipeline of this package with the steps and the training data of another."""
    ours = Pipeline(pipe.steps, transform_input=pipe.transform_input, memory=pipe.memory)
    ours.training_data_ = TrainingData(X, y, {})
    return ours


def _enlarged(final, index):
    """Return the names of the training rows and of more behind them, None if unknown."""
    held = getattr(final._get_objective(), "index", None)
    return None if held is None or index is None else held.append(index)


def _give_data(pipe, data):
    """Let a pipeline, and those that are its last steps, know what they were fitted on."""
    while isinstance(pipe, pipeline.Pipeline) and pipe.steps:
        last = pipe.steps[-1][1]
        if data is None:
            vars(pipe).pop("training_data_", None)
        elif isinstance(pipe, Pipeline):
            pipe.training_data_ = data
        if data is not None and isinstance(last, pipeline.Pipeline):
            data = data.behind(pipe)
        pipe = last


def _data_after(pipe, name, given):
    """Return the raw training data after a method of the last step, None if unknown.

    `given` are the arguments of the method by name.
    """
    data = vars(pipe).get("training_data_")
    if name == "drop_training_data":
        return None
    if name == "set_training_data":
        return training_data(pipe, **given)
    if data is not None and name == "remove_samples":
        return data.without(check_indices(given["indices"], data.n_rows))
    if data is not None and name == "add_samples":
        return data.append(given["X"], given["y"], given.get("sample_weight"))
    return data


def training_data(pipe, X, y, sample_weight=None):
    """Return the arguments that a pipeline's fit took, with the weights routed as by it."""
    params = {}
    if sample_weight is not None:
        name = "sample_weight" if routing_enabled() else f"{paths_of(pipe)[-1]}__sample_weight"
        params = {name: sample_weight}
    return TrainingData(X, y, params)


def _delegate(name, rows):
    """Return the method of a pipeline that calls the last step's."""

    @available_if(partial(_final_with, name))
    @wraps(getattr(InfluenceEstimatorMixin, name))
    def delegate(self, *args, **kwargs):
        check_is_fitted(self)
        final = innermost(self)
        method = getattr(final, name)
        call = inspect.signature(method).bind(*args, **kwargs)
        whole = self._whole(name)
        if whole is not None:
            result = getattr(whole, name)(*call.args, **call.kwargs)
            if isinstance(result, TrainingData):  # after a removal or an addition
                _give_data(self, result)
                return self
            return result
        data, index = _data_after(self, name, call.arguments), None
        if name == "set_training_data":
            index = row_names(call.arguments.get("X"))
        elif name == "add_samples":
            index = _enlarged(final, row_names(call.arguments.get("X")))
        for argument in rows:
            if call.arguments.get(argument) is not None:
                call.arguments[argument] = transform(self, call.arguments[argument])
        result = method(*call.args, **call.kwargs)
        name_rows(final, index)
        if data is not vars(self).get("training_data_"):
            _give_data(self, data)
        return self if result is final else result

    return delegate


for _name, _rows in DELEGATES.items():
    setattr(Pipeline, _name, _delegate(_name, _rows))


def make_pipeline(
    *steps: Estimator,
    memory: Any = None,
    transform_input: Sequence[str] | None = None,
    verbose: bool = False,
) -> Pipeline:
    """Return a `Pipeline` of the given estimators, named after their types.

    Parameters
    ----------
    *steps : list of estimators
        Transformers and, last, an estimator of this package.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the fitted transformers.
    transform_input : list of str, default=None
        Metadata of `fit` that go through the transformers, with metadata routing.
    verbose : bool, default=False
        Print the time that each step takes.

    Returns
    -------
    pipe : Pipeline
        Not fitted yet.

    See Also
    --------
    sklearn.pipeline.make_pipeline : The same for scikit-learn's pipeline.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.linear_model import LogisticRegression
    >>> from skinfluence.pipeline import make_pipeline
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> influence, indices = pipe.influential_samples(X[:1], y[:1], n_influential=3)
    >>> indices
    array([[135,  40, 461]])
    """
    named = pipeline.make_pipeline(*steps).steps
    return Pipeline(named, transform_input=transform_input, memory=memory, verbose=verbose)
