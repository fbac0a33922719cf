"""Regressors of targets that a transformer changes first."""

import numpy as np
from sklearn import compose
from sklearn.base import clone
from sklearn.utils import check_array

from skinfluence.composite import CompositeMixin, CompositeProblem, remembering
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import learns_from_rows
from skinfluence.stages.chain import add
from skinfluence.stages.registry import make_chain
from skinfluence.whole import take_rows

__all__ = ["TransformedTargetRegressor"]


class TransformedTargetProblem(CompositeProblem):
    """One member on all rows, whose targets went through a stage.

    With y' = t(y; s) the target of the member, g its prediction and f that of the composite,
    ``t(f; s) = g``, so

        t'(f) df = dg + sum_k (dg/dy'_k) dy'_k - (dt/ds) ds.
    """

    path = "regressor_"

    def members(self):
        return [self.estimator.regressor_]

    def put(self, estimator, members):
        estimator.regressor_ = members[0]

    def transformed(self, y, transformer=None):
        """Return targets as the regressor sees them."""
        transformer = self.estimator.transformer_ if transformer is None else transformer
        y = check_array(y, ensure_2d=False, input_name="y")
        columns = y.reshape(-1, 1) if y.ndim == 1 else y
        found = np.asarray(transformer.transform(columns))
        flat = y.ndim == 1 and found.ndim == 2 and found.shape[1] == 1
        return found[:, 0] if flat else found

    def targets(self, y):
        return [(None, self.transformed(y))]

    @property
    def learns(self):
        """Whether the transformer moves with the training rows."""
        return learns_from_rows(self.estimator.transformer_)

    # ---------------------------------------------------------------- influence

    def chain(self):
        """Return the stage that the targets went through."""
        y = np.asarray(self.data.y, dtype=np.float64)
        columns = y.reshape(-1, 1) if y.ndim == 1 else y
        return make_chain([self.estimator.transformer_], columns, None, [None])

    def tangent(self, X, method, moved):
        chain, f = self.chain(), np.asarray(self.response(X, method), dtype=np.float64)
        columns = f.reshape(len(f), -1)
        slope = np.asarray(chain.pull_input(columns, np.ones(columns.shape)))  # t'(f)
        dg = moved(0, method)
        if chain.has_influence:
            if columns.shape[1] > 1:
                raise UnsupportedEstimatorError(
                    f"Influence of {self.name} through {self.estimator.transformer_!r} with "
                    "several targets. Use one target, or the methods that remove samples."
                )
            dg = dg + self.through_targets(X, chain, columns)
        return dg / (slope if dg.ndim == 3 else slope[:, 0])[:, None]

    def through_targets(self, X, chain, f):
        """Return sum_k (dg/dy'_k) dy'_k - (dt/ds) ds for predictions f (q, 1), (q, n)."""
        member, w, weight = self.members()[0], self.sample_weight, None
        weight = self.parts[0].weight(w)
        g = member.predict(X)
        # A squared loss has the slope 1 here, and its gradient is linear in the targets.
        queries = g - 0.5
        if not np.allclose(member.sample_loss(X, queries), 0.25, rtol=1e-6):
            raise UnsupportedEstimatorError(
                f"Influence of {self.name} through {self.estimator.transformer_!r} is known for "
                f"regressors with a squared loss, not for {type(member).__name__}. Use one of "
                "these, or the methods that remove samples (leave_out_*)."
            )
        shifted = self.transformed(self.data.y) + 1.0
        to_targets = member.influence_relabel(X, queries, y_new=shifted)
        to_targets = to_targets * (weight / weight.sum())
        with np.errstate(divide="ignore"):
            scale = np.where(w > 0, w.sum() / w, np.nan)
        cs = [
            add(
                chain.pull_training_statistics(B[:, None]),
                chain.pull_statistics(one[None], np.array([[-1.0]])),
            )
            for B, one in zip(to_targets, f, strict=True)
        ]
        return chain.row_influences(cs) * scale

    # ---------------------------------------------------------------- removal

    def models_without(self, groups, method, **options):
        if not self.learns:
            return super().models_without(groups, method, **options)
        if method == "influence":
            raise UnsupportedEstimatorError(
                f"{self.name} fits {self.estimator.transformer_!r} again without the samples, "
                "so parameters to first order have no targets: use method='newton' or 'exact'."
            )
        n = self.data.n_rows
        return [self.refit(np.delete(np.arange(n), rows), method) for rows in groups]

    def refit(self, kept, method):
        """Return the composite fitted on some rows, None if there is no model."""
        y = np.asarray(self.data.y)[kept]
        transformer = clone(self.estimator.transformer_)
        transformer.fit(y.reshape(-1, 1) if y.ndim == 1 else y)
        weight = self.parts[0].weight(self.sample_weight)[kept]
        X, target = take_rows(self.data.X, kept), self.transformed(y, transformer)
        problem = self.members()[0]._problem("leave_out_loss")
        model = problem.model_on(X, target, weight, method)
        if model is None:
            return None
        other = self.with_members([model], [])
        other.transformer_ = transformer
        return other

    def remove_samples(self, indices, *, method="exact", hessian_solver="auto"):
        if not self.learns:
            return super().remove_samples(
                indices, method=method, hessian_solver=hessian_solver
            )
        data, groups = self.data, self.resolve([indices], None, method, None)
        rows = groups.rows(0)
        (other,) = self.models_without([rows], method)
        if other is None:
            raise ValueError(
                "The regressor has no optimum without these samples: it was left as it is."
            )
        self.move_to(other, data.without(rows))
        return None

    def add_samples(self, X, y, sample_weight=None, *, hessian_solver="auto"):
        if not self.learns:
            return super().add_samples(X, y, sample_weight, hessian_solver=hessian_solver)
        raise UnsupportedEstimatorError(
            f"add_samples of {self.name}: {self.estimator.transformer_!r} has to be fitted "
            "again. Fit it again with all samples."
        )

    def move_to(self, other, data):
        """Become another composite, which was fitted on data."""
        weight = data.params["sample_weight"]
        type(self)(other).adopt(data.X, data.y, weight, self.name)
        vars(self.estimator).update(vars(other))


class TransformedTargetRegressor(CompositeMixin, compose.TransformedTargetRegressor):
    """A regressor of transformed targets, with influence on the scale of y as given.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.compose.TransformedTargetRegressor`. The prediction is
    ``f = t^-1(g(x))`` with g the regressor's prediction and t the transformer, and the loss of
    a sample its squared error ``l = (y - f)^2``.

    The transformer is a stage. If it learns from the targets, as StandardScaler and
    PowerTransformer do, influence passes through it for regressors with a squared loss, and
    removal fits it again.

    Parameters
    ----------
    regressor : estimator, default=None
        Regressor or pipeline that has influence here, ours or scikit-learn's.
    transformer : estimator, default=None
        Transformer of the targets.
    func : callable, default=None
        Function of the targets, in place of a transformer.
    inverse_func : callable, default=None
        Its inverse.
    check_inverse : bool, default=True
        Whether `fit` checks that the inverse is one.

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
