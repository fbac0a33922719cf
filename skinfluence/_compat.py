"""The only module that touches names scikit-learn does not document.

Each of them is listed here with the reason, so that a new scikit-learn release is
checked in one place.
"""

# Predictions of a linear classifier with scikit-learn's own checks and messages; every
# public class that has them brings a `fit` of its own.
from sklearn.linear_model._base import LinearClassifierMixin

# Broadcasts a scalar weight, checks length and finiteness, with scikit-learn's own
# messages; there is no public spelling of it.
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = ["LinearClassifierMixin", "check_sample_weight"]
