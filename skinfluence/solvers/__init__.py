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

from skinfluence.solvers.base import SOLVERS, Factor, HessianSolver, get_solver, select_solver
from skinfluence.solvers.cg import ConjugateGradientSolver
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

SOLVERS.update(
    (solver.name, solver)
    for solver in (CholeskySolver(), WoodburySolver(), ConjugateGradientSolver())
)
