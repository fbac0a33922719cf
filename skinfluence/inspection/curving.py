"""How far a step to the optimum without some rows goes if the curvature changes on the way.

The step v = theta_-S - theta solves H- v = g_S, with the gradient g_S of the rows S and the
mean Hessian H- without S along the way. If |l'''| <= M l'' along every line, the mean
curvature of row i over a change delta_i in its raw prediction differs from h_i by a factor
between

    phi(t) = (1 - exp(-t)) / t    and    (exp(t) - 1) / t,    t = M |delta_i|

Let r = ||v|| in the metric of H_-S. With q_i = x~_i'H_-S^-1 x~_i and p_i = h_i q_i, a row's
share of r^2 is h_i delta_i^2 <= p_i r^2, and all shares together are at most r^2. So

    v'H- v >= r^2 - sum_i (1 - phi(t_i)) h_i delta_i^2 >= (1 - beta(r)) r^2

    t_i       M sqrt(q_i) r
    beta(r)   the largest sum of shares p in [0, p_i] times 1 - phi(t_i), if the shares add up
              to at most 1: the rows with the largest q_i come first

and v'H- v = v'g_S <= r nu with nu^2 >= g_S'H_-S^-1 g_S. The same holds while the weight of S
falls from its value to 0, and r then grows from 0 without a jump. So r is less than any r_0
with (1 - beta(r_0)) r_0 > nu. A row that the model fits well has little curvature, however far
its raw prediction may move, so it hardly counts. Finally

    c'v - c'H_-S^-1 g_S = sum_i x~_i'H_-S^-1 c (h_i - h-_i) delta_i
                        <= r sqrt(sum_i h_i (x~_i'H_-S^-1 c)^2 ((exp(t_i) - 1) / t_i - 1)^2)
"""

from __future__ import annotations

import numpy as np
from scipy.special import exprel

# Steps of the iteration for r, its relative accuracy, and the longest t with a finite bound.
_MAX_ITER, _TOL, _LONGEST = 60, 1e-3, 300.0


def longest_step(rate, nu, q, p):
    """Return r_0 for one size of S, infinite if there is none.

    Parameters
    ----------
    rate : float
        M.
    nu : float
        Bound on the Newton decrement.
    q, p : ndarray of shape (n,)
        Bounds on q_i and p_i.
    """
    if not np.isfinite(nu) or nu == 0:
        return nu
    order = np.argsort(-q)
    root = np.sqrt(q[order])
    before = np.cumsum(p[order]) - p[order]
    share = np.clip(1.0 - before, 0.0, p[order])
    r = nu * (1.0 + _TOL)
    for _ in range(_MAX_ITER):
        lost = share @ (1.0 - exprel(-rate * root * r))  # exprel(-t) is phi(t)
        if (1.0 - lost) * r > nu:
            return r
        if lost >= 1.0:
            break
        r = max(r, nu / (1.0 - lost)) * (1.0 + _TOL)
    return np.inf


def remainder(rate, r, q, effect):
    """Return the bound on c'v - c'H_-S^-1 g_S for one size of S.

    Parameters
    ----------
    rate, r, q
        See `longest_step`.
    effect : ndarray of shape (n,)
        Bounds on sqrt(h_i) |x~_i'H_-S^-1 c|.
    """
    t = rate * np.sqrt(q[effect > 0]) * r
    if t.max(initial=0.0) > _LONGEST:
        return np.inf
    return r * np.linalg.norm(effect[effect > 0] * (exprel(t) - 1.0))
