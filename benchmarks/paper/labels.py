"""Figure 6: finding flipped labels by checking some of them."""

import numpy as np
from joblib import Parallel, delayed
from scipy import sparse
from sklearn import linear_model as reference
from threadpoolctl import threadpool_limits

from benchmarks._report import Table
from benchmarks.paper._data import messages
from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LogisticRegression

__all__ = ["fix", "labels"]

_PENALTY = 1e-4
_N_SEEDS = 20
_STRATEGIES = {"influence": "self_influence", "loss": "loss", "relabel": "relabel"}
_SHARE = 20  # flips and checks come in twentieths of the rows
_FLIPPED, _CHECKED = 2, range(1, 7)


def labels(repeats):
    """Flipped labels of messages found and accuracy gained, by share of labels checked."""
    problem = messages()
    with Parallel(n_jobs=2) as pool:
        runs = pool(delayed(fix)(problem, _PENALTY, seed) for seed in range(_N_SEEDS))
    names = [*_STRATEGIES, "random"]
    found, accuracy = (np.mean([run[i] for run in runs], axis=0) for i in (0, 1))
    clean, flipped = np.mean([run[2] for run in runs], axis=0)
    table = Table(
        f"SMS spam with {100 * _FLIPPED // _SHARE} % of the labels flipped, mean over "
        f"{_N_SEEDS} seeds",
        ["checked", *(f"found, {name}" for name in names)]
        + [*(f"accuracy, {name}" for name in names), "published"],
        notes=[
            "Found: share of the flipped labels among those checked. Accuracy: of the test",
            "messages, in per cent, after fitting again with these labels put right;",
            f"{clean:.2f} with the labels as they are, {flipped:.2f} with the flipped ones.",
            'Influence: of a message on its own loss, strategy="self_influence"; relabel: the',
            f"default of rank_label_errors. {problem.size()}, {len(problem.y_test):,} test",
            f"messages, lambda = {_PENALTY:g}, C = {1 / (_PENALTY * len(problem.y)):.3g}, no",
            "intercept; lbfgs, tol = 1e-6.",
        ],
    )
    for i, checked in enumerate(_CHECKED):
        table.rows.append([f"{100 * checked // _SHARE} %"])
        table.rows[-1] += [f"{value:.3f}" for value in found[i]]
        table.rows[-1] += [f"{value:.2f}" for value in accuracy[i]] + ["a curve"]
    return table


def fix(problem, penalty, seed):
    """Return (found, accuracy, (clean, flipped)) of one draw of flips.

    The first two by share checked and strategy; accuracies in per cent.
    """
    rng = np.random.default_rng(seed)
    n = len(problem.y)
    changed = rng.permutation(n)[: _FLIPPED * (n // _SHARE)]
    classes = np.unique(problem.y)
    wrong = problem.y.copy()
    wrong[changed] = classes[1 - np.searchsorted(classes, problem.y[changed])]
    options = {"C": 1 / (penalty * n), "fit_intercept": False, "tol": 1e-6, "max_iter": 1000}
    X = sparse.csr_array(problem.X)

    def score(y):
        refit = reference.LogisticRegression(**options).fit(X, y)
        return 100 * refit.score(problem.X_test, problem.y_test)

    with threadpool_limits(1, "blas"):
        model = LogisticRegression(**options).fit(problem.X, wrong)
        rankings = [rank_label_errors(model, strategy=s) for s in _STRATEGIES.values()]
        rankings.append(rng.permutation(n))
        found, accuracy = np.empty((2, len(_CHECKED), len(rankings)))
        for i, checked in enumerate(_CHECKED):
            for j, ranking in enumerate(rankings):
                right = wrong.copy()
                rows = ranking[: checked * (n // _SHARE)]
                right[rows] = problem.y[rows]
                found[i, j] = np.isin(changed, rows).mean()
                accuracy[i, j] = score(right)
        return found, accuracy, (score(problem.y), score(wrong))
