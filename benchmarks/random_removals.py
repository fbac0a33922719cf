"""Random removals from random models of every estimator, each against a refit."""

import warnings
from collections import Counter

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from benchmarks._report import Table
from skinfluence import InfluenceWarning, SingularHessianError, active_set
from skinfluence.optimum import polish
from skinfluence.pipeline import problem_of
from skinfluence.solvers import get_solver
from tests.problems import FAMILIES, random_problem

__all__ = ["BENCHMARKS", "OUTCOMES", "removals_of"]

#: Stated accuracy: largest difference of predictions of the training samples, relative to the
#: largest prediction.
ACCURACY = 1e-7
_PROBLEMS, _GROUPS = 1_250, 8

OUTCOMES = (
    "as scikit-learn refits",
    "nearer the optimum than its refit",
    "another intercept, equally good",
    "NaN or refitted, with a warning",
    "scikit-learn has no refit",
    "outside",
)


def random_removals(repeats):
    """Removals from random models of every estimator against refits, 8 from each of 1,250."""
    seeds = range(_PROBLEMS)
    found = Parallel(n_jobs=2, batch_size=10)(delayed(removals_of)(seed) for seed in seeds)
    table = Table(
        f"{_PROBLEMS * _GROUPS:,} random removals against refits",
        ["method", "removals", *OUTCOMES, "largest error within"],
        notes=[
            "One row to a third of the rows leave models of every estimator, of 12 to 40 rows",
            "and 1 to 15 features of any rank, units 1e-6 to 1e6, weights and penalty.",
            "Within: predictions of the training samples differ by at most "
            f"{ACCURACY:g} of the largest",
            "from those of the refit; or the objective is not above that of the refit, where",
            "scikit-learn's own solver stops early, and they differ by no more from those at",
            "the optimum, found by Newton's method from the lower of the two. newton: squared",
            "error only, where it is exact.",
        ],
    )
    for method in ("exact", "newton"):
        results = [r for one in found for r in one if r["method"] == method]
        counts = Counter(r["outcome"] for r in results)
        worst = max(r["error"] for r in results if r["outcome"] in OUTCOMES[:2])
        row = [method, len(results), *(counts[name] for name in OUTCOMES), f"{worst:.0e}"]
        table.rows.append(row)
        for r in results:
            if r["outcome"] == "outside":
                table.notes.append(f"outside by {r['error']:.1e}: {r['problem']}, {r['rows']}")
    return table


def removals_of(seed, families=tuple(FAMILIES), n_groups=_GROUPS):
    """Return what each of some removals from one random model came to, as dicts."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, families)
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = problem.fit()
        groups = [_group(problem, rng) for _ in range(n_groups)]
        refits = [_refit(problem, fitted, rows) for rows in groups]
        methods = ["exact"]
        if problem.traits.squared and problem.kind != "l1":
            methods.append("newton")
        return [
            {"problem": problem, "method": method, "rows": rows.tolist()}
            | _compare(problem, fitted, rows, refit, method)
            for method in methods
            for rows, refit in zip(groups, refits, strict=True)
        ]


def _group(problem, rng):
    """Return one row, or up to a third of them."""
    n = problem.n_samples
    size = 1 if rng.random() < 0.5 else int(rng.integers(2, n // 3 + 1))
    return np.sort(rng.choice(n, size, replace=False))


def _refit(case, fitted, rows):
    """Return scikit-learn's refit without some rows, parameters (K, D), or None."""
    w = case.w
    w[rows] = 0.0
    kept = np.arange(len(w)) if fitted._refits_on_all_rows else np.flatnonzero(w > 0)
    problem = problem_of(fitted)
    labels = problem.formulation.target
    if hasattr(labels, "classes") and not set(labels.classes) <= set(case.y[w > 0]):
        return None  # the number of classes would not be the same
    X = case.X.tocsr()[kept] if case.is_sparse else case.X[kept]
    estimator = _frozen(case, fitted)
    estimator.fit(X, case.y[kept], sample_weight=w[kept])
    return problem.layout.from_public(
        problem.parameters.refitted(fitted, estimator, kept, problem.layout)
    )


def _frozen(problem, fitted):
    """Return the estimator with its class weights and penalty as the fit has them."""
    estimator = clone(problem.unfitted())
    if getattr(estimator, "class_weight", None) is not None:
        weight = problem_of(fitted).formulation.frozen_class_weight()
        estimator.set_params(class_weight=weight)
    if hasattr(fitted, "alpha_"):
        estimator.set_params(alphas=[fitted.alpha_])
    if hasattr(fitted, "C_"):
        estimator.set_params(Cs=[fitted.C_])
    return estimator


def _compare(problem, fitted, rows, refit, method):
    """Return the outcome of one removal and its error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InfluenceWarning)
        params = fitted.leave_out_params([rows], method=method)[0]
    warned = any(issubclass(w.category, InfluenceWarning) for w in caught)
    if refit is None:
        return {"outcome": "scikit-learn has no refit", "error": np.nan}
    theta = problem_of(fitted).layout.from_public(params)
    error = _error(fitted, theta, refit)
    if error <= ACCURACY:
        return {"outcome": "as scikit-learn refits", "error": error}
    reduced = problem_of(fitted).objective.without(rows)
    values = np.nan_to_num([reduced.value(theta), reduced.value(refit)], nan=np.inf)
    not_above = values[0] <= values[1] + 1e-12 * abs(values[1])
    optimum = _optimum(reduced, theta if values[0] <= values[1] else refit)
    error = _error(fitted, theta, optimum)
    if error <= ACCURACY and not_above:
        return {"outcome": "nearer the optimum than its refit", "error": error}
    if reduced.formulation.loss.is_piecewise_linear and not_above:
        # Where every row is on a bound, an interval of intercepts is equally good.
        moved = np.array([theta, optimum]) - refit
        moved = moved if moved.shape[2] == 1 else moved[:, :, :-1]
        size = np.abs(refit).max()
        if np.abs(moved).max() <= ACCURACY * size:
            return {"outcome": "another intercept, equally good", "error": error}
    return {
        "outcome": "NaN or refitted, with a warning" if warned else "outside",
        "error": error,
    }


def _optimum(objective, start):
    """Return the optimum near some parameters."""
    if objective.formulation.loss.is_piecewise_linear:
        return active_set.evaluate(objective, start).theta
    solver = get_solver("auto", objective)
    try:
        return polish(objective, start, solver, tol=1e-13, max_iter=200).theta
    except SingularHessianError:
        return np.full(start.shape, np.nan)  # there is none


def _error(fitted, theta, other):
    """Return the largest difference of predictions relative to the largest prediction."""
    design = problem_of(fitted).objective.design
    found, expected = design.predict(theta), design.predict(other)
    error = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300)
    return float(error) if np.isfinite(error) else np.inf


BENCHMARKS = {"random_removals": random_removals}
