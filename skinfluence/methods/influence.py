"""Chapter A: derivatives of the fit in the weight of a training sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, DTypeLike

from skinfluence._typing import Floats, Indices, MatrixLike, Order
from skinfluence.methods.available import HasProblem, available
from skinfluence.solvers import HessianSolver

__all__ = ["InfluenceMixin"]


class InfluenceMixin(HasProblem):
    """Influence functions of Koh & Liang (2017), section 2.

    Every number is the derivative of scikit-learn's own `fit` in the weight of a sample,
    in the paper's sign and scale: with S the sum of the sample weights,
    ``I_up,params(z_i) = S d params / d w_i``. Frozen: class weights and hyperparameters
    as fitted. Evaluated at the fitted parameters; where these are not the optimum an
    `InfluenceWarning` says by how much.
    """

    @available
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
        return self._problem("influence_loss").influence_loss(
            X,
            y,
            average=average,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            dtype=dtype,
            out=out,
            verbose=verbose,
        )

    @available
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
        return self._problem("influence_loss_chunked").influence_loss_chunked(
            X,
            y,
            reduce_func=reduce_func,
            working_memory=working_memory,
            hessian_solver=hessian_solver,
        )

    @available
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
        return self._problem("influence_prediction").influence_prediction(
            X,
            response_method=response_method,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            dtype=dtype,
            out=out,
        )

    @available
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
        return self._problem("influence_relabel").influence_relabel(
            X,
            y,
            y_new=y_new,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
            dtype=dtype,
            out=out,
            verbose=verbose,
        )

    @available
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
        return self._problem("influence_perturbation").influence_perturbation(
            X, y, index=index, hessian_solver=hessian_solver
        )

    @available
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
        return self._problem("self_influence").self_influence(
            hessian_solver=hessian_solver, n_jobs=n_jobs
        )

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

    @available
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
        return self._problem("influential_samples").influential_samples(
            X,
            y,
            n_influential,
            order=order,
            average=average,
            return_influence=return_influence,
            hessian_solver=hessian_solver,
            n_jobs=n_jobs,
        )
