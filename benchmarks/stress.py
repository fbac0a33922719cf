"""Random fits far from comfort, and whether a wrong answer comes without a warning."""

import json
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

import skinfluence
from benchmarks._optima import NoOptimumError
from benchmarks._report import Table
from benchmarks._stress_cases import FAMILIES, MISALIGNED, draw, given, oracle_of_given
from skinfluence import InfluenceWarning, from_fitted

__all__ = ["BEFORE", "BENCHMARKS", "answers_of", "count"]

_FITS, _ROWS = 2_400, 12
#: Errors above which an answer is off, and within which a warning is a false alarm.
OFF, WITHIN = 0.05, 0.01
# Smaller changes are compared with this share of the queries' losses, and of the losses of a
# model that predicts the same for every row.
_FLOOR, _NULL_FLOOR = 1e-5, 1e-8

#: The counts of the version in which removal started from the fit as it was.
BEFORE = Path(__file__).with_name("stress_before.json")


def answers_of(seed):
    """Return a dict for each answer that a random fit gives: its error, whether it warned."""
    with threadpool_limits(1, "blas"), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            case = draw(seed)
            case.estimator.fit(case.X, case.y, sample_weight=case.weight)
        except (ValueError, np.linalg.LinAlgError) as error:
            return [_result(draw(seed), "fit", "no fit", error=str(error))]
        return [_answer(case, method) for method in ("leave_out_loss", "influence_loss")]


def _result(case, method, outcome, **more):
    keys = ("seed", "family", "tolerance", "data", "settings")
    said = {key: getattr(case, key) for key in keys} | {"estimator": repr(case.estimator)}
    return said | {"method": method, "outcome": outcome} | more


def _answer(case, method):
    """Return what one method answers, compared with the truth."""
    Xq, _, yq = case.queries
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = from_fitted(case.estimator, *given(case))
            answer = getattr(fitted, method)(Xq, yq)
        except Exception as error:  # any error is a result
            outcome = "refused" if _is_refusal(error) else "silent"
            return _result(case, method, outcome, error=f"{type(error).__name__}: {error}")
    said = [str(w.message) for w in caught if issubclass(w.category, InfluenceWarning)]
    if not np.isfinite(answer).all():
        outcome = "refused" if said else "silent"
        return _result(case, method, outcome, error="NaN", warnings=said)
    try:
        errors, of_largest, rows = _errors(case, method, answer)
    except NoOptimumError as error:
        return _result(case, method, "no truth", error=str(error), warnings=said)
    measured = {
        "off": float(errors.max()),
        "of_largest": float(of_largest.max()),
        "row": int(rows[errors.argmax()]),
    }
    return _result(case, method, _outcome(measured["off"], said), warnings=said, **measured)


def _is_refusal(error):
    """Return whether an error was raised by this package on purpose."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(skinfluence.__file__).parent in Path(frame.filename).parents
    return ours and isinstance(error, ValueError | np.linalg.LinAlgError)


def _outcome(off, said):
    """Return in a word what an error and warnings come to."""
    if off > OFF:
        return "warned" if said else "silent"
    if off <= WITHIN:
        return "false alarm" if said else "within"
    return "between"


def _errors(case, method, answer):
    """Return two relative errors of some rows' answers, and the rows.

    One is relative to the row's own change, the other to the largest of these rows.
    """
    oracle, weight = oracle_of_given(case), case.oracle_weight
    Xq, target, _ = case.queries
    optimum = oracle.solve()
    before = oracle.loss(optimum, Xq, target).astype(float)
    floor = max(_FLOOR * np.linalg.norm(before), _NULL_FLOOR * _null_loss(case))
    influence = method == "influence_loss"
    change = answer / weight.sum() if influence else answer - before[:, None]
    rows = _some_rows(np.linalg.norm(change, axis=0), case.seed)
    true = np.empty((len(Xq), len(rows)))
    for j, i in enumerate(rows):
        if influence:
            true[:, j] = oracle.loss_along(optimum, oracle.influence(optimum, i), Xq, target)
            continue
        left = weight.copy()
        left[i] = 0.0
        start = optimum if isinstance(optimum, np.ndarray) else None
        true[:, j] = oracle.loss(oracle.solve(left, start), Xq, target) - before
    error = np.nan_to_num(np.linalg.norm(change[:, rows] - true, axis=0), nan=np.inf)
    size = np.maximum(np.linalg.norm(true, axis=0), floor)
    return error / size, error / size.max(), rows


def _null_loss(case):
    """Return the norm of the queries' losses under a model that is the same for every row."""
    oracle, (Xq, target, _) = case.oracle, case.queries
    if hasattr(oracle, "start"):
        return np.linalg.norm(oracle.loss(oracle.start(), Xq, target).astype(float))
    return np.linalg.norm((target - np.mean(target)) ** 2)


def _some_rows(size, seed):
    """Return the rows with the largest predicted changes, and random ones."""
    order = np.argsort(-size, kind="stable")
    largest, others = order[: 2 * _ROWS // 3], order[2 * _ROWS // 3 :]
    random = np.random.default_rng([seed, 2]).permutation(others)[: _ROWS // 3]
    return np.concatenate([largest, random])


def stress(repeats):
    """Answers off by more than 5 % with and without a warning, 2,400 random fits."""
    found = Parallel(n_jobs=2, batch_size=10)(delayed(answers_of)(s) for s in range(_FITS))
    counts = count([answer for one in found for answer in one])
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    table = Table(
        f"Answers of the defaults to {counts['all']['fits']:,} random fits, before and now",
        ["fits", "number", "answers"]
        + [f"{name}, {when}" for name in _COLUMNS for when in ("before", "now")],
        notes=_NOTES + _shares(before["counts"]["all"], counts["all"]),
    )
    for name, now in counts.items():
        old = before["counts"][name]
        pairs = [c[key] for key in _COLUMNS.values() for c in (old, now)]
        table.rows.append([name, now["fits"], now["answers"], *pairs])
    return table


_COLUMNS = {
    "off silently": "silent",
    "off, warned": "warned",
    "within 1 %": "within 1 %",
    "of these warned": "false alarm",
    "refused": "refused",
}

_NOTES = [
    "An answer is one call of leave_out_loss(X, y) or influence_loss(X, y), 4 queries, after",
    "from_fitted of scikit-learn's fit: 20 to 80 rows, 1 to 6 features in units of 1e-3 to",
    "1e6, means up to 1,000 standard deviations off, C or 1/alpha from 1e-6 to 1e6,",
    "separable, quasi-separable or noisy, with default or tight settings or stopped early.",
    "Truth: the losses at the optimum of what fit minimises, without the row, or S times",
    "their derivative in the row's weight, by Newton's method in extended precision",
    "(benchmarks/_optima.py; LinearRegression: scikit-learn's refits). Error of a row:",
    "|answer - truth| / |change| over the queries in the 2-norm; a change counts as at least",
    "1e-5 of the queries' losses and 1e-8 of those of a constant model. Error of an answer:",
    "the largest of 12 rows, the 8 with the largest answers and 4 at random. off: more than",
    "5 %, or NaN or an unnamed error. warned: InfluenceWarning in from_fitted or the call.",
    "refused: NaN with a warning, or an error that names the cause. The last rows were given",
    "other data than the fit was; truth is that of the fit's own data, and a warning there is",
    "no false alarm. If a permuted y has the same fit, for example because an l1 penalty",
    "keeps all coefficients at 0, nothing tells it from the fit's own, and truth is that of",
    "the data given. before: version 0.1.0 of 24 November 2026, which removed from the fit as",
    "it was; its counts are without the rule about the same fit.",
]


def count(answers):
    """Return the counts of a list of answers: by estimator, by misaligned data, and of all."""
    aligned = [a for a in answers if a["data"] == "aligned"]
    groups = {name: [a for a in aligned if a["family"] == name] for name in FAMILIES}
    groups |= {data: [a for a in answers if a["data"] == data] for data in MISALIGNED}
    return {name: _counts(group) for name, group in (groups | {"all": answers}).items()}


def _counts(answers):
    outcomes = Counter(a["outcome"] for a in answers)
    harmless = sum(a["outcome"] == "false alarm" and a["data"] != "aligned" for a in answers)
    not_one = outcomes["no fit"] + outcomes["no truth"]
    return {
        "fits": len({a["seed"] for a in answers if a["outcome"] != "no fit"}),
        "answers": len(answers) - not_one - outcomes["refused"],
        "silent": outcomes["silent"],
        "warned": outcomes["warned"],
        "within 1 %": outcomes["within"] + outcomes["false alarm"],
        "false alarm": outcomes["false alarm"] - harmless,
        "refused": outcomes["refused"],
        "no truth": outcomes["no truth"],
        "silent of largest": sum(
            a["outcome"] == "silent" and a.get("of_largest", np.inf) > OFF for a in answers
        ),
    }


def _shares(before, now):
    """Return notes with the two shares that the table is about."""

    def shares(c):
        off, alarms = c["silent"] / c["answers"], c["false alarm"] / c["within 1 %"]
        return (
            f"{c['silent']:,} of the answers ({100 * off:.2g} %) off silently, "
            f"{100 * alarms:.1f} % false alarms"
        )

    return [
        f"Before: {shares(before)}. Now: {shares(now)}. Relative to the change of the",
        f"largest row, {before['silent of largest']} were off silently before and",
        f"{now['silent of largest']} are now. No optimum was certain for {now['no truth']}",
        "calls, which are not counted.",
    ]


BENCHMARKS = {"stress": stress}
