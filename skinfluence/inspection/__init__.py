"""Rankings, bounds, slices, most influential sets and labels, and displays."""

from skinfluence.inspection.candidates import rank_candidates
from skinfluence.inspection.convergence_display import ConvergenceDisplay
from skinfluence.inspection.cutoffs import influence_cutoffs, outlier_test
from skinfluence.inspection.data_values import data_values
from skinfluence.inspection.influence_display import InfluenceDisplay
from skinfluence.inspection.influential_set import most_influential_set
from skinfluence.inspection.label_errors import rank_label_errors
from skinfluence.inspection.leave_out_display import LeaveOutDisplay
from skinfluence.inspection.leverage_display import LeverageDisplay
from skinfluence.inspection.relabels import most_influential_relabels
from skinfluence.inspection.reweighing import reweigh_samples
from skinfluence.inspection.search_display import SearchDisplay
from skinfluence.inspection.slices import error_slices

__all__ = [
    "ConvergenceDisplay",
    "InfluenceDisplay",
    "LeaveOutDisplay",
    "LeverageDisplay",
    "SearchDisplay",
    "data_values",
    "error_slices",
    "influence_cutoffs",
    "most_influential_relabels",
    "most_influential_set",
    "outlier_test",
    "rank_candidates",
    "rank_label_errors",
    "reweigh_samples",
]
