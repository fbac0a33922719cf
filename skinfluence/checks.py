"""Checks for plain arguments; each error names the value and a remedy."""

import errno
import os
import shutil
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_scalar


def has_one_target(y):
    """Return whether each sample has one target: y is (n,), or a column (n, 1)."""
    return np.shape(y)[1:] in ((), (1,))


def count_rows(X):
    """Return the number of samples in an array, a sparse matrix or a list."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def check_dtype(dtype):
    """Return the dtype for a result, float64 for None."""
    try:
        known = dtype is None or np.dtype(dtype) in (np.float32, np.float64)
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"dtype={dtype!r} is not supported: use float32 or float64.")
    return np.dtype(np.float64 if dtype is None else dtype)


def prepare_out(out, shape, dtype, like=None):
    """Return the array for a result: `out` if given, otherwise a new one beside `like`."""
    result_dtype = check_dtype(dtype)
    if out is None:
        return np.empty(shape, dtype=result_dtype, like=like)
    if like is not None:
        if type(out) is type(like):  # a part of a result that was prepared before
            return out
        raise ValueError(
            f"out must be a NumPy array, but this result is an array of {like.space.name}: "
            "call the method without out."
        )
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float32, np.float64):
        found = getattr(out, "dtype", type(out).__name__)
        raise ValueError(f"out must be an array or memmap of float32 or float64, not {found}.")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but the result has shape {shape}.")
    if not out.flags.writeable:
        raise ValueError("out is read-only: open a memmap with mode 'r+', or pass a copy.")
    if dtype is not None and out.dtype != dtype:
        raise ValueError(f"out has dtype {out.dtype}, but dtype={dtype!r} was asked for.")
    if isinstance(out, np.memmap) and out.mode in ("r+", "w+"):
        _reserve(out.filename)
    return out


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


def check_option(name, value, options):
    """Raise unless the value is one of the options."""
    if not isinstance(value, str) or value not in options:
        allowed = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name}={value!r} is not known: use one of {allowed}.")


def check_one_metric(scoring):
    """Raise if a scoring consists of several metrics."""
    if isinstance(scoring, list | tuple | set | dict):
        raise ValueError(
            f"scoring={scoring!r} has several metrics, but leave_out_score returns one "
            "number: call it once for each metric."
        )


def check_target(y, name="y"):
    """Raise unless the targets are an array or a list."""
    if y is None:
        raise ValueError(f"{name} is required: it is None.")
    if np.ndim(y) == 0:
        raise ValueError(
            f"{name}={y!r} is one value, but {name} must be an array with one for each "
            f"sample: pass {name}=[{y!r}] for one sample."
        )


def check_working_memory(working_memory):
    """Raise unless the value is None or a positive number of MiB."""
    if working_memory is None:
        return
    if not isinstance(working_memory, Real) or not working_memory > 0:
        raise ValueError(
            f"working_memory={working_memory!r} must be a positive number of MiB."
        )


def check_count(name, value, largest=None, of="training samples"):
    """Raise unless the value is an integer from 1 to the largest."""
    expected = "a positive integer"
    if largest is not None:
        expected = f"an integer from 1 to {largest}, the number of {of}"
    check_number(name, value, expected, kind=Integral, least=1, most=largest, closed="both")


def check_number(
    name, value, expected="a finite number", *, kind=Real, least=None, most=None, closed=None
):
    """Raise unless the value is a finite number within bounds.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        Value of the argument.
    expected : str, default="a finite number"
        Description of the valid values, for the message.
    kind : type, default=Real
        `Real`, or `Integral` for integers. Booleans are neither.
    least, most : float or None, default=None
        Bounds.
    closed : {"left", "right", "both"} or None, default=None
        Which bounds are allowed values.
    """
    try:
        check_scalar(
            value,
            name,
            kind,
            min_val=least,
            max_val=most,
            include_boundaries=closed or "neither",
        )
        valid = np.isfinite(value) and not isinstance(value, bool | np.bool_)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(f"{name}={value!r} must be {expected}.")


def import_pandas(option):
    """Return pandas, or raise an error that names the option that needs it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{option} needs pandas: run python -m pip install pandas."
        ) from error
    return pandas
