"""Names for the types that public signatures share.

What a number means and which shape it has stands in the docstrings; types tell a checker and
an editor what may be passed and what comes back.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame
else:  # neither is needed to run
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
]

#: Samples: arrays, data frames and dask arrays, which all are array-like, and sparse ones.
MatrixLike: TypeAlias = ArrayLike | sparray | spmatrix
#: float64 where neither `dtype` nor `out` says float32; dask arrays come back in its place
#: where they were given and the docstring says so.
Floats: TypeAlias = NDArray[np.floating[Any]]
Indices: TypeAlias = NDArray[np.intp]
#: Labels of the groups that leave together, or the rows of each.
GroupsLike: TypeAlias = ArrayLike | Sequence[ArrayLike] | None
#: A number of folds, a splitter, or (train, test) pairs; scikit-learn has no types to name.
CrossValidation: TypeAlias = Any
#: Estimators and pipelines, ours and scikit-learn's.
Estimator: TypeAlias = Any
Accuracy: TypeAlias = Literal["influence", "newton", "exact"]
Order: TypeAlias = Literal["absolute", "helpful", "harmful"]
RandomState: TypeAlias = int | np.random.RandomState | None
