"""From a fitted composite and its data to its parts; changes to the training data."""

import copy
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_consistent_length

from skinfluence._compat import check_sample_weight
from skinfluence.composite.influence import CompositeInfluence
from skinfluence.composite.parts import Part, can_move
from skinfluence.composite.removal import CompositeRemoval
from skinfluence.composite.reweighting import CompositeReweighting
from skinfluence.distributed import is_dask
from skinfluence.exceptions import TrainingDataMissingError, UnsupportedEstimatorError
from skinfluence.fitted import convert
from skinfluence.groups import check_indices
from skinfluence.steps import routing_enabled, row_names
from skinfluence.whole import TrainingData, take_rows

__all__ = ["CompositeProblem"]


@dataclass(frozen=True, eq=False)
class Remembered:
    """A composite's record from its fit.

    Parameters
    ----------
    parts : list of Part or None
        Its members with their rows; None without training data.
    data : TrainingData or None
        The composite's training data.
    refusal : str or None
        Why the composite has no influence.
    tests : list of ndarray or None
        Training rows used besides the members' own, see `CompositeProblem.tests`.
    """

    parts: list[Part] | None = None
    data: TrainingData | None = None
    refusal: str | None = None
    tests: list[np.ndarray] | None = None


class CompositeProblem(CompositeInfluence, CompositeRemoval, CompositeReweighting):
    """A fitted composite's problem; its methods have the public methods' names.

    A subclass has `targets` and `tangent`, and overrides `members` and `put`, `drawn`,
    `columns`, `loss` and `loss_method` if its composite differs from the defaults.

    Parameters
    ----------
    estimator : CompositeMixin
        The fitted composite.
    """

    #: Whether scikit-learn turns data frames into arrays before it fits the members.
    takes_arrays = False

    def __init__(self, estimator):
        self.estimator = estimator

    # ---------------------------------------------------------------- for each composite

    def members(self):
        """Return the fitted members."""
        return list(self.estimator.estimators_)

    def put(self, estimator, members):
        """Replace a composite's members."""
        estimator.estimators_ = members

    def targets(self, y):
        """Return (rows, y) for each member: the labelled samples that it uses, and its target.

        None for rows means all samples.
        """
        raise NotImplementedError

    def drawn(self, data):
        """Return (rows, counts) for each member's fit, None if `targets` is sufficient.

        Rows are in the member's order, None for all. Counts multiply the weights, None for
        ones.
        """
        return None

    def columns(self):
        """Return each member's features, None if all members use all features."""
        return None

    def prepare(self, data):
        """Prepare members that scikit-learn does not keep."""

    def tests(self, data):
        """Return training rows used besides the members' own, None without such rows."""
        return None

    #: Number of last members that `combine` fits again, because their features change.
    n_combined = 0

    def combine(self, estimator, kept, method):
        """Refit the combining members in a copy, in place, on the remaining rows.

        Returns False if there is no such fit.

        Parameters
        ----------
        estimator : CompositeMixin
            A copy of the composite, with members that have lost rows.
        kept : ndarray of bool, shape (n,)
            The composite's remaining training rows.
        method : {"influence", "newton", "exact", "refit"}
            The members' accuracy.
        """
        return True

    def tangent(self, X, method, moved):
        """Return the influence on a response for X, (q, n) or (q, n, K).

        Parameters
        ----------
        X : array-like of shape (q, d)
            Samples.
        method : {"decision_function", "predict_proba", "predict"}
            The response.
        moved : callable
            ``moved(k, method, X=None)`` is the composite rows' influence on a response from
            member k, (q, n) or (q, n, K), for these samples or for others.
        """
        raise NotImplementedError

    # ---------------------------------------------------------------- the fit

    @property
    def name(self):
        """The composite class's name."""
        return type(self.estimator).__name__

    @property
    def fitted_model(self):
        """The fitted object as users have it: the composite."""
        return self.estimator

    @property
    def is_classifier(self):
        """Whether the composite is a classifier."""
        return is_classifier(self.estimator)

    @property
    def remembered(self):
        """The record from the fit."""
        return vars(self.estimator).get("_composite", Remembered())

    @property
    def parts(self):
        """The members with their rows; raises without training data."""
        self.check_supported()
        if self.remembered.parts is None:
            raise TrainingDataMissingError(
                f"This {self.name} does not hold its training data. Call "
                "set_training_data(X, y, sample_weight) to give them."
            )
        return self.remembered.parts

    @property
    def data(self):
        """The `TrainingData`; raises if they are missing."""
        self.parts  # noqa: B018  # raises if they are missing
        return self.remembered.data

    @property
    def sample_weight(self):
        """The training rows' weights, (n,)."""
        weight = self.data.params.get("sample_weight")
        return np.ones(self.data.n_rows) if weight is None else weight

    @property
    def n_rows(self):
        """The number of training samples."""
        return self.data.n_rows

    @property
    def index(self):
        """The training samples' names, None without names."""
        return row_names(self.data.X)

    @property
    def training_target(self):
        """The training targets as passed to `fit`."""
        return self.data.y

    def transform(self, X):
        """Return samples in the form that `predict` takes."""
        return X

    def refuse_dask(self, method, *arguments, **options):
        """Raise if a method gets dask arrays."""
        if is_dask(*arguments):
            raise UnsupportedEstimatorError(
                f"{method} does not take dask arrays: call compute() on a part of the rows."
            )

    def check_supported(self):
        """Raise with the reason if the composite has no influence."""
        if self.remembered.refusal is not None:
            raise UnsupportedEstimatorError(self.remembered.refusal)

    def remember(self, X, y, sample_weight):
        """Store a finished fit's parts, or the reason why it has no influence.

        `fit` accepts all that scikit-learn accepts, so influence methods raise the error.
        """
        try:
            self.adopt(X, y, sample_weight, type(self.estimator).__name__)
        except Exception as error:
            reason = str(error)
            if not isinstance(error, ValueError):
                reason = (
                    f"scikit-learn has fitted this {self.name}, but it cannot be read for "
                    f"influence ({type(error).__name__}: {error})."
                )
            self.estimator._composite = Remembered(refusal=reason)

    def adopt(self, X, y, sample_weight, path):
        """Store a finished fit's data, and convert the members to this package.

        Parameters
        ----------
        X, y, sample_weight : array-like or None
            The training data; without X the members stay without data.
        path : str
            The composite's name in error messages.
        """
        if is_dask(X, y, sample_weight):
            raise UnsupportedEstimatorError(
                f"{self.name} takes no dask arrays: call compute() on a part of the rows."
            )
        name = self.path
        if X is None:
            members = self.members()
            converted = [
                convert(m, None, None, None, f"{path}.{name}[{k}]") if can_move(m) else m
                for k, m in enumerate(members)
            ]
            self.put(self.estimator, converted)
            self.estimator._composite = self.remembered
            return
        if y is None:
            raise ValueError("y is required: it is None.")
        X = X if hasattr(X, "shape") else np.asarray(X)
        y = y if hasattr(y, "shape") else np.asarray(y)
        check_consistent_length(X, y)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64).copy()
        data = TrainingData(X, y, {"sample_weight": sample_weight})
        self.prepare(data)
        members, parts = self.members(), []
        for k, (member, share) in enumerate(zip(members, self.shares(data), strict=True)):
            part, Xk, yk = share
            weight = None
            if sample_weight is not None or np.any(part.counts != 1):
                weight = part.weight(
                    np.ones(data.n_rows) if sample_weight is None else sample_weight
                )
                weight = None if np.all(weight == 1) else weight
            if can_move(member):
                member = convert(member, Xk, yk, weight, f"{path}.{name}[{k}]")
            part = replace(part, member=member)
            if part.counts_samples and not part.counts.all():
                member._problem().take_as_draws()
            parts.append(part)
        self.put(self.estimator, [part.member for part in parts])
        self.estimator._composite = Remembered(parts, data, tests=self.tests(data))

    #: The members' attribute name in error messages.
    path = "estimators_"

    def shares(self, data):
        """Return (Part, X, y) for each member and its share in the training data."""
        n, members = data.n_rows, self.members()
        drawn = self.drawn(data) or [None] * len(members)
        found = []
        for k, (rows, y) in enumerate(self.targets(data.y)):
            rows = np.arange(n) if rows is None else rows
            counts = np.ones(len(rows))
            if drawn[k] is not None:
                chosen, counts = drawn[k]
                if chosen is not None:
                    rows, y = rows[chosen], y[chosen]
                counts = np.ones(len(rows)) if counts is None else counts
            part = Part(members[k], rows, counts, self.reaches(members[k]))
            whole = len(rows) == n and np.array_equal(rows, np.arange(n))
            X = data.X if whole else take_rows(data.X, rows)
            found.append((part, self.features(k, X), y))
        return found

    def reaches(self, member):
        """Return whether sample weights reach a member."""
        if not routing_enabled() or not hasattr(member, "get_metadata_routing"):
            return True
        return bool(member.get_metadata_routing().consumes("fit", ["sample_weight"]))

    def features(self, k, X):
        """Return member k's features for samples."""
        columns = self.columns()
        if self.takes_arrays and hasattr(X, "iloc"):
            X = np.asarray(X)
        return X if columns is None else X[:, columns[k]]

    def with_members(self, members, rows, method="exact"):
        """Return a copy of the composite with members that have lost rows, without data.

        Returns None if the combining members cannot be fitted.
        """
        other = copy.copy(self.estimator)
        vars(other).pop("_composite", None)
        self.put(other, members)
        kept = np.ones(self.data.n_rows, dtype=bool)
        kept[rows] = False
        return other if self.combine(other, kept, method) else None

    def model_on(self, X, y, sample_weight, method):
        """Return the composite fitted on other rows, see `Problem.model_on`."""
        params = {} if np.all(sample_weight == 1) else {"sample_weight": sample_weight}
        return clone(self.estimator).fit(X, y, **params)

    # ---------------------------------------------------------------- other training data

    def become(self, estimator, parts, data, tests=None):
        """Take over a copy's attributes, parts and training data."""
        vars(self.estimator).update(vars(estimator))
        self.estimator._composite = Remembered(parts, data, tests=tests)

    def drop_training_data(self):
        self.check_supported()
        members = [
            copied(m).drop_training_data() if can_move(m) else m for m in self.members()
        ]
        self.put(self.estimator, members)
        self.estimator._composite = Remembered()

    def set_training_data(self, X, y, sample_weight=None):
        self.check_supported()
        if X is None:
            raise ValueError("X is required: it is None.")
        self.adopt(X, y, sample_weight, self.name)

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        data, n = self.data, self.data.n_rows
        rows = check_indices(indices, n)
        self.resolve([rows], None, method, None)
        kept = np.ones(n, dtype=bool)
        kept[rows] = False
        parts = []
        for part in self.parts:
            local = part.local([rows])[0]
            member = part.member
            again = len(parts) >= len(self.parts) - self.n_combined
            if len(local) and not part.is_constant and not again:
                member = copied(member).remove_samples(
                    local, method=method, hessian_solver=hessian_solver
                )
            parts.append(part.without(member, local, kept))
        other = self.with_members([part.member for part in parts], rows, method)
        if other is None:
            raise ValueError(
                "Without these samples what combines the members has no optimum: "
                f"{self.name} was left as it is."
            )
        members, tests = type(self)(other).members(), None
        parts = [replace(part, member=m) for part, m in zip(parts, members, strict=True)]
        if self.remembered.tests is not None:
            place = np.cumsum(kept) - 1
            tests = [place[test[kept[test]]] for test in self.remembered.tests]
        self.become(other, parts, data.without(rows), tests)

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        data, n = self.data, self.data.n_rows
        X = X if hasattr(X, "shape") else np.asarray(X)
        y = y if hasattr(y, "shape") else np.asarray(y)
        check_consistent_length(X, y)
        if self.drawn(data) is not None:
            raise UnsupportedEstimatorError(
                f"add_samples of {self.name}: which members see a new sample is decided when "
                "they are fitted. Fit it again."
            )
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64)
            data = TrainingData(data.X, data.y, {"sample_weight": self.sample_weight})
        more = TrainingData(X, y, {"sample_weight": sample_weight})
        parts = []
        for part, (new, Xk, yk) in zip(self.parts, self.shares(more), strict=True):
            member = part.member
            if len(new.rows) and not part.is_constant:
                weight = None if sample_weight is None else new.weight(sample_weight)
                member = copied(member).add_samples(
                    Xk, yk, weight, hessian_solver=hessian_solver
                )
            joined = np.concatenate([part.rows, n + new.rows])
            counts = np.concatenate([part.counts, new.counts])
            parts.append(Part(member, joined, counts, part.reached))
        other = self.with_members([part.member for part in parts], [])
        self.become(other, parts, data.append(X, y, sample_weight))


def copied(member):
    """Return a copy of one of our estimators that shares the training data."""
    return convert(member, None, None, None, "obj")
