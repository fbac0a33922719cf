"""Rows in dask arrays: the same formulas chunk by chunk, on the user's scheduler.

F, its gradient and its Hessian are sums over rows. Each chunk of rows becomes an ordinary
`Objective` inside a task. The task computes the chunk's contribution with the same code as for
arrays in memory. Contributions are added in a tree, and only the sums return to the caller,
who factorises the Hessian. No process needs memory for all rows: a task holds one chunk, its
raw predictions, and temporary arrays within `working_memory`.

    Samples                checked dask arrays with equal chunks of rows
    DistributedObjective   the counterpart of `Objective`
    DistributedPoint       the counterpart of `Point`

The last two have the attributes of `Objective` and `Point` that Newton's method and a dense
factorisation need. For anything else from all rows, use `total` and `per_row`.

The functions that run in tasks are at module level, so every worker can import them.

    samples.py     dask arrays, their chunks and the tasks on them
    objective.py   the objective and its sums over the chunks
    make.py        objectives and queries from samples
    influence.py   the influence of rows in chunks
    parts.py       some rows with the sums over all, for formulas about rows that leave
    removal.py     models, and column scales, without rows
    diagnostics.py measures of rows, covariances
"""

from skinfluence.distributed.diagnostics import (
    RefitMeasures,
    RowMeasures,
    dispersion_sums,
    fill_group_measures,
    sandwich,
)
from skinfluence.distributed.influence import (
    influence_functional,
    influence_loss,
    influence_params,
    influence_prediction,
    largest_influences,
    loss_gradient,
    most_influential,
    solve_hessian,
)
from skinfluence.distributed.make import make_objective, make_queries, sample_loss
from skinfluence.distributed.objective import DistributedObjective, DistributedPoint
from skinfluence.distributed.removal import (
    DistributedBase,
    RowRemoval,
    cancelling_groups,
    group_sums,
    losses_without,
    raw_without,
    values_of_rows,
)
from skinfluence.distributed.samples import (
    Samples,
    constant_target,
    example_row,
    in_memory,
    join_rows,
    map_rows,
    reduce_tasks,
)
from skinfluence.namespaces import is_dask
