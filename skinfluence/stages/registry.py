"""Registry of stages for scikit-learn's transformers."""

from functools import partial

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import (
    decomposition,
    encoders,
    impute,
    power,
    quantile,
    scalers,
    stateless,
    text,
)
from skinfluence.stages.base import NotNumbers, Stage, dense
from skinfluence.stages.chain import Chain, Columns, Frozen, Identity

#: Stage class for each transformer class, collected from the modules.
STAGES = {
    **scalers.STAGES,
    **impute.STAGES,
    **decomposition.STAGES,
    **power.STAGES,
    **quantile.STAGES,
    **encoders.STAGES,
    **stateless.STAGES,
    **text.STAGES,
}


def make_stage(transformer, X, y=None, weight=None):
    """Return the `Stage` for a fitted transformer.

    Parameters
    ----------
    transformer : estimator
        Fitted transformer.
    X : {array-like, sparse matrix, DataFrame} of shape (n, d)
        Training rows.
    y : array-like of shape (n,) or None, default=None
        Training targets.
    weight : ndarray of shape (n,) or None, default=None
        Sample weights that `fit` used; None for ones.

    Raises
    ------
    UnsupportedEstimatorError
        If the derivative of its fit is not known.
    """
    if transformer is None or isinstance(transformer, str):  # "passthrough"
        return Identity(X)
    for composite, make in COMPOSITES.items():
        if isinstance(transformer, composite):
            return make(transformer, X, y, weight)
    kind = STAGES.get(type(transformer))
    if kind is None:
        name = type(transformer).__name__
        raise UnsupportedEstimatorError(
            f"The derivative of the fit of {name}, a step before the model, is not known. The "
            "methods that remove samples (leave_out_*, remove_samples) fit it again and do "
            f"not need it. {_how_to_fix(transformer)}"
        )
    return kind(transformer, X, y, weight)


def _how_to_fix(transformer):
    """Return how to keep a transformer as it is; FrozenEstimator takes only fitted ones."""
    name = type(transformer).__name__
    try:
        check_is_fitted(transformer)
    except (NotFittedError, AttributeError, TypeError):  # also what has no tags
        return (
            "If it learns nothing from samples, pass its transform alone: "
            f"FunctionTransformer({name}(...).transform)."
        )
    return (
        "To keep the step fixed, wrap it in sklearn.frozen.FrozenEstimator: "
        f"FrozenEstimator({name}(...).fit(X, y))."
    )


def learns_from_rows(transformer):
    """Return whether the removal of rows may change a transformer.

    It does not if the transformer is frozen, or if its tags say that it needs no fit.
    """
    return any(_needs_fit(part) for part in parts_of(transformer))


def learning_steps(steps):
    """Return the class names of those (name, step) that learn from rows."""
    return [type(step).__name__ for _, step in steps if learns_from_rows(step)]


def moves_with_weights(transformer):
    """Return whether a transformer's statistics may have a derivative in the rows' weights.

    They have none if they are choices or extremes of columns, see `stages.order`.
    """
    learning = [part for part in parts_of(transformer) if _needs_fit(part)]
    return not all(issubclass(STAGES.get(type(part), Stage), _STILL) for part in learning)


def names_on_host(steps, *, to_input=False):
    """Return the class names of steps whose derivative takes NumPy arrays only.

    If no step up to it learns from rows, a step needs a derivative only `to_input`.
    """
    learns, names = to_input, []
    for step in steps:
        learns = learns or learns_from_rows(step)
        if learns and not (step in (None, "passthrough") or type(step) in ON_DEVICES):
            names.append(type(step).__name__)
    return names


def _needs_fit(transformer):
    """Return whether a transformer that contains no others may learn from rows."""
    if type(transformer) in FIXED:
        return False
    try:
        return bool(get_tags(transformer).requires_fit)
    except (AttributeError, TypeError):
        return True


def _chain(pipeline, X, y, weight):
    """Return the stage for a pipeline of transformers."""
    steps = [step for _, step in pipeline.steps]
    return make_chain(steps, X, y, [weight] * len(steps))


def make_chain(steps, X, y, weights):
    """Return the stage for steps one after another, each with its own weights."""
    stages = []
    for step, weight in zip(steps, weights, strict=True):
        stages.append(make_stage(step, X, y, weight))
        X = stages[-1].complete(stages[-1].training_output())
    return Chain(stages) if stages else Identity(X)


def _columns(transformer, X, y, weight):
    """Return the stage for a ColumnTransformer."""
    _refuse_weights(transformer)
    names = getattr(transformer, "feature_names_in_", None)
    parts = []
    for name, part, columns in transformer.transformers_:
        outputs = transformer.output_indices_.get(name, slice(0, 0))
        if outputs.start == outputs.stop:
            continue  # dropped, or without columns
        inputs = _positions(columns, transformer.n_features_in_, names)
        parts.append((make_stage(part, _select(X, inputs), y, weight), inputs, outputs))
    join = _join_sparse if transformer.sparse_output_ else _join_dense
    parts.sort(key=lambda part: part[2].start)
    return Columns(transformer, parts, X, _select, join)


def _union(transformer, X, y, weight):
    """Return the stage for a FeatureUnion."""
    _refuse_weights(transformer)
    parts, start, is_sparse = [], 0, False
    for _, part in transformer.transformer_list:
        if part == "drop":
            continue
        stage = make_stage(part, X, y, weight)
        output = stage.training_output()
        is_sparse |= sparse.issparse(output)
        parts.append((stage, None, slice(start, start + output.shape[1])))
        start += output.shape[1]
    join = _join_sparse if is_sparse else _join_dense
    return Columns(transformer, parts, X, _select, join)


def _frozen(transformer, X, y, weight):
    """Return the stage for a frozen transformer."""
    inner = transformer.estimator
    return Frozen(inner, X, partial(make_stage, inner, X, y))


#: Transformers with stages that take arrays of other libraries.
ON_DEVICES = (MaxAbsScaler, MinMaxScaler, PCA, PolynomialFeatures, StandardScaler)

#: Transformers whose `fit` only counts features.
FIXED = (AdditiveChi2Sampler, FunctionTransformer, Normalizer, PolynomialFeatures)

# Stages whose statistics have no derivative in the rows' weights.
_STILL = (
    NotNumbers,
    scalers.MaxAbsScalerStage,
    scalers.MinMaxScalerStage,
    scalers.RobustScalerStage,
    stateless.SelectorStage,
)

#: Functions that make the stage for a transformer that contains others.
COMPOSITES = {
    Pipeline: _chain,
    ColumnTransformer: _columns,
    FeatureUnion: _union,
    FrozenEstimator: _frozen,
}


def _refuse_weights(transformer):
    if transformer.transformer_weights:
        raise UnsupportedEstimatorError(
            f"The derivative of {type(transformer).__name__} with transformer_weights is not "
            "known. Use a FunctionTransformer or a scaler inside each part instead."
        )


def _positions(columns, n_features, names):
    """Return the indices of columns, or one int if a column is selected as a vector."""
    if isinstance(columns, str):
        return int(np.flatnonzero(names == columns)[0])
    if np.isscalar(columns):
        return int(columns)
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            positions = {name: number for number, name in enumerate(names)}
            start = positions.get(columns.start)
            stop = positions.get(columns.stop)
            columns = slice(start, None if stop is None else stop + 1, columns.step)
        return np.arange(n_features)[columns]
    columns = np.asarray(columns)
    if columns.dtype.kind in "OUS":
        return np.array([np.flatnonzero(names == name)[0] for name in columns], dtype=int)
    return np.arange(n_features)[columns]


def _select(X, columns):
    """Return the columns with some indices; None selects all."""
    if columns is None:
        return X
    if isinstance(X, list | tuple):
        X = np.array(X, dtype=object)
    return X.iloc[:, columns] if hasattr(X, "iloc") else X[:, columns]  # polars is like numpy


def _join_dense(outputs):
    """Join the outputs of parts side by side, as a dense array."""
    return np.hstack([dense(output) for output in outputs])


def _join_sparse(outputs):
    """Join the outputs of parts side by side, as a csr array."""
    return sparse.hstack([sparse.csr_array(output) for output in outputs], format="csr")


def parts_of(transformer):
    """Yield the transformers inside a transformer, or itself if it contains none.

    Frozen transformers, "passthrough" and "drop" are left out.
    """
    if transformer is None or isinstance(transformer, str | FrozenEstimator):
        return
    if isinstance(transformer, Pipeline):
        parts = [step for _, step in transformer.steps]
    elif isinstance(transformer, FeatureUnion):
        parts = [part for _, part in transformer.transformer_list]
    elif isinstance(transformer, ColumnTransformer):
        fitted = getattr(transformer, "transformers_", transformer.transformers)
        parts = [part for _, part, _ in fitted]
    else:
        yield transformer
        return
    for part in parts:
        yield from parts_of(part)
