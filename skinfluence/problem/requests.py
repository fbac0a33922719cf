"""The options that methods share and pass on as one argument.

A public method makes an `Influence`, a `Removal` or a `Reweighting`, and an `Output` for the
array that it returns. The problem resolves a removal or a reweighting: it checks the options
and reads the groups or the weights. From there on the request goes unchanged to each part that
refits, or with the groups or weights of this part. Both also have the fields of an
`Influence`, so derivatives take them in its place.
"""

import errno
import os
import shutil
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skinfluence.checks import check_number, check_option, shown
from skinfluence.namespaces import to_host
from skinfluence.removal import METHODS


@dataclass(frozen=True, eq=False)
class Removal:
    """Which rows leave together, how accurate the results are, and how they are computed.

    Parameters
    ----------
    groups : None, array-like, list of ndarray or Groups
        The rows that leave together, a `Groups` after `resolve`.
    cv : int, splitter, iterable or None
        A splitter whose test folds are the groups.
    method : {"influence", "newton", "exact"}
        Accuracy. Problems also use "one-step" and, for models, "refit", see
        `RefitAnswers.models_without`.
    refine : float or None
        Fraction of the groups to recompute exactly.
    hessian_solver : str or HessianSolver
        How to apply H^-1.
    n_jobs : int or None
        Number of joblib threads.
    verbose : int
        Verbosity of joblib's progress messages.
    """

    groups: Any = None
    cv: Any = None
    method: str = "newton"
    refine: float | None = None
    hessian_solver: Any = "auto"
    n_jobs: int | None = None
    verbose: int = 0

    def check(self):
        """Raise unless users can choose these options."""
        method, refine = self.method, self.refine
        check_option("method", method, METHODS)
        if refine is None:
            return
        expected = "a share, above 0, at most 1"
        check_number("refine", refine, expected, least=0, most=1, closed="right")
        if method != "newton":
            raise ValueError(f"refine={refine!r} goes with method='newton', not {method!r}.")

    def of(self, groups, **changes):
        """Return the same request for other groups, with changes to its options."""
        return replace(self, groups=groups, cv=None, **changes)


@dataclass(frozen=True, eq=False)
class Reweighting:
    """The sample weights of other fits, how accurate these are, and how they are computed.

    Parameters
    ----------
    sample_weight : array-like of shape (m, n) or (n,)
        Vectors of weights, an array (m, n) after `resolve`.
    method, hessian_solver, n_jobs, verbose
        See `Removal`.
    """

    sample_weight: Any
    method: str = "newton"
    hessian_solver: Any = "auto"
    n_jobs: int | None = None
    verbose: int = 0

    def check(self):
        """Raise unless users can choose the method."""
        check_option("method", self.method, METHODS)

    def resolve(self, n_rows):
        """Check the request for training rows and return it with an array of weights."""
        self.check()
        return self.at(check_weights(self.sample_weight, n_rows))

    def at(self, sample_weight):
        """Return the same request for other weights."""
        return replace(self, sample_weight=sample_weight)


@dataclass(frozen=True, eq=False)
class Influence:
    """How derivatives are computed; see `Removal` for the parameters."""

    hessian_solver: Any = "auto"
    n_jobs: int | None = None
    verbose: int = 0


@dataclass(frozen=True, eq=False)
class Output:
    """The array that receives a result, or the dtype of a new one, float64 by default."""

    dtype: Any = None
    out: np.ndarray | None = None

    def prepare(self, shape, like=None):
        """Return the array for a result: the one to fill, else a new one beside `like`."""
        result_dtype = check_dtype(self.dtype)
        out = self.out
        if out is None:
            return np.empty(shape, dtype=result_dtype, like=like)
        if like is not None:
            if type(out) is type(like):  # a part of a result that was prepared before
                return out
            raise ValueError(
                "out must be a NumPy array, but this result is an array of "
                f"{like.space.name}: call the method without out."
            )
        if not isinstance(out, np.ndarray) or out.dtype not in (np.float32, np.float64):
            found = getattr(out, "dtype", type(out).__name__)
            raise ValueError(
                f"out must be an array or memmap of float32 or float64, not {found}."
            )
        if out.shape != shape:
            raise ValueError(f"out has shape {out.shape}, but the result has shape {shape}.")
        if not out.flags.writeable:
            raise ValueError("out is read-only: open a memmap with mode 'r+', or pass a copy.")
        if self.dtype is not None and out.dtype != self.dtype:
            raise ValueError(
                f"out has dtype {out.dtype}, but dtype={self.dtype!r} was asked for."
            )
        if isinstance(out, np.memmap) and out.mode in ("r+", "w+"):
            _reserve(out.filename)
        return out

    def lazy_dtype(self):
        """Return the dtype of a lazy result, or raise if an array is to be filled."""
        if self.out is not None:
            raise ValueError(
                "out cannot be filled from dask arrays, because workers may not share its "
                "memory: call the method without out and store the result, for example with "
                "dask.array.store."
            )
        return check_dtype(self.dtype)


#: Derivatives with the default options, and a new array of float64.
PLAIN, NEW = Influence(), Output()


def check_dtype(dtype):
    """Return the dtype for a result, float64 for None."""
    try:
        known = dtype is None or np.dtype(dtype) in (np.float32, np.float64)
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"dtype={shown(dtype)} is not supported: use float32 or float64.")
    return np.dtype(np.float64 if dtype is None else dtype)


def _reserve(filename):
    """Allocate all blocks for a memmap's file, or raise if the disk has too little space.

    A new file is sparse, and blocks are allocated as pages are written. If the disk has no
    free block for a mapped page, the write raises no exception: SIGBUS ends the process.
    """
    if not filename or not os.path.exists(filename) or not hasattr(os, "posix_fallocate"):
        return
    with open(filename, "r+b") as file:
        status = os.fstat(file.fileno())
        missing = status.st_size - 512 * status.st_blocks
        try:
            if missing > shutil.disk_usage(filename).free:  # do not fill the disk in vain
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.posix_fallocate(file.fileno(), 0, status.st_size)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP):
                return  # not every file system supports this
            raise OSError(
                error.errno,
                f"{error.strerror}: out is a file of {status.st_size / 2**20:.3g} MiB, and "
                f"{missing / 2**20:.3g} of it are not allocated on disk yet. Free some disk "
                "space, or request a smaller result: float32, or fewer queries at a time",
                str(filename),
            ) from None


def check_weights(sample_weight, n_rows):
    """Return vectors of sample weights as an array (m, n); (n,) is one vector.

    Raises
    ------
    ValueError
        If the shape is wrong, or a weight is negative or not finite, or all in a row are 0.
    """
    try:
        values = np.asarray(to_host(sample_weight), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight must be an array of numbers: {error}") from None
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != n_rows or not len(values):
        raise ValueError(
            f"sample_weight has shape {np.shape(sample_weight)}, but each row must hold a "
            f"weight for each of the {n_rows} training samples: (m, {n_rows})."
        )
    for row, weight in enumerate(values):
        if not (np.isfinite(weight.sum()) and weight.min() >= 0):
            wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
            at = wrong[0] if len(wrong) else int(np.argmax(weight))
            raise ValueError(
                f"sample_weight holds {weight[at]} in row {row} for sample {at}: weights must "
                "be finite and not negative."
            )
        if not weight.any():
            raise ValueError(
                f"Row {row} of sample_weight holds only zeros, and there is no model without "
                "samples: give weight to some."
            )
    return values
