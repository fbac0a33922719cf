"""From a fitted composite and its data to its parts; changes to the training data."""

import copy
from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_consistent_length

from skinfluence._compat import check_sample_weight
from skinfluence.composite.influence import CompositeInfluence, codes_of
from skinfluence.composite.parts import Part, can_move, is_frozen
from skinfluence.composite.refits import CompositeRefits, Remembered, copied
from skinfluence.composite.removal import CompositeRemoval
from skinfluence.composite.reweighting import CompositeReweighting
from skinfluence.distributed import is_dask
from skinfluence.exceptions import TrainingDataMissingError, UnsupportedEstimatorError
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
    row_names,
    steps_of,
    weights_reach,
    weights_stop,
)
from skinfluence.targets import check_target
from skinfluence.whole import TrainingData, take_rows


class CompositeProblem(
    CompositeInfluence, CompositeRemoval, CompositeReweighting, CompositeRefits
):
    """A fitted composite's problem; its methods have the public methods' names.

    By default the response is the mean of the members'. A subclass overrides `tangent`,
    `targets`, `members` and `put`, `drawn`, `columns`, `loss` and `loss_method` if its
    composite differs.

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
        found = getattr(self.estimator, self.path)
        return [found] if self.has_one_member else list(found)

    def put(self, estimator, members):
        """Replace a composite's members."""
        setattr(estimator, self.path, members[0] if self.has_one_member else members)

    def path_of(self, k):
        """Return where member k is, for error messages."""
        return self.path if self.has_one_member else f"{self.path}[{k}]"

    def targets(self, y):
        """Return (rows, y) for each member: the labelled samples that it uses, and its target.

        None for rows means all samples.
        """
        return [(None, self.coded(y))] * len(self.members())

    def coded(self, y):
        """Return targets as the members see them."""
        if self.codes_classes and self.is_classifier:
            return codes_of(y, self.estimator.classes_)
        y = np.asarray(y)
        return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y

    def drawn(self, data):
        """Return (rows, counts) for each member's fit, None if `targets` is sufficient.

        Rows are in the member's order, None for those of `targets`. Counts multiply the
        weights, None for ones.
        """
        return None

    def columns(self):
        """Return each member's features, None if all members use all features."""
        return None

    @property
    def jumping(self):
        """The stages whose fit may jump if rows leave, see `ProblemBase`."""
        found = []
        for part in self.parts:
            if not part.is_constant:
                problem = get_problem(part.member, "leave_out_loss")
                found += [(stage, part.place(place)) for stage, place in problem.jumping]
        return found

    def prepare(self, data):
        """Prepare members that scikit-learn does not keep."""

    def tests(self, data):
        """Return training rows used besides the members' own, None without such rows."""
        return None

    @property
    def draws(self):
        """Whether members see folds or drawn rows."""
        return False

    #: Whether `combine` does anything.
    has_combiners = False

    #: Number of last members that `combine` fits again, because their features change.
    n_combined = 0

    #: Whether all members are fitted again if one row leaves, see `refit`.
    moves_as_one = False

    def combine(self, estimator, data, tests, method, **options):
        """Refit the combining members in a copy, in place, on other rows.

        Returns False if there is no such fit.

        Parameters
        ----------
        estimator : CompositeMixin
            A copy of the composite, with members for these rows.
        data : TrainingData
            The rows.
        tests : list of ndarray or None
            `tests` for these rows.
        method : {"influence", "newton", "exact", "refit"}
            The members' accuracy.
        **options : dict
            `kept` and `remember`, see `refit`.
        """
        return True

    def places(self, k):
        """Return (columns, start): the composite's columns among those of member k.

        None for all columns. The first one is member k's column `start`.
        """
        columns = self.columns()
        return (None if columns is None else columns[k]), 0

    #: The members' weights in the mean of their responses, None for equal ones.
    mean_weights = None

    def tangent(self, X, method, moved):
        """Return the influence on a response for X, (q, n) or (q, n, K).

        Here the response is a mean of the members', with 0 for the probabilities of classes
        that a member has not seen.

        Parameters
        ----------
        X : array-like of shape (q, d)
            Samples.
        method : {"decision_function", "predict_proba", "predict"}
            The response.
        moved : Moved
            ``moved(k, method)`` is the composite rows' influence on a response from member k,
            (q, n) or (q, n, K), for these samples.
        """
        members, total = self.members(), 0.0
        weights = np.ones(len(members)) if self.mean_weights is None else self.mean_weights
        for k, (member, weight) in enumerate(zip(members, weights, strict=True)):
            part = moved(k, method)
            if method == "predict_proba" and part.shape[-1] < len(self.estimator.classes_):
                wide = np.zeros((*part.shape[:2], len(self.estimator.classes_)))
                wide[:, :, member.classes_] = part
                part = wide
            total = total + weight / np.sum(weights) * part
        return total

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
    def as_fitted(self):
        """A copy of the composite with its constructor parameters at fit time.

        `set_params` may have changed them since. `response_params` are the present ones.
        """
        estimator = copy.copy(self.estimator)
        given = vars(estimator).get("_fit_params", {})
        vars(estimator).update(
            {n: v for n, v in given.items() if n not in self.response_params}
        )
        return estimator

    #: Names of parameters that only change how the members' responses are combined.
    response_params: tuple[str, ...] = ()

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
    def counts_samples(self):
        """Whether samples without weight count for a member, see `ProblemBase`."""
        models = [innermost(p.member) for p in self.parts if not p.is_constant]
        return any(get_problem(model).counts_samples for model in models)

    @property
    def row_scale(self):
        """S/w_i, by which influence is multiplied, NaN for rows with weight 0, (n,)."""
        w = self.sample_weight
        return w.sum() / np.where(w > 0, w, np.nan)

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
