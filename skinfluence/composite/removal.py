"""Chapter C for composites: the composite with its members fitted without some rows.

Each member loses its own rows by its own removal method. scikit-learn's code combines the
members' responses, as in a refit.
"""

import warnings
from functools import partial

import numpy as np
from scipy import sparse
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.checks import (
    RESPONSES,
    check_one_metric,
    check_response,
    has_one_target,
    instead_of_labels,
)
from skinfluence.composite.first_order import FirstOrderComposite, MovedAnswers, pool
from skinfluence.composite.influence import as_rows, as_target, check_length, label_loss
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.groups import Cases, Groups
from skinfluence.methods import get_problem
from skinfluence.problem.jumps import answer, warn_of_jumps
from skinfluence.problem.metrics import Metric, score_known
from skinfluence.problem.requests import NEW, Removal
from skinfluence.problem.updates import choose_checks, compare_changes, count_checks
from skinfluence.steps import innermost
from skinfluence.whole import attempt, give_data, take_rows, tell_unread


class CompositeRemoval:
    """Removal methods with the signatures that estimators have."""

    @property
    def model_bytes(self):
        """Memory in bytes for a copy of the members, with the rows that refits hold."""
        total, rows = 0, bytes_of(self.data.X)
        for part in self.parts:
            if not part.is_constant:
                total += get_problem(part.member).model_bytes
                is_pipeline = innermost(part.member) is not part.member
                total += rows if is_pipeline or self.moves_as_one else 0
        return total

    def models_without(self, request):
        """Return the composite without each group of rows, see `Problem.models_without`."""
        groups, method = request.groups, request.method
        if self.answers_as_one(method):
            return self.refits_without(request)
        columns = []
        left_alone = len(self.parts) - self.n_combined
        for number, part in enumerate(self.parts):
            local = part.local(groups)
            leaving = [g for g, rows in enumerate(local) if part.leaves(rows)]
            whole = part.member
            if len(leaving) < len(groups) and method != "influence":
                whole = self.settled(number)
            models = [whole] * len(groups)
            if leaving and number < left_alone and not part.is_constant:
                problem = get_problem(part.member, "leave_out_loss")
                problem.is_member = True
                found = problem.models_without(request.of([local[g] for g in leaving]))
                for g, model in zip(leaving, found, strict=True):
                    models[g] = model
            columns.append(models)
        found = []
        for rows, *members in zip(groups, *columns, strict=True):
            if any(member is None for member in members):
                found.append(None)
                continue
            kept = ~np.isin(np.arange(self.data.n_rows), rows)
            data = self.data.without(rows) if self.has_combiners else None
            tests = self.rest(kept)[1] if self.has_combiners else None
            found.append(self.with_members(list(members), data, tests, method, kept=kept))
        return found

    def settled(self, number):
        """Return a member at its optimum, for groups that take none of its rows.

        A refit that runs to convergence does so for all members. If there is no optimum, the
        member stays as it is.
        """
        known = vars(self).setdefault("_settled", {})
        part = self.parts[number]
        if number not in known:
            found = None
            if not part.is_constant:
                problem = get_problem(part.member, "leave_out_loss")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # other groups warn of the same
                    try:
                        nothing = Removal([np.empty(0, np.intp)], method="exact")
                        (found,) = problem.models_without(nothing)
                    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                        found = None
            if isinstance(found, Pipeline):
                give_data(found, vars(part.member).get("training_data_"))
            known[number] = part.member if found is None else found
        return known[number]

    def answers_as_one(self, method):
        """Return whether the composite without rows is no sum of its members without them."""
        return self.moves_as_one or (method == "influence" and self.n_combined > 0)

    def refits_without(self, request):
        """Return the composite without each group, if all of its parts are fitted again."""
        groups = request.groups
        if request.method == "influence":
            moved = MovedAnswers(self, request.hessian_solver)
            return [self.first_order(rows, moved) for rows in groups]
        refit = partial(self.refit_without, method=request.method)
        return self.refits(refit, groups, n_jobs=request.n_jobs, verbose=request.verbose)

    def first_order(self, rows, moved):
        """Return the composite without some rows, to first order."""
        w = self.sample_weight
        change = np.zeros(len(w))
        change[rows] = -w[rows] / w.sum()
        return FirstOrderComposite(self, change, moved)

    @staticmethod
    def refits(refit, cases, **options):
        """Return ``refit(case)`` for each case, None if it fails, with a warning."""
        attempted = partial(attempt, refit, fatal=UnsupportedEstimatorError)
        found = run_blocks(attempted, cases, **options)
        errors = [error for _, error in found if error is not None]
        if errors:
            first = str(errors[0]).strip().splitlines()[0]
            warn(f"{len(errors)} of {len(cases)} refit(s) failed, such as with: {first}")
        return [model for model, _ in found]

    def refit_without(self, rows, method):
        """Return the composite fitted without some rows, None if there is no such fit."""
        kept = ~np.isin(np.arange(self.data.n_rows), rows)
        return self.refit(self.data.without(rows), *self.rest(kept), method, kept=kept)

    def each(self, request, read, chosen=None):
        """Generate (group, read(group, model)) without each group, see `in_blocks`."""
        groups = request.groups
        chosen = np.arange(len(groups)) if chosen is None else chosen

        def models_of(part):
            return self.models_without(request.of([groups.rows(group) for group in part]))

        cases = Cases.of_groups(groups)
        yield from self.in_blocks(cases, chosen, self.model_bytes, models_of, read)

    def in_blocks(self, cases, chosen, model_bytes, models_of, read):
        """Generate (case, read(case, model)) for some `Cases`, in blocks that fit into memory.

        ``models_of(part)`` returns the models of some cases, None for one without a model. It
        has None instead of what is read, and so has a model that does not take the samples.
        Warnings name both. If no model takes them, the first one's error is raised.
        """
        lost, unread = [], {}
        for block in row_blocks(len(chosen), model_bytes):
            part = chosen[block]
            for case, model in zip(part, models_of(part), strict=True):
                value, error = None, None
                if model is None:
                    lost.append(case)
                else:
                    value, error = attempt(read, case, model, fatal=UnsupportedEstimatorError)
                if error is not None:
                    unread[case] = error
                yield case, value
        tell_unread(cases, unread, len(chosen) - len(lost))
        cases.tell(
            lost,
            f"a member of {self.name} has no model, because a class is lost or its objective "
            "has no optimum; their results are NaN",
        )

    def warn_of_choice(self):
        """Warn if a refit would choose rows again; nothing here."""

    def resolve(self, request):
        """Check a request and return it with the selected `Groups`."""
        request.check()
        self.warn_of_choice()
        groups = self.groups_for(request.groups, request.cv)
        groups.check_leaves_weight(self.sample_weight)
        resolved = request.of(groups)
        if not isinstance(request.groups, Groups):
            warn_of_jumps(self, resolved, groups)
        return resolved

    def groups_for(self, groups, cv=None):
        """Return the `Groups` of training samples that the arguments select."""
        return self.data.groups_for(groups, cv, self.is_classifier)

    def leave_out_loss(self, X, y, request, output=NEW):
        request = self.resolve(request)
        return self.losses(X, y, partial(self.each, request), len(request.groups), output)

    @staticmethod
    def losses(X, y, each, n_models, output):
        """Return the losses of samples under models, (q, n_models), NaN without a model.

        ``each(read)`` generates what is read from the models, see `in_blocks`.
        """
        X, y = as_rows(X), as_target(y)
        check_length(X, y)
        out = output.prepare((X.shape[0], n_models))
        for number, losses in each(lambda _, model: model.sample_loss(X, y)):
            out[:, number] = np.nan if losses is None else losses
        return out

    def check_left_out_response(self, response_method):
        """Raise if the response does not exist."""
        check_response(self.estimator, self.name, response_method)

    def leave_out_predict(self, request, *, response_method="predict"):
        self.check_left_out_response(response_method)
        return self.left_out([response_method], request)[response_method]

    def predictions_without(self, X, request, visit, *, response_method):
        """Call `visit` with responses, see `PredictionsWithout`."""
        X, request = as_rows(X), self.resolve(request)
        groups = request.groups
        groups.partition()

        def read(group, model):
            respond = getattr(model, response_method)
            return respond(take_rows(self.data.X, groups.rows(group))), respond(X)

        for group, found in self.each(request, read):
            if found is not None:
                rows, (own, predicted) = groups.rows(group), found
                visit(slice(0, X.shape[0]), rows, np.zeros_like(rows), own, predicted[:, None])

    def left_out(self, names, request):
        """Return responses for training samples without their groups, a dict by names."""
        request = self.resolve(request)
        groups = request.groups
        groups.partition()
        data, pieces = self.data, {name: {} for name in names}

        def read(group, model):
            X = take_rows(data.X, groups.rows(group))
            return [getattr(model, name)(X) for name in names]

        for group, found in self.each(request, read):
            for name, piece in zip(names, found or [], strict=found is not None):
                pieces[name][group] = piece
        missing = [g for g in range(len(groups)) if g not in pieces[names[0]]]
        if missing and "predict" in names and self.is_classifier:
            other = instead_of_labels(self.estimator)
            if other is not None and len(names) > 1:  # for a score
                other = f"leave_out_predict({other})"
            remedy = "" if other is None else f", or {other}, whose values are NaN there"
            raise ValueError(
                f"There is no model without {groups.name(missing[0])} that takes its samples, "
                "so they have no predicted class. A warning says why. Use groups that leave "
                f"members of every class and category{remedy}."
            )
        return {name: assemble(pieces[name], groups, data.n_rows) for name in names}

    def leave_out_score(self, request, *, scoring=None, sample_weight=None):
        check_one_metric(scoring)
        names = [name for name in RESPONSES if hasattr(self.estimator, name)]
        responses, data = self.left_out(names, request), self.data
        pooled, missing = pool(self.estimator, responses), []
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        if not self.is_classifier:
            predicted = responses["predict"].reshape(data.n_rows, -1)
            missing = np.flatnonzero(np.isnan(predicted).any(axis=1))

        def score():
            if scoring is None:
                return pooled.score(data.X, data.y, **metadata)
            return check_scoring(pooled, scoring=scoring)(pooled, data.X, data.y, **metadata)

        return score_known(score, missing)

    def leave_out_metric(self, X, y, request, *, scoring=None, sample_weight=None):
        self.refuse_dask("leave_out_metric", X, y, sample_weight)
        request = self.resolve(request)
        metric = Metric(self, X, y, scoring, sample_weight)
        scores = metric.table(len(request.groups))
        for group, found in self.each(request, lambda _, model: metric.of_model(model)):
            scores.store(group, found)
        return scores.result

    def suspicions(self, strategy, request, propose):
        """Return how suspicious each training sample's label is, (n,), and other labels.

        The labels are None unless `propose`. See `inspection.rank_label_errors`.
        """
        data = self.data
        proposed = np.asarray(self.fitted_model.predict(data.X)) if propose else None
        if strategy == "self_influence":
            return -self.self_influence(request), proposed
        if strategy == "loss":
            return self.sample_loss(data.X, data.y), proposed
        relabel = strategy == "relabel" and self.is_classifier
        is_list = relabel and isinstance(self.estimator.classes_, list)  # one for each target
        if relabel and (is_list or not has_one_target(data.y)):
            raise ValueError(
                f"strategy='relabel' needs one label for each sample, and {self.name} has "
                "several: use 'leave_out_loss'."
            )
        scores = np.empty(data.n_rows)

        def read(row, model):
            y, label = np.asarray(take_rows(data.y, [row])), None
            if propose:
                label = model.predict(take_rows(data.X, [row]))[0]
            if relabel:  # the given label first, then the others, in one call
                classes, y = self.estimator.classes_, y.ravel()
                y = np.concatenate([y, classes[classes != y[0]]])
                losses = label_loss(model, take_rows(data.X, [row] * len(y)), y)
                return losses[0] - min(losses[1:], default=0.0), label
            (loss,) = model.sample_loss(take_rows(data.X, [row]), y)
            return loss, label

        for row, found in self.each(self.resolve(request), read):
            scores[row], label = read(row, self.fitted_model) if found is None else found
            if propose:
                proposed[row] = label
        return scores, proposed

    def leave_out_check(self, n_checks, request, *, random_state=None):
        random_state = check_random_state(random_state)
        request = self.resolve(request)
        groups = request.groups
        n_checks = count_checks(n_checks, groups)
        optimum = self.refit_without(np.empty(0, dtype=np.intp), "exact")
        start = self.answer(self.fitted_model if optimum is None else optimum)
        size = np.full((len(groups), 1), np.nan)

        def change(_, model):
            return self.answer(model) - start

        for group, found in self.each(request, change):
            if found is not None:
                size[group] = np.linalg.norm(found)
        indices = choose_checks(size, n_checks, random_state)
        changes = []
        for method in (request.method, "refit"):
            again = request.of(groups, method=method, refine=None)
            found = dict(self.each(again, change, indices))
            changes.append(np.array([found[g] for g in indices]))
        return compare_changes(*changes, indices, start)

    def answer(self, model):
        """Return the response on all training samples used to compare removals, flat."""
        return answer(self, model, self.data)


def assemble(pieces, groups, n):
    """Return one response piece for each group, joined in sample order."""
    first = next(iter(pieces.values()), None)
    if first is None:
        return np.full(n, np.nan)
    if isinstance(first, list):
        return [
            assemble({g: piece[j] for g, piece in pieces.items()}, groups, n)
            for j in range(len(first))
        ]
    arrays = {g: dense(piece) for g, piece in pieces.items()}
    joined = np.concatenate(list(arrays.values()))
    if len(arrays) < len(groups):
        out = np.full((n, *joined.shape[1:]), np.nan)
    else:
        out = np.empty((n, *joined.shape[1:]), joined.dtype)
    out[np.concatenate([groups.rows(group) for group in arrays])] = joined
    return out


def bytes_of(X):
    """Return the memory in bytes for samples as numbers."""
    if sparse.issparse(X):
        return 12 * X.nnz
    return 8 * int(np.prod(np.shape(X)))


def dense(piece):
    """Return a possibly sparse piece as an array."""
    return piece.toarray() if sparse.issparse(piece) else np.asarray(piece)
