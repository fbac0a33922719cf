"""Pipelines whose last step has influence.

The pipeline has its last step's methods. They take raw samples. Influence and removal take the
pipeline's whole fit into account, see `whole`. Methods for the last step alone see the samples
behind the fitted transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike
from sklearn import pipeline
from sklearn.utils.validation import check_is_fitted

from skinfluence import unsupported
from skinfluence._typing import Estimator, MatrixLike
from skinfluence.distributed import is_dask
from skinfluence.exceptions import (
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    warn,
)
from skinfluence.methods import FittedMixin, InfluenceMethods
from skinfluence.methods.available import HasProblem
from skinfluence.stages import learns_from_rows
from skinfluence.steps import final_estimator, innermost, name_rows, row_names, steps_of
from skinfluence.whole import TrainingData, WholeProblem, pipeline_problem, whole_problem

__all__ = ["Pipeline", "make_pipeline"]


def _final_with(name, pipe):
    """Return the final estimator, or raise with the reason if it lacks a method."""
    final = innermost(pipe)
    if isinstance(final, pipeline.Pipeline):
        raise AttributeError(
            f"A pipeline without steps has no {name}: add steps, the last one an estimator of "
            "skinfluence."
        )
    if isinstance(final, HasProblem):
        final._check_has(name)
    elif not hasattr(final, name):
        listed = unsupported.why(final)
        if listed is not None:
            raise AttributeError(f"This pipeline has no {name}. {listed}") from None
        raise AttributeError(
            f"The last step of this pipeline, {final!r}, has no {name}. Use an estimator of "
            "skinfluence in its place; if the pipeline is fitted already, "
            "skinfluence.from_fitted(pipe, X, y) does so without a new fit."
        ) from None
    return final


class Pipeline(pipeline.Pipeline, InfluenceMethods):
    """Pipeline of scikit-learn with its last step's influence methods.

    Parameters, attributes and methods are those of :class:`sklearn.pipeline.Pipeline`.
    If the last step is an estimator from this package, the pipeline also has its methods for
    influence, convergence and removal. They take raw samples. Methods that change the model
    return the pipeline, which keeps references to the `X` and `y` passed to `fit`.

    Influence and removal take the whole fit into account. `influence_*`, `influential_samples`
    and `self_influence` differentiate every step before the last one. If a step's derivative
    is not known, they raise `UnsupportedEstimatorError` and name the step. `leave_out_*`,
    `remove_samples` and `add_samples` fit clones of all steps again, and so do `dfbetas` and
    the measures of `influence_summary` that are removals. Methods for the last step alone,
    such as `convergence_report` and `polish`, use transformed samples.

    The last step may also be an estimator around others, such as `VotingClassifier`. Then the
    pipeline has that estimator's methods, and the steps are stages before all of its members.

    Frozen: hyperparameters and steps in a `sklearn.frozen.FrozenEstimator`. "balanced" class
    weights and ``gamma="scale"`` move with the samples. To freeze all steps before the last
    one, explain the last step alone, with transformed samples:
    ``from_fitted(pipe[-1], pipe[:-1].transform(X), y)``.

    The parameters belong to the last step, with one for each feature that it sees;
    `param_names` has their names. In `leave_out_params` they belong to the features from the
    refitted steps.

    Parameters
    ----------
    steps : list of tuples
        Names and estimators, in the order in which they are applied.
    transform_input : list of str, default=None
        Metadata for `fit` that pass through the transformers, with metadata routing.
    memory : str or object with the joblib.Memory interface, default=None
        Cache for the fitted transformers.
    verbose : bool, default=False
        Whether to print the time for each step.

    See Also
    --------
    make_pipeline : Names the steps automatically.
    skinfluence.from_fitted : Converts a scikit-learn pipeline that is already fitted.

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

        def fit(  # scikit-learn's, which routes metadata
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

    def _space(self) -> Any:
        """Return the library and device of the training rows; None for NumPy."""
        final = innermost(self)
        return final._space() if isinstance(final, HasProblem) else None

    def _check_has(self, name: str) -> None:
        """Raise AttributeError with the reason if the last step lacks a method."""
        _final_with(name, self)

    def _problem(self, method: str | None = None) -> Any:
        """Return the problem for a method: the whole fit, or the last step alone."""
        check_is_fitted(self)
        if is_composite(innermost(self)):
            return self._whole()
        last = pipeline_problem(self)
        if method is None or not WholeProblem.answers(method):
            return last
        if last.data is None:
            self._check_that_nothing_learned(method)
            return last
        if is_dask(last.data.X, last.data.y):
            if any(learns_from_rows(step) for _, step in steps_of(self)):
                warn(
                    f"{method} takes the steps before the model as they were fitted, because "
                    "the training samples are dask arrays. Freeze these steps with "
                    "sklearn.frozen.FrozenEstimator, or call compute() on a part of the rows."
                )
            return last
        self._check_place(method)
        whole = self._whole()
        return whole if whole.learns(method) else last

    def _check_place(self, method):
        """Raise if a step learns from samples in arrays of another library."""
        space = self._space()
        names = [type(step).__name__ for _, step in steps_of(self) if learns_from_rows(step)]
        if space is None or not names:
            return
        raise UnsupportedEstimatorError(
            f"{method} is of the whole fit, {', '.join(names)} included, and it does not take "
            f"arrays of {space.name} with such steps: convert X to NumPy and fit again. To "
            "take the steps as they stand, use "
            "from_fitted(pipe[-1], pipe[:-1].transform(X), y)."
        )

    def _whole(self) -> Any:
        """Return the problem for the whole fit, kept as long as nothing changes."""
        whole = vars(self).get("_whole_problem")
        if whole is None or not whole.is_current():
            final = innermost(self)
            make = final._problem_behind if is_composite(final) else whole_problem
            whole = self._whole_problem = make(self)
        return whole

    def _check_that_nothing_learned(self, method):
        """Raise if a step learns from training samples and the pipeline does not have them."""
        names = [type(step).__name__ for _, step in steps_of(self) if learns_from_rows(step)]
        last = pipeline_problem(self)
        if last.gamma_moves:
            names.append("gamma='scale' of the kernel")
        if not names:
            return
        last.fitted, last.objective  # noqa: B018  # raises if the last step lacks them
        raise TrainingDataMissingError(
            f"{method} is of the whole fit, {', '.join(names)} included, and this pipeline "
            "does not hold the raw samples of it. Call set_training_data(X, y, sample_weight) "
            "to give them. To take the steps as they stand, explain the last step alone."
        )

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_whole_problem", None)
        return state


def problem_of(estimator, method=None, caller=None, *, composites=False):
    """Return the problem for a method on an estimator or a pipeline.

    Parameters
    ----------
    estimator : object
        Fitted estimator or pipeline from this package, or a scikit-learn pipeline that
        ends in one.
    method : str or None, default=None
        The method's name; None for the last step alone.
    caller : str or None, default=None
        The caller's name for the warning that a scikit-learn pipeline's steps are taken as
        fitted; None for no warning.
    composites : bool, default=False
        Whether the caller takes an estimator around others, too.
    """
    final = innermost(estimator)
    if composites and is_composite(final):
        if isinstance(estimator, HasProblem):
            return estimator._problem(method)
        return final._problem_behind(estimator)  # scikit-learn's pipeline
    final_estimator(estimator)  # raises if it has no influence
    if hasattr(estimator, "_problem"):
        return estimator._problem(method)
    if caller is not None and any(learns_from_rows(step) for _, step in steps_of(estimator)):
        warn(
            f"{caller} takes the steps before the model as they were fitted, because "
            "scikit-learn's Pipeline does not know its training samples. Use "
            "skinfluence.pipeline.Pipeline, or skinfluence.from_fitted(pipe, X, y)."
        )
    return pipeline_problem(estimator)


def is_composite(estimator):
    """Return whether an estimator with influence contains other estimators."""
    return isinstance(estimator, HasProblem) and not isinstance(
        estimator, FittedMixin | Pipeline
    )


def with_data(pipe, X, y):
    """Return a pipeline from this package with another one's steps and training data."""
    ours = Pipeline(pipe.steps, transform_input=pipe.transform_input, memory=pipe.memory)
    ours.training_data_ = TrainingData(X, y, {})
    return ours


def make_pipeline(
    *steps: Estimator,
    memory: Any = None,
    transform_input: Sequence[str] | None = None,
    verbose: bool = False,
) -> Pipeline:
    """Return a `Pipeline` from the given estimators, named after their types.

    Parameters
    ----------
    *steps : list of estimators
        Transformers and, last, an estimator from this package.
    memory : str or object with the joblib.Memory interface, default=None
        Cache for the fitted transformers.
    transform_input : list of str, default=None
        Metadata for `fit` that pass through the transformers, with metadata routing.
    verbose : bool, default=False
        Whether to print the time for each step.

    Returns
    -------
    pipe : Pipeline
        The unfitted pipeline.

    See Also
    --------
    sklearn.pipeline.make_pipeline : Makes scikit-learn's pipeline.

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
