"""Chapter A, continued: the training samples with the largest influence."""

from __future__ import annotations

from typing import Literal, overload

from numpy.typing import ArrayLike

from skinfluence._typing import DataFrame, Floats, Indices, MatrixLike, Order
from skinfluence.methods.available import available, get_problem
from skinfluence.problem.requests import Influence
from skinfluence.solvers import HessianSolver


class RankingMixin:
    """The training samples that influence a query most."""

    @overload
    def influential_samples(
        self,
        X: MatrixLike,
        y: ArrayLike | None = ...,
        n_influential: int = ...,
        *,
        order: Order = ...,
        average: bool = ...,
        return_influence: Literal[True] = ...,
        as_frame: Literal[False] = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> tuple[Floats, Indices]: ...

    @overload
    def influential_samples(
        self,
        X: MatrixLike,
        y: ArrayLike | None = ...,
        n_influential: int = ...,
        *,
        order: Order = ...,
        average: bool = ...,
        return_influence: Literal[False],
        as_frame: Literal[False] = ...,
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> Indices: ...

    @overload
    def influential_samples(
        self,
        X: MatrixLike,
        y: ArrayLike | None = ...,
        n_influential: int = ...,
        *,
        order: Order = ...,
        average: bool = ...,
        return_influence: bool = ...,
        as_frame: Literal[True],
        hessian_solver: str | HessianSolver = ...,
        n_jobs: int | None = ...,
    ) -> DataFrame: ...

    @available
    def influential_samples(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        n_influential: int = 10,
        *,
        order: Order = "absolute",
        average: bool = False,
        return_influence: bool = True,
        as_frame: bool = False,
        hessian_solver: str | HessianSolver = "auto",
        n_jobs: int | None = None,
    ) -> Indices | tuple[Floats, Indices] | DataFrame:
        """Return the training samples with the largest influence on each query.

        With `y` it is the influence on the queries' losses, the entries of
        `influence_loss`. Without `y`, for queries that have no label yet, it is the influence
        on their predictions, the entries of `influence_prediction`: on the decision
        function, or on what a regressor predicts. If there is a value for each class, it is
        that of the predicted class. If there is no decision function, it is the predicted
        class's probability.

        The full influence array is never stored, because blocks are merged as they arrive.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (q, n_features)
            Query samples.
        y : array-like of shape (q,) or (q, n_targets), default=None
            Their targets or labels; None for the influence on predictions.
        n_influential : int, default=10
            Number of training samples to return for each query.
        order : {"absolute", "helpful", "harmful"}, default="absolute"
            Ranking: "absolute" by magnitude; "helpful" by how much more weight on the sample
            lowers the loss (most negative first); "harmful" by how much more weight raises
            the loss (most positive first). Without `y`, "helpful" samples raise the
            prediction (most positive first), and "harmful" ones lower it (most negative
            first). The decision function of two classes rises towards ``classes_[1]``.
        average : bool, default=False
            Rank by the influence on the mean over the queries.
        return_influence : bool, default=True
            Whether to return the influences in addition to the indices.
        as_frame : bool, default=False
            Return a pandas DataFrame instead, which names the samples.
        hessian_solver : str or HessianSolver, default="auto"
            How to apply H^-1. Results do not depend on it.
        n_jobs : int, default=None
            Number of joblib threads, which process queries in blocks.

        Returns
        -------
        influence : ndarray of shape (q, n_influential)
            The influence in ranking order; shape (n_influential,) if `average`. Returned
            only if `return_influence`.
        indices : ndarray of shape (q, n_influential)
            Indices of the training samples.
        table : DataFrame
            Only returned if `as_frame`: a row for each query and rank, with the columns
            ``query`` (its name in the index of X; not if `average`), ``rank`` (from 1),
            ``sample`` (the training sample's name in the index of the fitted X),
            ``position`` (its index), ``label`` (its label or target; ``label[0]``,
            ``label[1]``, ... for several) and ``influence``. Samples without names have
            their position as the name.

        Raises
        ------
        ValueError
            Without `y`, if the estimator predicts several targets, or if its decision
            function has a value for each pair of classes.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skinfluence.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> influence, indices = clf.influential_samples(X[:1], y[:1], n_influential=3)
        >>> indices
        array([[20, 98, 18]])

        A flower without a label, and the flowers that speak against its predicted class:

        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
        >>> flower = X.loc[[70]] + 0.1
        >>> clf.influential_samples(
        ...     flower, n_influential=2, order="harmful", as_frame=True
        ... ).round(2)
           query  rank  sample  position  label  influence
        0     70     1      70        70      1     -13.89
        1     70     2      56        56      1      -5.27
        """
        found: Indices | tuple[Floats, Indices] | DataFrame
        found = get_problem(self, "influential_samples").influential_samples(
            X,
            y,
            n_influential,
            Influence(hessian_solver, n_jobs),
            order=order,
            average=average,
            return_influence=return_influence,
            as_frame=as_frame,
        )
        return found
