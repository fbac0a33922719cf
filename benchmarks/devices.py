"""Influence and removal on a device, beside the same products in plain PyTorch.

It runs where PyTorch is installed, on its first GPU or on the CPU, and needs the environment
variable SCIPY_ARRAY_API=1.
"""

import os
import time

import numpy as np
import sklearn

from benchmarks._data import mnist_digits
from benchmarks._report import MissingError, Table
from skinfluence.linear_model import LogisticRegression

try:
    import torch
except ImportError:
    torch = None

__all__ = ["BENCHMARKS"]

# Rows, features, queries and leave-one-out refits: all of MNIST on a GPU, a part on a CPU.
GPU, CPU = (55_000, 784, 1_000, 55_000), (1_000, 40, 100, 20)
PENALTY = 1.0


def devices(repeats):
    """Softmax regression on MNIST on a device, beside plain PyTorch."""
    if torch is None:
        raise MissingError("torch is not installed")
    if os.environ.get("SCIPY_ARRAY_API") != "1":
        raise MissingError("SCIPY_ARRAY_API=1 is not set")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    n, d, q, n_refits = GPU if device == "cuda" else CPU
    X, y, X_query, y_query = mnist_digits(n)
    most = np.sort(np.argsort(-X.astype(np.float64).var(axis=0), kind="stable")[:d])
    X, X_query = (
        torch.asarray(Z[:, most] / 255.0, dtype=torch.float64, device=device)
        for Z in (X, X_query[:q])
    )
    y, y_query = (torch.asarray(v, dtype=torch.int64, device=device) for v in (y, y_query[:q]))
    table = Table(
        f"MNIST, {n:,} x {d} rows, 10 classes, {q:,} queries, {n_refits:,} refits, float64 on "
        f"{torch.cuda.get_device_name() if device == 'cuda' else 'the CPU'}",
        ["step", "skinfluence (s)", "plain PyTorch (s)", "ratio"],
        notes=["PyTorch: the Gram matrices, the factor, the solves and the products alone."],
    )
    with sklearn.config_context(array_api_dispatch=True):
        model = LogisticRegression(C=PENALTY, tol=1e-6, max_iter=2000, fit_intercept=False)
        model.fit(X, y).polish()
        probability = torch.softmax(X @ model.coef_.T, dim=1)

        def factor():
            model.set_training_data(X, y)  # forgets the factor
            model.solve_hessian(torch.zeros((1, model.params_.shape[0]), device=device))

        ours = _best(factor, repeats, device)
        theirs = _best(lambda: _factor(X, probability), repeats, device)
        table.rows.append(_row("Hessian and factor", ours, theirs))
        root = _factor(X, probability)
        ours = _best(lambda: model.influence_loss(X_query, y_query), repeats, device)
        theirs = _best(
            lambda: _influence(root, X, y, probability, X_query, y_query, model.coef_),
            repeats,
            device,
        )
        table.rows.append(_row("influence_loss", ours, theirs))
        rows = [[i] for i in range(n_refits)]
        ours = _best(lambda: model.leave_out_params(rows, method="exact"), 1, device)
        table.rows.append(["exact leave-one-out", f"{ours:.3g}", "", ""])
    return table


def _row(step, ours, theirs):
    return [step, f"{ours:.3g}", f"{theirs:.3g}", f"{ours / theirs:.2f}"]


def _best(function, repeats, device):
    """Return the shortest of several wall times, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _factor(X, p):
    """Return the Cholesky factor of the softmax Hessian, of order K d."""
    K, d = p.shape[1], X.shape[1]
    hessian = torch.zeros((K, d, K, d), dtype=X.dtype, device=X.device)
    for k in range(K):
        for other in range(k + 1):
            weight = p[:, k] * (float(k == other) - p[:, other])
            gram = X.T @ (weight[:, None] * X)
            hessian[k, :, other] = hessian[other, :, k] = gram
    hessian = hessian.reshape(K * d, K * d)
    hessian.diagonal().add_(1.0 / PENALTY)
    return torch.linalg.cholesky(hessian)


def _influence(root, X, y, p, X_query, y_query, coef):
    """Return -n v_q' H^-1 v_j for all queries and rows."""
    gradients = p - torch.nn.functional.one_hot(y, p.shape[1])
    ahead = torch.softmax(X_query @ coef.T, dim=1)
    ahead = ahead - torch.nn.functional.one_hot(y_query, p.shape[1])
    V = (ahead[:, :, None] * X_query[:, None]).reshape(len(X_query), -1)
    solved = torch.cholesky_solve(V.T, root).T.reshape(len(X_query), p.shape[1], -1)
    total = torch.zeros((len(X_query), len(X)), dtype=X.dtype, device=X.device)
    for k in range(p.shape[1]):
        total += (solved[:, k] @ X.T) * gradients[:, k]
    return -len(X) * total


BENCHMARKS = {"devices": devices}
