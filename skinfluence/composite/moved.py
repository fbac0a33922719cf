"""Derivatives of the members' responses, which a composite's `tangent` combines.

A tangent is linear in them, so the same code serves two kinds. `Direct` has the influence of
the composite's rows for fixed features. `Staged` has only the part that comes through the
features, if these move with the training rows of a larger fit.
"""

import numpy as np

from skinfluence.composite.parts import can_move, is_frozen
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.steps import innermost
from skinfluence.whole import (
    Behind,
    Beside,
    Fed,
    Shared,
    make_member,
    take_rows,
    whole_problem,
)


class Moved:
    """Derivatives of the members' responses to some queries.

    Parameters
    ----------
    source : Direct or Staged
        Computes them.
    X : array-like of shape (q, d)
        Queries.
    handles : list of length q
        The queries' handles, see `whole.inputs`.
    """

    def __init__(self, source, X, handles):
        self.source = source
        self.X = X
        self.queries = handles
        #: Number of training rows of the whole, N.
        self.width = source.width
        #: Intermediate results that do not depend on the queries.
        self.known = source.known

    def __call__(self, k, method, X=None, *, rows=None):
        """Return the derivative of member k's response, (q, N) or (q, N, K).

        Parameters
        ----------
        k : int
            The member's position.
        method : str
            The response.
        X : array-like or None, default=None
            Samples to use instead of the queries.
        rows : ndarray of int or None, default=None
            Training rows that these samples are, or that take the queries' place.
        """
        X = self.samples(X, rows)
        return self.source.responses(k, method, X, self.handles(rows))

    def losses(self, k, y, chosen):
        """Return the derivatives of member k's losses for chosen queries, (m, N)."""
        X, handles = self.X, self.queries
        if chosen is not None:
            X, handles = take_rows(X, chosen), [handles[q] for q in chosen]
        return self.source.losses(k, X, y, handles)

    def own(self, values):
        """Return derivatives (..., n) that do not come through the features."""
        return self.source.own(values)

    def with_fed(self, k, method, X, columns, now, fed, *, rows=None, y=None):
        """Return the derivative of member k's response, if some columns are fed responses.

        Parameters
        ----------
        k, method, X, rows
            As in a call. The method may be "sample_loss", too.
        columns : slice
            These columns.
        now : ndarray of shape (q, F, N)
            Their derivatives for these samples.
        fed : callable
            ``fed(rows)`` returns their derivatives for the member's training rows.
        y : array-like or None, default=None
            The samples' targets for the member, for "sample_loss" alone.
        """
        handles = list(zip(self.handles(rows), now, strict=True))
        X = self.samples(X, rows)
        node = self.source.fed_node(k, columns, fed)
        if method == "sample_loss":
            return node.losses(X, y, handles)
        return node.responses(X, method, handles)

    def samples(self, X, rows):
        """Return the samples for the arguments of a call."""
        if X is not None:
            return X
        return self.X if rows is None else take_rows(self.source.problem.data.X, rows)

    def handles(self, rows):
        """Return the samples' handles."""
        return self.queries if rows is None else self.source.training_handles(rows)


class Direct:
    """The influence of a composite's rows on its members, for fixed features.

    Parameters
    ----------
    problem : CompositeProblem
        The composite.
    options : dict
        `hessian_solver` and `n_jobs`.
    """

    def __init__(self, problem, options):
        self.problem = problem
        self.options = options
        self.known = {}
        self.nodes = {}
        self.width = problem.data.n_rows

    def responses(self, k, method, X, handles):
        part, weight = self.problem.parts[k], self.problem.sample_weight
        X = self.problem.features(k, X)
        if part.is_constant:
            shape = np.shape(getattr(part.member, method)(X))
            return np.zeros((shape[0], self.width, *shape[1:]))
        found = part.member.influence_prediction(X, response_method=method, **self.options)
        if isinstance(found, list):
            return [part.to_composite(of_output, weight) for of_output in found]
        return part.to_composite(found, weight)

    def losses(self, k, X, y, handles):
        part, X = self.problem.parts[k], self.problem.features(k, X)
        found = part.member.influence_loss(X, y, **self.options)
        return part.to_composite(found, self.problem.sample_weight)

    def own(self, values):
        return values

    def training_handles(self, rows):
        return [None] * len(rows)

    def fed_node(self, k, columns, fed):
        part, n = self.problem.parts[k], self.width
        if k not in self.nodes:
            inputs = Fed(n, columns, part.rows, n, fed)
            node = make_node(part.member, inputs, self.options["hessian_solver"])
            self.nodes[k] = OwnAndFed(self, k, node)
        return self.nodes[k]


class Staged:
    """Derivatives of a composite's members through their features alone.

    Parameters
    ----------
    problem : CompositeProblem
        The composite.
    inputs : Inputs
        Its features.
    hessian_solver : str or HessianSolver
        How to apply H^-1.
    """

    def __init__(self, problem, inputs, hessian_solver):
        self.problem = problem
        self.inputs = inputs
        self.hessian_solver = hessian_solver
        self.known = {}
        self.nodes = {}
        self.width = inputs.width

    def responses(self, k, method, X, handles):
        part, X = self.problem.parts[k], self.problem.features(k, X)
        if not can_move(part.member):
            self.check_constant(part.member)
            shape = np.shape(getattr(part.member, method)(X))
            return np.zeros((shape[0], self.width, *shape[1:]))
        return self.node(k, part).responses(X, method, handles)

    def check_constant(self, member):
        """Raise if a frozen member's response moves with its features."""
        if is_frozen(member):
            raise UnsupportedEstimatorError(
                f"Influence of {self.problem.name} behind steps that learn from the samples: "
                "its FrozenEstimator does not move, but its features do. Freeze the steps, "
                "too, or use the methods that remove samples (leave_out_*)."
            )

    def losses(self, k, X, y, handles):
        node = self.node(k, self.problem.parts[k])
        return node.losses(self.problem.features(k, X), y, handles)

    def own(self, values):
        return np.zeros((*values.shape[:-1], self.width))

    def training_handles(self, rows):
        return [self.inputs.training_handle(row) for row in rows]

    def shared(self, k, part):
        """Return the part of member k's features that comes from the composite's."""
        columns, start = self.problem.places(k)
        return Shared(self.inputs, self.problem.data.X, part.rows, columns, start)

    def node(self, k, part):
        """Return member k as an object with derivatives through its features."""
        if k not in self.nodes:
            self.nodes[k] = make_node(part.member, self.shared(k, part), self.hessian_solver)
        return self.nodes[k]

    def fed_node(self, k, columns, fed):
        part = self.problem.parts[k]
        if k not in self.nodes:
            n = self.problem.data.n_rows
            fed = Fed(self.width, columns, part.rows, n, fed)
            inputs = Beside(self.shared(k, part), fed)
            self.nodes[k] = make_node(part.member, inputs, self.hessian_solver)
        return self.nodes[k]


class OwnAndFed:
    """A member with the influence of its own rows and that through fed features.

    Parameters
    ----------
    source : Direct
        Has the influence of the member's rows.
    k : int
        The member's position.
    node : Member or Nested
        Has the derivatives through its features.
    """

    def __init__(self, source, k, node):
        self.source = source
        self.k = k
        self.node = node

    def losses(self, X, y, handles):
        through = self.node.losses(X, y, [moved for _, moved in handles])
        return self.source.losses(self.k, X, y, handles) + through

    def responses(self, X, method, handles):
        through = self.node.responses(X, method, [moved for _, moved in handles])
        return add(self.source.responses(self.k, method, X, handles), through)


class Nested:
    """A composite, or a pipeline that ends in one, as a member whose features move.

    Parameters
    ----------
    member : CompositeMixin or Pipeline
        The fitted member.
    inputs : Inputs
        Its input.
    hessian_solver : str or HessianSolver
        How to apply H^-1.
    """

    def __init__(self, member, inputs, hessian_solver):
        self.whole = None
        if innermost(member) is not member:
            self.whole = whole = whole_problem(member)
            inputs = Behind(whole.chain, whole.data.X, inputs)
        self.problem = get_problem(innermost(member))
        self.source = Staged(self.problem, inputs, hessian_solver)

    def moved(self, X, handles):
        """Return (features, `Moved`) for queries."""
        if self.whole is not None:
            handles = [(take_rows(X, [q]), handle) for q, handle in enumerate(handles)]
            X = self.whole.transform(X)
        return X, Moved(self.source, X, handles)

    def responses(self, X, method, handles):
        X, moved = self.moved(X, handles)
        return self.problem.tangent(X, method, moved)

    def losses(self, X, y, handles):
        X, moved = self.moved(X, handles)
        return self.problem.moved_losses(X, y, moved)


def make_node(member, inputs, hessian_solver):
    """Return a member as an object with derivatives through its features."""
    is_single = isinstance(innermost(member), InfluenceEstimatorMixin)
    return (make_member if is_single else Nested)(member, inputs, hessian_solver)


def in_targets(part, X, y, problem):
    """Return the derivatives of a regressor's predictions for X in its targets, (q, n).

    Parameters
    ----------
    part : Part
        A composite's regressor with a squared loss, on all rows.
    X : array-like of shape (q, d)
        Samples.
    y : ndarray of shape (n,)
        The regressor's targets.
    problem : CompositeProblem
        The composite.
    """
    member, weight = part.member, part.weight(problem.sample_weight)
    model = innermost(member)
    if not (
        hasattr(member, "influence_relabel")
        and get_problem(model).formulation.loss.constant_curvature
    ):
        raise UnsupportedEstimatorError(
            f"Influence of {problem.name} through {problem.estimator.transformer_!r} is known "
            f"for single regressors with a squared loss, not for {type(model).__name__}. Use "
            "one of these, or the methods that remove samples (leave_out_*)."
        )
    # The gradient of a squared loss is linear in the targets. At this distance r from the
    # prediction the slope of the loss a r^2 is 2 a r = a.
    queries = member.predict(X) - 0.5
    slope = member.sample_loss(X, queries) / 0.25
    moved = member.influence_relabel(X, queries, y_new=y + 1.0) / slope[:, None]
    return moved * (weight / weight.sum())


def add(first, second):
    """Return the sum of two derivatives, each an array or a list of them."""
    if isinstance(first, list):
        return [a + b for a, b in zip(first, second, strict=True)]
    return first + second
