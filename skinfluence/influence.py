"""Derivatives of the fit with respect to sample weights (equation 10).

    I_up,params(z)  = -(H/S)^-1 grad L(z)
    I_up,loss(z, q) = grad l(q)' I_up,params(z)

All functions compute -S times products of `GradientRows` with H^-1 times `GradientRows`. They
differ in the rows on each side and in the part that they keep. They take a `Point` (the
training objective at the fitted parameters) and a `Factor` of its Hessian. Parameters have the
internal layout (K, D) unless they are written into a result.
"""

from dataclasses import replace

import numpy as np

from skinfluence.blocks import add_gram, fill_lower, row_blocks, run_blocks
from skinfluence.gradients import GradientRows
from skinfluence.largest import COLUMNS, Largest, largest_products


def write_gradients(rows, layout, out, *, n_jobs=None):
    """Fill out (m, p) with gradient rows in the public layout."""

    def fill(block):
        out[block] = layout.to_public(rows.take(block).toarray())

    blocks = row_blocks(len(rows), 3 * rows.row_bytes, n_jobs=n_jobs)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return out


def write_solutions(factor, V, layout, out, *, n_jobs=None):
    """Fill out (k, p) with H^-1 times each row of V, both in the public layout."""
    make_consistent = factor.point.objective.make_consistent

    def fill(block):
        rows = make_consistent(layout.from_public(V[block]))
        out[block] = layout.to_public(factor.solve(rows))

    blocks = row_blocks(len(V), 6 * 8 * layout.size, n_jobs=n_jobs)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return out


def influence_params(point, factor, rows, out, *, n_jobs=None):
    """Fill out (m, p) with I_up,params for the given rows grad L(z)."""
    objective = point.objective
    layout = objective.formulation.layout
    return write_params(rows, factor, objective.weight_sum, layout, out, n_jobs=n_jobs)


def write_params(rows, factor, weight_sum, layout, out, *, n_jobs=None):
    """Fill out (m, p) with -S H^-1 grad L(z), with the sum S of all weights."""

    def fill(block):
        solved = factor.solve(rows.take(block).toarray())
        solved *= -weight_sum
        out[block] = layout.to_public(solved)

    blocks = row_blocks(len(rows), 4 * rows.row_bytes, n_jobs=n_jobs)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return out


def influence_on(point, factor, V, out=None, rows=None):
    """Return -S V H^-1 grad L(z_j) for gradients V (m, K, D), shape (m, n).

    This is the influence that each training row, or each of other `rows`, has on the m scalars
    with gradients V.
    """
    solved = factor.solve_transposed(V)
    solved *= -point.objective.weight_sum
    return (point.weight_rows if rows is None else rows).dot(solved, out=out)


def influence_functional(point, factor, V, out, *, n_jobs=None):
    """Fill out (m, n) with `influence_on` for gradients V (m, K, D), block by block."""

    def fill(block):
        influence_on(point, factor, V[block], out=out[block])

    blocks = row_blocks(len(V), 6 * V[:1].nbytes, n_jobs=n_jobs, largest=np.inf)
    run_blocks(fill, blocks, n_jobs=n_jobs)


def relabel_rows(point, target):
    """Return grad L((x_j, new target_j)) - grad L(z_j) for the training rows.

    The penalty share does not depend on the label and cancels. "balanced" class weights move
    as well.
    """
    objective = point.objective
    form = objective.formulation
    changed = form.loss.gradient(target, point.raw_prediction)
    c = form.loss_weight(target)
    if c is not None:
        changed *= c
    changed -= point.rows.raw_gradient
    # At a kink a prediction has the slope of either side; the partition determines which.
    same = target == objective.target
    changed[same.reshape(len(same), -1).all(axis=1)] = 0.0
    row_shifts = ()
    if point.class_shift is not None:
        (old,) = point.weight_rows.row_shifts
        row_shifts = replace(old, codes=form.target.class_codes(target)), old.scaled(-1.0)
    return GradientRows(objective.design, changed, row_shifts=row_shifts)


def influence_of(point, factor, query, out=None, rows=None):
    """Return -S v_q' H^-1 grad L(z_j) for query rows v_q, shape (q, n); see `influence_on`."""
    rows = point.weight_rows if rows is None else rows
    return factor.products(query.scaled(-point.objective.weight_sum), rows, out)


def influence_blocks(point, factor, query, *, n_jobs=None, working_memory=None, row_bytes=0):
    """Return blocks of query rows for `influence_of`.

    `row_bytes` is the caller's memory for each query, in addition to the factor's.
    """
    return row_blocks(
        len(query),
        factor.query_bytes(query, point.weight_rows) + row_bytes,
        n_jobs=n_jobs,
        working_memory=working_memory,
        largest=np.inf,
    )


def influence_loss(point, factor, query, out, *, rows=None, n_jobs=None, verbose=0):
    """Fill out (q, n) with I_up,loss for every training row and every query row.

    Other `rows` may replace the training rows.
    """

    def fill(block):
        influence_of(point, factor, query.take(block), out[block], rows)

    blocks = influence_blocks(point, factor, query, n_jobs=n_jobs)
    run_blocks(fill, blocks, n_jobs=n_jobs, verbose=verbose)
    return out


def output_influence(point, factor, design, out, *, jacobian=None, n_jobs=None):
    """Fill out (q, n, R) with the influence on R responses for every query row.

    Parameters
    ----------
    point, factor : Point, Factor
        The fitted model.
    design : Design
        Query rows.
    out : ndarray of shape (q, n, R)
        Filled in place.
    jacobian : callable or None, default=None
        Maps a slice of queries to d response / d raw prediction, shape (m, R, K); None if the
        response is the raw prediction itself.
    n_jobs : int or None, default=None
        Number of joblib threads.
    """
    K, D = point.theta.shape
    n = point.objective.n_rows

    def fill(block):
        raw = _raw_influence(point, factor, design.take(block).rows())
        if jacobian is None:
            out[block] = raw.transpose(0, 2, 1)
            return
        # (m, R, K) x (m, K, n): the few outputs are contracted query by query.
        for q, J in enumerate(jacobian(block)):
            out[block.start + q] = (J @ raw[q]).T

    row_bytes = 8 * (6 * K * K * D + 3 * K * n)
    blocks = row_blocks(design.n_rows, row_bytes, n_jobs=n_jobs, largest=np.inf)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return out


def _raw_influence(point, factor, x):
    """Return S d eta_k(q) / d w_j for dense query rows x (m, D), shape (m, K, n)."""
    K, D = point.theta.shape
    m, S = len(x), point.objective.weight_sum
    if point.objective.coupled:
        V = np.zeros((m, K, K, D), like=x)
        V[:, np.arange(K), np.arange(K)] = x[:, None]
        return influence_on(point, factor, V.reshape(m * K, K, D)).reshape(m, K, -1)
    # Outputs do not interact, so one solve gives H_k^-1 x for all of them. The influence on
    # output k comes only from output k of the training rows.
    solved = factor.solve_transposed(np.broadcast_to(x[:, None], (m, K, D)))
    solved *= -S
    raw = np.empty((m, K, point.objective.n_rows), like=x)
    for k in range(K):
        point.weight_rows.output(k).dot(solved[:, [k]], out=raw[:, k])
    return raw


def perturbation(point, factor, query, index):
    """Return I_pert,loss for training row `index` and every query row, shape (q, d).

    -S grad l(q)' H^-1 d/dx [c g x~] with d/dx = c W (theta x~') + c g I. The first term comes
    from the change in the row's prediction, the second from the row's own direction.
    """
    objective = point.objective
    d, S = objective.design.n_features, objective.weight_sum
    row = objective.take([index])
    W = objective.formulation.weight_curvature(row.target, point.raw_prediction[[index]])[0]
    solved = factor.solve(query.toarray())
    moved = row.design.predict(solved)[0]  # x~' H^-1 v, (q, K)
    moved = moved @ W if W.ndim == 2 else moved * W
    along = np.tensordot(solved[:, :, :d], point.rows.raw_gradient[index], axes=(1, 0))
    return -S * (moved @ point.theta[:, :d] + along)


def kernel_perturbation(point, factor, query, index):
    """Return `perturbation` for a kernel model, whose rows act through K(x, .).

    With z = H^-1 grad l(q) as a function, -S [c W z(x) grad f(x) + c g grad z(x)]. Here
    c W z(x) = rho/w, and z = (g_q K(., q) - sum_j rho_j K(., x_j)) / lambda + const.
    """
    objective = point.objective
    basis, n = objective.design.basis, objective.design.n_features
    penalty = objective.penalty[:, 0]
    x, V = basis.X[[index]], query.toarray()
    to_rows, to_queries = (basis.kernel.gradient(x, X) for X in (basis.X, query.design.X))
    gradient_of_f = point.theta[:, :n] @ to_rows  # (K, d)
    rho = factor.multipliers(V)  # (q, K, n)
    from_queries = query.raw_gradient[:, :, None] * to_queries[:, None]
    gradient_of_z = (from_queries - rho @ to_rows) / penalty[:, None]
    # For a margin vector a = -s g / lambda gives g, and rho/w is the limit of W z.
    on_kink = np.isinf(point.curvature([index])[0])
    w = np.where(on_kink, objective.sample_weight[index], 1.0)
    g = np.where(on_kink, -penalty * point.theta[:, index] / w, point.rows.raw_gradient[index])
    row = objective.take([index])
    W = objective.formulation.weight_curvature(row.target, point.raw_prediction[[index]])[0]
    value = row.design.read(factor.solve_transposed(V))[0]  # z(x), (q, K)
    bend = np.where(on_kink, rho[:, :, index] / w, W * value)
    pull = bend @ gradient_of_f
    return -objective.weight_sum * (pull + np.einsum("k,qkd->qd", g, gradient_of_z))


def self_influence(point, factor, *, n_jobs=None):
    """Return I_up,loss for every training row on itself, shape (n,).

    -S grad l(z_i)' H^-1 grad L(z_i).
    """
    products = point.per_row(_self_products, factor, n_jobs, *point.effects)
    return -point.objective.weight_sum * products


def _self_products(point, factor, n_jobs, *effects):
    """Return grad l(z_i)' H^-1 grad L(z_i) for every row, shape (n,).

    If grad L = c grad l with one class weight c for all outputs, this is
    c grad l' H^-1 grad l, which takes half a solve. Margin vectors have grad L = 0.
    """
    objective = point.objective
    form = objective.formulation
    plain = form.query_gradients(objective.design, objective.target, point.theta)
    c = objective.loss_weight
    symmetric = point.rows.shift is None and (c is None or c.shape[1] == 1)
    symmetric &= not form.loss.is_piecewise_linear
    symmetric &= all(effect is None for effect in effects)
    rows = point.weight_rows_with(*effects)

    def block_products(block):
        V = plain.take(block).toarray()
        if symmetric:
            value = factor.quadratic(V)
            return value if c is None else value * c[block, 0]
        other = factor.solve(rows.take(block).toarray())
        return np.einsum("mkd,mkd->m", V, objective.design.readings(other))

    blocks = row_blocks(len(plain), 5 * plain.row_bytes, n_jobs=n_jobs)
    return np.concatenate(run_blocks(block_products, blocks, n_jobs=n_jobs))


def most_influential_queries(point, factor, query, n_influential, order, *, n_jobs=None):
    """Return `most_influential` for each query row's loss, block by block."""
    shape = (len(query), n_influential)
    like = query.raw_gradient
    values = np.empty(shape, like=like)
    indices = np.empty(shape, dtype=np.intp, like=like)
    by_products = factor.has_products(query, point.weight_rows)

    def fill(block):
        part = query.take(block)
        if by_products:
            best = Largest(n_influential, order)
            best.add(influence_of(point, factor, part), 0)
            values[block], indices[block] = best.values, best.index
        else:
            values[block], indices[block] = most_influential(
                point, factor, part.toarray(), n_influential, order
            )

    # Memory for merging a block of columns, see `largest`.
    row_bytes = 64 * (len(point.rows) if by_products else COLUMNS)
    blocks = influence_blocks(point, factor, query, n_jobs=n_jobs, row_bytes=row_bytes)
    run_blocks(fill, blocks, n_jobs=n_jobs)
    return values, indices


def most_influential(point, factor, V, n_influential, order):
    """Return the training rows with the largest influence on scalars, computed in blocks.

    Parameters
    ----------
    point, factor : Point, Factor
        The fitted model.
    V : ndarray of shape (m, K, D)
        Gradients of the scalars.
    n_influential : int
        Number of training rows to return for each scalar.
    order : {"absolute", "helpful", "harmful"}
        The rows that rank first: largest magnitude, most negative, most positive.

    Returns
    -------
    influence, indices : ndarray of shape (m, n_influential)
        Best first; ties by the smaller index.
    """
    solved = factor.solve_transposed(V)
    solved *= -point.objective.weight_sum
    return largest_products(point.weight_rows, solved, n_influential, order)


def sandwich(point, factor, groups, *, n_jobs=None):
    """Return sum_A c_A c_A' with c_A = H^-1 sum_{i in A} v_i, shape (p, p).

    This is the infinitesimal jackknife: (w_i/S) I_up,params(z_i) = -H^-1 v_i.
    """
    rows, w = point.rows, point.objective.sample_weight
    if point.class_shift is not None:
        rows, w = point.multiplicity_rows, np.ones_like(w)
    layout = point.objective.formulation.layout

    def block_changes(block):
        if groups.members is None:
            V = rows.take(block).toarray() * w[block, None, None]
        else:
            members = groups.members[block]
            V = np.stack([rows.take(member).sum(w[member]) for member in members])
        return np.ascontiguousarray(layout.to_public(factor.solve(V)), like=point.like)

    covariance = np.zeros((layout.size, layout.size), like=point.like)
    blocks = row_blocks(len(groups), 6 * rows.row_bytes, n_jobs=n_jobs)
    run_blocks(
        block_changes,
        blocks,
        n_jobs=n_jobs,
        reduce=lambda change: add_gram(change, covariance),
    )
    return fill_lower(covariance)


def covariance_factor(phi, layout):
    """Return sqrt(phi) for each parameter's output, (p,)."""
    return np.sqrt(layout.to_public(np.broadcast_to(phi[:, None], layout.shape)))
