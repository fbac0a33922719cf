"""Removals behind tf-idf weights, which need no refit of the steps.

Without a group of texts, the weights of the others are term frequencies with other scales, see
`stages.text.TermWeights`. So many groups take their Newton steps together, see
`removal.rescaled`. A word that only the group has is lost in a refit. Here its column is zero,
and with a penalty its coefficient is 0.
"""

import numpy as np

from skinfluence import removal
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.namespaces import to_host
from skinfluence.solvers import SOLVERS, select_solver
from skinfluence.whole.choices import KnownRefit
from skinfluence.whole.refits import ForSameRows

# A group of more rows takes a refit, because the scales may change much.
_MOST = 32
# Behind wide sparse features a refit takes products instead of a factor, which therefore has
# to serve at least this share of the rows.
_SHARE = 0.05


class TermWeightRemoval:
    """Removal for a pipeline whose only learning steps are term weights.

    Parameters
    ----------
    problem : WholeProblem
        The pipeline's problem.
    fixed : Problem
        The model's problem with the present features.
    terms : TermWeights
        The weights.
    """

    def __init__(self, problem, fixed, terms):
        self.problem = problem
        self.fixed = fixed
        self.terms = terms
        self.queries = ForSameRows(terms.frequencies_in)

    @classmethod
    def of(cls, problem, terms):
        """Return the removal, None if the model needs refits."""
        objective = problem.objective
        form, design = objective.formulation, objective.design
        penalised = np.all(objective.penalty[:, : design.n_features] > 0)
        plain = form.loss.convex and objective.free.all()
        moves = objective.balance is not None or objective.offset is not None
        if not penalised or not plain or moves or form.minimum_norm is not None:
            return None
        if select_solver(objective) is SOLVERS["cg"]:
            return None
        return cls(problem, problem.on(objective), terms)

    def write(self, request, read, write):
        """Call ``write(group, read(group, refit))`` for small groups.

        Return the other groups.
        """
        groups, method = request.groups, "exact" if request.refine else request.method
        everyone, written = np.arange(len(groups)), np.zeros(len(groups), dtype=bool)
        chosen = self._chosen(groups)
        if method == "refit" or not len(chosen):
            return everyone
        base = self.fixed.start_base(method, "auto")
        if not base.has_optimum:
            return everyone

        def work(block):
            return list(self._found(base, groups, chosen[block], method, read))

        def take(found):
            for group, value in found:
                write(group, value)
                written[group] = True

        options = {"n_jobs": request.n_jobs, "verbose": request.verbose}
        run_blocks(work, self._blocks(groups, chosen, base, request), reduce=take, **options)
        return everyone[~written]

    def _chosen(self, groups):
        """Return the groups that are few rows and leave rows of every class, by size."""
        sizes = groups.sizes()
        chosen = np.flatnonzero((sizes > 0) & (sizes <= _MOST))
        lost = [g for g, _ in removal.groups_without_class(self.fixed.objective, groups)]
        chosen = np.setdiff1d(chosen, lost)
        if self.problem.nearby is None and len(chosen) < _SHARE * groups.n_rows:
            return chosen[:0]
        return chosen[np.argsort(sizes[chosen], kind="stable")]

    @staticmethod
    def _blocks(groups, chosen, base, request):
        """Return slices of the chosen groups that fit into memory together."""
        K, D = base.theta.shape
        largest = int(groups.sizes()[chosen[-1]])
        outputs = K if base.point.objective.coupled else 1
        group_bytes = removal.stack_bytes(largest, K, D, outputs)
        group_bytes += 8 * 4 * K * (groups.n_rows + D)
        return row_blocks(len(chosen), group_bytes, n_jobs=request.n_jobs)

    def _found(self, base, groups, chosen, method, read):
        """Yield (group, result of `read`) for groups whose steps converge."""
        members = [groups.rows(group) for group in chosen]
        idf = np.stack([self.terms.idf_without(rows) for rows in members])
        frequencies = self.terms.frequencies
        rescaled = removal.Rescaled(frequencies, idf, self.terms.row_scales(frequencies, idf))
        rows = groups.padded(chosen)
        theta, converged = removal.move_rescaled(base, rows, rescaled, method)
        for j in np.flatnonzero(converged):
            refit = Reweighed(self, idf[[j]], theta[j], members[j], method)
            yield chosen[j], read(chosen[j], refit)


class Reweighed(KnownRefit):
    """A pipeline without some texts, with other weights for the terms.

    Parameters
    ----------
    of : TermWeightRemoval
        The removal.
    idf : ndarray of shape (1, d)
        The weights without the texts.
    """

    def __init__(self, of, idf, theta, rows, method):
        super().__init__(of.problem, theta, rows, method)
        self.of = of
        self.idf = idf

    @property
    def lost(self):
        """Mask of the features that a refit does not have, (d,)."""
        return self.of.terms.lost_without(self.rows)

    @property
    def names(self):
        return np.asarray(self.problem.feature_names)[~self.lost]

    @property
    def params(self):
        """Parameters at the current positions, (p,), NaN for lost words."""
        theta = self.theta.copy()
        theta[:, np.flatnonzero(self.lost)] = np.nan
        return self.problem.formulation.layout.to_public(theta[None])[0]

    def raw_predictions(self, X):
        return self._predict(self.of.queries(X))

    def raw_predictions_of(self, data, rows):
        return self._predict(self.of.terms.frequencies[rows])

    def loss(self, X, y):
        form = self.problem.formulation
        return form.loss.loss(form.target.encode(to_host(y)), self.raw_predictions(X))

    def chi_squares(self):
        return self.fitted.chi_squares()

    def _predict(self, frequencies):
        """Return raw predictions for term frequencies (m, d), shape (m, K)."""
        scales = self.of.terms.row_scales(frequencies, self.idf)
        rescaled = removal.Rescaled(frequencies, self.idf, scales)
        d = frequencies.shape[1]
        return rescaled.predict(self.theta[None, :, :d])[:, 0] + self.theta[:, d:].sum(axis=1)
