"""Which stage belongs to which transformer of scikit-learn."""

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import encoders, scalers, selection, stateless, text

__all__ = ["STAGES", "make_stage"]

#: Stage of each class of transformers, collected from the modules.
STAGES = {**scalers.STAGES}
STAGES |= encoders.STAGES | selection.STAGES | stateless.STAGES | text.STAGES


def make_stage(transformer, X, y=None, weight=None):
    """Return the `Stage` of a fitted transformer.

    Parameters
    ----------
    transformer : estimator
        Fitted transformer.
    X : {array-like, sparse matrix, DataFrame} of shape (n, d)
        Rows that it was fitted on.
    y : array-like of shape (n,) or None, default=None
        Targets that it was fitted on.
    weight : ndarray of shape (n,) or None, default=None
        Sample weights that its `fit` took.

    Raises
    ------
    UnsupportedEstimatorError
        The derivative of its fit is not known.
    """
    kind = STAGES.get(type(transformer))
    if kind is None:
        name = type(transformer).__name__
        raise UnsupportedEstimatorError(
            f"No derivative is known of the fit of {name}, a step before the model. The "
            "methods that remove samples (leave_out_*, remove_samples) fit it again and need "
            "none. To take it as it stands, wrap it in sklearn.frozen.FrozenEstimator: "
            f"FrozenEstimator({name}(...).fit(X, y))."
        )
    return kind(transformer, X, y, weight)
