"""Chapter A: derivatives of the fit in the weight of a training sample."""

from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from sklearn.base import is_classifier
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skinfluence import distributed, influence
from skinfluence._typing import Floats, Indices, MatrixLike, Order
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.groups import check_indices
from skinfluence.mixins.checks import check_count, check_dtype, check_option, prepare_out
from skinfluence.solvers import HessianSolver

__all__ = ["InfluenceMixin"]


class InfluenceMixin:
    """Influence functions of Koh & Liang (2017), section 2.

    Every number is the derivative of scikit-learn's own `fit` in the weight of a sample,
    in the paper's sign and scale: with S the sum of the sample weights,
    ``I_up,params(z_i) = S d params / d w_i``. Frozen: class weights and hyperparameters
    as fitted. Evaluated at the fitted parameters; where these are not the optimum an
    `InfluenceWarning` says by how much.
    """

    def sample_loss(self, X: MatrixLike, y: ArrayLike) -> Floats:
        """Return the plain loss l(z) of each sample, without weights or penalty.

        Log loss for logistic regression, squared error (without 1/2) for ridge, summed
        over targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.
        y : array-like of shape (m,) or (m, n_targets)
            Targets, or labels seen in `fit`.

        Returns
        -------
        loss : ndarray of shape (m,)
            Loss of each sample.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.predict([[4.0]])
        array([4.5])
        >>> reg.sample_loss([[4.0]], [5.0])
        array([0.25])
        """
        check_is_fitted(self)
        formulation = self._get_formulation()
        if distributed.is_dask(X, y):
            return distributed.sample_loss(self._dask_queries(formulation, X, y))
        design, target = self._check_samples(formulation, X, y)
        return formulation.loss.loss(target, design.predict(self._theta()))

    def loss_gradient(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the gradient of the plain loss of each sample in the parameters.

        ``grad l(z) = l'(y, eta) (x, 1)``, without weights or penalty.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features)
            Samples.
        y : array-like of shape (m,) or (m, n_targets)
            Targets, or labels seen in `fit`.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (m, p), default=None
            Array or memmap to fill.

        Returns
        -------
        gradient : ndarray of shape (m, p)
            Laid out as `params_`.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.loss_gradient([[4.0]], [5.0])
        array([[-4., -1.]])
        """
        self._refuse_dask("loss_gradient", X, y, training=False)
        rows = self._check_query(X, y)
        layout = self._get_formulation().layout
        out = prepare_out(out, (len(rows), layout.size), dtype)
        return influence.write_gradients(rows, layout, out, n_jobs=n_jobs)

    def solve_hessian(
        self,
        V: ArrayLike,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return rows times the inverse Hessian, ``H^-1 v`` for each row v.

        H is the Hessian of the objective in sum form, ``F = sum_i s_i l + penalty`` (the
        paper's is H / S). A multinomial model leaves H singular along one direction for
        each column without penalty, usually the intercept's; there the solution is the one
        that keeps the mean over the classes.

        Parameters
        ----------
        V : array-like of shape (k, p)
            Right-hand sides, laid out as `params_`.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1: "auto", a name in `skinfluence.solvers.SOLVERS`, or a
            solver instance. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of right-hand sides.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (k, p), default=None
            Array or memmap to fill.

        Returns
        -------
        solution : ndarray of shape (k, p)
            Laid out as `params_`.

        Examples
        --------
        >>> from skinfluence.linear_model import Ridge
        >>> reg = Ridge(alpha=1.0, fit_intercept=False).fit([[0.0], [2.0]], [0.0, 3.0])
        >>> reg.solve_hessian([[10.0]])  # H = 2 (0 + 4) + 2 alpha
        array([[1.]])
        """
        self._refuse_dask("solve_hessian", V)
        state = self._get_state(hessian_solver)
        layout = state.point.objective.formulation.layout
        V = check_array(V, dtype=np.float64, input_name="V")
        if V.shape[1] != layout.size:
            raise ValueError(
                f"V has {V.shape[1]} columns, but the model has {layout.size} parameters."
            )
        out = prepare_out(out, V.shape, dtype)
        return influence.write_solutions(state.factor, V, layout, out, n_jobs=n_jobs)

    def influence_params(
        self,
        X: MatrixLike | None = None,
        y: ArrayLike | None = None,
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the influence of samples on the parameters.

        ``I_up,params(z) = -(H/S)^-1 grad L(z)``: the derivative of the fitted parameters
        when sample z gets weight epsilon in the mean objective, at epsilon = 0. For a
        training sample it is ``S d params / d w_i``, so ``-w_i/S`` times it is the first
        order change when the sample is left out.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (m, n_features), default=None
            Samples; None for the training samples.
        y : array-like of shape (m,) or (m, n_targets), default=None
            Their targets or labels.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (m, p), default=None
            Array or memmap to fill.

        Returns
        -------
        influence : ndarray of shape (m, p)
            Laid out as `params_`; `split_params` gives the shapes of `coef_` and
            `intercept_`.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        equation (10).

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = LogisticRegression(tol=1e-8).fit(scale(X), y)
        >>> clf.influence_params().shape
        (569, 31)
        """
        self._refuse_dask("influence_params", X, y)
        state = self._get_influence_state(hessian_solver)
        _, _, rows = self._given_rows(state, X, y)
        shape = (len(rows), state.point.objective.formulation.layout.size)
        out = prepare_out(out, shape, dtype)
        return influence.influence_params(state.point, state.factor, rows, out, n_jobs=n_jobs)

    def influence_loss(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        average: bool = False,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
        verbose: int = 0,
    ) -> Floats:
        """Return the influence of every training sample on the loss of query samples.

        ``I_up,loss(z_j, q_i) = grad l(q_i)' I_up,params(z_j)``. Negative: more weight on
        training sample j lowers the loss at query i, the sample helps.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        average : bool, default=False
            Return the influence on the mean loss of the queries, from one solve.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of queries.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (q, n), default=None
            Array or memmap to fill; (n,) with `average`.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.

        Returns
        -------
        influence : ndarray of shape (q, n) or (n,)
            Rows are the queries, columns the training samples. A lazy dask array where
            the training samples or the queries are dask arrays.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        section 2.1.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X[::2], y[::2])
        >>> clf.influence_loss(X[1::2], y[1::2]).shape
        (75, 75)
        """
        state = self._get_influence_state(hessian_solver, _n_solves(X, average))
        query = self._check_query(X, y)
        if distributed.is_distributed(state.point, query):
            return self._lazy_influence_loss(state, query, average, dtype, out)
        n = state.point.objective.n_rows
        if average:
            out = prepare_out(out, (n,), dtype)
            V = query.sum()[None] / len(query)
            influence.influence_on(state.point, state.factor, V, out=out[None])
            return out
        out = prepare_out(out, (len(query), n), dtype)
        return influence.influence_loss(
            state.point, state.factor, query, out, n_jobs=n_jobs, verbose=verbose
        )

    def influence_loss_chunked(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        reduce_func: Callable[[Floats, int], Any] | None = None,
        working_memory: float | None = None,
        hessian_solver: str | HessianSolver = "auto",
    ) -> Iterator[Any]:
        """Generate `influence_loss` in blocks of queries that fit into memory.

        Like `sklearn.metrics.pairwise_distances_chunked`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        reduce_func : callable, default=None
            Called as ``reduce_func(chunk, start)`` with a block of rows of
            `influence_loss` and the index of its first query; what it returns is
            generated instead of the block.
        working_memory : float, default=None
            MiB for a block and its temporaries; None takes scikit-learn's setting.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.

        Yields
        ------
        chunk : ndarray of shape (m, n), or what `reduce_func` returns
            Consecutive rows of `influence_loss`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> sum(len(chunk) for chunk in clf.influence_loss_chunked(X, y))
        150
        """
        self._refuse_dask("influence_loss_chunked", X, y)
        if working_memory is not None and (
            not isinstance(working_memory, Real) or not working_memory > 0
        ):
            raise ValueError(
                f"working_memory={working_memory!r} must be a positive number of MiB."
            )
        state = self._get_influence_state(hessian_solver)
        query = self._check_query(X, y)
        return _chunks(state.point, state.factor, query, reduce_func, working_memory)

    def influence_prediction(
        self,
        X: MatrixLike,
        *,
        response_method: Literal[
            "auto", "decision_function", "predict_proba", "predict"
        ] = "auto",
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the influence of every training sample on predictions.

        ``S d response(q_i) / d w_j``, the derivative of the response in the weight of
        training sample j, in the scale of `influence_loss`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        response_method : {"auto", "decision_function", "predict_proba", "predict"}, \
default="auto"
            Which response; "auto" is `decision_function` if there is one, else
            `predict`. Class labels have no derivative: "predict" is for regressors.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of queries.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray, default=None
            Array or memmap to fill.

        Returns
        -------
        influence : ndarray of shape (q, n) or (q, n, n_responses)
            Trailing axes are those of the response: none for a single output, K for K
            outputs, the number of classes for `predict_proba`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> clf.influence_prediction(X[:5], response_method="predict_proba").shape
        (5, 150, 3)
        """
        self._refuse_dask("influence_prediction", X)
        method = self._response_method(response_method)
        state = self._get_influence_state(hessian_solver)
        objective = state.point.objective
        design = self._check_X(objective.formulation, X)
        response_jacobian, trailing = self._response_jacobian(method, design, state.point)
        out = prepare_out(out, (design.n_rows, objective.n_rows, *trailing), dtype)
        influence.output_influence(
            state.point,
            state.factor,
            design,
            out if trailing else out[:, :, None],
            jacobian=response_jacobian,
            n_jobs=n_jobs,
        )
        return out

    def influence_relabel(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        y_new: ArrayLike,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
        verbose: int = 0,
    ) -> Floats:
        """Return the influence on query losses of giving training samples new labels.

        ``I_up,loss((x_j, y_new_j), q_i) - I_up,loss(z_j, q_i)``: weight moves from training
        sample j as it is to the same sample with label `y_new[j]`, which then has the class
        weight of that label. ``w_j/S`` times it is the first-order change of the loss when
        sample j is relabelled. Negative: the new label lowers the loss at query i.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        y_new : array-like of shape (n,) or (n, n_targets)
            New target of each training sample, or label seen in `fit`. Where it is the old
            one the influence is zero.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of queries.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray of shape (q, n), default=None
            Array or memmap to fill.
        verbose : int, default=0
            Messages of joblib about progress; more of them for larger values.

        Returns
        -------
        influence : ndarray of shape (q, n)
            Rows are the queries, columns the training samples.

        Examples
        --------
        Would one other label among the training samples have helped the first query?

        >>> import numpy as np
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> X = scale(X)
        >>> clf = LogisticRegression(tol=1e-8).fit(X[10:], y[10:])
        >>> influence = clf.influence_relabel(X[:1], y[:1], y_new=1 - y[10:])
        >>> influence.shape, int(influence[0].argmin())
        ((1, 559), 411)
        """
        self._refuse_dask("influence_relabel", X, y, y_new)
        state = self._get_influence_state(hessian_solver)
        query = self._check_query(X, y)
        objective = state.point.objective
        target = objective.formulation.target.encode(y_new)
        if len(target) != objective.n_rows:
            raise ValueError(
                f"y_new holds {len(target)} targets, but there are {objective.n_rows} "
                "training samples: give each of them one, the old one where nothing changes."
            )
        out = prepare_out(out, (len(query), objective.n_rows), dtype)
        rows = influence.relabel_rows(state.point, target)
        return influence.influence_loss(
            state.point, state.factor, query, out, rows=rows, n_jobs=n_jobs, verbose=verbose
        )

    def influence_functional(
        self,
        gradient: ArrayLike | Callable[[Floats], ArrayLike],
        *,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Return the influence of every training sample on differentiable scalars.

        ``grad f' I_up,params(z_j)`` for scalars f of the parameters: a coefficient, a
        difference of two groups, a metric with a smooth surrogate.

        Parameters
        ----------
        gradient : array-like of shape (p,) or (m, p), or callable
            Gradient of the scalar, or of m of them, in the parameters, laid out as
            `params_`; or a function of the parameter vector that returns it.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of scalars.
        dtype : numpy dtype, default=None
            Type of the result, float64 by default. Computations are in float64.
        out : ndarray, default=None
            Array or memmap to fill.

        Returns
        -------
        influence : ndarray of shape (n,) or (m, n)
            Influence of each training sample on each scalar.

        Examples
        --------
        Which rows pull the first coefficient up most?

        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from skinfluence.linear_model import Ridge
        >>> X, y = load_diabetes(return_X_y=True)
        >>> reg = Ridge(alpha=0.1).fit(X, y)
        >>> first = np.eye(reg.params_.size)[0]
        >>> np.argsort(-reg.influence_functional(first))[:3].tolist()
        [204, 289, 331]
        """
        self._refuse_dask("influence_functional", gradient)
        state = self._get_influence_state(hessian_solver)
        layout = state.point.objective.formulation.layout
        if callable(gradient):
            gradient = gradient(self.params_)
        shape = np.shape(gradient)
        if len(shape) not in (1, 2) or shape[-1] != layout.size:
            raise ValueError(
                f"gradient has shape {shape}, but must be ({layout.size},) or "
                f"(m, {layout.size}), laid out as params_."
            )
        V = check_array(gradient, dtype=np.float64, ensure_2d=False, input_name="gradient")
        n = state.point.objective.n_rows
        out = prepare_out(out, (*V.shape[:-1], n), dtype)
        influence.influence_functional(
            state.point,
            state.factor,
            layout.from_public(np.atleast_2d(V)),
            out if V.ndim == 2 else out[None],
            n_jobs=n_jobs,
        )
        return out

    def influence_perturbation(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        index: int,
        hessian_solver: str | HessianSolver = "auto",
    ) -> Floats:
        """Return how moving one training sample changes the loss of query samples.

        ``I_pert,loss(z, q) = -grad l(q)' (H/S)^-1 d/dx grad L(z)`` for z the training
        sample `index`. The derivative of the loss at q in the features of that sample,
        through the fit, is ``w/S`` times it. Columns with large values are features in which
        a small change of the sample, an attack or an error of measurement, matters most.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        index : int
            Row of the training data.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.

        Returns
        -------
        influence : ndarray of shape (q, n_features)
            Rows are the queries, columns the features of the training sample.

        Raises
        ------
        UnsupportedEstimatorError
            The kernel is a function, "precomputed" or another without a derivative here; or
            a linear model holds the sample exactly at a kink of its loss; or least squares
            without a penalty has dependent features.

        References
        ----------
        Koh & Liang, "Understanding Black-box Predictions via Influence Functions", 2017,
        section 2.2.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = LogisticRegression().fit(scale(X), y)
        >>> clf.influence_perturbation(scale(X)[:2], y[:2], index=7).shape
        (2, 30)
        """
        self._refuse_dask("influence_perturbation", X, y)
        self._check_perturbable()
        state = self._get_influence_state(hessian_solver)
        index = check_indices(index, state.point.objective.n_rows, "index")
        if len(index) != 1:
            raise ValueError(f"index must be one training sample, not {len(index)}.")
        query = self._check_query(X, y)
        return self._perturbation(state, query, int(index[0]))

    def self_influence(
        self, *, hessian_solver: str | HessianSolver = "auto", n_jobs: int | None = None
    ) -> Floats:
        """Return the influence of every training sample on its own loss.

        The diagonal of `influence_loss` on the training set, without forming it. Not
        positive where the penalty does not depend on the weights: more weight on a sample
        cannot raise its own loss. Large magnitudes mark samples that the model fits only
        because they are there.

        Parameters
        ----------
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of samples.

        Returns
        -------
        influence : ndarray of shape (n,)
            Self-influence of each training sample; a lazy dask array where these are.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> int(clf.self_influence().argmin())
        106
        """
        state = self._get_influence_state(hessian_solver)
        return influence.self_influence(state.point, state.factor, n_jobs=n_jobs)

    @overload
    def influential_samples(
        self,
        X: MatrixLike,
        y: ArrayLike,
        n_influential: int = ...,
        *,
        order: Order = ...,
        average: bool = ...,
        return_influence: Literal[True] = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> tuple[Floats, Indices]: ...

    @overload
    def influential_samples(
        self,
        X: MatrixLike,
        y: ArrayLike,
        n_influential: int = ...,
        *,
        order: Order = ...,
        average: bool = ...,
        return_influence: Literal[False],
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> Indices: ...

    def influential_samples(
        self,
        X: MatrixLike,
        y: ArrayLike,
        n_influential: int = 10,
        *,
        order: Order = "absolute",
        average: bool = False,
        return_influence: bool = True,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
    ) -> Indices | tuple[Floats, Indices]:
        """Return the training samples with the largest influence on query losses.

        The array of all influences is never held: blocks are merged as they come.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        n_influential : int, default=10
            How many training samples to return for each query.
        order : {"absolute", "helpful", "harmful"}, default="absolute"
            Rank by magnitude, by how much weight on the sample lowers the loss (most
            negative first), or by how much it raises it (most positive first).
        average : bool, default=False
            Rank by the influence on the mean loss of the queries.
        return_influence : bool, default=True
            Return the influences with the indices.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1; results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads over blocks of queries.

        Returns
        -------
        influence : ndarray of shape (q, n_influential)
            I_up,loss, best first; (n_influential,) with `average`. Only if
            `return_influence`.
        indices : ndarray of shape (q, n_influential)
            Indices of the training samples.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> influence, indices = clf.influential_samples(X[:1], y[:1], n_influential=3)
        >>> indices
        array([[20, 98, 18]])
        """
        check_option("order", order, influence.ORDERS)
        state = self._get_influence_state(hessian_solver, _n_solves(X, average))
        n = state.point.objective.n_rows
        check_count("n_influential", n_influential, n)
        query = self._check_query(X, y)
        if distributed.is_distributed(state.point, query):
            values, indices = distributed.most_influential(
                state.point, state.factor, query, n_influential, order, average=average
            )
        elif average:
            V = query.sum()[None] / len(query)
            values, indices = influence.most_influential(
                state.point, state.factor, V, n_influential, order
            )
            values, indices = values[0], indices[0]
        else:
            values, indices = influence.most_influential_queries(
                state.point, state.factor, query, n_influential, order, n_jobs=n_jobs
            )
        return (values, indices) if return_influence else indices

    def _response_jacobian(self, method, design, point):
        """Return d response / d raw prediction as a function of a block, and its shape.

        None as the function if the response is the raw prediction.
        """
        if method == "decision_function":
            transform = self._decision_transform()
            jacobian = None if transform is None else transform.jacobian
        else:
            jacobian = point.objective.formulation.loss.response_jacobian
        function, trailing = _jacobian(jacobian, design, point.theta)
        flat = self._response_is_flat() and method != "predict_proba"
        return function, () if flat else trailing

    def _check_perturbable(self):
        """Raise where predictions have no derivative in the features."""

    def _perturbation(self, state, query, index):
        """Return I_pert,loss of one training row on query rows, (q, d)."""
        if np.isinf(state.point.curvature([index])).any():
            raise UnsupportedEstimatorError(
                f"Training sample {index} is held exactly at a kink of the loss, where "
                f"{type(self).__name__} does not know how hard it pulls: use SVC or SVR "
                "with kernel='linear', or a smooth loss."
            )
        if state.point.objective.pin is not None:
            raise UnsupportedEstimatorError(
                f"The features of this {type(self).__name__} depend on each other, and moving "
                "one sample may make its solution of least norm jump: drop features, or use "
                "Ridge."
            )
        return influence.perturbation(state.point, state.factor, query, index)

    def _lazy_influence_loss(self, state, query, average, dtype, out):
        """Return `influence_loss` as a dask array."""
        if out is not None:
            raise ValueError(
                "out cannot be filled where samples are dask arrays, for its memory need not "
                "be that of the workers: store the result, as with its to_zarr or "
                "dask.array.store."
            )
        return distributed.influence_loss(
            state.point, state.factor, query, average=average, dtype=check_dtype(dtype)
        )

    def _response_method(self, response_method):
        """Return the response that is meant, or say why it has no influence."""
        options = ("auto", "decision_function", "predict_proba", "predict")
        check_option("response_method", response_method, options)
        if response_method == "auto":
            return "decision_function" if is_classifier(self) else "predict"
        if response_method == "predict" and is_classifier(self):
            others = [repr(name) for name in options[1:3] if hasattr(self, name)]
            raise ValueError(
                "response_method='predict' gives class labels, which have no derivative: "
                f"use {' or '.join(others)}."
            )
        if not hasattr(self, response_method):
            raise ValueError(f"{type(self).__name__} has no {response_method}: use 'auto'.")
        self._check_response(response_method)
        return response_method

    def _response_is_flat(self):
        """Whether decision_function or predict returns one number for a sample."""
        if is_classifier(self):
            return len(self.classes_) == 2
        return self._has_flat_target()


def _n_solves(X, average):
    """Return how many right-hand sides queries make, None where X does not tell."""
    if average:
        return 1
    shape = getattr(X, "shape", ())
    return shape[0] if shape else None


def _jacobian(jacobian, design, theta):
    """Return d response / d raw prediction as a function of a block, and the response's shape.

    None where the response is the raw prediction.
    """
    if jacobian is None:
        return None, theta.shape[:1]
    first = jacobian(design.take(slice(0, 1)).predict(theta))
    if first is None:
        return None, theta.shape[:1]
    return lambda block: jacobian(design.take(block).predict(theta)), first.shape[1:2]


def _chunks(point, factor, query, reduce_func, working_memory):
    """Generate blocks of `influence_loss`, see there."""
    n = point.objective.n_rows
    for block in influence.influence_blocks(
        point, factor, query, working_memory=working_memory, row_bytes=8 * n
    ):
        chunk = influence.influence_of(point, factor, query.take(block))
        yield chunk if reduce_func is None else reduce_func(chunk, block.start)
