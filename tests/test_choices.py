"""Removals behind choices of a pipeline's steps that are known fit no steps again.

Which columns a selector keeps is known without a fit of it, and never claimed falsely. The
answers equal scikit-learn's fits of the pipeline either way.
"""

import numpy as np
import pytest
from scipy import sparse
from sklearn import feature_selection as sk
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.stages.choices import LeftOut, make_choice
from skinfluence.whole import WholeProblem, whole_problem


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X[:150], y[:150]


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return 10 * X[:150] + 2, y[:150]


def counts():
    X, y = load_breast_cancer(return_X_y=True)
    X = np.floor(X[:150] / X[:150].std(axis=0))
    X[:, :3] = np.arange(150)[:, None] == [4, 90, 17]  # columns that one row alone fills
    return sparse.csr_array(X), y[:150]


def single():
    X, y = cancer()
    return X.astype(np.float32), y


SELECTORS = [
    (sk.SelectKBest(k=5), cancer),
    (sk.SelectKBest(k=5), single),
    (sk.SelectKBest(k=14), counts),
    (sk.SelectKBest(sk.chi2, k=5), counts),
    (sk.SelectKBest(sk.chi2, k=17), cancer),
    (sk.SelectPercentile(percentile=47), cancer),
    (sk.SelectFpr(alpha=1e-3), cancer),
    (sk.SelectFdr(sk.chi2, alpha=1e-3), counts),
    (sk.SelectFwe(sk.f_regression, alpha=1e-6), diabetes),
    (sk.SelectKBest(sk.r_regression, k=4), diabetes),
    (sk.GenericUnivariateSelect(sk.f_regression, mode="fdr", param=1e-4), diabetes),
    (sk.VarianceThreshold(), counts),
    (sk.VarianceThreshold(threshold=0.0038), cancer),
]


@pytest.mark.parametrize(
    ("selector", "data"),
    SELECTORS,
    ids=[f"{type(s).__name__}-{d.__name__}" for s, d in SELECTORS],
)
def test_a_choice_that_stays_is_that_of_the_refit(selector, data):
    X, y = data()
    fitted = clone(selector).fit(X, y)
    choice = make_choice(fitted, X, y, is_moved=False)
    groups = [*([i] for i in range(0, 150, 2)), range(40, 70), np.flatnonzero(y == y[0])]
    same, stays, known, kept = [], [], [], fitted.get_support()
    for rows in groups:
        others = np.delete(np.arange(150), rows)
        try:
            refit = clone(selector).fit(X[others], y[others])
        except ValueError:  # a class is lost
            same.append(False)
            assert choice.made_without([np.array(rows)])[0] is None
        else:
            same.append(np.array_equal(refit.get_support(), kept))
            made = choice.made_without([np.array(rows)])[0]
            if made is not None:
                np.testing.assert_array_equal(made, refit.get_support())
            known.append(made is not None)
        stays.append(choice.stays_without(np.array(rows)))
    same, stays = np.array(same), np.array(stays)
    assert not (stays & ~same).any()
    assert not (same & ~stays)[:-1].any()
    assert stays.any()
    assert not stays.all()
    # A threshold of 0 alone leaves changes in doubt.
    assert sum(known) > 0.9 * len(known) or isinstance(selector, sk.VarianceThreshold)


@pytest.mark.parametrize(
    ("score", "data"),
    [
        (sk.f_classif, cancer),
        (sk.f_classif, counts),
        (sk.chi2, counts),
        (sk.f_regression, diabetes),
        (sk.r_regression, diabetes),
    ],
)
def test_scores_and_p_values_without_groups_are_those_of_refits(score, data):
    X, y = data()
    choice = make_choice(sk.SelectKBest(score, k=4).fit(X, y), X, y, is_moved=False)
    groups = [np.arange(20), np.array([149]), np.arange(30, 90, 3)]
    with np.errstate(all="ignore"):  # columns that are constant without a group have no score
        scores, error, exist = choice.scores_without(LeftOut(groups))
    assert exist.all()
    for g, rows in enumerate(groups):
        others = np.delete(np.arange(150), rows)
        refit = sk.SelectKBest(score, k=4).fit(X[others], y[others])
        known = np.isfinite(refit.scores_)
        assert known.sum() > 5
        assert (np.abs(scores[g] - refit.scores_) <= error[g])[known].all()
        assert (error[g] < 1e-4 * (1 + scores[g]))[known].all()
        p = choice.p_values(scores[g], len(rows))
        if score is not sk.r_regression:
            np.testing.assert_allclose(p[known], refit.pvalues_[known], rtol=1e-6)


@pytest.mark.parametrize("scaler", [MinMaxScaler(), MaxAbsScaler()])
def test_extremes_stay_without_a_row_as_in_the_refit(scaler):
    X, y = diabetes()
    X[:3] = X[3:6]  # an extreme may occur twice
    choice = make_choice(clone(scaler).fit(X), X, y, is_moved=False)
    found = choice.made_without([np.array([row]) for row in range(150)])
    scale = clone(scaler).fit(X).transform(X)
    same = [
        np.array_equal(clone(scaler).fit(np.delete(X, row, axis=0)).transform(X), scale)
        for row in range(150)
    ]
    assert [mask is not None for mask in found] == same
    assert 5 < sum(same) < 150


def test_rounding_leaves_a_choice_in_doubt():
    X, y = cancer()
    X = np.column_stack([X, X[:, ::-1]])  # each score occurs twice
    for shift, k in ((0.0, 5), (1e9, 4)):
        fitted = sk.SelectKBest(k=k).fit(X + shift, y)
        choice = make_choice(fitted, X + shift, y, is_moved=False)
        assert not choice.stays_without(np.array([3]))


TIGHT = {"tol": 1e-12, "max_iter": 10_000, "solver": "newton-cholesky"}
PIPES = {
    "selection-scaler": (make_pipeline(sk.SelectKBest(k=4), StandardScaler()), cancer),
    "scaler-selection": (
        make_pipeline(StandardScaler(), sk.SelectPercentile(percentile=47)),
        cancer,
    ),
    "range": (make_pipeline(MinMaxScaler(), sk.SelectKBest(sk.chi2, k=6)), cancer),
    "sparse": (make_pipeline(sk.SelectKBest(sk.chi2, k=5)), counts),
    "three": (
        make_pipeline(sk.VarianceThreshold(1e-4), StandardScaler(), sk.SelectKBest(k=7)),
        cancer,
    ),
    "regression": (
        make_pipeline(MaxAbsScaler(), StandardScaler(), sk.SelectKBest(sk.f_regression, k=5)),
        diabetes,
    ),
}


@pytest.mark.parametrize("name", PIPES)
def test_answers_equal_refits_and_few_are_made(name, monkeypatch):
    steps, data = PIPES[name]
    X, y = data()
    is_classifier = data is not diabetes
    if name == "regression":
        model = Ridge(alpha=1.0)
    else:
        model = LogisticRegression(class_weight="balanced", **TIGHT)
    pipe = make_pipeline(*[step for _, step in steps.steps], model).fit(X, y)
    made = []
    refit_of_steps = WholeProblem.refit_steps

    def refit(problem, *arguments):
        made.append(arguments)
        return refit_of_steps(problem, *arguments)

    monkeypatch.setattr(WholeProblem, "refit_steps", refit)
    choices = whole_problem(pipe).choices.choices
    rows = [i for i in range(150) if not all(c.stays_without(np.array([i])) for c in choices)]
    kept = [[c.made_without([np.array([i])])[0] for c in choices] for i in rows]
    known = [None if any(m is None for m in one) else np.hstack(one).tobytes() for one in kept]
    alike = [i for i, m in zip(rows, known, strict=True) if m and known.count(m) >= 3]
    assert bool(alike) == (name in ("selection-scaler", "range", "regression"))
    params = pipe.leave_out_params(method="exact")
    assert len(made) == len(rows) - len(alike) < 40
    for row in alike[::9]:  # parameters of columns that the refit has, and NaN
        others = np.delete(np.arange(150), row)
        plain = clone(pipe).fit(X[others], y[others])
        found = dict(zip(plain.param_names(), plain.params_, strict=True))
        expected = [found.get(parameter, np.nan) for parameter in pipe.param_names()]
        np.testing.assert_allclose(params[row], expected, rtol=1e-6)
    some = alike[:3] or rows[:3]
    groups = [*([i] for i in some), [5], [7, 8, 9], list(range(40, 70))]
    response = {"response_method": "decision_function"} if is_classifier else {}
    left_out = pipe.leave_out_predict(method="exact", **response)
    loss = pipe.leave_out_loss(X[:40], y[:40], groups, method="exact")
    refined = pipe.leave_out_loss(X[:40], y[:40], groups, refine=1.0)
    score = pipe.leave_out_metric(X, y, groups=groups, method="exact")
    monkeypatch.undo()
    for g, members in enumerate(groups):
        others = np.delete(np.arange(150), members)
        plain = clone(pipe).fit(X[others], y[others])
        np.testing.assert_allclose(loss[:, g], plain.sample_loss(X[:40], y[:40]), rtol=1e-6)
        np.testing.assert_allclose(refined[:, g], loss[:, g], rtol=1e-6)
        np.testing.assert_allclose(score[g], plain.score(X, y))
        if len(members) == 1:
            f = (plain.decision_function if is_classifier else plain.predict)(X[members])
            np.testing.assert_allclose(left_out[members], f, rtol=1e-6)
    plain = clone(pipe).fit(X[1:], y[1:])
    expected = np.append(plain[-1].coef_, plain[-1].intercept_)
    found = pipe.leave_out_params([[0]], method="exact")[0]
    if np.isfinite(found).all():  # else the refit has other columns
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    plain = clone(pipe).fit(X[:75], y[:75])
    found = pipe.leave_out_metric(X, y, groups=[np.arange(75, 150)], method="exact")
    np.testing.assert_allclose(found, plain.score(X, y))


def test_diagnostics_of_changed_and_unchanged_choices():
    X, y = diabetes()
    pipe = make_pipeline(sk.SelectKBest(sk.f_regression, k=5), LinearRegression()).fit(X, y)
    choices = whole_problem(pipe).choices.choices
    changed = [i for i in range(150) if not choices[0].stays_without(np.array([i]))]
    groups = [*([i] for i in changed), [5], list(range(40, 60))]
    summary = pipe.influence_summary(groups=groups)
    p = pipe.influence_summary().leverage.sum()
    for g, rows in enumerate(groups):
        others = np.delete(np.arange(150), rows)
        refit = clone(pipe).fit(X[others], y[others])
        dispersion = np.sum((y - refit.predict(X))[others] ** 2) / (len(others) - p)
        distance = np.sum((pipe.predict(X) - refit.predict(X)) ** 2)
        np.testing.assert_allclose(
            summary.dffits[g], np.sqrt(distance / dispersion), rtol=1e-7
        )


def test_other_models_are_fitted_again():
    X, y = diabetes()
    pipe = make_pipeline(sk.SelectKBest(sk.f_regression, k=5), Lasso(alpha=0.5, tol=1e-12))
    assert whole_problem(pipe.fit(X, y)).choices is None
    pipe = make_pipeline(sk.SelectKBest(sk.mutual_info_regression, k=3), Ridge()).fit(X, y)
    assert whole_problem(pipe).choices is None


def test_a_score_over_folds_is_that_of_cross_validation():
    X, y = cancer()
    pipe = make_pipeline(sk.SelectKBest(k=6), StandardScaler(), LogisticRegression(**TIGHT))
    left_out = pipe.fit(X, y).leave_out_score(cv=5, method="exact")
    assert np.isclose(left_out, cross_val_score(clone(pipe), X, y, cv=5).mean())


@pytest.mark.filterwarnings("ignore:No features were selected")
def test_groups_without_which_no_feature_is_chosen_leave_no_model():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:60, [8]], y[:60]
    pipe = make_pipeline(sk.SelectFpr(alpha=0.005), LogisticRegression()).fit(X, y)
    with pytest.warns(InfluenceWarning, match="row 51.*no feature"):
        loss = pipe.leave_out_loss(X[:2], y[:2])
    refit = clone(pipe).fit(X[1:], y[1:])
    np.testing.assert_allclose(loss[:, 0], refit.sample_loss(X[:2], y[:2]), rtol=1e-4)
    assert np.isnan(loss[:, 51]).all()
