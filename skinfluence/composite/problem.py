"""A fitted composite's problem: what its parts see, and how their responses combine."""

import copy

import numpy as np
from sklearn.base import is_classifier

from skinfluence.composite.data import CompositeData
from skinfluence.composite.influence import CompositeInfluence, codes_of
from skinfluence.composite.refits import CompositeRefits, Remembered
from skinfluence.composite.removal import CompositeRemoval
from skinfluence.composite.reweighting import CompositeReweighting
from skinfluence.distributed import is_dask
from skinfluence.exceptions import TrainingDataMissingError, UnsupportedEstimatorError
from skinfluence.methods import get_problem
from skinfluence.steps import (
    innermost,
    row_names,
)


class CompositeProblem(
    CompositeInfluence, CompositeRemoval, CompositeReweighting, CompositeRefits, CompositeData
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
