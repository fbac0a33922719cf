"""Newton steps for a fit that is not at its optimum (appendix B, equation 11).

At fitted parameters theta~ with G = grad F(theta~) != 0, a Newton step is

    N         = -H^-1 G                                                       for F itself
    N_eps,z   = -[H/S + eps hess L(z)]^-1 [G/S + eps grad L(z)]     after upweighting z

`optimum` repeats the first one with damping until rounding hides any lower value of F.
"""

from dataclasses import replace

import numpy as np

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.namespaces import to_host
from skinfluence.optimum import newton_decrement
from skinfluence.solvers.update import GroupUpdate


def convergence_ratio(point, factor, correction, *, n_jobs=None):
    """Return ||N||_H over the median ||H^-1 v_i||_H of the rows with v_i != 0.

    This is the distance to the optimum in units of one row's removal. Above 1, leave-one-out
    changes are smaller than the fit's own error.
    """
    norms = np.asarray(to_host(point.per_row(_squares_of_removal, factor, n_jobs)))
    norms = np.sqrt(norms[norms > 0])
    decrement = newton_decrement(point, correction)
    if len(norms) == 0:
        return 0.0 if decrement == 0 else np.inf
    return float(decrement / np.median(norms))


def _squares_of_removal(point, factor, n_jobs):
    """Return ||H^-1 v_i||_H^2 for every row, shape (n,)."""
    w = point.objective.sample_weight

    def block_squares(block):
        V = point.rows.take(block).toarray()
        V *= w[block, None, None]
        return factor.quadratic(V)

    blocks = row_blocks(len(w), 5 * point.rows.row_bytes, n_jobs=n_jobs)
    return np.concatenate(run_blocks(block_squares, blocks, n_jobs=n_jobs))


def newton_step(point, factor, epsilon, rows, target, out, *, n_jobs=None):
    """Fill out (m, p) with the full equation (11) for each sample.

    This is (H + x~_z' C x~_z)^-1 (G + t grad L(z)), with t = eps S and C the curvature of
    t L(z) in the raw prediction. Each sample updates one factorisation. In mean form hess L(z)
    also contains the penalty share, which is the same for every z, so `factor` must then be a
    factor of H + t share.

    Parameters
    ----------
    point : Point
        Training objective at the fitted parameters.
    factor : Factor
        Factor of H; in mean form, of H + t share.
    epsilon : float
        Weight added to z in the mean objective.
    rows : GradientRows
        grad L(z) for the samples.
    target : ndarray
        Encoded targets.
    out : ndarray of shape (m, p)
        Filled in place.
    n_jobs : int or None, default=None
        Number of joblib threads.
    """
    K = point.theta.shape[0]
    form = point.objective.formulation
    t = epsilon * point.objective.weight_sum

    def fill(block):
        part = rows.take(block)
        raw = part.design.predict(point.theta)
        C = t * form.weight_curvature(target[block], raw)
        update = GroupUpdate(factor, part.design.rows()[:, None], C[:, None])
        step = update.correct(factor.solve(point.gradient + t * part.toarray()))
        if t < 0:
            # If more weight is removed than a row has, the objective may have a saddle point.
            # The step to it is not a Newton step.
            step[~update.is_definite()] = np.nan
        out[block] = form.layout.to_public(-step)

    blocks = row_blocks(len(rows), (3 * K + 6) * rows.row_bytes, n_jobs=n_jobs)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return out


def balanced_newton_step(
    point, solver, epsilon, design, target, out, *, own=False, n_jobs=None
):
    """Fill out with `newton_step` for an objective whose class weights are "balanced".

    More weight on a sample changes them, so samples share a Hessian if they share a class and
    the weight that counts.

    Parameters
    ----------
    solver : HessianSolver
        Factorises H at the class weights with each of these samples.
    design, target : Design and ndarray
        The samples.
    own : bool, default=False
        Whether they are the training samples.
    point, epsilon, out, n_jobs
        See `newton_step`.
    """
    objective = point.objective
    form, balance = objective.formulation, objective.balance
    codes = to_host(form.target.class_codes(target))
    factor = balance.per_weight(objective.unit_weight) if own else None
    more = epsilon * objective.weight_sum * (np.ones(len(codes)) if factor is None else factor)
    keys, group = np.unique(np.stack([codes, to_host(more)]), axis=1, return_inverse=True)
    for g, (code, u) in enumerate(keys.T):
        members = np.flatnonzero(group.ravel() == g)
        if np.isnan(u):  # a row that counts without weight, see `per_weight`
            out[members] = np.nan
            continue
        moved = replace(form, class_weight=balance.with_more(int(code), u))
        ahead = replace(objective, formulation=moved).at(point.theta)
        part = design.take(members)
        rows = moved.weight_gradients(part, target[members], point.theta)
        steps = np.empty((len(members), form.layout.size), like=design.like)
        solved = solver.factorise(ahead)
        newton_step(ahead, solved, epsilon, rows, target[members], steps, n_jobs=n_jobs)
        out[members] = steps
    return out
