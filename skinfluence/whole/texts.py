"""Removals behind word counts and tf-idf weights, which need no refit of the steps.

Without a group of texts, the weights of the others are term frequencies with other scales, see
`stages.text.TermWeights`. So many groups take their Newton steps together, see
`removal.rescaled`. A word that too few others have is lost in a refit. Here its column is
zero, and with a penalty its coefficient is 0. Naive Bayes needs no steps: its parameters are
functions of sums over the rows.
"""

from functools import cached_property

import numpy as np

from skinfluence import removal
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.moments.counts import ComplementMoments, MultinomialMoments
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
        chosen = self.chosen_of(groups)
        base = self.start(method) if len(chosen) else None
        if base is None:
            return everyone
        queries = ForSameRows(self.terms.frequencies_in)

        def work(block):
            found = self.refits_without(base, groups, chosen[block], method, queries)
            return [(group, read(group, refit)) for group, refit in found]

        def take(found):
            for group, value in found:
                write(group, value)
                written[group] = True

        options = {"n_jobs": request.n_jobs, "verbose": request.verbose}
        blocks = row_blocks(
            len(chosen), self.group_bytes(groups, chosen), n_jobs=request.n_jobs
        )
        run_blocks(work, blocks, reduce=take, **options)
        return everyone[~written]

    def chosen_of(self, groups):
        """Return the groups that are few rows and leave rows of every class, by size."""
        sizes = groups.sizes()
        few = min(_MOST, self.terms.n_spare)  # without any words there is no refit
        chosen = np.flatnonzero((sizes > 0) & (sizes <= few))
        lost = [g for g, _ in removal.groups_without_class(self.fixed.objective, groups)]
        chosen = np.setdiff1d(chosen, lost)
        if self.problem.nearby is None and len(chosen) < _SHARE * groups.n_rows:
            return chosen[:0]
        return chosen[np.argsort(sizes[chosen], kind="stable")]

    def start(self, method):
        """Return the start of all steps, None if there is none."""
        base = self.fixed.start_base(method, "auto")
        return base if base.has_optimum else None

    def group_bytes(self, groups, chosen):
        """Return the bytes for a group in a stack."""
        objective = self.fixed.objective
        K, D = objective.penalty.shape
        largest, outputs = int(groups.sizes()[chosen[-1]]), K if objective.coupled else 1
        stacked = removal.stack_bytes(largest, K, D, outputs)
        return stacked + 8 * 4 * K * (groups.n_rows + D)

    def refits_without(self, base, groups, chosen, method, queries):
        """Yield (group, refit) for the chosen groups whose steps converge."""
        rescaled = self.rescaled(groups, chosen)
        rows = groups.padded(chosen)
        theta, converged = removal.move_rescaled(base, rows, rescaled, method)
        for j in np.flatnonzero(converged):
            idf, leaving = rescaled.by_column[[j]], groups.rows(chosen[j])
            yield chosen[j], Reweighed(self, queries, idf, theta[j], leaving, method)

    def rescaled(self, groups, chosen):
        """Return the training rows with their scales without each chosen group."""
        idf = np.stack([self.terms.idf_without(groups.rows(group)) for group in chosen])
        frequencies = self.terms.frequencies
        return removal.Rescaled(frequencies, idf, self.terms.row_scales(frequencies, idf))


class CountRemoval(TermWeightRemoval):
    """The same before naive Bayes for counts, whose parameters come from sums of the rows."""

    @classmethod
    def of(cls, problem, terms):
        kind = type(problem.formulation.model)
        known = kind in (MultinomialMoments, ComplementMoments)
        return cls(problem, problem, terms) if known else None

    def chosen_of(self, groups):
        sizes, n_members = groups.sizes(), self.members.sum(axis=0)
        stays = [
            np.all(self.members[groups.rows(group)].sum(axis=0) < n_members)
            for group in range(len(groups))
        ]
        return np.flatnonzero((sizes > 0) & (sizes <= self.terms.n_spare) & stays)

    @cached_property
    def members(self):
        """Which training rows with a weight are in each class, (n, K)."""
        data = self.problem.objective
        in_class = np.equal.outer(data.target, np.arange(len(data.counts)))
        return in_class & (data.sample_weight > 0)[:, None]

    def start(self, method):
        """Return the rows' weights in each class, (n, K)."""
        return self.members * self.problem.objective.sample_weight[:, None]

    def group_bytes(self, groups, chosen):
        n, d = self.terms.frequencies.shape
        return 8 * 4 * len(self.problem.objective.counts) * (n + d)

    def refits_without(self, base, groups, chosen, method, queries):
        rescaled, model = self.rescaled(groups, chosen), self.problem.formulation.model
        weights = np.repeat(base[:, None], len(chosen), axis=1)
        for j, group in enumerate(chosen):
            weights[groups.rows(group), j] = 0.0
        K, sums, of_classes = base.shape[1], rescaled.adjoint(weights), weights.sum(axis=0)
        for j, group in enumerate(chosen):
            idf = rescaled.by_column[[j]]
            kept = np.flatnonzero(idf[0])
            if len(kept) < idf.size and np.ndim(model.alpha):
                continue  # a refit has more alphas than words
            # Neither model takes the centres or the numbers of rows.
            params = model.params(of_classes[j], sums[j][:, kept], None, None)
            if not np.isfinite(params).all():
                continue
            theta = np.zeros((K, idf.size + 1))
            theta[:, kept], theta[:, -1] = params[:-K].reshape(K, -1), params[-K:]
            rows = groups.rows(group)
            yield group, ReweighedCounts(self, queries, idf, theta, rows, method)


class Reweighed(KnownRefit):
    """A pipeline without some texts, with other weights for the terms.

    Parameters
    ----------
    of : TermWeightRemoval
        The removal.
    queries : callable
        ``queries(X)`` returns the term frequencies in samples.
    idf : ndarray of shape (1, d)
        The weights without the texts.
    """

    def __init__(self, of, queries, idf, theta, rows, method):
        super().__init__(of.problem, theta, rows, method)
        self.of = of
        self.queries = queries
        self.idf = idf

    @property
    def lost(self):
        """Mask of the features that a refit does not have, (d,)."""
        return self.idf[0] == 0

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
        return self.predict_terms(self.queries(X))

    def raw_predictions_of(self, data, rows):
        return self.predict_terms(self.of.terms.frequencies[rows])

    def loss(self, X, y):
        form = self.problem.formulation
        return form.loss.loss(form.target.encode(to_host(y)), self.raw_predictions(X))

    def chi_squares(self):
        return self.fitted.chi_squares()

    def predict_terms(self, frequencies):
        """Return raw predictions for term frequencies (m, d), shape (m, K)."""
        scales = self.of.terms.row_scales(frequencies, self.idf)
        rescaled = removal.Rescaled(frequencies, self.idf, scales)
        d = frequencies.shape[1]
        return rescaled.predict(self.theta[None, :, :d])[:, 0] + self.theta[:, d:].sum(axis=1)


class ReweighedCounts(Reweighed):
    """The same with naive Bayes for counts: the last column has the logarithmic priors."""

    @property
    def params(self):
        log_prob = np.where(self.lost, np.nan, self.theta[:, :-1])
        return np.concatenate([log_prob.ravel(), self.theta[:, -1]])

    def predict_terms(self, frequencies):
        raw = super().predict_terms(frequencies)
        has_prior = self.problem.formulation.model.has_prior
        return raw if has_prior else raw - self.theta[:, -1]
