"""The most influential samples, as arrays or as a table."""

import numpy as np

from skinfluence.checks import (
    check_count,
    check_option,
    check_working_memory,
    import_pandas,
)
from skinfluence.largest import ORDERS, keep_largest
from skinfluence.namespaces import is_device

# More weight helps a loss if the loss falls, and a prediction if the prediction rises.
_BY_PREDICTION = {"absolute": "absolute", "helpful": "harmful", "harmful": "helpful"}


class RankedSamples:
    """`influential_samples` and `influence_loss_chunked`.

    The problem has `n_rows`, `most_influential`, `check_query` and `query_chunks`.
    """

    def influential_samples(
        self,
        X,
        y,
        n_influential,
        request,
        *,
        order="absolute",
        average=False,
        return_influence=True,
        as_frame=False,
    ):
        check_option("order", order, ORDERS)
        if as_frame:
            self.refuse_dask("influential_samples with as_frame=True", X, y)
            import_pandas("as_frame=True")
        check_count("n_influential", n_influential, self.n_rows)
        if y is None:
            order = _BY_PREDICTION[order]
        values, indices = self.most_influential(
            X, y, n_influential, order, request, average=average
        )
        if as_frame:
            return self.influence_table(X, values, indices)
        return (values, indices) if return_influence else indices

    def influence_loss_chunked(
        self, X, y, *, reduce_func=None, working_memory=None, hessian_solver="auto"
    ):
        self.refuse_dask("influence_loss_chunked", X, y)
        check_working_memory(working_memory)
        query = self.check_query(X, y, hessian_solver=hessian_solver)
        chunks = self.query_chunks(X, query, working_memory, hessian_solver)
        return reduced(chunks, reduce_func)

    def influence_table(self, X, values, indices):
        """Return a DataFrame with a row for each influence (q, k) or (k,)."""
        import pandas as pd

        k = indices.shape[-1]
        flat = indices.ravel()
        columns = {}
        if indices.ndim == 2:
            queries = getattr(X, "index", None) if hasattr(X, "iloc") else None
            queries = np.arange(len(indices)) if queries is None else queries
            columns["query"] = queries.repeat(k)
        columns["rank"] = np.tile(np.arange(1, k + 1), len(flat) // k)
        columns |= named_rows(self, flat)
        columns["influence"] = values.ravel()
        return pd.DataFrame(columns)


class RankedBlocks(RankedSamples):
    """`influential_samples` for a problem whose influence values come in blocks of queries.

    The problem has `influence_loss`, `check_query`, `prediction_query`,
    `influence_theta` and `query_chunks`.
    """

    def loss_chunks(self, X, y, hessian_solver):
        """Generate the influence on the queries' losses in blocks of queries."""
        query = self.check_query(X, y, hessian_solver=hessian_solver)
        return self.query_chunks(X, query, None, hessian_solver)

    def prediction_chunks(self, X, hessian_solver):
        """Generate the influence on the queries' predictions in blocks of queries."""
        self.refuse_dask("influential_samples", X)
        query = self.prediction_query(X, self.influence_theta(hessian_solver))
        return self.query_chunks(X, query, None, hessian_solver)

    def most_influential(self, X, y, k, order, request, *, average):
        """Return (influence, indices) of the k samples that rank first, best first."""
        if average and y is not None:
            chunks = [self.influence_loss(X, y, request, average=True)[None]]
        elif y is not None:
            chunks = self.loss_chunks(X, y, request.hessian_solver)
        else:
            chunks = self.prediction_chunks(X, request.hessian_solver)
            if average:
                total, count = 0.0, 0
                for chunk in chunks:
                    total, count = total + chunk.sum(axis=0), count + len(chunk)
                chunks = [total[None] / count]
        best = []
        for chunk in chunks:
            columns = np.broadcast_to(np.arange(self.n_rows), chunk.shape)
            best.append(keep_largest(chunk, columns, k, order))
        values, indices = (np.concatenate(parts) for parts in zip(*best, strict=True))
        return (values[0], indices[0]) if average else (values, indices)


def reduced(chunks, reduce_func):
    """Generate chunks, or the results of `reduce_func` for each and its first query."""
    start = 0
    for chunk in chunks:
        stop = start + len(chunk)
        chunk = chunk.raw if is_device(chunk) else chunk
        yield chunk if reduce_func is None else reduce_func(chunk, start)
        start = stop


def named_rows(problem, indices):
    """Return columns that identify training samples: name, position and label or target."""
    names = problem.index
    columns = {
        "sample": indices if names is None else names[indices],
        "position": indices,
    }
    y = np.asarray(problem.training_target)
    return columns | numbered("label", y[indices])


def numbered(name, values):
    """Return a column for values (m,), or one for each of their columns (m, K)."""
    if values.ndim == 1:
        return {name: values}
    return {f"{name}[{k}]": values[:, k] for k in range(values.shape[1])}
