"""A pipeline on other samples or weights, refitted or approximated to first order.

For each group, scikit-learn's `fit_transform` is called on cloned steps with the remaining
samples. Newton's method then moves the model from its current parameters to the optimum for
the transformed samples. Kernel models, models with an l1 penalty and losses with kinks are
refitted by scikit-learn's solver.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy import sparse

from skinfluence import diagnostics
from skinfluence.blocks import run_blocks
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.namespaces import to_host
from skinfluence.steps import acting, feature_names, param_names, through
from skinfluence.whole.data import take_rows
from skinfluence.whole.unread import attempt, first_line, tell_unread

# Refits, and features of each, that a warning names.
_TOLD = 5
# Errors of a call, not of one refit.
_FATAL = UnsupportedEstimatorError


def warn_of_lost_features(cases, lost, n_outputs):
    """Warn of refits that lack features.

    Parameters
    ----------
    cases : Cases
        Groups that leave, or vectors of weights.
    lost : dict of int to list of str
        The features that the refit of a case lacks, empty if they are unknown.
    n_outputs : int
        Number of parameters of each feature.
    """
    told = []
    for case in sorted(lost)[:_TOLD]:
        where, names = cases.at_one(case), lost[case]
        if not names:
            told.append(f"{where} some parameters have no value and are NaN.")
            continue
        shown = ", ".join(names[:_TOLD])
        if len(names) > _TOLD:
            shown += f" and {len(names) - _TOLD} more"
        single = len(names) == 1
        there, its = ("is no feature", "its") if single else ("are no features", "their")
        parameters = "parameter is" if single and n_outputs == 1 else "parameters are"
        told.append(f"{where} there {there} {shown}; {its} {parameters} NaN.")
    if len(lost) > _TOLD:
        told.append(f"{len(lost) - _TOLD} more refits lack features or values.")
    if told:
        warn(" ".join(told))


class Refit:
    """A pipeline fitted without some samples.

    Parameters
    ----------
    before : Pipeline
        The refitted transformers.
    model : Problem
        The refitted model's problem.
    """

    def __init__(self, before, model):
        self.before = before
        self.model = model

    @property
    def open(self):
        """Directions that the samples leave undetermined, (r, K, D); None without any."""
        return self.model.open

    @property
    def names(self):
        """Names of the model's features, None if they are unknown."""
        return feature_names(self.before)

    #: Parameters at the current positions, (p,), if they need no matching.
    params = None

    def transform(self, X):
        """Return the model's features for raw samples."""
        # Call each step, because a pipeline requires a last step with fitted attributes.
        steps = acting(step for _, step in self.before.steps)
        return through(steps, X, self.last)

    @property
    def last(self):
        """An estimator with the refitted model's number of features."""
        return self.model.estimator

    def raw_predictions(self, X):
        """Return raw predictions for raw samples, (m, K)."""
        return self.model.raw_predictions(self.transform(X))

    def raw_predictions_of(self, data, rows):
        """Return raw predictions for some of the `TrainingData` of the fit, (m, K)."""
        return self.raw_predictions(take_rows(data.X, rows))

    def loss(self, X, y):
        """Return losses for raw samples, (m,)."""
        return self.model.sample_loss(self.transform(X), y)

    def chi_squares(self):
        """Return the sum of the chi-squares of the refit's samples, (K,)."""
        return diagnostics.chi_squares(self.model.objective.at(self.model.theta)).sum(axis=0)


def is_plain(X):
    """Return whether rows are finite float64 numbers, as a model's design takes them."""
    if sparse.issparse(X):
        return X.format == "csr" and X.dtype == np.float64 and np.isfinite(X.data).all()
    is_array = isinstance(X, np.ndarray) and X.dtype == np.float64 and X.ndim == 2
    return is_array and np.isfinite(X).all()


class MovedRefit(Refit):
    """A pipeline without some samples, whose refitted steps give the present features.

    Parameters
    ----------
    problem : WholeProblem
        The fitted pipeline's problem.
    before : Pipeline
        The refitted transformers.
    objective : Objective
        The model's objective for the other samples.

    Attributes
    ----------
    theta : ndarray of shape (K, D)
        Its optimum, found for many refits together.
    open : ndarray of shape (r, K, D) or None
        Directions that the samples leave undetermined.
    """

    theta = open = None

    def __init__(self, problem, before, objective):
        self.problem = problem
        self.before = before
        self.objective = objective

    @cached_property
    def model(self):
        """The refitted model's problem, for callers that need it."""
        fresh = self.problem.with_features(self.objective.design.X, None)
        fresh.replace_objective(self.objective, self.theta)
        fresh.open = self.open
        return fresh

    @property
    def last(self):
        return self.problem.estimator

    @property
    def params(self):
        if self.open is not None:
            return self.model.determined_params
        return self.objective.formulation.layout.to_public(self.theta[None])[0]

    def raw_predictions(self, X):
        rows, form = self.transform(X), self.objective.formulation
        plain = is_plain(rows) and rows.shape[1] == form.layout.n_features
        if not plain or self.open is not None:
            return self.model.raw_predictions(rows)
        design = self.problem.parameters.make_design(self.problem, form, rows, training=False)
        return design.predict(self.theta)

    def loss(self, X, y):
        form = self.objective.formulation
        return form.loss.loss(form.target.encode(y), self.raw_predictions(X))

    def chi_squares(self):
        return diagnostics.chi_squares(self.objective.at(self.theta)).sum(axis=0)


class KernelRefit(Refit):
    """A kernel estimator alone, fitted without some samples.

    Parameters
    ----------
    problem : Problem
        The fitted estimator's problem.
    model : Problem
        The refitted estimator's problem.
    """

    def __init__(self, problem, model):
        super().__init__(None, model)
        self.problem = problem

    def transform(self, X):
        # The refit was fitted on arrays and has no feature names.
        return self.problem.validate_X(X) if hasattr(X, "columns") else X


class ForSameRows:
    """A function of samples that computes its result once if it gets the same objects again.

    The models without many groups need the same influence on the same samples.

    Parameters
    ----------
    compute : callable
        ``compute(*samples)`` returns the result.
    """

    def __init__(self, compute):
        self.compute = compute
        self.samples, self.result = None, None

    def __call__(self, *samples):
        held = self.samples
        if held is None or any(a is not b for a, b in zip(held, samples, strict=True)):
            self.result = self.compute(*samples)
            self.samples = samples
        return self.result


class PipelineRefits:
    """Refits without samples, and the positions of the fit's parameters in each refit."""

    #: Whether the model is one of features with a smooth loss and a quadratic penalty.
    is_smooth = False
    #: The model's `Optimum`, from which nearby refits start, None if they do not.
    nearby = None

    def without(self, rows, method):
        """Return the `Refit` without some training samples, None if there is no model."""
        ((found, error),) = self.without_each([rows], method)
        if error is not None:
            raise error
        return found

    def without_each(self, members, method):
        """Return (`Refit`, None) without each group of samples, or (None, error).

        Both are None if there is no model.
        """
        found = [attempt(self.refit_steps, rows, method) for rows in members]
        moved = [place for place, (one, _) in enumerate(found) if isinstance(one, MovedRefit)]
        if moved:
            objectives = [found[place][0].objective for place in moved]
            optima = self.descend_each(objectives, method, self.nearby)
            for place, optimum in zip(moved, optima, strict=True):
                if optimum is None:
                    found[place] = (None, None)
                else:
                    refit, _ = found[place]
                    refit.theta, refit.open = optimum
        return found

    def refit_steps(self, rows, method):
        """Return the `Refit` without some samples; a `MovedRefit` has no parameters yet."""
        kept = np.delete(np.arange(self.data.n_rows), rows)
        weight = to_host(self.objective.sample_weight)[kept]
        data, counted = self.data.take(kept), None
        if self.words is not None and method != "refit":
            counted = self.words.take(kept)
        if counted is not None:
            before, X = self.refit_behind_first(*counted, data)
        elif method == "refit" or not self.is_smooth:
            return self.refit(data, weight, method)
        else:
            before, X = self.refit_before(data)
        if not self._has_plain_rows(before, X):
            return self.refit_behind(before, X, data, weight, method)
        if not self.has_every_class(data.y, weight):
            return None
        # The same model on other numbers: its objective needs none of the checks of a fit.
        design = self.parameters.make_design(self, self.formulation, X, training=True)
        objective = replace(self.objective.take(kept, design), balance=None)
        # The penalty of stochastic gradient descent counts rows.
        penalty = self.formulate(data.y, weight).penalty
        formulation = replace(self.formulation, penalty=penalty)
        objective = replace(objective, formulation=formulation).balanced()
        return MovedRefit(self, before, objective)

    def write_refits(self, cases, find, blocks, read, write, missing, request, *consequence):
        """Call ``write(j, read(j, refit))`` for each case j that has a `Refit`, in parallel.

        Cases without a refit get NaN rows in `missing`, if it is given, and so do refits that
        do not take the samples that are read, such as a category that left. Warnings name
        these, and those whose refits leave parameters undetermined. If all fail to read, the
        first one's error is raised.

        Parameters
        ----------
        cases : Cases
            Groups that leave, or vectors of weights.
        find : callable
            ``find(block)`` returns (`Refit` or None, error or None) for each case in a block.
        blocks : list
            Lists of cases.
        read : callable
            It may run in another process, and must not change anything.
        write : callable
            It runs in this process, in the order of the cases.
        missing : ndarray or None
            An array with a row for each case.
        request : Removal or Reweighting
            Numbers of jobs and messages.
        *consequence : str
            What becomes of undetermined parameters, by default that they are NaN.
        """
        failed, unread, undetermined = {}, {}, {}

        def work(block):
            return [
                (j, self._reason(refit, error), self.undetermined(refit, *consequence))
                + ((None, None) if refit is None else attempt(read, j, refit, fatal=_FATAL))
                for j, (refit, error) in zip(block, find(block), strict=True)
            ]

        def take(found):
            for j, reason, told, value, error in found:
                if told is not None:
                    undetermined[j] = told
                if reason is None and error is None:
                    write(j, value)
                    continue
                if reason is None:
                    unread[j] = error
                else:
                    failed[j] = reason
                if missing is not None:
                    missing[j] = np.nan

        options = {"n_jobs": request.n_jobs, "verbose": request.verbose}
        run_blocks(work, blocks, reduce=take, is_pure=True, **options)
        tell_unread(cases, unread, cases.count - len(failed))
        cases.tell_why(failed, "there is no model; their results are NaN")
        cases.tell_why(undetermined, "parameters have no value")

    def write_params(self, cases, each, request, out, rows_of):
        """Write the parameters of each case's refit into out, (n_cases, p), and warn of NaN.

        ``each`` is `each` or `each_weighted`, and ``rows_of(case)`` returns the rows that
        leave.
        """
        lacking = {}

        def read(case, refit):
            params = self.matched(refit, rows_of(case))
            return params, self.lost_features(refit, params)

        def write(case, found):
            out[case], lost = found
            if lost is not None:
                lacking[case] = lost

        each(request, read, write, missing=out)
        n_outputs = self.parameters.layout(self.estimator).n_outputs
        warn_of_lost_features(cases, lacking, n_outputs)
        return out

    @staticmethod
    def _reason(refit, error):
        """Return why there is no refit, None if there is one."""
        if error is not None:
            return first_line(error)
        return "a class is lost, or the objective has no optimum." if refit is None else None

    def undetermined(self, refit, *consequence):
        """Return sentences on parameters that a refit leaves undetermined, or None."""
        if refit is None or refit.open is None:
            return None
        same = np.array_equal(self.positions(refit), np.arange(len(self.params)))
        return (self if same else refit.model).describe_undetermined(refit.open, *consequence)

    def _has_plain_rows(self, before, X):
        """Return whether refitted steps gave finite numbers for the present features."""
        if not self.is_smooth or self.formulation.minimum_norm is not None:
            return False
        return is_plain(X) and self._columns(before, X) is None

    def refit(self, data, weight, method):
        """Return the `Refit` on other data, with weights (m,) for the model."""
        return self.refit_behind(*self.refit_before(data), data, weight, method)

    def refit_behind(self, before, X, data, weight, method):
        """Return the `Refit` behind transformers that are fitted again, with their rows X."""
        if X.shape[1] == 0:
            raise ValueError("the steps leave no feature: loosen the selection")
        if method == "refit":
            return Refit(before, self.refit_by_solver(X, data.y, weight))
        columns = self._columns(before, X)
        model = self.refit_near(X, data.y, weight, method, columns, self.factor)
        return None if model is None else Refit(before, model)

    def _columns(self, before, X):
        """Return the current position for each refitted feature, None if they are equal."""
        names = feature_names(before)
        if names is None and X.shape[1] == self.parameters.layout(self.estimator).n_features:
            return None
        if names is None or self.feature_names is None:
            return np.full(X.shape[1], -1)
        if np.array_equal(names, self.feature_names):
            return None
        position = {name: j for j, name in enumerate(self.feature_names)}
        return np.array([position.get(name, -1) for name in names])

    def matched(self, refit, rows=()):
        """Return the parameters of a refit without rows at the current positions, (p,)."""
        if self.parameters.is_dual:
            theta, moved = np.zeros_like(self.theta), refit.model.theta
            kept = np.delete(np.arange(self.data.n_rows), rows)
            theta[:, kept] = moved[:, : len(kept)]
            theta[:, self.data.n_rows :] = moved[:, len(kept) :]
            return self.formulation.layout.to_public(theta[None])[0]
        if refit.params is not None:
            return refit.params
        positions = self.positions(refit)
        return np.where(positions < 0, np.nan, refit.model.determined_params[positions])

    def positions(self, refit):
        """Return each current parameter's position in a refit, -1 if it lacks it, (p,)."""
        p, names = len(self.params), refit.names
        if names is None or np.array_equal(names, self.feature_names):
            same = len(refit.model.params) == p
            return np.arange(p) if same else np.full(p, -1)
        found = {name: j for j, name in enumerate(param_names(refit.model.estimator, names))}
        return np.array([found.get(name, -1) for name in param_names(self.pipe)])

    def lost_features(self, refit, params):
        """Return the names of features without parameters in a refit, None without any.

        The list is empty if parameters from `matched` are NaN, and neither named features nor
        directions that the samples leave undetermined explain it.
        """
        if not np.isnan(params).any():
            return None
        names = None if self.parameters.is_dual else refit.names
        known = names is not None and self.feature_names is not None
        kept = set(names) if known else ()
        lost = [name for name in self.feature_names if name not in kept] if known else []
        return lost if lost or refit.open is None else None

    def refit_without(self, rows):
        """Return the parameters from scikit-learn's refit for the whole pipeline, (p,)."""
        return self.matched(self.without(rows, "refit"), rows)
