"""Pipelines whose last step has influence.

The methods of the last step are methods of the pipeline: rows that they take go through
the fitted transformers first, as in `predict`.
"""

import copy
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
from skinfluence.distributed import is_dask, map_rows
from skinfluence.mixins import InfluenceEstimatorMixin, ProblemMixin

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


def transformers(steps):
    """Return the steps before the last one that do something."""
    return [step for step in steps[:-1] if step[1] not in (None, "passthrough")]


def transform(steps, X):
    """Return raw samples as the last of some fitted steps sees them."""
    before = transformers(steps)
    if before and is_dask(X):
        return map_rows(partial(_transform, before), X, steps[-1][1].n_features_in_)
    return _transform(before, X)


def _transform(transformers, X):
    for _, transformer in transformers:
        X = transformer.transform(X)
    return X


def row_names(X):
    """Return the names of the rows of a DataFrame, None of anything else."""
    return X.index if hasattr(X, "iloc") and not is_dask(X) else None


def _final(last):
    """Return the last step of pipelines within each other."""
    while isinstance(last, pipeline.Pipeline):
        last = last.steps[-1][1]
    return last


def name_rows(last, index):
    """Give the training rows of a last step the names that transformers took away."""
    last = _final(last)
    if index is not None and isinstance(last, ProblemMixin):
        last._name_rows(index)


def _last_step_with(name, pipe):
    """Return the last step, or say why it lacks a method and what to do."""
    last = pipe.steps[-1][1]
    try:
        getattr(last, name)
    except AttributeError:
        if isinstance(last, ProblemMixin):  # says itself why
            raise
        listed = unsupported.why(_final(last))
        if listed is not None:
            raise AttributeError(f"This pipeline has no {name}. {listed}") from None
        raise AttributeError(
            f"The last step of this pipeline, {last!r}, has no {name}. Use the estimator of "
            "skinfluence in its place; where the pipeline is fitted already, "
            "skinfluence.from_fitted(pipe, X, y) does so without a new fit."
        ) from None
    return last


if TYPE_CHECKING:  # a checker cannot see what is set from DELEGATES
    _Delegates = InfluenceEstimatorMixin
else:
    _Delegates = object


class Pipeline(pipeline.Pipeline, _Delegates):
    """Pipeline of scikit-learn with the influence methods of its last step.

    Parameters, attributes and methods are those of :class:`sklearn.pipeline.Pipeline`.
    Where the last step is an estimator of this package, its methods for influence,
    convergence and removal are methods of the pipeline too. Samples that they take are raw
    and go through the fitted transformers, as in `predict`; training samples are what the
    last step was fitted on. Methods that change the model return the pipeline.

    Frozen: the transformers. A scaler or an encoder learned from the training samples as
    well, and what they would learn without one of them is not part of any result.
    Parameters are those of the last step, one for each of the features that it sees;
    `param_names` tells which these are.

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
            super().fit(X, y, **params)
            name_rows(self.steps[-1][1], row_names(X))
            return self

    @property
    def params_(self) -> Floats:
        """Parameters of the last step as one vector, shape (p,)."""
        check_is_fitted(self)
        return _last_step_with("params_", self).params_

    @available_if(partial(_last_step_with, "param_names"))
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
        return self._param_names(None)

    def _param_names(self, features):
        """Return the names of the parameters where the features have these names."""
        features = _feature_names_out(self.steps, features)
        last = self.steps[-1][1]
        if isinstance(last, Pipeline):
            return last._param_names(features)
        if features is not None:
            last = copy.copy(last)
            last.feature_names_in_ = features
        return last.param_names()


def _feature_names_out(steps, names):
    """Return the names of the features that the last step sees, None if unknown."""
    for _, transformer in transformers(steps):
        try:
            names = transformer.get_feature_names_out(names)
        except (AttributeError, ValueError):  # not every transformer knows them
            return None
    return names


def _enlarged(last, index):
    """Return the names of the training rows and of more behind them, None if unknown."""
    held = getattr(_final(last)._get_objective(), "index", None)
    return None if held is None or index is None else held.append(index)


def _delegate(name, rows):
    """Return the method of a pipeline that calls the last step's."""

    @available_if(partial(_last_step_with, name))
    @wraps(getattr(InfluenceEstimatorMixin, name))
    def delegate(self, *args, **kwargs):
        check_is_fitted(self)
        method = getattr(self.steps[-1][1], name)
        call = inspect.signature(method).bind(*args, **kwargs)
        index = None
        if name == "set_training_data":
            index = row_names(call.arguments.get("X"))
        elif name == "add_samples":
            index = _enlarged(self.steps[-1][1], row_names(call.arguments.get("X")))
        for argument in rows:
            if call.arguments.get(argument) is not None:
                call.arguments[argument] = transform(self.steps, call.arguments[argument])
        result = method(*call.args, **call.kwargs)
        name_rows(self.steps[-1][1], index)
        return self if result is method.__self__ else result

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
    array([[135,  40,  73]])
    """
    named = pipeline.make_pipeline(*steps).steps
    return Pipeline(named, transform_input=transform_input, memory=memory, verbose=verbose)
