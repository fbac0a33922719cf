"""Refits of a composite on other rows, and changes to its training data."""

import warnings
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_consistent_length

from skinfluence._compat import check_sample_weight
from skinfluence.checks import check_classes_left
from skinfluence.composite.influence import codes_of
from skinfluence.composite.parts import Part, is_frozen
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.fitted import convert
from skinfluence.groups import check_indices
from skinfluence.methods import get_problem
from skinfluence.pipeline import is_composite
from skinfluence.problem.requests import Removal
from skinfluence.problem.samples import check_not_negative
from skinfluence.steps import innermost
from skinfluence.whole import TrainingData, give_data, training_data


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


class CompositeRefits:
    """Refits of all parts of a composite, and updates in place."""

    def with_members(self, members, data, tests, method, **options):
        """Return a copy of the composite with members for other rows, without data.

        Returns None if the combining members cannot be fitted.
        """
        if method == "influence" and self.n_combined:
            raise UnsupportedEstimatorError(
                f"Removal from {self.name} fits the final estimator again, because all of its "
                "features move: use method='newton' or 'exact'."
            )
        other = self.as_fitted
        vars(other).pop("_composite", None)
        self.put(other, members)
        return other if self.combine(other, data, tests, method, **options) else None

    def rest(self, kept):
        """Return (drawn, tests) for some of the training rows, (n,) booleans."""
        place = np.cumsum(kept) - 1
        stays = [kept[part.rows] for part in self.parts]
        drawn = [
            (place[part.rows[stay]], part.counts[stay])
            for part, stay in zip(self.parts, stays, strict=True)
        ]
        tests = self.remembered.tests
        if tests is not None:
            tests = [place[test[kept[test]]] for test in tests]
        return drawn, tests

    def refit(self, data, drawn, tests, method, *, kept=None, remember=False):
        """Return the composite fitted on other rows, None if there is no such fit.

        Parameters
        ----------
        data : TrainingData
            The rows, with features that may differ from the present ones.
        drawn, tests : list or None
            `drawn` and `tests` for these rows.
        method : {"newton", "exact", "refit"}
            The members' accuracy.
        kept : ndarray of bool, shape (n,), or None, default=None
            The present training rows that the data consist of, None for others.
        remember : bool, default=False
            Whether the result has the data, too.
        """
        self.check_features(data.X)
        members, shares = self.members(), self.shares(data, drawn, tests)
        for k in range(len(members) - self.n_combined):
            members[k] = self.refit_member(k, shares[k], data, method, kept, remember)
            if members[k] is None:
                return None
        return self.assembled(
            members, data, drawn, tests, method, kept=kept, remember=remember
        )

    def check_features(self, X):
        """Raise if features were drawn from another number of them."""
        present = self.data.X.shape[1]
        if self.columns() is not None and X.shape[1] != present:
            raise ValueError(
                f"{self.name} drew its features from {present}, and the steps before it now "
                f"return {X.shape[1]}. Use groups that leave the features as they are."
            )

    def assembled(self, members, data, drawn, tests, method, *, kept, remember):
        """Return the composite with refitted members, see `refit`."""
        other = self.with_members(members, data, tests, method, kept=kept, remember=remember)
        if other is not None and remember:
            problem = type(self)(other)
            problem.attach(data, drawn, tests, self.name, refitted=True)
        return other

    def refit_member(self, k, share, data, method, kept, remember):
        """Return one member fitted on its share in other rows, None if there is no fit."""
        part, X, y = share
        if part.is_constant:
            is_fixed = is_frozen(part.member) or len(np.unique(y)) < 2
            return part.member if is_fixed else None
        kept = None if kept is None else kept[self.parts[k].rows]
        return self.refit_model(part, X, y, data, method, kept, remember=remember)

    @staticmethod
    def refit_model(part, X, y, data, method, kept, *, remember):
        """Return a part's model fitted on its rows in other data, None if there is no fit.

        X and y are the model's own samples. See `refit` for the others.
        """
        weight, counts = data.params["sample_weight"], data.counts
        weight = part.weight(np.ones(data.n_rows) if weight is None else weight)
        if counts is not None:
            counts = counts[part.rows]
            weight = weight if part.reached else weight * counts
        options = {"is_near": kept is not None, "counts": counts}
        if is_composite(innermost(part.member)):
            options = {"kept": kept, "counts": counts, "remember": remember}
        problem = get_problem(part.member, "leave_out_loss")
        model = problem.model_on(X, y, weight, method, **options)
        if remember and isinstance(model, Pipeline):
            given = data.params["sample_weight"] if part.reached else None
            given = None if given is None else given[part.rows]
            give_data(model, training_data(model, X, y, given, data.routing))
        return model

    def model_on(self, X, y, sample_weight, method, kept=None, *, counts=None, remember=False):
        """Return the composite fitted on other rows, see `Problem.model_on` and `refit`."""
        weight = None if np.all(sample_weight == 1) else sample_weight
        if kept is None and self.draws:
            return self.fit_anew(X, y, weight)
        drawn, tests = (None, None) if kept is None else self.rest(kept)
        data = TrainingData(X, y, {"sample_weight": weight}, self.data.routing, counts)
        return self.refit(data, drawn, tests, method, kept=kept, remember=remember)

    def fit_anew(self, X, y, weight):
        """Return a clone of the composite fitted on other rows, with draws of its own."""
        params = {} if weight is None else {"sample_weight": weight}
        with config_context(enable_metadata_routing=self.data.routing):
            return clone(self.as_fitted).fit(X, y, **params)

    # ---------------------------------------------------------------- updates in place

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        rows = check_indices(indices, self.data.n_rows)
        self.resolve(Removal([rows], method=method))
        self.refuse_first_order(method)
        try:
            self.leave(rows, method, hessian_solver)
        except (ValueError, np.linalg.LinAlgError):
            if self.is_classifier:  # a member may know the class by a code
                check_classes_left(self.data.y, rows)
            raise

    def leave(self, rows, method, hessian_solver):
        """Remove rows in place; without rows, only move all members to their optimum."""
        data = self.data
        kept = ~np.isin(np.arange(data.n_rows), rows)
        rest, (drawn, tests) = data.without(rows), self.rest(kept)
        if self.moves_as_one:
            other = self.refit(rest, drawn, tests, method, kept=kept, remember=True)
            self.become(other, "Without these samples")
            return
        parts = []
        for part in self.parts:
            local = part.local([rows])[0]
            member = part.member
            again = len(parts) >= len(self.parts) - self.n_combined
            if len(local) and not part.is_constant and not again:
                member = copied(member).remove_samples(
                    local, method=method, hessian_solver=hessian_solver
                )
            elif not again:
                member = self.settled_for_good(len(parts), method, hessian_solver)
            parts.append(part.without(member, local, kept))
        members = [part.member for part in parts]
        other = self.with_members(members, rest, tests, method, kept=kept, remember=True)
        if other is not None:
            members = type(self)(other).members()
            parts = [replace(part, member=m) for part, m in zip(parts, members, strict=True)]
            other._composite = Remembered(parts, rest, tests=tests)
        self.become(other, "Without these samples")

    def settled_for_good(self, number, method, hessian_solver):
        """Return a member at its optimum with its training data, see `settled`."""
        member = self.parts[number].member
        if innermost(member) is not member and is_composite(innermost(member)):
            return member
        if not is_composite(member):
            return self.settled(number)
        settled = copied(member)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as for the members that lose rows
                none = np.empty(0, dtype=np.intp)
                get_problem(settled).leave(none, method, hessian_solver)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return member
        return settled

    def refuse_first_order(self, method):
        """Raise if first-order parameters would belong to other features or targets."""
        if self.moves_as_one and method == "influence":
            raise UnsupportedEstimatorError(
                f"remove_samples of {self.name} fits all of its parts again, but "
                "method='influence' needs them as they are: use method='exact' or 'newton'."
            )

    def become(self, other, when):
        """Take over a refitted copy's attributes, with its training data."""
        if other is None:
            raise ValueError(
                f"{when} a member of {self.name}, or what combines the members, has no "
                "optimum, or a class is lost: it was left as it is. Strengthen the "
                "penalty."
            )
        params = self.estimator.get_params(deep=False)  # `set_params` may have changed them
        vars(self.estimator).update(vars(other) | params)

    def fit_again(self, data):
        """Return the composite fitted on other data with their own draws and folds."""
        cv = getattr(self.as_fitted, "cv", None)
        if not (cv is None or isinstance(cv, Integral) or hasattr(cv, "split")):
            raise UnsupportedEstimatorError(
                f"add_samples of {self.name}: its cv lists folds for the present samples "
                "only. Fit it again, with cv as a number or a splitter."
            )
        return self.refit(data, self.drawn(data), self.tests(data), "exact", remember=True)

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        data, n = self.data, self.data.n_rows
        X = X if hasattr(X, "shape") else np.asarray(X)
        y = y if hasattr(y, "shape") else np.asarray(y)
        check_more(self, X, y, sample_weight)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64)
            data = replace(data, params={"sample_weight": self.sample_weight})
        if self.moves_as_one or self.draws:
            other = self.fit_again(data.append(X, y, sample_weight))
            self.become(other, "With these samples")
            return
        more = TrainingData(X, y, {"sample_weight": sample_weight}, data.routing)
        parts = []
        for part, (new, Xk, yk) in zip(self.parts, self.shares(more, None, None), strict=True):
            member = part.member
            if len(new.rows) and not part.is_constant:
                weight = None if sample_weight is None else new.weight(sample_weight)
                member = copied(member).add_samples(
                    Xk, yk, weight, hessian_solver=hessian_solver
                )
            joined = np.concatenate([part.rows, n + new.rows])
            counts = np.concatenate([part.counts, new.counts])
            parts.append(replace(part, member=member, rows=joined, counts=counts))
        longer = data.append(X, y, sample_weight)
        other = self.with_members([part.member for part in parts], longer, None, "exact")
        other._composite = Remembered(parts, longer)
        self.become(other, "With these samples")


def copied(member):
    """Return a copy of one of our estimators that shares the training data."""
    return convert(member, None, None, None, "obj")


def check_more(problem, X, y, sample_weight):
    """Raise unless more samples have the features and labels of the training data."""
    check_consistent_length(X, y)
    features = np.shape(problem.data.X)[1:]
    if features and np.ndim(X) == 2 and np.shape(X)[1:] != features:
        raise ValueError(
            f"X has {np.shape(X)[1]} features, but the training samples have {features[0]}."
        )
    if problem.is_classifier and np.ndim(y) == 1 and np.ndim(problem.data.y) == 1:
        codes_of(y, problem.fitted_model.classes_)  # raises for labels that fit has not seen
    if sample_weight is not None:
        check_not_negative(np.min(sample_weight))
