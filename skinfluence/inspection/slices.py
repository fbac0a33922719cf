"""Slices of samples whose losses are explained by the same training samples."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

from skinfluence._typing import Estimator, MatrixLike, RandomState
from skinfluence.checks import check_count
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.methods.available import why_not
from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Influence, Removal
from skinfluence.results import Result
from skinfluence.solvers import HessianSolver
from skinfluence.whole.data import take_rows


def error_slices(
    estimator: Estimator,
    X: MatrixLike,
    y: ArrayLike,
    *,
    n_slices: int = 5,
    n_influential: int = 10,
    random_state: RandomState = None,
    hessian_solver: str | HessianSolver = "auto",
    n_jobs: int | None = None,
) -> Bunch:
    """Divide samples into slices whose losses are explained by the same training samples.

    Pass the samples to be explained, such as the errors of a classifier. With the Hessian
    H = L L' and the gradient of each sample's loss, the influence embedding is::

        mu(z) = L^-1 grad l(z)

    The inner product of two embeddings is the influence of one sample on the loss for the
    other, up to its sign. So the same training samples raise and lower the losses for samples
    with embeddings that are close. K-means on the embeddings gives the slices.

    For each slice, `indices` are the training samples that raise its mean loss the most. A
    refit without them confirms by how much the mean loss falls.

    In a pipeline the embedding is that of the last step, and the steps before it stay as they
    were fitted. The influences and the refits are those of the whole pipeline.

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator with `solve_hessian`, or a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (q, n_features)
        The q samples to divide, not those of the fit.
    y : array-like of shape (q,) or (q, n_targets)
        Their targets or labels.
    n_slices : int, default=5
        Number of slices.
    n_influential : int, default=10
        Number of training samples to name for each slice.
    random_state : int, RandomState instance or None, default=None
        Source of randomness for the starts of k-means.
    hessian_solver : str or HessianSolver, default="auto"
        Solver for the Hessian H; results do not depend on it.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    slices : Bunch
        Results, with these attributes:

        labels : ndarray of shape (q,)
            Slice of each sample. Slice 0 is the largest.
        sizes : ndarray of shape (n_slices,)
            Number of samples in each slice.
        loss_before : ndarray of shape (n_slices,)
            Mean loss of each slice under the fitted model.
        indices : ndarray of shape (n_slices, n_influential)
            Training samples that raise the slice's mean loss, the most harmful first.
        predicted_change : ndarray of shape (n_slices,)
            Change in the mean loss to first order if the samples in `indices` are removed.
        confirmed_change : ndarray of shape (n_slices,)
            The change by a refit without them. NaN if no optimum was found.

    Raises
    ------
    ValueError
        If there are fewer samples than slices, if fewer of them have different gradients, or
        if an argument is not valid.
    UnsupportedEstimatorError
        If the estimator has no `solve_hessian`.

    See Also
    --------
    rank_label_errors : Training samples whose labels the others contradict.

    References
    ----------
    F. Wang, J. Adebayo, S. Tan, D. Garcia-Olano and N. Kokhlikyan, "Error Discovery by
    Clustering Influence Embeddings", NeurIPS 2023.

    Examples
    --------
    Some training images of a 2 are labelled 3, and some of a 4 are labelled 9:

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence.inspection import error_slices
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_digits(return_X_y=True)
    >>> kept = np.isin(y, [2, 3, 4, 9])
    >>> X, y = X[kept] / 16, y[kept]
    >>> given = y.copy()
    >>> given[np.flatnonzero(y == 2)[:40]] = 3
    >>> given[np.flatnonzero(y == 4)[:40]] = 9
    >>> clf = LogisticRegression(C=0.1, max_iter=1000).fit(X[:360], given[:360])
    >>> wrong = 360 + np.flatnonzero(clf.predict(X[360:]) != y[360:])
    >>> slices = error_slices(clf, X[wrong], y[wrong], n_slices=2, random_state=0)
    >>> for k, rows in enumerate(slices.indices):
    ...     print(np.bincount(y[wrong][slices.labels == k]).argmax(), given[rows], y[rows])
    4 [9 9 9 9 9 9 9 9 9 9] [4 4 4 4 4 4 4 4 4 4]
    2 [3 3 3 3 3 3 3 3 3 3] [2 2 2 2 2 2 2 2 2 2]
    """
    problem = problem_of(estimator, "solve_hessian", "error_slices")
    reason = why_not(problem.estimator, "solve_hessian")
    if reason is not None:
        raise UnsupportedEstimatorError(f"error_slices: {reason}")
    problem.refuse_dask("error_slices", X, y)
    check_count("n_slices", n_slices)
    check_count("n_influential", n_influential)
    request = Influence(hessian_solver, n_jobs)
    gradients = problem.loss_gradient(X, y, n_jobs=n_jobs)
    if len(gradients) < n_slices:
        raise ValueError(
            f"n_slices={n_slices} is more than the {len(gradients)} sample(s): ask for fewer "
            "slices, or pass more samples."
        )
    labels, sizes = _clusters(embed(problem, gradients, request), n_slices, random_state)
    return _explained(estimator, X, y, labels, sizes, n_influential, request)


def embed(problem, gradients, request):
    """Return L^-1 grad l(z) for each gradient, up to a rotation, (q, min(q, p))."""
    q, p = gradients.shape
    if q > p:
        return gradients @ _root(problem.solve_hessian(np.eye(p), request))
    return _root(gradients @ problem.solve_hessian(gradients, request).T)


def _root(matrix):
    """Return A with A A' = M for a positive semidefinite matrix M."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _clusters(embedding, n_slices, random_state):
    """Return (labels, sizes) from k-means, the largest cluster first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_slices, n_init=10, random_state=random_state).fit(embedding).labels_
    sizes = np.bincount(found, minlength=n_slices)
    if not sizes.all():
        # All samples without a loss, such as those outside a margin, have the gradient 0.
        raise ValueError(
            f"n_slices={n_slices} is more than the {np.count_nonzero(sizes)} different "
            f"gradient(s) of the {len(found)} sample(s): ask for fewer slices, or pass "
            "samples whose loss is not 0."
        )
    order = np.argsort(-sizes, kind="stable")
    return np.argsort(order)[found], sizes[order]


def _explained(estimator, X, y, labels, sizes, n_influential, request):
    """Return the result, with the training samples that each slice's loss depends on."""
    model = problem_of(estimator, "influence_loss")
    weight = model.objective.sample_weight
    n_influential = min(n_influential, np.count_nonzero(weight) - 1)
    members = [np.flatnonzero(labels == k) for k in range(len(sizes))]
    indices = np.empty((len(sizes), n_influential), dtype=np.intp)
    predicted = np.zeros(len(sizes))
    y = np.asarray(y)
    for k, rows in enumerate(members):
        samples = take_rows(X, rows), y[rows]
        change = model.influence_loss(*samples, request, average=True)
        change *= -weight / weight.sum()
        indices[k] = np.argsort(change, kind="stable")[:n_influential]
        predicted[k] = change[indices[k]].sum()
    refits = problem_of(estimator, "leave_out_loss")
    solver, n_jobs = request.hessian_solver, request.n_jobs
    removal = Removal(list(indices), None, "exact", hessian_solver=solver, n_jobs=n_jobs)
    losses = refits.leave_out_loss(X, y, removal)
    before = refits.sample_loss(X, y)
    loss_before = np.array([before[rows].mean() for rows in members])
    loss_after = np.array([losses[rows, k].mean() for k, rows in enumerate(members)])
    return Result(
        labels=labels,
        sizes=sizes,
        loss_before=loss_before,
        indices=indices,
        predicted_change=predicted,
        confirmed_change=loss_after - loss_before,
    )
