"""Compare predicted parameter changes with actual refits, for `leave_out_check`."""

import numpy as np
from scipy.stats import linregress

from skinfluence.exceptions import warn
from skinfluence.results import Result

__all__ = ["choose_checks", "compare_changes"]


def choose_checks(predicted, n_checks, random_state):
    """Return the groups to refit: half by largest predicted change (G, p), half random."""
    size = np.linalg.norm(predicted, axis=1)
    order = np.argsort(-np.where(np.isfinite(size), size, -np.inf), kind="stable")
    order = order[np.isfinite(size[order])]
    if not len(order):
        raise ValueError(
            f"There is nothing to check: none of the {len(predicted)} group(s) leaves a "
            "model. Use groups that leave samples of every class, or a penalty."
        )
    n_checks = min(n_checks, len(order))
    half = -(-n_checks // 2)
    others = random_state.permutation(order[half:])[: n_checks - half]
    return np.concatenate([order[:half], others])


def compare_changes(predicted, actual, indices, optimum, read=lambda params: params):
    """Return the Bunch for `leave_out_check`.

    Parameters
    ----------
    predicted, actual : ndarray of shape (n_checks, p)
        Parameter changes.
    indices : ndarray of shape (n_checks,)
        Groups that were refitted.
    optimum : ndarray of shape (p,)
        Parameters with all rows.
    read : callable
        Maps parameters (..., p) to the values to compare.
    """
    size = np.linalg.norm(read(actual), axis=1)
    moved = size > 1e-6 * np.linalg.norm(read(optimum))
    error = np.linalg.norm(read(predicted) - read(actual), axis=1)[moved] / size[moved]
    pearson_r, slope = _line(read(predicted).ravel(), read(actual).ravel())
    return Result(
        predicted=predicted,
        actual=actual,
        indices=indices,
        pearson_r=pearson_r,
        slope=slope,
        max_relative_error=float(error.max(initial=0.0)),
    )


def _line(predicted, actual):
    """Return correlation and slope, NaN with a warning if no line can be fitted."""
    if len(predicted) < 2 or not np.ptp(predicted):
        warn(
            f"All {len(predicted)} predicted changes are {np.mean(predicted):g}: there is no "
            "correlation and no slope, which are NaN.",
        )
        return np.nan, np.nan
    fit = linregress(predicted, actual)
    return float(fit.rvalue), float(fit.slope)
