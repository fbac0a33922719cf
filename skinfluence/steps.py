"""What functions of a fitted model take: an estimator of ours, or a pipeline ending in one."""

from sklearn.pipeline import Pipeline

from skinfluence import unsupported
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.mixins import InfluenceMixin
from skinfluence.pipeline import transform as through_steps

__all__ = ["final_estimator", "transform"]


def final_estimator(estimator):
    """Return the estimator that has the influence methods."""
    final = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(final, InfluenceMixin):
        listed = unsupported.why(final)
        if listed is not None:
            raise UnsupportedEstimatorError(listed)
        raise TypeError(
            f"{type(final).__name__} has no influence methods: use the class of the same "
            "name from skinfluence, alone or as the last step of a pipeline. What is fitted "
            "already needs no new fit: skinfluence.from_fitted(estimator, X, y)."
        )
    return final


def transform(estimator, X):
    """Return X as the final estimator sees it, after the fitted steps before it."""
    return through_steps(estimator.steps, X) if isinstance(estimator, Pipeline) else X
