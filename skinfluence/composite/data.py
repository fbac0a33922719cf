"""From a fitted composite and its training data to its parts, and changes of these data."""

from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.validation import check_consistent_length

from skinfluence._compat import check_sample_weight
from skinfluence.composite.parts import Part, can_move, is_frozen
from skinfluence.composite.refits import Remembered, copied
from skinfluence.distributed import is_dask
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.fitted import convert
from skinfluence.methods import get_problem
from skinfluence.parameters import GivenNames
from skinfluence.pipeline import is_composite
from skinfluence.stages.registry import learning_steps
from skinfluence.steps import (
    divided_weights,
    innermost,
    names_behind,
    refuse_divided_weights,
    steps_of,
    weights_reach,
    weights_stop,
)
from skinfluence.targets import check_target
from skinfluence.whole import TrainingData, take_rows


class CompositeData:
    """The training data of a fitted composite, and the parts that they give."""

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
        self.keep_params()
        if X is None:
            members = self.members()
            converted = [
                convert(m, None, None, None, f"{path}.{self.path_of(k)}") if can_move(m) else m
                for k, m in enumerate(members)
            ]
            self.put(self.estimator, converted)
            self.estimator._composite = self.remembered
            return
        check_target(y)
        X = X if hasattr(X, "shape") else np.asarray(X)
        y = y if hasattr(y, "shape") else np.asarray(y)
        check_consistent_length(X, y)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64).copy()
        data = TrainingData(X, y, {"sample_weight": sample_weight})
        self.prepare(data)
        self.attach(data, self.drawn(data), self.tests(data), path)

    def keep_params(self):
        """Store the parameters of the fit, unless they are stored already."""
        if "_fit_params" in vars(self.estimator):
            return
        try:
            self.estimator._fit_params = clone(self.estimator).get_params(deep=False)
        except TypeError as error:
            raise UnsupportedEstimatorError(
                f"A parameter of {self.name} cannot be copied ({error}). If cv is an "
                "iterator, fit has used it up: pass the list of its folds, and fit again."
            ) from error

    def attach(self, data, drawn, tests, path, *, refitted=False):
        """Store the training data of the estimator's members.

        Parameters
        ----------
        data : TrainingData
            The data.
        drawn, tests : list or None
            `drawn` and `tests` for these data.
        path : str
            The composite's name in error messages.
        refitted : bool, default=False
            Whether the members are from `refit`, so composites among them have their data.
        """
        parts, weights = [], data.params["sample_weight"]
        shares = self.shares_with_last(self.shares(data, drawn, tests), data, tests)
        for k, (part, Xk, yk) in enumerate(shares):
            member, weight = part.member, None
            if weights is not None or np.any(part.counts != 1):
                weight = part.weight(np.ones(data.n_rows) if weights is None else weights)
                weight = None if np.all(weight == 1) else weight
            if is_frozen(member) and learning_steps(steps_of(member)):
                raise UnsupportedEstimatorError(
                    f"{path}.{self.path_of(k)} ends in a FrozenEstimator behind steps that "
                    "learn from the samples. Freeze these steps, too."
                )
            if can_move(member) and not (refitted and is_composite(innermost(member))):
                with config_context(enable_metadata_routing=data.routing):
                    member = convert(member, Xk, yk, weight, f"{path}.{self.path_of(k)}")
            part = replace(part, member=member)
            if part.counts_samples and not part.counts.all():
                get_problem(member).take_as_draws()
            parts.append(part)
        self.put(self.estimator, [part.member for part in parts])
        self.estimator._composite = Remembered(parts, data, tests=tests)
        self.name_members(GivenNames())

    #: Whether the members see positions in `classes_` instead of classes.
    codes_classes = False

    def name_members(self, given):
        """Give the members the names of the composite's features and classes, for messages.

        `given` are the names that a larger composite uses.
        """
        features, classes, X = given.features, given.classes, self.data.X
        features = getattr(X, "columns", None) if features is None else features
        if features is None and self.columns() is not None:
            features = [f"x{j}" for j in range(X.shape[1])]
        if self.codes_classes and self.is_classifier:
            own = self.estimator.classes_
            classes = list(own) if classes is None else [classes[code] for code in own]
        members = self.members()
        for k, member in enumerate(members):
            seen = features if k < len(members) - self.n_combined else None
            if seen is not None and self.columns() is not None:
                seen = np.asarray(seen)[self.columns()[k]]
            name_member(member, GivenNames(seen, classes))

    #: The name of the attribute with the members.
    path = "estimators_"
    #: Whether the attribute is one member, not a list.
    has_one_member = False
    #: Why there is no vector of parameters, and which models have one, for error messages.
    lacks = "has several models and no vector of parameters of its own"
    holds = "one of its models, such as estimators_[0]"

    def shares(self, data, drawn, tests):
        """Return (Part, X, y) for each member and its share in training data.

        `drawn` and `tests` are for these data.
        """
        n, members, found = data.n_rows, self.members(), []
        for k, (rows, y) in enumerate(self.targets(data.y)):
            counts = None
            if drawn is not None:
                chosen, counts = drawn[k]
                if rows is None and chosen is not None:
                    rows, y = chosen, y[chosen]
            rows = np.arange(n) if rows is None else rows
            counts = np.ones(len(rows)) if counts is None else counts.astype(np.float64)
            reached = self.reaches(members[k], data.routing)
            stops = weights_stop(members[k], data.routing)
            part = Part(members[k], rows, counts, reached, stops)
            whole = len(rows) == n and np.array_equal(rows, np.arange(n))
            X = data.X if whole else take_rows(data.X, rows)
            found.append((part, self.features(k, X), y))
        return found

    def shares_with_last(self, shares, data, tests):
        """Return the shares, with the features of members that `combine` fits."""
        return shares

    def refuse_divided_weights(self):
        """Raise if sample weights reach some parts of the fit, but not others."""
        if self.data.routing:
            refuse_divided_weights(*divided_weights(self.estimator))

    def reaches(self, member, routing):
        """Return whether sample weights reach a member, with metadata routing or without."""
        return weights_reach(member, routing)

    def features(self, k, X):
        """Return member k's features for samples."""
        columns = self.columns()
        if self.takes_arrays and hasattr(X, "iloc"):
            X = np.asarray(X)
        if columns is not None and sparse.issparse(X):
            X = X.tocsr()
        return X if columns is None else X[:, columns[k]]

    # ---------------------------------------------------------------- other training data

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


def name_member(member, names):
    """Give a member the names of its features and classes, see `GivenNames`."""
    final = innermost(member)
    if not can_move(member):
        return
    if final is not member:
        vars(member)["_given_names"] = names
        names = GivenNames(names_behind(member, names.features), names.classes)
    if is_composite(final):
        get_problem(final).name_members(names)
    else:
        final._given_names = names
