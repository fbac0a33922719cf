"""Checks for plain arguments; each error names the value and a remedy."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_scalar

#: Responses of estimators; the last two have no labels.
RESPONSES = ("predict", "decision_function", "predict_proba")


def check_response(estimator, name, response_method):
    """Raise unless an estimator of this name has the response."""
    check_option("response_method", response_method, RESPONSES)
    if not hasattr(estimator, response_method):
        listed = " or ".join(repr(one) for one in RESPONSES if hasattr(estimator, one))
        raise ValueError(f"{name} has no {response_method}: use {listed}.")


def instead_of_labels(estimator):
    """Return the argument for a response that has no labels, None if there is none."""
    found = (one for one in RESPONSES[1:] if hasattr(estimator, one))
    return next((f"response_method={one!r}" for one in found), None)


def has_one_target(y):
    """Return whether each sample has one target: y is (n,), or a column (n, 1)."""
    return np.shape(y)[1:] in ((), (1,))


def count_rows(X):
    """Return the number of samples in an array, a sparse matrix or a list."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def shown(value):
    """Return the repr of a value that a user gave; NumPy's numbers and strings are plain."""
    if type(value) in (list, tuple):
        value = type(value)(map(_plain, value))
    return repr(_plain(value))


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def check_option(name, value, options):
    """Raise unless the value is one of the options."""
    if not isinstance(value, str) or value not in options:
        allowed = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name}={shown(value)} is not known: use one of {allowed}.")


def check_one_metric(scoring):
    """Raise if a scoring consists of several metrics."""
    if isinstance(scoring, list | tuple | set | dict):
        raise ValueError(
            f"scoring={scoring!r} has several metrics, but leave_out_score returns one "
            "number: call it once for each metric."
        )


def check_classes_left(y, rows):
    """Raise if no sample of a class is left without some rows of labels (n,)."""
    if np.ndim(y) == 1:
        lost = set(np.asarray(y).tolist()) - set(np.delete(np.asarray(y), rows).tolist())
        if lost:
            raise ValueError(
                f"indices holds the last samples of class {min(lost, key=str)!r}: a refit "
                "would not have this class. Keep at least one of them. The model was left as "
                "it is."
            )


def check_working_memory(working_memory):
    """Raise unless the value is None or a positive number of MiB."""
    if working_memory is None:
        return
    if not isinstance(working_memory, Real) or not working_memory > 0:
        raise ValueError(
            f"working_memory={shown(working_memory)} must be a positive number of MiB."
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
        raise ValueError(f"{name}={shown(value)} must be {expected}.")


def import_pandas(option):
    """Return pandas, or raise an error that names the option that needs it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{option} needs pandas: run python -m pip install pandas."
        ) from error
    return pandas
