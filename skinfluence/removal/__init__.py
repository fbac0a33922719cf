"""Finite removal: the model without some of its training rows, at three accuracies.

    theta_-A = argmin of F with w_i = 0 for i in A, and "balanced" class weights without A

    "influence"   theta* + H^-1 sum_A v_i                  first order, additive
    "one-step"    theta* - (H - H_A)^-1 (G - sum_A v_i)    for measures defined by one step
    "newton"      the same, plus further steps if the first is not accurate
    "exact"       Newton steps to the minimum of F without A, scikit-learn's best refit

All methods start at the optimum theta* for all rows, so they predict the converged refit.

    base.py        the quantities at the optimum near the fit that all groups share
    leave_out.py   loops over all groups, in stacks that fit into memory; groups with no
                   result, or with one of many
    accuracies.py  one stack at one accuracy, up to the exact refit
    identified.py  the part that is determined if there is no single optimum
    refit.py       one changed objective, with its own Hessian
    step_error.py  how far a Newton step ends from the optimum
    stack.py       the rows in a stack, their gradients, one step
    run.py         iterates a stack while its steps contract
    active_set.py  the same on the active set, for losses with kinks
    support.py     models with an l1 penalty, whose support may change
    nearby.py      many objectives with other features, from one factor
    rescaled.py    many objectives with the same features on other scales
    series.py      the gradient's remainder as a polynomial, for many rows and few features
    reweight.py    loops over vectors of sample weights, of which removal is a special case
    weighted.py    one stack of such vectors
"""

from skinfluence.removal.accuracies import ACCURATE, METHODS, ONE_STEP
from skinfluence.removal.active_set import ActiveSetBase
from skinfluence.removal.base import Base, base_of_part, error_bound, losses_into
from skinfluence.removal.identified import depends, determined, flat_directions
from skinfluence.removal.leave_out import (
    Outcome,
    groups_without_class,
    groups_without_optimum,
    leave_out,
    stack_bytes,
)
from skinfluence.removal.nearby import are_alike, optima_near
from skinfluence.removal.rescaled import Rescaled, move_rescaled
from skinfluence.removal.reweight import Weights, reweight
from skinfluence.removal.support import SupportBase
