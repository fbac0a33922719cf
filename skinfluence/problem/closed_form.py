"""Models whose parameters are a closed form of the rows, without an optimum or a Hessian."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.problem.ranking import RankedBlocks
from skinfluence.problem.requests import NEW, PLAIN


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """The model of all rows, from which removal starts, as from a `removal.Base`.

    Parameters
    ----------
    objective : object
        The training data.
    theta : ndarray of shape (K, D)
        The parameters.
    """

    objective: Any
    theta: np.ndarray

    #: Directions that the samples leave undetermined: none.
    open = None
    has_optimum = True

    @property
    def point(self):
        """The holder of the objective: this object."""
        return self

    def optimum(self):
        """Return the parameters, which are those of a refit."""
        return self.theta

    def open_directions(self, outcome, n_groups):
        """Return no group, because every removal has a unique result."""
        return ()


class ClosedFormAnswers(RankedBlocks):
    """Answers that follow from a few formulas, which a subclass has.

    These are `influence_of` and `influence_on` for the gradients of some scalars,
    `influence_of_labels` for other targets, `query_bytes` for the memory of one scalar,
    `remove_groups` and `reweigh`.
    """

    @property
    def data_of_fit(self):
        """The training data; raises if they are missing, or if the fit has no derivative."""
        return self.objective

    def run(self, work, n_queries, request):
        """Call ``work(block)`` for all blocks of queries."""
        n_jobs = request.n_jobs
        blocks = row_blocks(n_queries, self.query_bytes, n_jobs=n_jobs)
        run_blocks(work, blocks, n_jobs=n_jobs, verbose=request.verbose)

    def warn_of_uncounted(self, result):
        """Warn if rows without weight have no influence; nothing here."""

    def influence_theta(self, hessian_solver):
        return self.theta

    def influence_loss(self, X, y, request=PLAIN, output=NEW, *, average=False):
        n, query = self.data_of_fit.n_rows, self.check_query(X, y)
        out = output.prepare((n,) if average else (len(query), n))

        def work(block):
            out[block] = self.influence_of(query.take(block))

        if average:
            V = query.sum()[None] / len(query)
            out[:] = self.influence_on(V, request.n_jobs)[0]
        else:
            self.run(work, len(query), request)
        self.warn_of_uncounted(out)
        return out

    def influence_relabel(self, X, y, request=PLAIN, output=NEW, *, y_new):
        n, query = self.data_of_fit.n_rows, self.check_query(X, y)
        target = self.check_new_target(y_new)
        out = output.prepare((len(query), n))

        def work(block):
            out[block] = self.influence_of_labels(query.take(block), target)

        self.run(work, len(query), request)
        return out

    def influence_functional(self, gradient, request=PLAIN, output=NEW):
        n, V = self.data_of_fit.n_rows, self.check_functional(gradient)
        out = output.prepare((*V.shape[:-1], n))
        wide, V = np.atleast_2d(out), self.layout.from_public(np.atleast_2d(V))

        def work(block):
            wide[block] = self.influence_on(V[block])

        self.run(work, len(V), request)
        self.warn_of_uncounted(out)
        return out

    def query_chunks(self, X, query, working_memory, hessian_solver):
        blocks = row_blocks(len(query), self.query_bytes, working_memory=working_memory)
        self.data_of_fit  # noqa: B018  # raises here, not in the generator
        return (self.influence_of(query.take(block)) for block in blocks)

    def start_base(self, method, hessian_solver):
        """Return the start of removal."""
        return ClosedForm(self.objective, self.theta)

    def check_bounded(self, objective):
        """Raise, because the bound is one for Newton steps."""
        raise UnsupportedEstimatorError(
            f"return_bound of {self.name}: method='newton' is the refit, and needs no bound. "
            "Leave it out."
        )
