"""H^-1: one file for each way to apply it, and the choice among them.

====================  =============================================================
`hessian_solver`      method
====================  =============================================================
"cholesky"            dense H, factorised once; exact, the fastest while H fits
"woodbury"            a system of the order of the rows, for models wider than long
"cg"                  conjugate gradients on products with H; nothing p x p is formed
"auto"                the table below
====================  =============================================================

"auto" takes the solver in the first line whose condition is met:

======================================================  =============
condition                                               solver
======================================================  =============
a kernel model, or a loss with kinks                    "woodbury"
the loss is not convex                                  "cholesky"
rows in dask arrays                                     "cholesky"
every coefficient has a penalty, and there are fewer
rows (times outputs, for a coupled loss) than
parameters in a block of H                              "woodbury"
a softmax with a penalty on every coefficient and
dense rows, if there are so few right-hand sides that
iterating costs less than forming H                     "cg"
H fits into half of `working_memory`                    "cholesky"
otherwise                                               "cg"
======================================================  =============
"""

from skinfluence.blocks import memory_budget
from skinfluence.objective import Objective
from skinfluence.solvers.base import Factor, HessianSolver, is_penalised
from skinfluence.solvers.cg import ConjugateGradientSolver, has_blocks, sketch_flops
from skinfluence.solvers.cholesky import CholeskySolver
from skinfluence.solvers.woodbury import WoodburySolver

__all__ = [
    "SOLVERS",
    "CholeskySolver",
    "ConjugateGradientSolver",
    "Factor",
    "HessianSolver",
    "WoodburySolver",
    "get_solver",
    "select_solver",
]

#: Every registered solver by name. The tests run over this dict.
SOLVERS = {
    solver.name: solver
    for solver in (CholeskySolver(), WoodburySolver(), ConjugateGradientSolver())
}

# The cost of a solve by conjugate gradients, in products with H. On 55,000 images with 784
# pixels and ten classes it took 42 products. A product with one vector ran at 20 GFLOP/s, a
# Gram matrix at 83.
_PRODUCTS, _SLOWER = 45, 4.0
# Factorising at this many operations takes half a second, so nothing can be saved below. With
# one query and ten classes, 4.7e10 operations (20,000 x 200) take 0.9 s and conjugate
# gradients 1.0 s; 7e10 (2,000 x 500) take 1.0 s and conjugate gradients 0.45 s.
_FEW_FLOPS = 5e10


def select_solver(objective: Objective, n_solves: int | None = None) -> HessianSolver:
    """Return the solver that "auto" takes for an objective, see the table above.

    Parameters
    ----------
    objective : Objective
        The objective whose Hessian is to be inverted.
    n_solves : int or None, default=None
        Number of right-hand sides; None for as many as there are rows, or more later.

    Returns
    -------
    HessianSolver
        One of the registered solvers.
    """
    if _needs_rows(objective):
        return SOLVERS["woodbury"]
    if objective.is_distributed or not objective.formulation.loss.convex:
        return SOLVERS["cholesky"]
    K, D = objective.penalty.shape
    outputs = K if objective.coupled else 1  # that share one block of H
    rows, order = objective.n_rows * outputs, D * outputs
    fits = 16 * rows**2 <= memory_budget()
    if is_penalised(objective) and rows < order and fits:
        return SOLVERS["woodbury"]
    if n_solves is not None and _iterating_pays(objective, n_solves):
        return SOLVERS["cg"]
    hessian_bytes = 8 * ((K * D) ** 2 if objective.coupled else K * D**2)
    if 2 * hessian_bytes <= memory_budget():  # each Gram block is added to H in memory
        return SOLVERS["cholesky"]
    return SOLVERS["cg"]


def _iterating_pays(objective, n_solves):
    """Return whether a few solves by conjugate gradients cost less than a factor of H.

    Only if the preconditioner is known to be good for all features.
    """
    K, D = objective.penalty.shape
    n, design = objective.n_rows, objective.design
    if not (objective.formulation.loss.shift_invariant and design.is_dense):
        return False
    if not is_penalised(objective) or not has_blocks(objective):
        return False
    direct = n * D**2 * K * (K + 1) / 2 + (K * D) ** 3 / 3
    products = _SLOWER * _PRODUCTS * (n_solves + 1) * 4 * n * K * D
    return direct > _FEW_FLOPS and sketch_flops(objective) + products < direct


def get_solver(
    hessian_solver: str | HessianSolver, objective: Objective, n_solves: int | None = None
) -> HessianSolver:
    """Return the solver for the value of a `hessian_solver` keyword.

    Parameters
    ----------
    hessian_solver : str or HessianSolver
        "auto", a registered name, or an instance.
    objective : Objective
        The objective that "auto" decides for.
    n_solves : int or None, default=None
        Number of right-hand sides, see `select_solver`.

    Returns
    -------
    HessianSolver
        The solver.
    """
    solver = hessian_solver
    if isinstance(solver, str) and solver == "auto":
        return select_solver(objective, n_solves)
    if isinstance(solver, str) and solver in SOLVERS:
        solver = SOLVERS[solver]
    if isinstance(solver, HessianSolver):
        if _needs_rows(objective) and not solver.by_rows:
            raise ValueError(
                f"hessian_solver={hessian_solver!r} needs a Hessian in feature coefficients, "
                "which kernel models and piecewise linear losses do not have: use "
                "'auto' or 'woodbury'."
            )
        if solver.needs_convex and not objective.formulation.loss.convex:
            raise ValueError(
                f"hessian_solver={hessian_solver!r} is for convex losses: use 'cholesky', "
                "which checks whether the Hessian is positive definite."
            )
        if objective.is_distributed and not solver.by_sums:
            raise ValueError(
                f"hessian_solver={hessian_solver!r} needs the training rows, which are in a "
                "dask array: use 'auto' or 'cholesky', or compute() the rows."
            )
        return solver
    names = ", ".join(repr(name) for name in ("auto", *SOLVERS))
    raise ValueError(
        f"hessian_solver={hessian_solver!r} is not known: use one of {names}, or an "
        "instance of skinfluence.solvers.HessianSolver."
    )


def _needs_rows(objective):
    """Return whether H^-1 must be applied without a Hessian of the features."""
    return objective.design.has_metric or objective.formulation.loss.is_piecewise_linear
