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
from skinfluence.linear_model import LogisticRegression, Ridge

try:
    import torch
except ImportError:
    torch = None

__all__ = ["BENCHMARKS"]

# Rows, features, queries and leave-one-out refits: all of MNIST on a GPU, a part on a CPU.
GPU, CPU = (55_000, 784, 1_000, 55_000), (5_000, 100, 500, 100)
# Queries, rows and features of a regression whose most influential rows are found.
LARGE, SMALL = (10_000, 1_000_000, 100), (1_000, 100_000, 100)
PENALTY = 1.0
# Rows that plain PyTorch leaves out at a time, and its largest number of chord steps.
AT_ONCE, STEPS = 150, 30


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
        notes=[
            "PyTorch: the Gram matrices, the factor, the solves and the products alone; for",
            "leave-one-out chord steps from the same inverse for 150 rows at a time; for the",
            "top 10 the product of queries and rows alone.",
        ],
    )
    # A quarter of this is the size of a block of temporaries.
    memory = torch.cuda.mem_get_info()[0] // 2**20 // 2 if device == "cuda" else None
    with sklearn.config_context(array_api_dispatch=True, working_memory=memory):
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
        rows, found = [[i] for i in range(n_refits)], {}

        def refit():
            found["ours"] = model.leave_out_params(rows, method="exact")

        def plain():
            found["plain"] = _leave_one_out(root, X, y, model.coef_, np.ravel(rows))

        ours, theirs = _best(refit, 1, device), _best(plain, 1, device)
        table.rows.append(_row("exact leave-one-out", ours, theirs))
        gap = float(abs(found["ours"] - found["plain"]).max() / abs(found["plain"]).max())
        table.notes.append(f"Both refits differ by {gap:.1g} of the largest parameter.")
        table.rows.append(_most_influential(device, repeats))
    return table


def _most_influential(device, repeats):
    """Return the row for the ten most influential rows of each query."""
    q, n, d = LARGE if device == "cuda" else SMALL
    generator = torch.Generator(device).manual_seed(0)
    options = {"generator": generator, "dtype": torch.float64, "device": device}
    X, X_query = torch.randn((n, d), **options), torch.randn((q, d), **options)
    y, y_query = (Z.sum(dim=1) + torch.randn(len(Z), **options) for Z in (X, X_query))
    model = Ridge(solver="svd", fit_intercept=False).fit(X, y)
    block = max(1, 2**29 // q)

    def product():
        for start in range(0, n, block):
            X_query @ X[start : start + block].T

    ours = _best(lambda: model.influential_samples(X_query, y_query, 10), repeats, device)
    theirs = _best(product, repeats, device)
    return _row(f"top 10 of {q:,} x {n:,} rows, {d} features", ours, theirs)


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


def _leave_one_out(root, X, y, coef, rows):
    """Return the parameters without each row, by chord steps with a corrected inverse.

    With A = I (x) x_i the inverse Hessian without row i is P + P A (I - W A'PA)^-1 W A'P.
    """
    K, d = coef.shape
    P = torch.cholesky_inverse(root)
    hot = torch.nn.functional.one_hot(y, K).to(X.dtype)
    out = torch.empty((len(rows), K * d), dtype=X.dtype, device=X.device)
    eye = torch.eye(K, dtype=X.dtype, device=X.device)
    for start in range(0, len(rows), AT_ONCE):
        left = torch.as_tensor(rows[start : start + AT_ONCE], device=X.device)
        x, b = X[left], len(left)
        p = torch.softmax(x @ coef.T, dim=1)
        W = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        A = torch.einsum("kl,bd->bkld", eye, x).reshape(b * K, K * d)
        Z = (A @ P).reshape(b, K, K, d)
        inner = torch.linalg.solve(eye - W @ torch.einsum("bd,bkld->blk", x, Z), W)
        theta, first = coef.expand(b, K, d).clone(), None
        for _ in range(STEPS):
            raw = (X @ theta.reshape(b * K, d).T).reshape(len(X), b, K)
            residual = torch.softmax(raw, dim=2).sub_(hot[:, None])
            residual[left, torch.arange(b)] = 0.0
            gradient = (residual.reshape(len(X), b * K).T @ X).reshape(b, K, d)
            gradient += theta / PENALTY
            step = (gradient.reshape(b, K * d) @ P).reshape(b, K, d)
            lost = torch.einsum("bkl,bld,bd->bk", inner, step, x)
            step += torch.einsum("bk,bkld->bld", lost, Z)
            theta -= step
            size = float(step.abs().max())
            first = size if first is None else first
            if size <= 1e-11 * first:
                break
        out[start : start + b] = theta.reshape(b, K * d)
    return out


BENCHMARKS = {"devices": devices}
