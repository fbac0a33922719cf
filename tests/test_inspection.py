"""Verdicts about training samples, confirmed by refits with scikit-learn."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skinfluence import InfluenceWarning, functionals
from skinfluence.inspection import most_influential_set, rank_label_errors
from skinfluence.inspection.goals import SignificanceGoal
from skinfluence.inspection.removals import Removals
from skinfluence.inspection.robust_goal import RobustGoal
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.pipeline import problem_of
from skinfluence.svm import LinearSVC
from tests.fits import NEWTON, data

STRATEGIES = ["relabel", "leave_out_loss", "self_influence", "loss"]


# Label errors


def with_flipped_labels(name, share, seed):
    rng = np.random.default_rng(seed)
    if name == "cancer":
        X, y = load_breast_cancer(return_X_y=True)
        X = scale(X)
    else:
        X, y = load_digits(return_X_y=True)
        X, y = X[:600] / 16, y[:600]
    wrong = rng.permutation(len(y))[: int(share * len(y))]
    n_classes = y.max() + 1
    y = y.copy()
    y[wrong] = (y[wrong] + rng.integers(1, n_classes, len(wrong))) % n_classes
    return X, y, wrong


def recall(indices, wrong):
    return np.isin(indices[: len(wrong)], wrong).mean()


@pytest.mark.parametrize(("name", "floor"), [("cancer", 0.85), ("digits", 0.9)])
def test_wrong_labels_come_first(name, floor):
    X, y, wrong = with_flipped_labels(name, 0.1, 0)
    clf = LogisticRegression(C=0.1, **NEWTON).fit(X, y)
    found = {s: recall(rank_label_errors(clf, strategy=s), wrong) for s in STRATEGIES}
    assert found["relabel"] > floor
    assert found["relabel"] >= max(found.values()) - 0.01
    assert min(found.values()) > 0.7


def test_scores_are_those_in_the_docstring():
    X, y, _ = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y)
    score = {s: rank_label_errors(clf, strategy=s, return_scores=True)[1] for s in STRATEGIES}
    np.testing.assert_allclose(score["loss"], clf.sample_loss(X, y))
    np.testing.assert_allclose(score["self_influence"], -clf.self_influence())
    left_out = clf.leave_out_loss(X, y).diagonal()
    np.testing.assert_allclose(score["leave_out_loss"], left_out, rtol=1e-9, atol=1e-12)
    # Log-odds of the best other label against the own one, without the sample.
    raw = clf.leave_out_predict(response_method="decision_function")
    of_label = raw[np.arange(len(y)), y]
    raw[np.arange(len(y)), y] = -np.inf
    np.testing.assert_allclose(score["relabel"], raw.max(axis=1) - of_label, rtol=1e-6)
    for strategy in STRATEGIES:
        order = rank_label_errors(clf, strategy=strategy)
        np.testing.assert_array_equal(order, np.argsort(-score[strategy], kind="stable"))


def test_two_classes_and_targets_rank_by_leave_out_loss():
    for name, estimator in [("cancer", LogisticRegression(**NEWTON)), ("diabetes", Ridge())]:
        X, y, w = data(name)
        fitted = estimator.fit(X, y, w)
        np.testing.assert_array_equal(
            rank_label_errors(fitted), rank_label_errors(fitted, strategy="leave_out_loss")
        )


def test_one_vs_rest_counts_every_problem():
    X, y, _ = data("wine")
    clf = LinearSVC(dual=False, tol=1e-8).fit(X, y)
    _, score = rank_label_errors(clf, return_scores=True)
    raw = clf.leave_out_predict(response_method="decision_function")

    def loss(label):
        sign = np.where(clf.classes_ == label, 1.0, -1.0)
        return np.sum(np.maximum(0.0, 1.0 - sign * raw) ** 2, axis=1)

    losses = np.stack([loss(label) for label in clf.classes_], axis=1)
    given = losses[np.arange(len(y)), y].copy()
    losses[np.arange(len(y)), y] = np.inf
    np.testing.assert_allclose(score, given - losses.min(axis=1), rtol=1e-9, atol=1e-12)


def test_the_last_sample_of_a_class_is_judged_by_the_fitted_model():
    X, y, _ = data("wine")
    y = np.where(np.arange(len(y)) == 40, 7, y)
    clf = LogisticRegression(**NEWTON).fit(X, y)
    with pytest.warns(InfluenceWarning, match="row 40"):
        _, score = rank_label_errors(clf, strategy="leave_out_loss", return_scores=True)
    np.testing.assert_allclose(score[40], clf.sample_loss(X[[40]], y[[40]])[0])


def test_a_pipeline_will_do():
    X, y, wrong = with_flipped_labels("cancer", 0.1, 1)
    pipe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, **NEWTON)).fit(X, y)
    assert recall(rank_label_errors(pipe), wrong) > 0.85
    with pytest.raises(ValueError, match="strategy='best' is not known"):
        rank_label_errors(pipe, strategy="best")
    with pytest.raises(TypeError, match=r"LogisticRegression has no influence .*from_fitted"):
        rank_label_errors(linear_model.LogisticRegression().fit(X, y))


# Influential sets


def problems():
    X, y = load_diabetes(return_X_y=True)
    yield "diabetes", Ridge(alpha=0.0), linear_model.Ridge(alpha=0.0), X, y
    tight = LogisticRegression(**NEWTON)
    parent = linear_model.LogisticRegression(**NEWTON)
    X, y = load_breast_cancer(return_X_y=True)
    yield "cancer", tight, parent, scale(X), y
    X, y = load_digits(return_X_y=True)
    ones = (y == 1) | (y == 7)
    yield "digits", LogisticRegression(**NEWTON), parent, X[ones] / 16, y[ones]


def weakest_coefficients(params, count):
    """Return the coefficients nearest to zero that are not zero, without the intercept."""
    order = np.argsort(np.abs(params[:-1]))
    return order[np.abs(params[order]) > 1e-2][:count]


@pytest.mark.parametrize("problem", list(problems()), ids=lambda p: p[0])
def test_flipped_signs_are_confirmed_by_scikit_learn(problem):
    _, ours, parent, X, y = problem
    fitted = ours.fit(X, y)
    n_flips = 0
    for j in weakest_coefficients(fitted.params_, 6):
        linear = most_influential_set(fitted, int(j), search="linear", max_samples=60)
        greedy = most_influential_set(fitted, int(j), max_samples=60)
        assert greedy.n_linear == linear.n_linear
        if linear.flipped:
            assert greedy.flipped
            assert len(greedy.indices) <= len(linear.indices)
        for result in (linear, greedy):
            assert len(np.unique(result.indices)) == len(result.indices)
            kept = np.delete(np.arange(len(y)), result.indices)
            coef = np.ravel(parent.fit(X[kept], y[kept]).coef_)[j]
            np.testing.assert_allclose(coef, result.target_after, rtol=1e-4, atol=1e-6)
            assert result.flipped == (coef * fitted.params_[j] < 0)
            n_flips += result.flipped
    # Pixels that few images light end at zero when those are gone, not beyond it.
    assert n_flips >= 6


def test_one_sample_is_found_whenever_one_is_enough():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:60], y[:60]
    reg = Ridge(alpha=0.0).fit(X, y)
    without = reg.leave_out_params(method="exact")
    flips = np.sign(without) != np.sign(reg.params_)
    assert flips[:, :-1].any()
    for j in range(X.shape[1]):
        result = most_influential_set(reg, j)
        assert (len(result.indices) == 1) == flips[:, j].any()


def test_a_search_that_ends_for_lack_of_models_says_so():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:12, :2], (y[:12] > y[:12].max() - 1).astype(int)
    clf = LogisticRegression().fit(X, y)
    with pytest.warns(InfluenceWarning, match="ended at 0 of at most 6"):
        result = most_influential_set(clf, "intercept", threshold=10 * clf.intercept_[0])
    assert not result.flipped


@pytest.mark.parametrize("j", [0, 1, 4])
def test_significance_of_least_squares_is_that_of_statsmodels(j):
    X, y = load_diabetes(return_X_y=True)
    reg = Ridge(alpha=0.0, solver="cholesky").fit(X, y)
    result = most_influential_set(reg, j, significance=0.05)
    assert result.flipped
    assert len(result.indices) <= result.n_linear
    kept = np.delete(np.arange(len(y)), result.indices)
    before = sm.OLS(y, sm.add_constant(X, prepend=False)).fit()
    after = sm.OLS(y[kept], sm.add_constant(X[kept], prepend=False)).fit()
    np.testing.assert_allclose(result.target_before, before.tvalues[j], rtol=1e-8)
    np.testing.assert_allclose(result.target_after, after.tvalues[j], rtol=1e-8)
    assert (before.pvalues[j] < 0.05) != (after.pvalues[j] < 0.05)


@pytest.mark.parametrize("covariance", ["HC0", "HC1", "HC2", "HC3", "cluster"])
@pytest.mark.parametrize("opposite_sign", [False, True])
def test_robust_significance_is_that_of_statsmodels(covariance, opposite_sign):
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:200], y[:200]
    groups = np.arange(200) // 7 if covariance == "cluster" else None
    reg = Ridge(alpha=0.0, solver="cholesky").fit(X, y)
    result = most_influential_set(
        reg,
        4,
        significance=0.05,
        covariance=covariance,
        groups=groups,
        opposite_sign=opposite_sign,
    )
    assert result.flipped

    def t_value(kept):
        options = {"cov_kwds": {"groups": groups[kept]}} if covariance == "cluster" else {}
        model = sm.OLS(y[kept], sm.add_constant(X[kept], prepend=False))
        return model.fit(cov_type=covariance, **options).tvalues[4]

    kept = np.delete(np.arange(200), result.indices)
    before, after = t_value(np.arange(200)), t_value(kept)
    np.testing.assert_allclose([result.target_before, result.target_after], [before, after])
    dof = len(np.unique(groups[kept])) - 1 if covariance == "cluster" else len(kept) - 11
    critical = stats.t.isf(0.025, dof)
    np.testing.assert_allclose(abs(result.threshold), critical)
    if opposite_sign:
        assert before * after < 0
        assert abs(after) > critical
        assert 1 <= result.n_at_least <= len(result.indices)
    else:
        assert (abs(after) > critical) != (abs(before) > abs(stats.t.isf(0.025, dof)))


def test_one_step_to_a_robust_error_is_its_refit():
    X, y, w = data("diabetes")
    reg = Ridge(alpha=0.0, solver="cholesky").fit(X, y, w)
    removals = Removals(problem_of(reg), "auto", None)
    full = removals.full
    clusters = np.arange(len(y)) % 20
    for covariance in ("HC1", "HC3", "cluster"):
        cluster = clusters if covariance == "cluster" else None
        goal = RobustGoal(2, 0.05, False, full, covariance, cluster)
        change = goal.one_step(full, removals)
        best = np.argsort(-goal.direction * change)[:5]
        found = [goal.value(removals.refit([row], full)) - goal.before for row in best]
        np.testing.assert_allclose(change[best], found, rtol=1e-6)


def test_the_linear_score_of_significance_is_a_derivative():
    # Half a sample less, half a sample more: the change of the t value for each sample.
    X, y, w = data("diabetes")
    reg = Ridge(alpha=0.0, solver="cholesky").fit(X, y, w)
    removals = Removals(problem_of(reg), "auto", None)
    goal = SignificanceGoal(2, 0.05, False, removals.full)
    found = goal.first_order(removals.full, removals)
    rows = np.arange(0, len(y), 15)
    step = 1e-4
    for row in rows:
        values = []
        for sign in (1, -1):
            moved = w.copy()
            moved[row] *= 1 + sign * step
            moved = Ridge(alpha=0.0, solver="cholesky").fit(X, y, moved)
            values.append(moved.params_[2] / moved.params_covariance("hessian")[2, 2] ** 0.5)
        derivative = (values[1] - values[0]) / (2 * step)
        # Weights do not move n, a removal does: one degree of freedom less.
        dof = len(y) - X.shape[1] - 1
        np.testing.assert_allclose(
            found[row] + 0.5 * goal.before / dof, derivative, rtol=1e-5, atol=1e-7
        )


def test_significance_of_a_likelihood_is_that_of_statsmodels():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)[:, :4]
    clf = LogisticRegression(C=np.inf, **NEWTON).fit(X, y)
    result = most_influential_set(clf, "coef[x1]", significance=0.01)
    kept = np.delete(np.arange(len(y)), result.indices)
    after = sm.Logit(y[kept], sm.add_constant(X[kept], prepend=False)).fit(disp=0, tol=1e-14)
    np.testing.assert_allclose(result.target_after, after.tvalues[1], rtol=1e-6)
    assert result.flipped == (after.pvalues[1] > 0.01)


def test_a_prediction_flips():
    X, y, _ = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y)
    probability = np.sort(clf.predict_proba(X), axis=1)
    closest = int((probability[:, -1] - probability[:, -2]).argmin())
    x = X[[closest]]
    result = most_influential_set(clf, functionals.margin(clf, x))
    assert result.flipped
    kept = np.delete(np.arange(len(y)), result.indices)
    refit = linear_model.LogisticRegression(**NEWTON).fit(X[kept], y[kept])
    assert refit.predict(x) != clf.predict(x)


def test_a_functional_passes_a_value_from_either_side():
    X, y, w = data("counts")
    reg = PoissonRegressor(alpha=0.1, **NEWTON).fit(X, y, w)
    mean = functionals.mean_prediction(reg, X[:5])
    now = mean.value(reg.params_)
    for threshold in (0.9 * now, 1.1 * now):
        result = most_influential_set(reg, mean, threshold=threshold)
        assert result.flipped
        assert (result.target_after > threshold) == (threshold > now)
        np.testing.assert_allclose(mean.value(result.params), result.target_after)
        # Every refit on the way before the last is on the old side.
        n_removed, values = result.path.T
        fewer = n_removed < len(result.indices)
        assert np.all((values[fewer] > threshold) == (now > threshold))


def test_the_estimator_stays_as_it_was():
    X, y, w = data("cancer")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    params = clf.params_
    most_influential_set(clf, 0)
    np.testing.assert_array_equal(clf.params_, params)
    assert clf.influence_params().shape[0] == len(y)


def test_targets_that_cannot_be_flipped_are_named():
    X, y, _ = data("diabetes")
    reg = Ridge(alpha=0.1).fit(X, y)
    mean = functionals.mean_prediction(reg, X)
    result = most_influential_set(reg, mean, threshold=1e6, max_samples=3)
    assert not result.flipped
    assert result.n_linear is None
    assert len(result.indices) == 3
    assert result.target_before < result.target_after < 1e6


def test_bad_requests_are_named():
    X, y, _ = data("diabetes")
    reg = Ridge(alpha=0.1).fit(X, y)
    mean = functionals.mean_prediction(reg, X)
    with pytest.raises(ValueError, match="param='bmi' is not a parameter"):
        most_influential_set(reg, "bmi")
    with pytest.raises(ValueError, match="pass its name or index"):
        most_influential_set(reg, mean, significance=0.05)
    with pytest.raises(ValueError, match="significance=5 must be"):
        most_influential_set(reg, 0, significance=5)
    with pytest.raises(ValueError, match="determines the threshold"):
        most_influential_set(reg, 0, significance=0.05, threshold=1.0)
    with pytest.raises(ValueError, match="covariance='HC4' is not known"):
        most_influential_set(reg, 0, significance=0.05, covariance="HC4")
    with pytest.raises(ValueError, match="needs groups"):
        most_influential_set(reg, 0, significance=0.05, covariance="cluster")
    with pytest.raises(ValueError, match="pass its level as significance"):
        most_influential_set(reg, 0, covariance="HC3")
    with pytest.raises(ValueError, match="at least two groups"):
        most_influential_set(
            reg, 0, significance=0.05, covariance="cluster", groups=np.zeros(len(y))
        )
    clf = LogisticRegression().fit(*data("wine")[:2])
    with pytest.raises(ValueError, match="share a softmax"):
        most_influential_set(clf, 0, significance=0.05, covariance="HC3")
    with pytest.raises(ValueError, match="threshold=nan"):
        most_influential_set(reg, 0, threshold=float("nan"))
    with pytest.raises(ValueError, match="search='best' is not known"):
        most_influential_set(reg, 0, search="best")
    with pytest.raises(ValueError, match="max_samples=0"):
        most_influential_set(reg, 0, max_samples=0)
