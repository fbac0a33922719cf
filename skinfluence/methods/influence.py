"""Chapter A: the fit's derivatives in a training sample's weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from numpy.typing import ArrayLike, DTypeLike

from skinfluence._typing import Floats, MatrixLike
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Influence, Output
from skinfluence.solvers import HessianSolver


class InfluenceMixin:
    """Influence functions of Koh & Liang (2017), section 2.

    Each value is a derivative of scikit-learn's own `fit` in a sample's weight, with the
    paper's sign and scale: ``I_up,params(z_i) = S d params / d w_i``, where S is the sum
    over the sample weights. Hyperparameters stay as fitted. "balanced" class weights and
    ``gamma="scale"`` depend on the samples, so they are differentiated. If an estimator
    computes them from the number of samples, w_i is multiplied by the number of times that
    the sample occurs, and the derivative is in this number. The derivatives are evaluated at
    the optimum: at the fitted parameters, or one Newton step from them if their distance
    would change some values by more than about 1 %. If the fit is too far from its optimum
    for one step, they are evaluated at the fitted parameters, and an `InfluenceWarning` gives
    the distance.
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
        """Return each training sample's influence on the loss at query samples.

        ``I_up,loss(z_j, q_i) = grad l(q_i)' I_up,params(z_j)``. A negative value means that
        the sample helps: more weight on training sample j lowers the loss at query i.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        average : bool, default=False
            Return the influence on the queries' mean loss, which needs only one solve.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process queries in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (q, n), default=None
            Array or memmap that receives the result; shape (n,) if `average`.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.

        Returns
        -------
        influence : ndarray of shape (q, n) or (n,)
            Rows correspond to queries, columns to training samples. The result is a lazy
            dask array if the training samples or the queries are dask arrays.

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
        return get_problem(self, "influence_loss").influence_loss(
            X,
            y,
            Influence(hessian_solver, n_jobs, verbose),
            Output(dtype, out),
            average=average,
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
        """Generate `influence_loss` in query blocks that fit into memory.

        It works like `sklearn.metrics.pairwise_distances_chunked`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        reduce_func : callable, default=None
            Called as ``reduce_func(chunk, start)`` with consecutive rows from
            `influence_loss` and the index of the first query. Its return value is
            generated instead of the block.
        working_memory : float, default=None
            MiB for a block and its temporaries; None uses scikit-learn's setting.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.

        Yields
        ------
        chunk : ndarray of shape (m, n), or the return value from `reduce_func`
            Consecutive rows from `influence_loss`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> sum(len(chunk) for chunk in clf.influence_loss_chunked(X, y))
        150
        """
        return get_problem(self, "influence_loss_chunked").influence_loss_chunked(
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
        """Return each training sample's influence on predictions.

        ``S d response(q_i) / d w_j``, the response's derivative in the weight of training
        sample j. The scale is the same as in `influence_loss`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        response_method : {"auto", "decision_function", "predict_proba", "predict"}, \
default="auto"
            Which response to use. "auto" uses `decision_function` if it exists, else
            `predict`. "predict" is for regressors, because class labels have no derivative.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process queries in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray, default=None
            Array or memmap that receives the result.

        Returns
        -------
        influence : ndarray of shape (q, n) or (q, n, n_responses)
            The trailing axis depends on the response: none for a single output, K for K
            outputs, the number of classes for `predict_proba`. The result is a lazy dask
            array if the training samples or the queries are dask arrays.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> clf.influence_prediction(X[:5], response_method="predict_proba").shape
        (5, 150, 3)
        """
        return get_problem(self, "influence_prediction").influence_prediction(
            X,
            Influence(hessian_solver, n_jobs),
            Output(dtype, out),
            response_method=response_method,
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
        """Return how new training labels would influence the loss at query samples.

        ``I_up,loss((x_j, y_new_j), q_i) - I_up,loss(z_j, q_i)``. Weight moves from training
        sample j to the same sample with label `y_new[j]` and that label's class weight.
        Multiply by ``w_j/S`` for the loss's first-order change when sample j is relabelled.
        A negative value means that the new label lowers the loss at query i.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        y_new : array-like of shape (n,) or (n, n_targets)
            Each training sample's new target, or label seen in `fit`. If it equals the old
            one, the influence is zero.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process queries in blocks.
        dtype : numpy dtype, default=None
            The result's dtype, float64 by default. Computations use float64.
        out : ndarray of shape (q, n), default=None
            Array or memmap that receives the result.
        verbose : int, default=0
            Verbosity level for joblib's progress messages.

        Returns
        -------
        influence : ndarray of shape (q, n)
            Rows correspond to queries, columns to training samples.

        Examples
        --------
        Would a different label for one training sample have helped the first query?

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
        return get_problem(self, "influence_relabel").influence_relabel(
            X,
            y,
            Influence(hessian_solver, n_jobs, verbose),
            Output(dtype, out),
            y_new=y_new,
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
        """Return how moving one training sample changes the loss at query samples.

        ``I_pert,loss(z, q) = -grad l(q)' (H/S)^-1 d/dx grad L(z)``, where z is training
        sample `index`. Multiply by ``w/S`` for the derivative, through the fit, of the loss
        at q in that sample's features. Columns with large values are the features in which
        a small change to the sample, such as an attack or a measurement error, matters most.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets)
            Their targets or labels.
        index : int
            Row of the training data.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.

        Returns
        -------
        influence : ndarray of shape (q, n_features)
            Rows correspond to queries, columns to the training sample's features.

        Raises
        ------
        UnsupportedEstimatorError
            If the kernel is a function, is "precomputed" or has no known derivative; if in a
            linear model the sample is exactly at a kink of the loss; or if the features of
            least squares without a penalty are linearly dependent.

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
        return get_problem(self, "influence_perturbation").influence_perturbation(
            X, y, index=index, hessian_solver=hessian_solver
        )

    @available
    def self_influence(
        self, *, hessian_solver: str | HessianSolver = "auto", n_jobs: int | None = None
    ) -> Floats:
        """Return each training sample's influence on its own loss.

        This is the diagonal of `influence_loss` on the training set; the full matrix is not
        formed. If the penalty does not depend on the weights, the values are never positive,
        because more weight on a sample cannot raise its own loss. Large magnitudes mark
        samples that the model fits only because they are in the training set.

        Parameters
        ----------
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process samples in blocks.

        Returns
        -------
        influence : ndarray of shape (n,)
            Each training sample's self-influence. It is a lazy dask array if the training
            samples are dask arrays.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> int(clf.self_influence().argmin())
        106
        """
        request = Influence(hessian_solver, n_jobs)
        return get_problem(self, "self_influence").self_influence(request)
