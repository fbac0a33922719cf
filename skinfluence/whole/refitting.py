"""A pipeline fitted again on fewer samples: every transformer, and then the model.

For each group, scikit-learn's `fit_transform` is called on cloned steps with the remaining
samples. Newton's method then moves the model from its current parameters to the optimum for
the transformed samples. Kernel models, models with an l1 penalty and losses with kinks are
refitted by scikit-learn's solver.
"""

from dataclasses import replace

import numpy as np

from skinfluence.blocks import run_blocks
from skinfluence.namespaces import to_host
from skinfluence.steps import feature_names, param_names
from skinfluence.whole.refits import MovedRefit, Refit, is_plain

__all__ = ["PipelineRefits", "attempt"]


def attempt(function, *arguments, fatal=()):
    """Return (result, None), or (None, error) after a ValueError that is not `fatal`."""
    try:
        return function(*arguments), None
    except fatal:
        raise
    except ValueError as error:
        return None, error


class PipelineRefits:
    """Refits without samples, and the positions of the fit's parameters in each refit."""

    #: Whether the model is one of features with a smooth loss and a quadratic penalty.
    is_smooth = False
    #: The model's `Optimum`, from which nearby refits start, None if they do not.
    nearby = None
    #: The `Words` of the first step, None if it is no vectorizer of text.
    words = None

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

    def write_refits(self, find, blocks, read, write, missing, request):
        """Call ``write(j, read(j, refit))`` for each item j that has a `Refit`, in parallel.

        Items without a refit get NaN rows in `missing`, if it is given. Return two dicts with
        a sentence for each item without a refit, and for each refit that leaves parameters
        undetermined.

        Parameters
        ----------
        find : callable
            ``find(items)`` returns (`Refit` or None, error or None) for each item in a block.
        blocks : list
            Lists of items.
        read : callable
            It may run in another process, and must not change anything, if `write` is given.
        write : callable or None
            It runs in this process, in the order of the items.
        missing : ndarray or None
            An array with a row for each item.
        request : Removal or Reweighting
            Numbers of jobs and messages.
        """
        failed, undetermined = {}, {}

        def work(items):
            return [
                (j, self._reason(refit, error), self._undetermined(refit))
                + (None if refit is None else read(j, refit),)
                for j, (refit, error) in zip(items, find(items), strict=True)
            ]

        def take(found):
            for j, reason, told, value in found:
                if told is not None:
                    undetermined[j] = told
                if reason is not None:
                    failed[j] = reason
                    if missing is not None:
                        missing[j] = np.nan
                elif write is not None:
                    write(j, value)

        options = {"n_jobs": request.n_jobs, "verbose": request.verbose}
        run_blocks(work, blocks, reduce=take, is_pure=write is not None, **options)
        return failed, undetermined

    @staticmethod
    def _reason(refit, error):
        """Return why there is no refit, None if there is one."""
        if error is not None:
            return str(error).strip().splitlines()[0]
        return "a class is lost, or the objective has no optimum" if refit is None else None

    def _undetermined(self, refit):
        """Return a sentence on parameters that a refit leaves undetermined, or None."""
        if refit is None or refit.open is None:
            return None
        same = np.array_equal(self.positions(refit), np.arange(len(self.params)))
        return (self if same else refit.model).describe_undetermined(refit.open)

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
