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
from skinfluence.methods import InfluenceEstimatorMixin, InfluenceMethods, get_problem
from skinfluence.methods.available import get_space, why_not
from skinfluence.stages import learning_steps, names_on_host
from skinfluence.steps import final_estimator, innermost, name_rows, row_names, steps_of
from skinfluence.whole import (
    TrainingData,
    WholeProblem,
    lazy_problem,
    make_whole_problem,
    pipeline_problem,
    training_data,
    whole_problem,
)

__all__ = ["Pipeline", "make_pipeline"]


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

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_whole_problem", None)
        state.pop("_lazy_problem", None)
        return state


@get_problem.register(Pipeline)
def problem_of_pipeline(pipe, method=None):
    """Return the problem for a method: the whole fit, or the last step alone."""
    check_is_fitted(pipe)
    if is_composite(innermost(pipe)):
        whole = whole_problem(pipe)
        if method is not None and WholeProblem.answers(method):
            whole.warn_of_functions()
        return whole
    last = pipeline_problem(pipe)
    if method is None or not WholeProblem.answers(method):
        return last
    learned = learning_steps(steps_of(pipe))
    if last.data is None:
        if last.gamma_moves:
            learned.append("gamma='scale' of the kernel")
        if not learned:
            return last
        last.fitted, last.objective  # noqa: B018  # raises if the last step lacks them
        raise TrainingDataMissingError(
            f"{method} covers the whole fit, {', '.join(learned)} included, but this pipeline "
            "does not hold the raw training samples. Call set_training_data(X, y, "
            "sample_weight). To keep the steps as they were fitted, explain the last step "
            "alone: from_fitted(pipe[-1], pipe[:-1].transform(X), y)."
        )
    if is_dask(last.data.X, last.data.y):
        return lazy_problem(pipe, method) if learned else last
    space = get_space(pipe)
    on_host = []
    if space is not None:
        steps = [step for _, step in steps_of(pipe)]
        on_host = names_on_host(steps, to_input=method == "influence_perturbation")
    if on_host:
        raise UnsupportedEstimatorError(
            f"{method} covers the whole fit, {', '.join(on_host)} included, and with such "
            f"steps it takes no arrays of {space.name}: convert X to NumPy and fit again. To "
            "keep the steps as they were fitted, explain the last step alone: "
            "from_fitted(pipe[-1], pipe[:-1].transform(X), y)."
        )
    whole = whole_problem(pipe)
    whole.warn_of_functions()
    return whole if whole.learns(method) else last


@get_space.register(Pipeline)
def space_of_pipeline(pipe):
    """Return the library and device of the last step's training rows; None for NumPy."""
    final = innermost(pipe)
    return None if isinstance(final, Pipeline) else get_space(final)


@why_not.register(Pipeline)
def why_not_pipeline(pipe, name):
    """Return why the last step lacks a method, or None if it has the method."""
    final = innermost(pipe)
    if isinstance(final, pipeline.Pipeline):
        return (
            f"A pipeline without steps has no {name}: add steps, the last one an estimator of "
            "skinfluence."
        )
    if isinstance(final, InfluenceMethods):
        return why_not(final, name)
    if hasattr(final, name):
        return None
    listed = unsupported.why(final)
    if listed is not None:
        return f"This pipeline has no {name}. {listed}"
    return (
        f"The last step of this pipeline, {final!r}, has no {name}. Use an estimator of "
        "skinfluence in its place; if the pipeline is fitted already, "
        "skinfluence.from_fitted(pipe, X, y) does so without a new fit."
    )


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
    if not (composites and is_composite(final)):
        final_estimator(estimator)  # raises if it has no influence
    if isinstance(estimator, InfluenceMethods):
        return get_problem(estimator, method)
    # scikit-learn's pipeline
    if is_composite(final):
        return make_whole_problem(final, estimator)
    if caller is not None and learning_steps(steps_of(estimator)):
        warn(
            f"{caller} takes the steps before the model as they were fitted, because "
            "scikit-learn's Pipeline does not know its training samples. Use "
            "skinfluence.pipeline.Pipeline, or skinfluence.from_fitted(pipe, X, y)."
        )
    return pipeline_problem(estimator)


def is_composite(estimator):
    """Return whether an estimator with influence contains other estimators."""
    return isinstance(estimator, InfluenceMethods) and not isinstance(
        estimator, InfluenceEstimatorMixin | Pipeline
    )


def with_data(pipe, X, y, sample_weight):
    """Return a pipeline from this package with another one's steps and training data."""
    ours = Pipeline(pipe.steps, transform_input=pipe.transform_input, memory=pipe.memory)
    ours.training_data_ = training_data(ours, X, y, sample_weight)
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
