"""Influence methods for a pipeline's whole fit.

Each method adds the stages' contribution, see `sweep`, to the last step's influence with
fixed transformers. Samples are raw.
"""

from dataclasses import replace

import numpy as np

from skinfluence import influence
from skinfluence.exceptions import warn
from skinfluence.groups import check_indices
from skinfluence.problem.ranking import RankedBlocks
from skinfluence.problem.requests import NEW, PLAIN
from skinfluence.whole.before import warn_of_absent
from skinfluence.whole.data import take_rows
from skinfluence.whole.sweep import Sample, response_samples, sample_of


class WholeInfluence(RankedBlocks):
    """Influence methods with the signatures that estimators have."""

    def prediction_state(self, hessian_solver, n_solves=None):
        state = super().prediction_state(hessian_solver, n_solves)
        if self.scaled is None:
            return state
        # In the scaled features, the scaler acts through the penalty only.
        return replace(state, point=self.scaled.objective.at(state.point.theta))

    def most_influential(self, X, y, k, order, request, *, average):
        if self.scaled is not None:  # as for the last step, without a sweep in blocks
            last_step = super(RankedBlocks, self)
            found = last_step.most_influential(X, y, k, order, request, average=average)
            self.warn_of_weights()
            return found
        return super().most_influential(X, y, k, order, request, average=average)

    def influence_params(self, X=None, y=None, request=PLAIN, output=NEW):
        result = super().influence_params(X, y, request, output)
        sweep = self.sweep(request.hessian_solver)
        rows = None if X is None else self.chain.added(X)
        layout = sweep.point.objective.formulation.layout
        basis = layout.from_public(np.eye(layout.size))
        result += sweep.extra(basis, [None] * len(basis), rows).T
        if X is None:
            self.warn_of_weights()
        else:
            self.set_outside(X, result)
        return result

    def loss_moved_by_steps(self, X, X_val, y_val, hessian_solver):
        """Return the change in the mean loss of samples as the steps learn from others, (m,).

        Each row of X is added to the training samples with a small weight, and only the steps
        before the model learn from it. The change is the derivative in this weight, and 0 for
        rows that have no derivative.
        """
        query = self.check_query(X_val, y_val, hessian_solver=hessian_solver)
        sample = Sample(X_val, query.design, query.raw_gradient / len(query))
        gradient = query.sum()[None] / len(query)
        sweep = self.sweep(hessian_solver)
        moved = sweep.derivative(gradient, [sample], self.chain.added(X))[0]
        beyond, _ = self.chain.outside(X)
        return np.where(beyond, 0.0, moved)

    def set_outside(self, X, influence):
        """Set the influence (m, p) of other samples to NaN if it is undefined, and warn."""
        beyond, unseen = self.chain.outside(X)
        if beyond.any():
            influence[beyond] = np.nan
            warn(
                f"{np.sum(beyond)} sample(s), such as row {np.argmax(beyond)}, have values "
                "beyond the extremes of the training samples, which a step learned. However "
                "small their weight, they would move these extremes, so they have no "
                "derivative: their influence is NaN. Use add_samples on a copy."
            )
        if unseen.any():
            warn(
                f"{np.sum(unseen)} sample(s), such as row {np.argmax(unseen)}, have words or "
                "categories that the training samples lack, and a fit with them would have "
                "more features. Their influence is the one for the present features. For "
                "the effect of the new features use add_samples on a copy."
            )

    def influence_loss(self, X, y, request=PLAIN, output=NEW, *, average=False):
        result = super().influence_loss(X, y, request, output, average=average)
        self.warn_of_weights()
        if self.scaled is not None:
            return result
        sweep = self.sweep(request.hessian_solver)
        query = self.check_query(X, y)
        if average:
            m = len(query)
            sample = Sample(X, query.design, query.raw_gradient / m)
            result += sweep.extra(query.sum()[None] / m, [sample])[0]
        else:
            for block in self.blocks(sweep, query):
                self.add_losses(sweep, X, query, block, result[block])
        return result

    def add_losses(self, sweep, X, query, block, out):
        """Add the stages' contribution to the influence (m, n) on a block of queries."""
        part = query.take(block)
        out += sweep.extra(part.toarray(), self.one_by_one(X, part, block.start))

    @staticmethod
    def one_by_one(X, query, start=0):
        """Return a `Sample` for each query row; the first one is row `start` in X."""
        samples = []
        for j in range(len(query)):
            raw, row = take_rows(X, [start + j]), slice(j, j + 1)
            samples.append(Sample(raw, query.design.take(row), query.raw_gradient[row]))
        return samples

    def query_chunks(self, X, query, working_memory, hessian_solver):
        chunks = super().query_chunks(X, query, working_memory, hessian_solver)
        if self.scaled is not None:
            return chunks
        sweep = self.sweep(hessian_solver)

        def generate():
            start = 0
            for chunk in chunks:
                block = slice(start, start + len(chunk))
                self.add_losses(sweep, X, query, block, chunk)
                yield chunk
                start = block.stop

        return generate()

    def influence_prediction(self, X, request=PLAIN, output=NEW, *, response_method="auto"):
        result = super().influence_prediction(
            X, request, output, response_method=response_method
        )
        self.warn_of_weights()
        if self.scaled is not None:
            return result
        sweep = self.sweep(request.hessian_solver)
        design = self.check_X(sweep.point.objective.formulation, X)
        method = self.response_method(response_method)
        J = self.response_jacobians(method, design, sweep.point)
        wide = result if result.ndim == 3 else result[:, :, None]
        for q in range(design.n_rows):
            part = design.take(slice(q, q + 1))
            V, samples = response_samples(take_rows(X, [q]), part, J[q])
            wide[q] += sweep.extra(V, samples).T
        return result

    def influence_functional(self, gradient, request=PLAIN, output=NEW):
        result = super().influence_functional(gradient, request, output)
        sweep = self.sweep(request.hessian_solver)
        V = self.check_functional(gradient)
        V = self.formulation.layout.from_public(np.atleast_2d(V))
        sample = sample_of(gradient, self.params)
        samples = [None] * len(V) if sample is None else [sample]
        wide = result if result.ndim == 2 else result[None]
        wide += sweep.extra(V, samples)
        self.warn_of_weights()
        return result

    def influence_perturbation(self, X, y, *, index, hessian_solver="auto"):
        self.parameters.check_perturbable(self.objective)
        sweep = self.sweep(hessian_solver)
        n = sweep.point.objective.n_rows
        index = check_indices(index, n, "index")
        if len(index) != 1:
            raise ValueError(f"index must be one training sample, not {len(index)}.")
        query = self.check_query(X, y)
        scale = sweep.point.objective.weight_sum
        weight = sweep.point.objective.sample_weight[index[0]]
        samples = self.one_by_one(X, query)
        moved = sweep.to_inputs(query.toarray(), samples, int(index[0]))
        return moved * (scale / weight)

    def influence_relabel(self, X, y, request=PLAIN, output=NEW, *, y_new):
        self.refuse_supervised("influence_relabel")
        return super().influence_relabel(X, y, request, output, y_new=y_new)

    def self_influence(self, request=PLAIN):
        result = super().self_influence(request)
        self.warn_of_weights()
        if self.scaled is not None:
            return result
        sweep = self.sweep(request.hessian_solver)
        query = self.check_query(self.data.X, self.data.y)
        for block in self.blocks(sweep, query):
            rows = np.arange(block.start, block.stop)
            added = np.zeros((len(rows), len(result)), like=self.like)
            self.add_losses(sweep, self.data.X, query, block, added)
            result[rows] += added[np.arange(len(rows)), rows]
        return result

    def raw_influence(self, X, hessian_solver):
        """Return the influence on one sample's raw prediction, (n, K)."""
        sweep = self.sweep(hessian_solver)
        design = self.check_X(sweep.point.objective.formulation, X)
        K = len(sweep.point.theta)
        moved = np.empty((1, sweep.point.objective.n_rows, K), like=self.like)
        influence.output_influence(sweep.point, sweep.factor, design, moved)
        V, samples = response_samples(X, design, np.eye(K))
        return moved[0] + sweep.extra(V, samples).T

    @staticmethod
    def blocks(sweep, query):
        """Return query blocks whose gradients fit into memory together."""
        point, factor = sweep.point, sweep.factor
        row_bytes = 8 * len(point.rows)
        if point.objective.design.has_metric:
            row_bytes *= 1 + query.design.X.shape[1]
        else:  # several cotangents, each with one statistic per column
            row_bytes += 8 * 8 * query.design.n_columns
        return influence.influence_blocks(point, factor, query, row_bytes=row_bytes)

    def warn_of_weights(self):
        """Warn if the transformers were fitted on rows with weight 0."""
        warn_of_absent(int(np.sum(self.objective.sample_weight == 0)))
