"""Results with several parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch

_LONGEST = 10


class Result(Bunch):
    """A Bunch that prints one line for each part, without the numbers of large arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.results import Result
    >>> Result(actual=np.zeros((20, 72)), slope=np.float64(1.0))
    actual: array of shape (20, 72)
     slope: 1.0
    """

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:>{width}}: {_short(self[name])}" for name in self)


def _short(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    text = value if isinstance(value, str) else repr(value)
    if isinstance(value, list) and len(value) > _LONGEST:
        return f"list of {len(value)}"
    shape = getattr(value, "shape", ())
    is_long = shape and ("\n" in text or np.prod(shape) > _LONGEST)
    return f"array of shape {shape}" if is_long else text
