"""Names for the types that public signatures share.

Docstrings document meanings and shapes. The types tell type checkers and editors which
arguments a function accepts and which values it returns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame
else:  # neither is needed at run time
    Axes = DataFrame = Any

__all__ = [
    "Accuracy",
    "Axes",
    "CrossValidation",
    "DataFrame",
    "Estimator",
    "Floats",
    "GroupsLike",
    "Indices",
    "MatrixLike",
    "Order",
    "RandomState",
    "Scoring",
]

#: Samples: arrays, data frames and dask arrays, all of which are array-like, and sparse
#: matrices.
MatrixLike: TypeAlias = ArrayLike | sparray | spmatrix
#: float64 unless `dtype` or `out` asks for float32. If the docstring says so, dask arrays are
#: returned for dask arrays.
Floats: TypeAlias = NDArray[np.floating[Any]]
Indices: TypeAlias = NDArray[np.intp]
#: Group labels of rows that leave together, or the rows in each group.
GroupsLike: TypeAlias = ArrayLike | Sequence[ArrayLike] | None
#: Number of folds, a splitter, or (train, test) pairs; scikit-learn defines no type for this.
CrossValidation: TypeAlias = Any
#: Estimators and pipelines, from this package or from scikit-learn.
Estimator: TypeAlias = Any
Accuracy: TypeAlias = Literal["influence", "newton", "exact"]
Order: TypeAlias = Literal["absolute", "helpful", "harmful"]
RandomState: TypeAlias = int | np.random.RandomState | None
#: One or several scorers, as in scikit-learn's searches.
Scoring: TypeAlias = str | Callable[..., Any] | Iterable[str] | Mapping[str, Any] | None
