"""Verdicts about training samples: which labels are wrong, which rows a result hangs on."""

from skinfluence.inspection.influential_set import most_influential_set
from skinfluence.inspection.label_errors import rank_label_errors

__all__ = [
    "most_influential_set",
    "rank_label_errors",
]
