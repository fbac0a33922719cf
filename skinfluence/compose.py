"""Regressors for targets that a transformer changes first."""

import copy

import numpy as np
from sklearn import compose
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array

from skinfluence.composite import CompositeMixin, CompositeProblem, remembering
from skinfluence.composite.moved import in_targets
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import learns_from_rows
from skinfluence.stages.targets import TargetStage, as_columns
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
        own = self.stage().jumping() if self.moves_as_one else []
        return [(stage, np.asarray) for stage in own] + super().jumping

    # ---------------------------------------------------------------- influence

    def stage(self):
        """Return the stage of the targets."""
        return TargetStage(self.estimator.transformer_, self.data.y)

    def tangent(self, X, method, moved):
        stage, f = self.stage(), as_columns(np.float64(self.response(X, method)))
        slope, dg = stage.slope(f), moved(0, method)
        if stage.has_influence:
            if f.shape[1] > 1:
                raise UnsupportedEstimatorError(
                    f"Influence of {self.name} through {self.estimator.transformer_!r} with "
                    "several targets. Use one target, or the methods that remove samples."
                )
            derivatives = in_targets(self.parts[0], X, self.coded(self.data.y), self)
            dg = dg + moved.own(stage.through(f, derivatives) * self.row_scale)
        return dg / (slope if dg.ndim == 3 else slope[:, 0])[:, None]

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
