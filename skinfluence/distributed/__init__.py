"""Rows in dask arrays: the same formulas chunk by chunk, on the user's scheduler.

F, its gradient and its Hessian are sums over rows. Each chunk of rows becomes an ordinary
`Objective` inside a task; what it adds is computed there by the code that computes it for
arrays, sums are taken in a tree, and only sums reach the caller, who factorises the Hessian.
Nothing of the size of the data is held in one place: a task holds one chunk, its raw
predictions and temporaries within `working_memory`.

    Samples                checked dask arrays with equal chunks of rows
    DistributedObjective   what an `Objective` is to rows in memory
    DistributedPoint       what a `Point` is

The last two have those attributes of their models that Newton's method and a dense
factorisation read, and two ways to ask more of all rows: `total` and `per_row`.

The functions that run in tasks stand at module level, where every worker can import them.

    samples.py     dask arrays, their chunks and the tasks on them
    objective.py   the objective and its sums over the chunks
    influence.py   the influence of rows in chunks
"""

from skinfluence.distributed.influence import influence_loss, most_influential
from skinfluence.distributed.objective import (
    DistributedObjective,
    DistributedPoint,
    is_distributed,
    make_objective,
    make_queries,
    sample_loss,
)
from skinfluence.distributed.samples import Samples, in_memory, is_dask, map_rows

__all__ = [
    "DistributedObjective",
    "DistributedPoint",
    "Samples",
    "in_memory",
    "influence_loss",
    "is_dask",
    "is_distributed",
    "make_objective",
    "make_queries",
    "map_rows",
    "most_influential",
    "sample_loss",
]
