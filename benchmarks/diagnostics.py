"""Diagnostics: measures of rows, wrong labels, signs flipped by few samples, the search."""

import numpy as np
from sklearn import linear_model as reference
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import PolynomialFeatures, scale

from benchmarks._data import labelled, measured, messages
from benchmarks._report import Table
from benchmarks._timing import best_of
from skinfluence.inspection import most_influential_set, rank_label_errors
from skinfluence.linear_model import LinearRegression, LogisticRegression, Ridge
from skinfluence.model_selection import LeaveOneOutSearchCV

__all__ = ["BENCHMARKS", "flip", "frequent_words"]

_STRATEGIES = {  # the default first
    "relabel": {"strategy": "relabel"},
    "leave_out_loss": {"strategy": "leave_out_loss"},
    "leave_out exact": {"strategy": "leave_out_loss", "method": "exact"},
    "self_influence": {"strategy": "self_influence"},
    "loss": {"strategy": "loss"},
}
_N_SEEDS = 20
_N_NEAREST = 8
_GRID = np.logspace(-4, 4, 25)
_WITHOUT_EXACT = ("SMS spam",)  # takes minutes


def case_diagnostics(repeats):
    """Leverage, Cook's distance and related measures of all rows, against statsmodels."""
    import statsmodels.api as sm

    table = Table(
        "Seconds for all measures of all rows, 50 features, no penalty",
        ["model", "n", "summary", "with DFBETAS", "statsmodels", "difference"],
        notes=[
            "summary: influence_summary(); with DFBETAS: dfbetas() after it, too; both with",
            "the factorisation. statsmodels: summary_frame() of get_influence().",
            "difference: the largest in Cook's distance, relative to the largest distance.",
            "~: not run; n times the time of one of the n regressions that it does.",
        ],
    )
    for n in (250, 500, 100_000):
        X, y = measured(n, 50)
        model = sm.OLS(y, sm.add_constant(X, prepend=False))
        _add_case_row(table, "least squares", LinearRegression().fit(X, y), model, repeats)
    logistic = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    for n in (10_000, 100_000):
        X, y = labelled(n, 50)
        model = sm.GLM(y, sm.add_constant(X, prepend=False), family=sm.families.Binomial())
        _add_case_row(table, "logistic", clone(logistic).fit(X, y), model, repeats)
    return table


def _add_case_row(table, name, fitted, model, repeats):
    """Measure one fit with both and append a row."""
    training = model.exog[:, :-1], model.endog
    reference_fit = model.fit(tol=1e-15) if name == "logistic" else model.fit()

    def summary():
        return fitted.set_training_data(*training).influence_summary()  # factorised anew

    def with_dfbetas():
        return summary(), fitted.dfbetas()

    ours = best_of({"summary": summary, "dfbetas": with_dfbetas}, min(repeats, 3))
    n, cooks_distance = len(model.endog), summary().cooks_distance
    if name == "least squares" and n > 10_000:
        seconds = n * best_of({"one": lambda: type(model)(*training[::-1]).fit()}, 1)["one"]
        theirs = f"~{seconds / 3600:.0f} h"
    else:
        seconds = best_of({"theirs": lambda: reference_fit.get_influence().summary_frame()}, 1)
        theirs = f"{seconds['theirs']:.2f}"
    expected = reference_fit.get_influence().cooks_distance[0]
    difference = np.abs(cooks_distance - expected).max() / expected.max()
    cells = [f"{ours[key]:.2f}" for key in ("summary", "dfbetas")]
    table.rows.append([name, f"{n:,}", *cells, theirs, f"{difference:.0e}"])


def label_errors(repeats):
    """Recall of flipped labels, by strategy: breast cancer, digits, SMS spam."""
    table = Table(
        f"Flipped labels found, logistic regression, mean over {_N_SEEDS} seeds",
        ["data", "flipped", *_STRATEGIES, "default - best"],
        notes=[
            "Recall: share of the flipped labels among as many most suspicious samples.",
            "Flipped: that share of the labels, drawn at random, each changed to one of the",
            "other classes at random. default - best: relabel less the best in its line.",
            "leave_out exact: leave_out_loss with method='exact'.",
            "C = 1; text: tf-idf of the 300 most frequent words, all messages.",
        ],
    )
    for name, X, y in list(_label_problems()):  # missing data are missed at once
        for share in (0.1, 0.2):
            recall = np.mean([_recalls(X, y, share, seed) for seed in range(_N_SEEDS)], axis=0)
            cells = [f"{value:.3f}" for value in recall]
            table.rows.append([name, f"{100 * share:.0f} %", *cells])
            table.rows[-1].append(f"{recall[0] - recall.max():.3f}")
    return table


def _label_problems():
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", scale(X), y
    X, y = load_digits(return_X_y=True)
    yield "digits", X / 16, y
    yield "SMS spam", *frequent_words()


def frequent_words():
    """Return (X, y) of the SMS spam collection, dense: few words make that faster."""
    texts, labels = messages()
    return TfidfVectorizer(max_features=300).fit_transform(texts).toarray(), labels


def _recalls(X, y, share, seed):
    """Return the recall of each strategy after flipping a share of the labels."""
    labels, changed = flip(y, share, seed)
    clf = LogisticRegression(tol=1e-6, max_iter=1000).fit(X, labels)
    return [
        np.isin(rank_label_errors(clf, **options)[: len(changed)], changed).mean()
        for options in _STRATEGIES.values()
    ]


def flip(y, share, seed):
    """Return labels of which a share is another class, and the samples concerned."""
    rng = np.random.default_rng(seed)
    classes, codes = np.unique(y, return_inverse=True)
    changed = rng.permutation(len(y))[: round(share * len(y))]
    shift = rng.integers(1, len(classes), len(changed))
    codes[changed] = (codes[changed] + shift) % len(classes)
    return classes[codes], changed


def sign_flips(repeats):
    """Samples that decide the sign of a coefficient, each set confirmed by a refit."""
    table = Table(
        f"Smallest sets found that flip a coefficient, the {_N_NEAREST} nearest zero of each",
        ["data", "coefficient", "value", "linear", "refit", "greedy", "refit"],
        notes=[
            "linear, greedy: samples to remove, by search; none: no set of up to half of the",
            "samples. refit: the coefficient that scikit-learn, fitted without them, finds.",
            "Over all coefficients:",
        ],
    )
    for name, names, fitted, refit, X, y in _sign_problems():
        coef = fitted.coef_.ravel()
        results = {
            j: [_flip_sign(fitted, refit, X, y, j, search) for search in ("linear", "greedy")]
            for j in np.argsort(np.abs(coef))
        }
        for j, pair in list(results.items())[:_N_NEAREST]:
            table.rows.append([name, names[j], f"{coef[j]:+.3f}"])
            for size, after in pair:
                table.rows[-1] += ["none", "-"] if size is None else [size, f"{after:+.3f}"]
        table.notes.append(f"{name}: {_count_flips(results, coef)}")
    return table


def _sign_problems():
    """Yield data, feature names, fitted estimator, scikit-learn's estimator, X and y."""
    data = load_diabetes()
    X, y = scale(data.data), data.target
    fitted = LinearRegression().fit(X, y)
    yield "diabetes", data.feature_names, fitted, reference.LinearRegression(), X, y
    options = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1000}
    logistic = LogisticRegression(**options), reference.LogisticRegression(**options)
    data = load_breast_cancer()
    X, y = scale(data.data), data.target
    fitted = clone(logistic[0]).fit(X, y)
    yield "breast cancer", data.feature_names, fitted, logistic[1], X, y
    data = load_digits()
    kept = np.isin(data.target, (1, 7))
    X, y = data.data[kept] / 16, data.target[kept]
    inked = np.flatnonzero(X.any(axis=0))
    fitted = clone(logistic[0]).fit(X[:, inked], y)
    names = np.array(data.feature_names)[inked]
    yield "digits 1 against 7", names, fitted, logistic[1], X[:, inked], y


def _flip_sign(fitted, refit, X, y, j, search):
    """Return the size of the set and coefficient j fitted without it, or Nones."""
    found = most_influential_set(fitted, int(j), search=search)
    if not found.flipped:
        return None, None
    others = np.delete(np.arange(len(y)), found.indices)
    return len(found.indices), clone(refit).fit(X[others], y[others]).coef_.ravel()[j]


def _count_flips(results, coef):
    """Return in words what the two searches found for all coefficients."""
    linear, greedy = zip(*results.values(), strict=True)
    pairs = [(a, b) for (a, _), (b, _) in results.values() if a is not None]
    confirmed = [
        after * coef[j] < 0 for j, pair in results.items() for size, after in pair if size
    ]
    return (
        f"{len(results)} coefficients; flipped by linear {_found(linear)}, by greedy "
        f"{_found(greedy)}; greedy\n  smaller {sum(b is not None and b < a for a, b in pairs)}"
        f" times, larger {sum(b is None or b > a for a, b in pairs)} times; "
        f"{sum(confirmed)} of {len(confirmed)} flips confirmed by the refit."
    )


def _found(outcomes):
    return sum(size is not None for size, _ in outcomes)


def search(repeats):
    """Leave-one-out search of 25 values against exact, and the time of 5-fold CV."""
    table = Table(
        f"One of {len(_GRID)} values of C or alpha, 10^-4 to 10^4, three steps a decade",
        ["data", "solver", "LOO", "exact LOO", "steps apart", "5-fold"]
        + ["LOO s", "exact s", "5-fold s"],
        notes=[
            "LOO: LeaveOneOutSearchCV; exact LOO: the same with method='exact', run once;",
            "5-fold: GridSearchCV of scikit-learn's estimator, refit included. All score log",
            "loss (Ridge: squared error), in one process. lbfgs: max_iter=10,000 and the",
            "default tol; newton-cholesky: tol=1e-8; cholesky: Ridge. -: not run, too long.",
        ],
    )
    for name, ours, theirs, parameter, X, y in list(_search_problems()):
        grid = {parameter: _GRID}
        scoring = "neg_log_loss" if parameter == "C" else "neg_mean_squared_error"
        searches = {
            "LOO": LeaveOneOutSearchCV(ours, grid, scoring=scoring),
            "5-fold": GridSearchCV(theirs, grid, scoring=scoring, cv=5),
        }
        seconds = best_of(
            {key: _fit(one, X, y) for key, one in searches.items()}, min(repeats, 3)
        )
        if name not in _WITHOUT_EXACT:
            exact = LeaveOneOutSearchCV(ours, grid, scoring=scoring, method="exact")
            seconds |= best_of({"exact": _fit(exact, X, y)}, 1)
            searches["exact"] = exact
        table.rows.append([f"{name}, {parameter}", ours.solver])
        table.rows[-1] += _chosen({key: one.best_index_ for key, one in searches.items()})
        table.rows[-1] += [
            f"{seconds[key]:.2f}" if key in seconds else "-"
            for key in ("LOO", "exact", "5-fold")
        ]
    return table


def _chosen(index):
    """Return cells: value by leave-one-out, by exact, steps between them, by 5-fold."""
    value = {key: f"{_GRID[i]:.2g}" for key, i in index.items()}
    apart = int(abs(index["LOO"] - index["exact"])) if "exact" in index else "-"
    return [value["LOO"], value.get("exact", "-"), apart, value["5-fold"]]


def _search_problems():
    """Yield data, our estimator, scikit-learn's, name of its parameter, X and y."""
    X, y = load_diabetes(return_X_y=True)
    X = scale(PolynomialFeatures(2, include_bias=False).fit_transform(X))
    ridge = {"solver": "cholesky"}
    yield "diabetes, quadratic", Ridge(**ridge), reference.Ridge(**ridge), "alpha", X, y
    for name, X, y in _classifications():
        for options in (
            {"solver": "newton-cholesky", "tol": 1e-8, "max_iter": 1000},
            {"solver": "lbfgs", "max_iter": 10_000},
        ):
            ours, theirs = LogisticRegression(**options), reference.LogisticRegression
            yield name, ours, theirs(**options), "C", X, y


def _classifications():
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", scale(X), y
    X, y = load_wine(return_X_y=True)
    yield "wine", scale(X), y
    X, y = load_digits(return_X_y=True)
    kept = np.isin(y, (1, 7))
    yield "digits 1 against 7", X[kept] / 16, y[kept]
    yield "logistic, 2,000 x 20", *labelled(2000, 20)
    yield "SMS spam", *frequent_words()


def _fit(one, X, y):
    return lambda: one.fit(X, y)


BENCHMARKS = {
    "case_diagnostics": case_diagnostics,
    "label_errors": label_errors,
    "sign_flips": sign_flips,
    "search": search,
}
