"""Values of training samples: how much they add to the score of models fitted without others.

A coalition S is a set of training samples, and its utility U(S) the score of the model that is
fitted on S alone. The models come from the fitted one by new sample weights, see
`reweight_predict`, without refits.

    "banzhaf"       E[U(S + i)] - E[U(S)], every other sample in S with probability 1/2
    "shapley"       the same with all sizes of S equally likely
    "beta_shapley"  the same with more weight on some sizes
    "loo"           U(all) - U(all without i)
    "influence"     the same for the negative loss, to first order

References: Ghorbani & Zou, "Data Shapley", 2019; Kwon & Zou, "Beta Shapley", 2022; Wang & Jia,
"Data Banzhaf", 2023.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, gammaln
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.utils import Bunch, check_random_state

from skinfluence._typing import Accuracy, Estimator, MatrixLike, RandomState
from skinfluence.blocks import row_blocks
from skinfluence.checks import check_count, check_option, shown
from skinfluence.exceptions import InfluenceWarning, UnsupportedEstimatorError, warn
from skinfluence.pipeline import problem_of
from skinfluence.problem.jumps import warn_of_jumps
from skinfluence.problem.metrics import Metric
from skinfluence.problem.requests import Influence, Removal, Reweighting
from skinfluence.results import Result
from skinfluence.whole import attempt

Kind: TypeAlias = Literal["banzhaf", "shapley", "beta_shapley", "loo", "influence"]
KINDS = get_args(Kind)

# Coalitions for "banzhaf", and permutations for the others, unless the caller says otherwise.
_COALITIONS, _PERMUTATIONS = 2000, 10
# Permutations as which the mean variance over samples counts in each standard error.
_SHARED = 10
# Sizes of coalitions that together have less than this share of the weight are left out.
_NEGLIGIBLE = 1e-4


def data_values(
    estimator: Estimator,
    X: MatrixLike,
    y: ArrayLike,
    *,
    kind: Kind = "banzhaf",
    utility: str | Callable[..., Any] | None = None,
    n_coalitions: int | None = None,
    beta: tuple[float, float] = (16.0, 1.0),
    method: Accuracy = "newton",
    random_state: RandomState = None,
    n_jobs: int | None = None,
) -> Bunch:
    """Return the value of each training sample for the score on given samples.

    A value is the mean change in the score when the sample joins a coalition of other training
    samples. With the utility U(S) of a coalition S, the score of the model fitted on S::

        banzhaf         mean of U(S + i) - U(S) over all S without i
        shapley         mean over the sizes of S of the means for each size
        beta_shapley    weighted mean over the sizes, weights of a beta distribution
        loo             U(all) - U(all - i)
        influence       the loss without i less the loss with all, to first order

    Negative values mark samples that lower the score. "banzhaf" reuses each coalition for
    every sample, and its ranking is the most stable one if scores are noisy. Values of
    "shapley" add up to U(all) - U(none).

    Parameters
    ----------
    estimator : object
        Fitted skinfluence estimator, a pipeline that ends in one, or an estimator around
        others that has `reweight_predict`.
    X : {array-like, sparse matrix} of shape (q, n_features)
        Samples on which models are scored, not those of the fit.
    y : array-like of shape (q,) or (q, n_targets)
        Their targets or labels.
    kind : {"banzhaf", "shapley", "beta_shapley", "loo", "influence"}, default="banzhaf"
        Definition of the value.
    utility : str or callable, default=None
        A scikit-learn scoring name or a scorer. None uses the estimator's own `score`. A
        callable gets the model of each coalition, and a dummy estimator where there is none,
        so it may use responses for any samples, but no other attributes. "influence" takes
        none, because a score such as accuracy has no derivative.
    n_coalitions : int, default=None
        Number of coalitions. None means 2000 for "banzhaf" and 10 n for "shapley" and
        "beta_shapley"; n coalitions in a row are the beginnings of one random permutation.
    beta : tuple of two float, default=(16.0, 1.0)
        Parameters (alpha, beta) of "beta_shapley". A larger alpha gives small coalitions more
        weight; (1, 1) is "shapley".
    method : {"influence", "newton", "exact"}, default="newton"
        Accuracy of the models of coalitions. "influence" is a crude extrapolation for them.
    random_state : int, RandomState instance or None, default=None
        Source of randomness for coalitions.
    n_jobs : int, default=None
        Number of joblib threads.

    Returns
    -------
    found : Bunch
        Attributes:

        sample_values : ndarray of shape (n,)
            Value of each training sample, in units of the score.
        standard_errors : ndarray of shape (n,)
            Standard errors from the random coalitions; zeros for "loo" and "influence".
        n_coalitions : int
            Number of coalitions that were scored.
        utility_all, utility_none : float
            Score of the model with all samples, and with none. For "influence" they are the
            negative mean loss, and NaN.

    Raises
    ------
    ValueError
        If an option is not known, or there are too few coalitions for standard errors.

    Warns
    -----
    InfluenceWarning
        If coalitions have no model, because they lack a class or have no optimum. Their
        utility is the score of :class:`sklearn.dummy.DummyClassifier` with the class
        frequencies of the coalition, or of :class:`sklearn.dummy.DummyRegressor` with its
        mean. A coalition without samples takes those of all training samples.

    See Also
    --------
    rank_label_errors : Suspicious labels, from one model without each sample.
    rank_candidates : The effect of new samples.

    Notes
    -----
    Coalitions have the sample weights and the hyperparameters of the fit, so a fixed penalty
    weighs more in small ones, as it does in a fit on them. "banzhaf" is estimated by maximum
    sample reuse [1]_: a value is the mean utility of coalitions with the sample minus that of
    those without. The other two average the changes along random permutations [2]_, [3]_.
    Their standard errors take part of the variance from all samples, because few permutations
    begin with any one of them.

    References
    ----------
    .. [1] J. T. Wang and R. Jia, "Data Banzhaf", AISTATS 2023.
    .. [2] A. Ghorbani and J. Zou, "Data Shapley", ICML 2019.
    .. [3] Y. Kwon and J. Zou, "Beta Shapley", AISTATS 2022.

    Examples
    --------
    Samples with a wrong label have the lowest values:

    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.inspection import data_values
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X, wrong = scale(X), np.arange(0, 200, 20)
    >>> y[wrong] = 1 - y[wrong]
    >>> clf = LogisticRegression().fit(X[:200], y[:200])
    >>> found = data_values(
    ...     clf, X[200:], y[200:], utility="neg_log_loss", n_coalitions=500, random_state=0
    ... )
    >>> lowest = np.argsort(found.sample_values)[:10]
    >>> len(np.intersect1d(lowest, wrong))
    8
    """
    check_option("kind", kind, KINDS)
    problem = problem_of(estimator, "reweight_predict", caller="data_values", composites=True)
    problem.refuse_dask("data_values", X, y)
    n = problem.n_rows
    if kind == "influence":
        return _first_order(problem, X, y, utility, n_jobs)
    warn_of_jumps(problem, Removal(method=method))
    removal = problem_of(estimator, "leave_out_loss", composites=True)
    utilities = _Utility(problem, removal, X, y, utility, method, n_jobs)
    everything = utilities(np.ones((1, n), dtype=bool))[0]
    nothing = utilities(np.zeros((1, n), dtype=bool))[0]
    if kind == "loo":
        values, errors = _leave_one_out(utilities, n, everything)
    elif kind == "banzhaf":
        m = _COALITIONS if n_coalitions is None else n_coalitions
        values, errors = _banzhaf(utilities, n, m, check_random_state(random_state))
    else:
        weight = np.ones(n) if kind == "shapley" else _beta_weights(n, beta)
        m = _PERMUTATIONS * n if n_coalitions is None else n_coalitions
        check_count("n_coalitions", m)
        rng = check_random_state(random_state)
        values, errors = _permutations(utilities, weight, m // n, rng, nothing)
    utilities.warn_of_lost()
    return Result(
        sample_values=values,
        standard_errors=errors,
        n_coalitions=utilities.n_coalitions,
        utility_all=everything,
        utility_none=nothing,
    )


class _Utility:
    """Scores of the models fitted on coalitions of training samples.

    Parameters
    ----------
    problem, removal : Problem
        The fitted model's problems, for other weights and for removals.
    X, y : array-like
        The samples on which models are scored.
    scoring : str, callable or None
        See `data_values`.
    method : str
        Accuracy of the models.
    n_jobs : int or None
        Number of threads.
    """

    def __init__(self, problem, removal, X, y, scoring, method, n_jobs):
        self.problem = problem
        self.weight = problem.sample_weight
        self.target = np.asarray(problem.training_target)
        self.metric = Metric(problem, X, y, scoring)
        if self.metric.names != [None]:
            raise ValueError(
                f"utility={scoring!r} has several scores, and a value is a change in one of "
                "them: pass one."
            )
        # Rows of weight 0 would still count for gamma="scale" and balanced class weights.
        counts = problem.counts_samples
        self.removal = removal if counts else None
        self.takes_models = problem.has_parts or self.metric.needs_model or counts
        self.request = Reweighting(self.weight, method, n_jobs=n_jobs)
        self.request.check()
        if problem.has_parts:
            problem.resolve_weights(self.request)
            self.model_bytes = problem.weighted_bytes
        else:
            self.model_bytes = 4 * problem.raw_predictions(X).nbytes
        self.n_coalitions = self.n_lost = 0

    def blocks(self, m):
        """Return slices of m coalitions whose weights and predictions fit into memory."""
        return row_blocks(m, 8 * 2 * len(self.weight) + self.model_bytes)

    def __call__(self, members):
        """Return the utilities of coalitions, given as masks (b, n), shape (b,)."""
        self.n_coalitions += len(members)
        weights = members * self.weight
        scores = np.empty(len(members))
        possible = np.flatnonzero(weights.any(axis=1))
        models = self._models(weights[possible]) if len(possible) else []
        for coalition, model in zip(possible, models, strict=True):
            score = None if model is None else self._score(model)
            if score is None:
                self.n_lost += 1
                score = self._constant(weights[coalition])
            scores[coalition] = score
        for coalition in np.setdiff1d(np.arange(len(members)), possible):
            scores[coalition] = self._constant(self.weight)
        return scores

    def _models(self, weights):
        """Return a list of raw predictions, or of models with parts; None for no model."""
        request = self.request.at(weights)
        with warnings.catch_warnings():
            # Coalitions without a model are counted, and one warning tells their number.
            warnings.simplefilter("ignore", InfluenceWarning)
            if self.removal is not None:
                without = [np.flatnonzero(weight == 0) for weight in weights]
                leaving = Removal(without, method=request.method, n_jobs=request.n_jobs)
                return self.removal.models_without(leaving)
            if self.takes_models:
                return self.problem.models_at_weights(request)
            raw = self.problem.raw_reweighted(self.metric.X, request)
        return [None if np.isnan(scores).any() else scores for scores in raw]

    def _score(self, model):
        """Return the score of one of `_models`, None if it does not take the samples."""
        if self.takes_models:
            # The fit itself was scored before, so a refitted step is what raises here.
            found, _ = attempt(self.metric.of_model, model, fatal=UnsupportedEstimatorError)
            return None if found is None else found[None]
        return self.metric.of_raw(self.problem, model)[None]

    def _constant(self, weight):
        """Return the score of the best constant prediction on samples with these weights."""
        dummy = DummyRegressor()
        if self.problem.is_classifier:
            dummy = DummyClassifier(strategy="prior")
        dummy.fit(np.zeros((len(weight), 1)), self.target, sample_weight=weight)
        if self.metric.own_score and not self.takes_models:
            X, y, metadata = self.metric.with_responses
            return float(self.problem.own_score(dummy, X, y, metadata))
        return self.metric.of_model(dummy)[None]

    def warn_of_lost(self):
        """Warn if coalitions had no model."""
        if self.n_lost:
            warn(
                f"{self.n_lost} of {self.n_coalitions} coalition(s) have no model for X, "
                "because they lack a class or a category or have no optimum: their utility is "
                "the score of the best constant prediction on the coalition."
            )


def _leave_one_out(utilities, n, everything):
    """Return (values, errors) of kind "loo"."""
    values = np.empty(n)
    for block in utilities.blocks(n):
        members = np.ones((block.stop - block.start, n), dtype=bool)
        members[np.arange(len(members)), np.arange(block.start, block.stop)] = False
        values[block] = everything - utilities(members)
    return values, np.zeros(n)


def _banzhaf(utilities, n, m, rng):
    """Return (values, errors) by maximum sample reuse over m coalitions."""
    check_count("n_coalitions", m)
    count, total, squares = np.zeros((3, 2, n))
    shift = None
    for block in utilities.blocks(m):
        members = rng.random_sample((block.stop - block.start, n)) < 0.5
        scores = utilities(members)
        shift = scores[0] if shift is None else shift
        scores = scores - shift  # squares of small numbers lose no digits
        for side, mask in enumerate((~members, members)):
            count[side] += mask.sum(axis=0)
            total[side] += scores @ mask
            squares[side] += scores**2 @ mask
    if count.min() < 2:
        raise ValueError(
            f"n_coalitions={m} is too few: a sample is in fewer than two coalitions, or out "
            f"of fewer than two. Give at least {max(50, 2 * m)}."
        )
    mean = total / count
    variance = np.maximum(squares - count * mean**2, 0.0) / (count - 1.0)
    return mean[1] - mean[0], np.sqrt((variance / count).sum(axis=0))


def _permutations(utilities, weight, n_permutations, rng, nothing):
    """Return (values, errors) from changes along random permutations.

    Parameters
    ----------
    utilities : _Utility
        Utilities of coalitions.
    weight : ndarray of shape (n,)
        Weight of the change by the sample at each position, n in total.
    n_permutations : int
        Number of permutations.
    rng : RandomState
        Source of randomness.
    nothing : float
        The utility without samples.
    """
    n = len(weight)
    if n_permutations < 2:
        raise ValueError(
            f"n_coalitions must be at least 2 n = {2 * n}, two permutations of the {n} "
            "training samples. Give more, or use kind='banzhaf', which needs fewer."
        )
    used = np.flatnonzero(weight)
    total, squares = np.zeros(n), np.zeros(n)
    for _ in range(n_permutations):
        order = rng.permutation(n)
        place = np.empty(n, dtype=np.intp)
        place[order] = np.arange(n)
        scores = np.full(n + 1, np.nan)
        scores[0] = nothing
        sizes = np.setdiff1d(np.union1d(used, used + 1), [0])
        for block in utilities.blocks(len(sizes)):
            scores[sizes[block]] = utilities(place < sizes[block][:, None])
        change = np.zeros(n)
        change[order[used]] = weight[used] * np.diff(scores)[used]
        total += change
        squares += change**2
    mean = total / n_permutations
    variance = np.maximum(squares - n_permutations * mean**2, 0.0) / (n_permutations - 1)
    # The first samples of a permutation change the score most. Few permutations show this
    # for few samples, so the variance of all samples counts as that of some permutations.
    share = _SHARED / (_SHARED + n_permutations)
    variance = share * variance.mean() + (1.0 - share) * variance
    return mean, np.sqrt(variance / n_permutations)


def _beta_weights(n, beta):
    """Return the weight of each position in a permutation, n in total, (n,).

    Position j = 1, ..., n has ``n C(n-1, j-1) B(j + b - 1, n - j + a) / B(a, b)``.
    """
    try:
        a, b = (float(value) for value in beta)
    except (TypeError, ValueError):
        a = b = np.nan
    if not (a > 0 and b > 0 and np.isfinite(a + b)):
        raise ValueError(
            f"beta={shown(beta)} must hold two positive numbers, such as (16, 1)."
        )
    j = np.arange(1, n + 1)
    choices = gammaln(n) - gammaln(j) - gammaln(n - j + 1)
    weight = n * np.exp(choices + betaln(j + b - 1, n - j + a) - betaln(a, b))
    order = np.argsort(weight)
    small = order[np.cumsum(weight[order]) <= _NEGLIGIBLE * n]
    weight[small] = 0.0
    return weight


def _first_order(problem, X, y, utility, n_jobs):
    """Return the `Bunch` of kind "influence"."""
    if utility is not None:
        raise ValueError(
            f"utility={utility!r} with kind='influence': first-order values are those for the "
            "mean loss on X, y. Leave out utility, or use kind='loo'."
        )
    weight = problem.sample_weight
    warn_of_jumps(problem, Removal(method="influence"))
    moved = problem.influence_loss(X, y, Influence(n_jobs=n_jobs), average=True)
    return Result(
        sample_values=-weight / weight.sum() * moved,
        standard_errors=np.zeros(len(moved)),
        n_coalitions=0,
        utility_all=-float(np.mean(problem.sample_loss(X, y))),
        utility_none=np.nan,
    )
