"""Regressors for targets that a transformer changes first."""

import copy

import numpy as np
from sklearn import compose
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array

from skinfluence.composite import CompositeMixin, CompositeProblem, remembering
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.methods import get_problem
from skinfluence.stages import learns_from_rows
from skinfluence.stages.chain import add
from skinfluence.stages.registry import make_chain
from skinfluence.steps import innermost
from skinfluence.whole import TrainingData, fit_counted

__all__ = ["TransformedTargetRegressor"]


class TransformedTargetProblem(CompositeProblem):
    """One member on all rows, with targets that passed through a stage.

    Let y' = t(y; s) be the member's target, g its prediction and f the composite's prediction.
    Then ``t(f; s) = g``, so

        t'(f) df = dg + sum_k (dg/dy'_k) dy'_k - (dt/ds) ds.
    """

    path = "regressor_"
    has_one_member = True
    lacks = "changes the targets and has no vector of parameters of its own"
    holds = "its model for the changed targets, regressor_"

    def coded(self, y):
        """Return the regressor's targets, which are transformed."""
        y = check_array(y, ensure_2d=False, input_name="y")
        found = np.asarray(self.estimator.transformer_.transform(as_columns(y)))
        flat = y.ndim == 1 and found.ndim == 2 and found.shape[1] == 1
        return found[:, 0] if flat else found

    @property
    def moves_as_one(self):
        """Whether the transformer depends on the training rows, so all targets change."""
        return learns_from_rows(self.estimator.transformer_)

    @property
    def jumping(self):
        own = self.chain().jumping() if self.moves_as_one else []
        return [(stage, np.asarray) for stage in own] + super().jumping

    # ---------------------------------------------------------------- influence

    def chain(self):
        """Return the stage for the targets."""
        columns = as_columns(self.data.y).astype(np.float64)
        return make_chain([self.estimator.transformer_], columns, None, [None])

    def tangent(self, X, method, moved):
        chain, columns = self.chain(), as_columns(np.float64(self.response(X, method)))
        slope = np.asarray(chain.pull_input(columns, np.ones(columns.shape)))  # t'(f)
        dg = moved(0, method)
        if chain.has_influence:
            if columns.shape[1] > 1:
                raise UnsupportedEstimatorError(
                    f"Influence of {self.name} through {self.estimator.transformer_!r} with "
                    "several targets. Use one target, or the methods that remove samples."
                )
            dg = dg + moved.own(self.through_targets(X, chain, columns))
        return dg / (slope if dg.ndim == 3 else slope[:, 0])[:, None]

    def through_targets(self, X, chain, f):
        """Return sum_k (dg/dy'_k) dy'_k - (dt/ds) ds for predictions f (q, 1), (q, n)."""
        member, weight = self.members()[0], self.parts[0].weight(self.sample_weight)
        model = innermost(member)
        if not (
            hasattr(member, "influence_relabel")
            and get_problem(model).formulation.loss.constant_curvature
        ):
            raise UnsupportedEstimatorError(
                f"Influence of {self.name} through {self.estimator.transformer_!r} is known "
                f"for single regressors with a squared loss, not for {type(model).__name__}. "
                "Use one of these, or the methods that remove samples (leave_out_*)."
            )
        # The gradient of a squared loss is linear in the targets. At this distance r from the
        # prediction the slope of the loss a r^2 is 2 a r = a.
        queries = member.predict(X) - 0.5
        slope = member.sample_loss(X, queries) / 0.25
        shifted = self.coded(self.data.y) + 1.0
        to_targets = member.influence_relabel(X, queries, y_new=shifted) / slope[:, None]
        to_targets = to_targets * (weight / weight.sum())
        cs = [
            add(
                chain.pull_training_statistics(B[:, None]),
                chain.pull_statistics(one[None], np.array([[-1.0]])),
            )
            for B, one in zip(to_targets, f, strict=True)
        ]
        return chain.row_influences(cs) * self.row_scale

    # ---------------------------------------------------------------- removal

    def refit(self, data, drawn, tests, method, **options):
        estimator = copy.copy(self.estimator)
        if self.moves_as_one:
            y = as_columns(data.y)
            before = Pipeline([("targets", clone(estimator.transformer_))])

            def fit(data):
                return before, before.fit_transform(data.X)

            targets = TrainingData(y, y, {}, counts=data.counts)
            estimator.transformer_ = fit_counted(before, targets, [{}], fit)[0][0]
        problem = type(self)(estimator)
        return super(TransformedTargetProblem, problem).refit(
            data, drawn, tests, method, **options
        )


def as_columns(y):
    """Return targets with an axis of columns, (n, K)."""
    return np.asarray(y).reshape(len(y), -1)


class TransformedTargetRegressor(CompositeMixin, compose.TransformedTargetRegressor):
    """A regressor of transformed targets, with influence on the scale of y as given.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.compose.TransformedTargetRegressor`. The prediction is
    ``f = t^-1(g(x))`` with the regressor's prediction g and the transformer t. A sample's loss
    is the squared error ``l = (y - f)^2``.

    The transformer is a stage. If it learns from the targets, like StandardScaler and
    PowerTransformer, influence passes through it for regressors with a squared loss, and
    removal fits it again.

    Parameters
    ----------
    regressor : estimator, default=None
        Regressor or pipeline that has influence here, ours or scikit-learn's.
    transformer : estimator, default=None
        Transformer for the targets.
    func : callable, default=None
        Function applied to the targets, used instead of a transformer.
    inverse_func : callable, default=None
        Its inverse.
    check_inverse : bool, default=True
        Whether `fit` checks that `inverse_func` is the inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.compose import TransformedTargetRegressor
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp).fit(X, y)
    >>> reg.influence_loss(X[:2], y[:2]).shape
    (2, 442)
    """

    _problem_class = TransformedTargetProblem
    fit = remembering(compose.TransformedTargetRegressor.fit)
