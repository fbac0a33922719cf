"""Influence through the stages before a moment model.

A training row contributes to its class sums. If a scalar has the pull-back gM, its cotangent
on training row k is w_k (d/dx) gM . t(x_k). No Hessian is involved, see `sweep`.
"""

import numpy as np

from skinfluence.problem.requests import NEW, PLAIN
from skinfluence.whole.influence import WholeInfluence
from skinfluence.whole.sweep import Sample, Sweep


class MomentSweep(Sweep):
    """The stages' contribution to the influence for the moment model behind them.

    Parameters
    ----------
    problem : MomentProblem
        The model's problem.
    whole : object
        Has the `chain` with all steps before the model.
    """

    def __init__(self, problem, whole):
        self.problem = problem
        self.whole = whole

    @property
    def scale(self):
        weight = self.problem.objective.sample_weight
        return self.weight_sum / np.where(weight > 0, weight, np.nan)

    @property
    def weight_sum(self):
        return self.problem.objective.weight_sum

    def sample_cotangent(self, sample):
        model, X = sample.design.model, sample.design.X
        return model.pull_input(self.problem.params, X, sample.raw_gradient)

    def training_cotangents(self, V, samples):
        data = self.problem.data_of_fit
        _, gM = data.model.pull(*data.sums, data.centres, V.reshape(len(V), -1))
        yield from data.cotangents(gM)

    def derivative(self, V, samples, rows=None):
        cotangents = self.training_cotangents(V, samples)
        cs = [self.chain.pull_training_statistics(B) for B in cotangents]
        return self.row_influences(self.with_samples(cs, samples), rows)


class MomentWholeInfluence(WholeInfluence):
    """Influence methods with the signatures that estimators have."""

    scaled = None

    def blocks(self, sweep, query):
        return query.blocks(self._width + 4 * self.objective.X.size)

    def influence_params(self, X=None, y=None, request=PLAIN, output=NEW):
        result = self.of_last.influence_params(X, y, request, output)
        sweep, rows = self.sweep(None), None if X is None else self.chain.added(X)
        for block, V in self._param_blocks():
            result[:, block] += sweep.extra(V, [None] * len(V), rows).T
        if X is None:
            self.warn_of_weights()
        else:
            self.set_outside(X, result)
        return result

    @property
    def of_last(self):
        """The last step's influence with fixed transformers."""
        return super(WholeInfluence, self)

    def influence_prediction(self, X, request=PLAIN, output=NEW, *, response_method="auto"):
        result = self.of_last.influence_prediction(
            X, request, output, response_method=response_method
        )
        method, sweep = self.response_method(response_method), self.sweep(None)
        design = self.check_X(self.formulation, X)
        J, axis = self.score_jacobian(method, self.predict_rows(design))
        wide = result if axis else result[:, :, None]
        for r in range(J.shape[1]):
            query = self.query(design, J[:, r])
            for block in self.blocks(sweep, query):
                part = query.take(block)
                samples = self.one_by_one(X, part, block.start)
                wide[block, :, r] += sweep.extra(part.toarray(), samples)
        self.warn_of_weights()
        return result

    def each_raw_without(self, request, write):
        X, shape = self.data.X, (self.objective.n_rows, self.n_scores)
        missing = np.zeros((len(request.groups), 1))
        self.each(request, lambda _, refit: refit.raw_predictions(X), write, missing)
        for group in np.flatnonzero(np.isnan(missing[:, 0])):
            write(group, np.full(shape, np.nan))

    def raw_influence(self, X, hessian_solver):
        """Return the influence on one sample's scores, (n, K)."""
        design = self.check_X(self.formulation, X)
        moved = np.empty((self.objective.n_rows, self.n_scores))
        sweep = self.sweep(None)
        for k, line in enumerate(np.eye(self.n_scores)):
            query = self.query(design, line[None])
            V, sample = query.toarray(), Sample(X, query, line[None])
            moved[:, k] = (self.influence_on(V) + sweep.extra(V, [sample]))[0]
        return moved
