"""A pipeline's training data, as arguments of its `fit`, in its parts and on a subset."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline

from skinfluence.groups import resolve_groups
from skinfluence.methods import InfluenceMethods
from skinfluence.namespaces import is_device, to_host, where_it_is
from skinfluence.steps import paths_of, routing_enabled, row_names, steps_before, through

# A number may be off by this much to count as a whole number.
_WHOLE = 1e-9


def take_rows(X, rows):
    """Return some rows of an array, a sparse matrix, a DataFrame or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if sparse.issparse(X):
        return X.tocsr()[rows]
    if isinstance(X, list | tuple):
        return [X[row] for row in rows]
    place = where_it_is(X)
    return place[rows].raw if is_device(place) else X[rows]


def whole_numbers(counts):
    """Return counts (n,) as integers, None unless all of them are whole numbers."""
    whole = np.rint(counts)
    if np.all(np.abs(counts - whole) <= _WHOLE * np.maximum(1.0, whole)):
        return whole.astype(np.intp)
    return None


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The arguments of a pipeline's `fit`.

    Parameters
    ----------
    X : {array-like, sparse matrix, DataFrame} of shape (n, d)
        Raw samples.
    y : array-like of shape (n,) or (n, n_targets)
        Targets.
    params : dict of str to object
        Metadata of `fit`, such as sample weights under the names that route them.
    routing : bool
        Whether metadata routing was on.
    counts : ndarray of shape (n,) or None
        How often each sample occurs for the steps before a model, more than 0; None for once.
    """

    X: Any
    y: Any
    params: dict
    routing: bool = field(default_factory=routing_enabled)
    counts: np.ndarray | None = None

    @property
    def n_rows(self):
        """Number of samples, n."""
        return self.X.shape[0] if hasattr(self.X, "shape") else len(self.X)

    def take(self, rows):
        """Return the training data for some samples."""
        n = self.n_rows
        params = {
            name: take_rows(value, rows) if _has_rows(value, n) else value
            for name, value in self.params.items()
        }
        return replace(
            self,
            X=take_rows(self.X, rows),
            y=take_rows(self.y, rows),
            params=params,
            counts=None if self.counts is None else self.counts[rows],
        )

    def without(self, rows):
        """Return the training data without some samples."""
        return self.take(np.delete(np.arange(self.n_rows), rows))

    def groups_for(self, groups, cv, classifier):
        """Return the `Groups` of samples that the arguments select."""
        X = self.X if hasattr(self.X, "shape") else np.empty((self.n_rows, 0))
        return resolve_groups(
            groups,
            cv,
            X=X,
            y=to_host(self.y),
            classifier=classifier,
            index=row_names(self.X),
        )

    def behind(self, pipe):
        """Return the data that the pipeline passes to its last step."""
        name, last = pipe.steps[-1]
        params = self.params
        if not self.routing:
            mine = {key: key.partition("__") for key in params}
            params = {
                rest: params[key] for key, (step, _, rest) in mine.items() if step == name
            }
        return replace(self, X=through(steps_before(pipe), self.X, last), params=params)

    def append(self, X, y, sample_weight):
        """Return the training data with more samples appended.

        Sample weights in the metadata are 1 for the new samples unless they are given.
        """
        n, m = self.n_rows, y.shape[0] if hasattr(y, "shape") else len(y)
        weight = np.ones(m) if sample_weight is None else to_host(sample_weight)
        weight = np.broadcast_to(weight, m)  # a single weight is for all rows
        params = dict(self.params)
        for name, value in params.items():
            if _has_rows(value, n):
                value = value if is_device(where_it_is(value)) else np.asarray(value)
                params[name] = _stack(value, weight)
        return replace(self, X=_stack(self.X, X), y=_stack(self.y, y), params=params)


def _stack(first, second):
    """Return the second rows appended to the first, with the first one's type.

    Row names are kept if both have them.
    """
    if hasattr(first, "iloc"):
        import pandas as pd  # installed, because the first rows are from pandas

        named = row_names(second) is not None
        if not named:
            columns = {"columns": first.columns} if hasattr(first, "columns") else {}
            second = type(first)(second, **columns)
        return pd.concat([first, second], ignore_index=not named)
    if hasattr(first, "vstack"):  # a polars DataFrame
        if not isinstance(second, type(first)):
            second = type(first)(second, schema=first.schema)
        return first.vstack(second)
    if sparse.issparse(first):
        return sparse.vstack([first, sparse.csr_array(second)], format="csr")
    if isinstance(first, list | tuple):
        return [*first, *second]
    place = where_it_is(first)
    if is_device(place):
        return np.concatenate([place, where_it_is(second)]).raw
    second = second.toarray() if sparse.issparse(second) else np.asarray(second)
    if first.dtype.kind in "fc" and second.dtype.kind in "SUMm":  # numbers with another dtype
        second = second.astype(first.dtype)
    return np.concatenate([first, second.reshape(len(second), *first.shape[1:])])


def _has_rows(value, n):
    """Return whether a metadata value has an entry for each sample."""
    if value is None or isinstance(value, str | dict):
        return False
    shape = getattr(value, "shape", None)
    return (shape[0] if shape else len(value) if hasattr(value, "__len__") else None) == n


def give_data(pipe, data):
    """Store training data in a pipeline, and in the pipelines nested as its last step."""
    if data is vars(pipe).get("training_data_"):
        return
    while isinstance(pipe, Pipeline) and pipe.steps:
        last = pipe.steps[-1][1]
        if data is None:
            vars(pipe).pop("training_data_", None)
        elif isinstance(pipe, InfluenceMethods):
            pipe.training_data_ = data
        if data is not None and isinstance(last, Pipeline):
            data = data.behind(pipe)
        pipe = last


def training_data(pipe, X, y, sample_weight=None, routing=None):
    """Return the pipeline's `fit` arguments, with weights routed as in `fit`.

    `routing` tells whether metadata routing was on, None for its present state.
    """
    routing, params = routing_enabled() if routing is None else routing, {}
    if sample_weight is not None:
        name = "sample_weight" if routing else f"{paths_of(pipe)[-1]}__sample_weight"
        params = {name: sample_weight}
    return TrainingData(X, y, params, routing)
