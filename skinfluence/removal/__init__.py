"""Finite removal: the model without some of its training rows, at three accuracies.

    theta_-A = argmin of F with w_i = 0 for i in A, all else frozen

    "influence"   theta~ + N + H^-1 sum_A v_i                first order, additive
    "newton"      theta~ - (H - H_A)^-1 (G - sum_A v_i)      one Newton step of F without A
    "exact"       Newton of F without A until it stands      scikit-learn's best refit

All three predict the converged refit: from a fit that stopped early, N is inside.

    leave_out.py   walks over all groups in stacks of a size that fits
    stack.py       one stack of groups: its rows, its gradients, one step
    exact.py       the iteration to the refit
    active_set.py  the same for losses whose kinks hold rows in place
    evaluate.py    losses and bounds at the moved parameters
"""

from skinfluence.removal.active_set import ActiveSetBase
from skinfluence.removal.evaluate import error_bound, losses_into
from skinfluence.removal.leave_out import (
    METHODS,
    Base,
    Outcome,
    groups_without_optimum,
    leave_out,
)

__all__ = [
    "METHODS",
    "ActiveSetBase",
    "Base",
    "Outcome",
    "error_bound",
    "groups_without_optimum",
    "leave_out",
    "losses_into",
]
