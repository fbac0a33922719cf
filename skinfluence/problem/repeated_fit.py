"""Repeat a fit to decide whether data are those on which a model was fitted.

A fit that stopped early, or whose stopping rule is loose, leaves a gradient that tells little
about its data. But scikit-learn's `fit` with the same settings gives the same parameters on
the same data, whether it stopped early or not. Only a fit that did not leave its start, or
that diverged, gives them on other data, too.
"""

import warnings
from numbers import Integral

import numpy as np

# A repeated fit may differ from the first by this share in double precision, and by the other
# in single precision. Rounding grows in a solver that stops early, for example if rows and
# columns are stored in another order.
_DIFFERENCE, _SINGLE = 1e-5, 1e-2
# Number of values in X up to which a fit takes less time than most questions about it.
_SMALL = 2_000
# If the fit depends on random numbers that are not known, its distance to the nearer of two
# repetitions may be this many times their distance. Beyond the other number no more
# repetitions are needed.
_SPREAD, _APART = 3.0, 10.0
# If the distance is no small share, as many repetitions decide. The fit's mean distance to
# them may be this many times the median, or the largest, of a repetition's to the others.
_SMALL_SHARE, _REPETITIONS, _OVER_MEDIAN, _OVER_LARGEST = 0.02, 8, 2.0, 1.25

# Classes that other classes refit, but that do not search.
_PATHS = ("Lars", "LassoLars", "LassoLarsIC")


def is_cheap(objective):
    """Return whether the data are so small that the fit is repeated without further doubt."""
    return objective.n_rows * objective.design.n_columns <= _SMALL


def agrees(difference, objective, fit):
    """Return whether a difference is as small as if the data were the fit's."""
    dtype = objective.design.X.dtype
    eps = max(fit.eps, np.finfo(dtype).eps if dtype.kind == "f" else 0.0)
    return difference <= (_SINGLE if eps >= np.finfo(np.float32).eps else _DIFFERENCE)


def is_unmoved(objective, theta):
    """Return whether all coefficients are zero, as at the start of a solver.

    An l1 penalty keeps them at zero for many data. This is no failure, and no check can tell
    these data apart.
    """
    coef = theta[:, : objective.design.n_features]
    return bool(coef.size) and not coef.any() and objective.formulation.l1_support is None


def is_diverged(objective, theta):
    """Return whether the model is worse than the one with zero parameters."""
    zero = theta.copy()
    zero[: objective.formulation.layout.n_predictions] = 0.0  # a fitted scale stays
    with np.errstate(all="ignore"):
        return not objective.value(theta) <= objective.value(zero)


def tells_targets_apart(problem, objective, data):
    """Return whether a fit that diverged differs from one on the targets in reverse order.

    Of the targets it may keep a sign and some rounding. So other signs are no difference, and
    rounding is one only if a repetition on these data agrees to the last bit.
    """
    X, y, sample_weight = data
    reverse = (X, np.asarray(y)[::-1], sample_weight)
    again = _repetitions(problem, objective, data)
    other = _repetitions(problem, objective, reverse)
    if again is None or other is None:
        return False
    is_exact = len(again) == 1 and np.array_equal(again[0], problem.theta)
    # Random numbers change a fit more than rounding does, so their spread is the measure.
    size = np.abs if len(again) == 1 else np.positive
    apart = _nearest(problem, objective, reverse, other, size)
    return apart > (0.0 if is_exact else _SINGLE)


def difference(problem, objective, data):
    """Return by how much a repeated fit differs, None if the fit cannot be repeated.

    Parameters
    ----------
    problem : Problem
        The fitted model.
    objective : Objective
        Its objective with the data.
    data : tuple
        `(X, y, sample_weight)` as `fit` takes them.

    Returns
    -------
    difference : float or None
        Largest difference between the coefficients, or the intercepts, in units of the
        features' root mean squares and relative to the coefficients.
    """
    thetas = _repetitions(problem, objective, data)
    return None if thetas is None else _nearest(problem, objective, data, thetas)


def _repetitions(problem, objective, data):
    """Return the parameters of one repeated fit, or of two with different random numbers.

    None if the fit cannot be repeated.
    """
    params = problem.fitted.params
    is_search = problem.estimator._plain is not None
    if params.get("warm_start") or (is_search and problem.parent_class.__name__ not in _PATHS):
        return None  # the fit's start is not known, or a search came before it
    if _was_partial(problem.estimator, params):
        return None
    seeds = [params.get("random_state")]
    if not isinstance(seeds[0], Integral):  # a repetition leaves global random numbers alone
        is_random = _draws(problem.parent_class.__name__, problem.estimator, params)
        seeds = [0, 1] if is_random else [0]
    thetas = [_fit(problem, objective, data, seed) for seed in seeds]
    return None if any(theta is None for theta in thetas) else thetas


def _nearest(problem, objective, data, thetas, size=np.positive):
    """Return the distance of the fit to the nearest repetition, 0 if it is one of them.

    `size` is applied to all parameters first.
    """
    fitted, thetas = size(problem.theta), [size(theta) for theta in thetas]
    found = min(_distance(objective, theta, fitted, fitted) for theta in thetas)
    if len(thetas) == 1:
        return found
    spread = _distance(objective, *thetas, fitted)
    if found <= _SMALL_SHARE or not found <= _APART * spread:
        return 0.0 if found <= _SPREAD * spread else found
    more = [_fit(problem, objective, data, seed) for seed in range(2, _REPETITIONS)]
    others = [*thetas, *(size(theta) for theta in more if theta is not None)]
    usual = [_mean_distance(objective, theta, others, fitted) for theta in others]
    distance = _mean_distance(objective, fitted, [fitted, *others], fitted)
    is_usual = distance <= _OVER_MEDIAN * np.median(usual) or distance <= _OVER_LARGEST * max(
        usual
    )
    return 0.0 if is_usual else found


def _mean_distance(objective, theta, points, fitted):
    """Return the mean distance between one of several points and the others."""
    apart = [_distance(objective, theta, other, fitted) for other in points]
    return sum(apart) / (len(points) - 1)


def _was_partial(estimator, params):
    """Return whether `partial_fit` fitted the model, which sees each sample once."""
    patience, n_iter = params.get("n_iter_no_change"), getattr(estimator, "n_iter_", None)
    if patience is None or n_iter is None or not hasattr(estimator, "partial_fit"):
        return False
    return n_iter < min(patience, params["max_iter"])


def _draws(name, estimator, params):
    """Return whether a fit depends on random numbers."""
    solver = getattr(estimator, "solver_", params.get("solver"))
    stochastic = solver in ("sag", "saga", "liblinear") or params.get("selection") == "random"
    return stochastic or name.startswith("SGD") or name in ("LinearSVC", "LinearSVR")


def _fit(problem, objective, data, seed):
    """Return the parameters (K, D) of a repeated fit, None if it fails."""
    params = problem.fitted.params
    again = problem.parent_class(**params)
    # A repetition prints nothing, and does not change the caller's data.
    changed = {"random_state": seed, "verbose": 0, "copy_X": True}
    again.set_params(**{key: value for key, value in changed.items() if key in params})
    X, y, sample_weight = data
    given = {} if sample_weight is None else {"sample_weight": sample_weight}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            again.fit(X, y, **given)
            layout = problem.layout
            problem.parameters.remember(again, objective)
            if _runs_longer(again, problem.estimator, params):
                return np.full(problem.theta.shape, np.inf)
            return layout.from_public(problem.parameters.vector(again, layout))
        except (TypeError, ValueError, ArithmeticError, np.linalg.LinAlgError):
            return None  # not decided here, as for weights that its fit does not take


def _runs_longer(again, estimator, params):
    """Return whether a repetition ran out of iterations, and the fit needed under half."""
    n_iter, limit = getattr(estimator, "n_iter_", None), params.get("max_iter")
    if n_iter is None or limit is None or limit < 0:
        return False
    return bool(
        np.all(np.asarray(again.n_iter_) >= limit) and np.all(2 * np.asarray(n_iter) < limit)
    )


def _distance(objective, theta, other, fitted):
    """Return the difference of two parameter points (K, D), relative to the fitted ones."""
    if theta.shape != other.shape:
        return np.inf
    design = objective.design
    present = (objective.sample_weight > 0)[:, None].astype(np.float64)
    size = np.sqrt(design.squared_adjoint(present)[0] / present.sum())
    apart, fitted = np.abs(theta - other) * size, np.abs(fitted) * size
    d = design.n_features
    length = np.linalg.norm(fitted[:, :d])
    coef = _ratio(np.linalg.norm(apart[:, :d]), length)
    intercept = _ratio(
        np.linalg.norm(apart[:, d:]), max(length, np.linalg.norm(fitted[:, d:]))
    )
    return max(coef, intercept)


def _ratio(a, b):
    if b == 0:
        return np.inf if a else 0.0
    return a / b
