"""First-order removal through steps whose fit jumps if samples leave.

The derivative of an order statistic in the weight of a sample is 0 or one-sided, and so is
that of a choice. But the median moves to another value as the sample leaves, and a selector
may keep other features. First order does not see this, so the error is measured on a few
groups for which it happens, by Newton refits.
"""

import warnings

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem.requests import Removal

# Number of groups, and of training samples whose predictions are compared.
_GROUPS, _SAMPLES = 5, 20
# Largest share of a change by which it may be wrong without a warning.
_LEAST = 0.05


def warn_of_jumps(problem, request, groups=None):
    """Warn if first order predicts removals badly because the fit of a step jumps.

    Parameters
    ----------
    problem : Problem
        The fitted model, with `jumping`, the stages whose fit may jump.
    request : Removal, Reweighting or Influence
        How the answer is computed. Only the method "influence" is first order.
    groups : Groups or None, default=None
        The rows that leave together; None for each row alone.
    """
    stages = problem.jumping if request.method == "influence" else []
    if not stages:
        return
    if groups is None:
        groups = [np.array([row]) for row in range(problem.data.n_rows)]
    else:
        groups = [groups.rows(group) for group in range(len(groups))]
    chosen = []
    for group in np.random.default_rng(0).permutation(len(groups)):
        if any(_jumps(stage, local(groups[group])) for stage, local in stages):
            chosen.append(groups[group])
        if len(chosen) == _GROUPS:
            break
    if not chosen:
        return
    names = ", ".join(dict.fromkeys(stage.name for stage, _ in stages))
    told = (
        f"method='influence' is first order, and the fit of {names} jumps if samples leave: "
        "order statistics move to other values, and choices change, which no derivative "
        "tells."
    )
    remedy = "Use method='newton' or 'exact'."
    try:
        error = _error(problem, chosen, request)
    except UnsupportedEstimatorError as reason:
        warn(f"{told} The error is not known, because there is no refit: {reason} {remedy}")
        return
    if error.size and error.max() > _LEAST:
        warn(
            f"{told} Without {len(error)} group(s) for which this happens, the changes of "
            f"predictions are off by {100 * np.median(error):.0f} % (median), at most "
            f"{100 * error.max():.0f} %. {remedy}"
        )


def _jumps(stage, rows):
    return len(rows) and stage.jumps_without(rows)


def _error(problem, groups, request):
    """Return the relative error of first-order changes without each group with a model."""
    n = problem.data.n_rows
    rows = np.unique(np.linspace(0, n - 1, min(n, _SAMPLES)).astype(np.intp))
    data, changes = problem.data.take(rows), []
    nothing = np.empty(0, dtype=np.intp)
    for method in ("influence", "newton"):
        removal = Removal([nothing, *groups], method=method)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the answer itself warns of the same
            models = problem.models_without(removal)
            answers = [None if m is None else answer(problem, m, data) for m in models]
        start = answers[0]
        changes.append([None if a is None else a - start for a in answers[1:]])
    pairs = [(a, b) for a, b in zip(*changes, strict=True) if a is not None and b is not None]
    error = np.array([np.linalg.norm(a - b) for a, b in pairs])
    size = np.array([np.linalg.norm(b) for _, b in pairs])
    return error[size > 0] / size[size > 0]


def answer(problem, model, data):
    """Return the response of a model on samples by which removals are compared, flat."""
    for name in ("decision_function", "predict_proba", "predict"):
        if hasattr(model, name):
            found = getattr(model, name)(data.X)
            break
    if name == "predict" and problem.is_classifier:  # labels: use losses instead
        found = model.sample_loss(data.X, data.y)
    return np.concatenate([np.ravel(one) for one in found])
