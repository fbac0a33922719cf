"""The covariance of the parameters, from the rows' influence on them."""

import numpy as np

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.products import add_gram, fill_lower


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
