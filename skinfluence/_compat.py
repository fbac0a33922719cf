"""The only module that touches names scikit-learn does not document.

Each of them is listed here with the reason, so that a new scikit-learn release is
checked in one place.
"""

# Broadcasts a scalar weight, checks length and finiteness, with scikit-learn's own
# messages; there is no public spelling of it.
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = ["check_sample_weight"]
