"""A single model as a member of a larger fit: how its responses move with its inputs."""

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.methods import get_problem
from skinfluence.moments import MomentMixin, MomentQuery
from skinfluence.steps import innermost
from skinfluence.whole.data import take_rows
from skinfluence.whole.inputs import Behind
from skinfluence.whole.moments import MomentSweep
from skinfluence.whole.problem import whole_problem
from skinfluence.whole.sweep import Sample, make_sweep


def make_member(model, inputs, hessian_solver):
    """Return a fitted estimator, or a pipeline that ends in one, as a `Member`."""
    is_moments = isinstance(innermost(model), MomentMixin)
    return (MomentMember if is_moments else Member)(model, inputs, hessian_solver)


class Member:
    """A fitted estimator, or a pipeline that ends in one, whose inputs move.

    The derivatives are those through the inputs. The influence of the model's own rows adds to
    them, with that through "balanced" class weights and gamma="scale".

    Parameters
    ----------
    model : estimator or Pipeline
        The fitted model, with its training data.
    inputs : Inputs
        Its input.
    hessian_solver : str or HessianSolver
        How to apply H^-1.
    """

    def __init__(self, model, inputs, hessian_solver):
        self.is_pipeline = innermost(model) is not model
        if self.is_pipeline:
            self.problem = whole = whole_problem(model)
            whole.learns("influence_loss")  # raises if the last step alone changed
            self.chain = Behind(whole.chain, whole.data.X, inputs)
        else:
            self.problem, self.chain = get_problem(model), inputs
        self.sweep = self.make_sweep(hessian_solver)

    # ---------------------------------------------------------------- for the sweep

    def make_sweep(self, hessian_solver):
        """Return the sweep at the model's parameters."""
        return make_sweep(self.problem, hessian_solver, self)

    @property
    def gamma_moves(self):
        """Whether the kernel's gamma depends on the training samples."""
        return self.problem.gamma_moves

    @property
    def parameters(self):
        """How the model keeps its parameters."""
        return self.problem.parameters

    def of_rows(self, values):
        """Return zeros (m, N), because the model's own influence has these derivatives."""
        return np.zeros((len(values), self.chain.width))

    # ---------------------------------------------------------------- derivatives

    def losses(self, X, y, handles):
        """Return the derivatives of the losses of queries, (q, N)."""
        query, handles = self.problem.check_query(X, y), self.handles(X, handles)
        found = []
        for block in self.blocks(len(query)):
            samples = [
                self.sample(query, q, query.raw_gradient[[q]], handles[q])
                for q in range(block.start, block.stop)
            ]
            found.append(self.sweep.derivative(query.take(block).toarray(), samples))
        return np.concatenate(found)

    def responses(self, X, method, handles):
        """Return the derivatives of a response to queries, (q, N) or (q, N, R)."""
        handles = self.handles(X, handles)
        query, J, flat = self.scores(X, method)
        q, R, _ = J.shape
        found = []
        for block in self.blocks(q, R):
            V = [self.gradients(query, block, J[block, r]) for r in range(R)]
            samples = [
                self.sample(query, row, J[row, [r]], handles[row])
                for r in range(R)
                for row in range(block.start, block.stop)
            ]
            moved = self.sweep.derivative(np.concatenate(V), samples)
            found.append(moved.reshape(R, -1, moved.shape[1]).transpose(1, 2, 0))
        found = np.concatenate(found)
        return found[:, :, 0] if flat else found

    def handles(self, X, handles):
        """Return the handles of queries for the sweep's inputs."""
        if not self.is_pipeline:
            return handles
        return [(take_rows(X, [q]), handle) for q, handle in enumerate(handles)]

    def blocks(self, n_queries, n_responses=1):
        """Return query blocks whose sweeps fit into memory."""
        n, d = self.problem.n_rows, self.n_features
        row_bytes = 8 * (self.problem.params.size + (4 + d * self.is_dense) * n)
        return row_blocks(n_queries, n_responses * row_bytes)

    @property
    def n_features(self):
        """Number of the model's features."""
        return self.problem.objective.design.X.shape[1]

    @property
    def is_dense(self):
        """Whether a sweep forms an array of cotangents on the rows for each scalar."""
        return self.problem.objective.design.has_metric

    def scores(self, X, method):
        """Return (rows, d response / d raw prediction (q, R, K), whether R has no axis)."""
        point, problem = self.sweep.point, self.problem
        design = problem.check_X(point.objective.formulation, X)
        J = problem.response_jacobians(method, design, point)
        return Rows(design), J, problem.is_flat_response(method)

    def sample(self, query, q, raw_gradient, handle):
        """Return the `Sample` for one query row."""
        return Sample(handle, query.design.take(slice(q, q + 1)), raw_gradient)

    def gradients(self, query, block, J):
        """Return gradients in the parameters for a block, given those in the scores."""
        return J[:, :, None] * query.design.take(block).rows()[:, None, :]


class Rows:
    """Query rows, known as `design`."""

    def __init__(self, design):
        self.design = design


class MomentMember(Member):
    """A model of means, variances and counts as a member of a larger fit."""

    is_dense = True

    def make_sweep(self, hessian_solver):
        self.problem.objective.model.check_smooth(self.problem.name)
        return MomentSweep(self.problem, self)

    @property
    def n_features(self):
        return self.problem.objective.X.shape[1]

    def scores(self, X, method):
        problem = self.problem
        design = problem.check_X(problem.formulation, X)
        J, axis = problem.score_jacobian(method, problem.predict_rows(design))
        return problem.query(design, J[:, 0]), J, not axis

    def gradients(self, query, block, J):
        part = query.take(block)
        return MomentQuery(part.model, part.theta, part.X, J).toarray()
