"""Predictions by the models without each group, for its own samples and for new ones.

Jackknife+ and CV+ compare new predictions with the errors of the same models for the samples
that they have not seen.
"""

import numpy as np

from skinfluence.blocks import row_blocks

__all__ = ["PredictionsWithout", "flat_rows"]


class PredictionsWithout:
    """Responses of the models without each group, for a problem with an objective."""

    def predictions_without(self, X, request, visit, *, response_method):
        """Call `visit` with the responses of the models without each group.

        A call has all groups for some samples in X, or all samples in X for some groups.
        Groups without a model are left out, with a warning.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, d)
            Samples.
        request : Removal
            The groups, of which one has each training row, and the accuracy.
        visit : callable
            Called as ``visit(queries, rows, owner, own, predicted)`` with a slice of X, the
            training rows (r,) in g groups, the position (r,) of their groups, the responses
            (r, ...) for them and those (m, g, ...) for the slice. Threads may call it.
        response_method : {"predict", "predict_proba", "decision_function"}
            The response.
        """
        objective = self.objective
        layout = objective.formulation.layout
        design = self.check_X(objective.formulation, X)
        groups = self.groups_for(request.groups, request.cv)
        groups.partition()
        params = self.leave_out_params(request.of(groups))
        kept = np.flatnonzero(np.isfinite(params).all(axis=1))
        if not kept.size:
            return
        theta = layout.from_public(params[kept])
        rows, owner = flat_rows(groups, kept)
        responses = self.responses_of(self._own_raw(groups, kept, theta), response_method)
        for block in row_blocks(design.n_rows, 8 * 5 * theta.shape[0] * theta.shape[1]):
            raw = design.take(block).predict(theta)  # (m, g, K)
            visit(block, rows, owner, responses, self.responses_of(raw, response_method))

    def responses_of(self, raw, response_method):
        """Return responses (..., R) or (...) from raw predictions (..., K)."""
        *lead, K = raw.shape
        pooled = self.pooled(raw.reshape(-1, K))
        found = np.asarray(getattr(pooled, response_method)(None))
        return found.reshape(*lead, *found.shape[1:])

    def _own_raw(self, groups, kept, theta):
        """Return raw predictions (r, K) for each group's rows by the model without them."""
        design = self.objective.design
        if groups.sizes().max() > 1:
            pairs = zip(kept, theta, strict=True)
            return np.concatenate(
                [design.take(groups.rows(g)).predict(one) for g, one in pairs]
            )
        rows, _ = flat_rows(groups, kept)
        readings = design.readings(theta)
        _, K, D = theta.shape
        return np.concatenate(
            [
                np.einsum("bd,bkd->bk", design.take(rows[block]).rows(), readings[block])
                for block in row_blocks(len(rows), 8 * 3 * (K + 1) * D)
            ]
        )


def flat_rows(groups, kept):
    """Return the rows in some groups, (r,), and the positions of their groups, (r,)."""
    members = [groups.rows(group) for group in kept]
    owner = np.repeat(np.arange(len(members)), [len(rows) for rows in members])
    return np.concatenate(members), owner
