"""The most influential samples from blocks of influence values."""

import numpy as np

from skinfluence.checks import check_count, check_option
from skinfluence.influence import ORDERS, keep_largest

__all__ = ["RankedBlocks"]


class RankedBlocks:
    """`influential_samples` for a problem whose influence values come in blocks of queries.

    The problem has `n_rows`, `influence_loss` and `influence_loss_chunked`.
    """

    def influential_samples(
        self,
        X,
        y,
        n_influential=10,
        *,
        order="absolute",
        average=False,
        return_influence=True,
        hessian_solver="auto",
        n_jobs=None,
    ):
        check_option("order", order, ORDERS)
        n = self.n_rows
        check_count("n_influential", n_influential, n)
        if average:
            mean = self.influence_loss(
                X, y, average=True, hessian_solver=hessian_solver, n_jobs=n_jobs
            )
            chunks = [mean[None]]
        else:
            chunks = self.influence_loss_chunked(X, y, hessian_solver=hessian_solver)
        best = []
        for chunk in chunks:
            columns = np.broadcast_to(np.arange(n), chunk.shape)
            best.append(keep_largest(chunk, columns, n_influential, order))
        values, indices = (np.concatenate(parts) for parts in zip(*best, strict=True))
        if average:
            values, indices = values[0], indices[0]
        return (values, indices) if return_influence else indices
