"""Moment models: derivatives against fits of many copies, removal against refits.

Influence is the derivative in how often a sample occurs. A fit of m copies of the data and of
one copy more of a sample is a fit whose sample occurs 1 + 1/m times.
"""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import discriminant_analysis as plain_discriminant
from sklearn import naive_bayes as plain_bayes
from sklearn import neighbors as plain_neighbors
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import LeaveOneOut, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler, scale
from sklearn.utils.validation import has_fit_parameter

from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
    functionals,
    inspection,
)
from skinfluence._compat import UNBIASED_SCATTER
from skinfluence.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from skinfluence.linear_model import LinearRegression
from skinfluence.model_selection import LeaveOneOutSearchCV
from skinfluence.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from skinfluence.neighbors import NearestCentroid
from skinfluence.pipeline import make_pipeline
from skinfluence.problem import parent_class
from tests.cases import MOMENTS


def data(name):
    if name == "digits":
        X, y = load_digits(n_class=4, return_X_y=True)
        X, y = X[::6], y[::6]
        return X[:, X.max(axis=0) > 0], y
    if name == "counts":
        X, y = data("digits")
        return X[:, np.sum(X > 0, axis=0) > 20], y
    load = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer}[name]
    X, y = load(return_X_y=True)
    return (X if name == "iris" else scale(X))[::3], y[::3]


def weights(estimator, y):
    if not has_fit_parameter(estimator, "sample_weight"):
        return None
    return np.random.default_rng(0).uniform(0.5, 2.0, len(y))


def fitted(estimator, X, y, w):
    ours = clone(estimator)
    return ours.fit(X, y) if w is None else ours.fit(X, y, sample_weight=w)


def without(estimator, X, y, w, rows):
    kept = np.delete(np.arange(len(y)), rows)
    return fitted(estimator, X[kept], y[kept], None if w is None else w[kept])


def copies(estimator, X, y, w, counts, m):
    """Return the fit of copies of each row, the smoothing that of as many data."""
    rows = np.repeat(np.arange(len(y)), counts)
    model = clone(estimator)
    if hasattr(model, "alpha"):
        model.alpha = model.alpha * m
    return fitted(model, X[rows], y[rows], None if w is None else w[rows])


def difference(numbers, n, i):
    """Return n times d numbers / d m_i, extrapolated; numbers(counts, m) of a fit."""
    found = []
    for m in (4, 16, 64):
        more, fewer = np.full(n, m), np.full(n, m)
        more[i] += 1
        fewer[i] -= 1
        found.append((numbers(more, m) - numbers(fewer, m)) * m / 2)
    first, second = (
        found[1] + (found[1] - found[0]) / 15,
        found[2] + (found[2] - found[1]) / 15,
    )
    return second + (second - first) / 255


def counts_matter(estimator):
    """Return whether m copies of the data have another fit, other than by smoothing."""
    is_automatic = getattr(estimator, "shrinkage", None) == "auto"
    return is_automatic or isinstance(estimator, NearestCentroid)


def is_unbiased(estimator):
    return UNBIASED_SCATTER and getattr(estimator, "solver", None) == "svd"


@pytest.fixture(params=MOMENTS, ids=lambda case: f"{case.name}-{case.estimator}"[:70])
def case(request):
    estimator = request.param.estimator
    X, y = data(request.param.name)
    w = weights(estimator, y)
    return estimator, X, y, w, fitted(estimator, X, y, w)


def test_influence_is_the_derivative_in_the_number_of_copies(case):
    estimator, X, y, w, ours = case
    if is_unbiased(estimator):
        pytest.skip("its sums are over n - K or n_k - 1")
    if counts_matter(estimator):
        pytest.skip("its sums are differentiated in the next test")
    S = len(y) if w is None else w.sum()
    hard = np.argsort(-ours.sample_loss(X, y))[:5]
    queries = X[hard], y[hard]
    params, loss = ours.influence_params(), ours.influence_loss(*queries)
    probability = ours.influence_prediction(queries[0], response_method="predict_proba")
    for i in (3, len(y) - 1):
        of = S if w is None else S / w[i]

        def numbers(counts, m):
            model = copies(estimator, X, y, w, counts, m)
            responses = model.sample_loss(*queries), model.predict_proba(queries[0]).ravel()
            return np.concatenate([model.params_, *responses])

        found = difference(numbers, len(y), i) * of
        p = params.shape[1]
        expected = np.concatenate([params[i], loss[:, i], probability[:, i].ravel()])
        for part in (slice(0, p), slice(p, p + 5), slice(p + 5, None)):
            atol = 1e-5 * np.abs(expected[part]).max() + 1e-10
            np.testing.assert_allclose(found[part], expected[part], atol=atol, rtol=0)


def ledoit_wolf(X, c):
    """Return scikit-learn's shrunk covariance of rows that occur c times."""
    n, d = c.sum(), X.shape[1]
    mean = c @ X / n
    deviation = np.sqrt(c @ (X - mean) ** 2 / n)
    deviation[deviation == 0] = 1
    Z = (X - mean) / deviation
    R = (c[:, None] * Z).T @ Z / n
    m, norm = np.trace(R) / d, np.sum(R**2)
    beta = (c @ np.sum(Z**2, axis=1) ** 2 / n - norm) / (d * n)
    delta = (norm - 2 * m * np.trace(R) + d * m**2) / d
    r = min(beta, delta) / delta
    return np.outer(deviation, deviation) * ((1 - r) * R + r * m * np.eye(d))


def weighted_fit(estimator, X, y, c):
    """Return the parameters of a fit with rows that occur c times."""
    of = [y == label for label in np.unique(y)]
    n = np.array([c[k].sum() for k in of])
    means = np.array([c[k] @ X[k] for k in of]) / n[:, None]
    priors = n / n.sum() if estimator.priors is None else np.asarray(estimator.priors)
    if isinstance(estimator, NearestCentroid):
        if isinstance(estimator.priors, str):
            uniform = estimator.priors == "uniform"
            priors = np.full(len(n), 1 / len(n)) if uniform else n / n.sum()
        codes = np.unique(y, return_inverse=True)[1]
        std = np.sqrt(c @ (X - means[codes]) ** 2 / (c.sum() - len(n)))
        return np.concatenate([means.ravel(), std, priors])
    covariances = np.array([ledoit_wolf(X[k], c[k]) for k in of])
    if isinstance(estimator, QuadraticDiscriminantAnalysis):
        return np.concatenate([means.ravel(), covariances.ravel(), priors])
    coef = np.linalg.pinv(np.tensordot(priors, covariances, 1)) @ means.T
    intercept = np.log(priors) - 0.5 * np.sum(means * coef.T, axis=1)
    if len(n) == 2:
        return np.append(coef[:, 1] - coef[:, 0], intercept[1] - intercept[0])
    return np.concatenate([coef.T.ravel(), intercept])


def test_influence_through_counts_of_samples(case):
    estimator, X, y, _, ours = case
    if not counts_matter(estimator):
        pytest.skip("copies have the same fit")
    ones, params = np.ones(len(y)), ours.influence_params()
    fit = weighted_fit(estimator, X, y, ones)
    np.testing.assert_allclose(ours.params_, fit, rtol=1e-8, atol=1e-8 * np.abs(fit).max())
    for i in (3, len(y) - 1):
        step = 1e-4 * (np.arange(len(y)) == i)
        found = weighted_fit(estimator, X, y, ones + step)
        found = len(y) * (found - weighted_fit(estimator, X, y, ones - step)) / 2e-4
        largest = np.abs(params[i]).max()
        np.testing.assert_allclose(params[i], found, atol=1e-6 * largest, rtol=0)


def test_influence_is_the_derivative_in_the_weight(case):
    estimator, X, y, w, ours = case
    if w is None or getattr(estimator, "var_smoothing", 0):
        pytest.skip("no weights, or a part of the fit without them")
    params = ours.influence_params()
    for i in (3, len(y) - 1):
        step = 1e-4 * (np.arange(len(y)) == i)
        found = fitted(estimator, X, y, w + step).params_
        found = w.sum() * (found - fitted(estimator, X, y, w - step).params_) / 2e-4
        largest = np.abs(found).max()
        np.testing.assert_allclose(params[i], found, atol=1e-6 * largest, rtol=0)


def test_influences_agree(case):
    estimator, X, y, w, ours = case
    loss, params = ours.influence_loss(X, y), ours.influence_params()
    largest = np.abs(loss).max()
    close = {"atol": 1e-8 * largest, "rtol": 0}
    np.testing.assert_allclose(ours.loss_gradient(X, y) @ params.T, loss, **close)
    np.testing.assert_allclose(ours.self_influence(), np.diag(loss), **close)
    np.testing.assert_allclose(ours.influence_loss(X, y, average=True), loss.mean(0), **close)
    chunks = ours.influence_loss_chunked(X, y, working_memory=0.5)
    np.testing.assert_allclose(np.concatenate(list(chunks)), loss, **close)
    if w is None or not getattr(estimator, "var_smoothing", 0):  # epsilon_ has no weights
        given = ours.influence_params(X[:3], y[:3])
        np.testing.assert_allclose(given, params[:3], atol=1e-8 * np.abs(params).max())
    np.testing.assert_allclose(
        ours.influence_functional(lambda params: np.eye(len(params))[:2]),
        params[:, :2].T,
        atol=1e-10 * np.abs(params).max(),
    )
    influence, indices = ours.influential_samples(X[:4], y[:4], n_influential=3)
    np.testing.assert_allclose(influence, np.take_along_axis(loss[:4], indices, 1), **close)
    assert np.abs(influence[:, 0]).tolist() == pytest.approx(np.abs(loss[:4]).max(axis=1))
    assert len(ours.param_names()) == params.shape[1] == len(ours.params_)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
def test_removal_is_the_refit(case):
    estimator, X, y, w, ours = case
    rows = ours.leave_out_params(method="exact")
    groups = [np.arange(0, len(y), 9), np.array([1, 5])]
    sets = ours.leave_out_params(groups)
    losses = ours.leave_out_loss(X[:9], y[:9], groups)
    for found, left in [
        (rows[3], [3]),
        (rows[-1], [len(y) - 1]),
        *zip(sets, groups, strict=True),
    ]:
        refit = without(estimator, X, y, w, left)
        if len(refit.params_) == len(found):
            atol = 1e-8 * np.abs(refit.params_).max()
            np.testing.assert_allclose(found, refit.params_, rtol=1e-8, atol=atol)
    for g, left in enumerate(groups):
        refit = without(estimator, X, y, w, left)
        try:
            expected = refit.sample_loss(X[:9], y[:9])
        except ValueError:
            continue  # a category that the refit has not seen
        np.testing.assert_allclose(losses[:, g], expected, rtol=1e-6, atol=1e-9)


def test_relabelling_is_the_difference_of_two_influences(case):
    _, X, y, _, ours = case
    labels = np.unique(y)
    y_new = labels[(np.searchsorted(labels, y) + 1) % len(labels)]
    y_new[:2] = y[:2]
    params = ours.influence_params(X, y_new) - ours.influence_params(X, y)
    expected = ours.loss_gradient(X[:5], y[:5]) @ params.T
    found = ours.influence_relabel(X[:5], y[:5], y_new=y_new)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    assert not found[:, :2].any()
    with pytest.raises(ValueError, match="y_new holds 3 targets"):
        ours.influence_relabel(X[:5], y[:5], y_new=y[:3])


@pytest.mark.parametrize("scaled", [False, True])
def test_relabelling_is_the_derivative_as_copies_change_their_label(scaled):
    X, y = data("iris")
    pipe = make_pipeline(*([StandardScaler()] if scaled else []), GaussianNB()).fit(X, y)
    hard = np.argsort(-pipe.sample_loss(X, y))[:5]
    relabelled = np.where(np.arange(len(y)) == 3, 1, y)
    found = []
    for m in (32, 64, 128):  # copies of every row, and one copy with the other label
        rows, losses = np.tile(X, (m, 1)), []
        for labels in (relabelled, y):
            again = clone(pipe).fit(rows, np.concatenate([labels, *[y] * (m - 1)]))
            losses.append(again.sample_loss(X[hard], y[hard]))
        found.append(len(y) * m * (losses[0] - losses[1]))
    first = 2 * found[1] - found[0], 2 * found[2] - found[1]
    expected = (4 * first[1] - first[0]) / 3
    moved = pipe.influence_relabel(X[hard], y[hard], y_new=relabelled)[:, 3]
    np.testing.assert_allclose(moved, expected, rtol=1e-2, atol=1e-3 * np.abs(moved).max())


PARTIAL = [
    MultinomialNB(),
    ComplementNB(),
    BernoulliNB(binarize=8),
    CategoricalNB(min_categories=17),
    GaussianNB(var_smoothing=0),
]


@pytest.mark.parametrize("estimator", PARTIAL, ids=lambda one: type(one).__name__)
def test_partial_fit_forgets_the_data_and_all_of_them_give_the_fit(estimator):
    X, y = data("cancer") if isinstance(estimator, GaussianNB) else data("digits")
    kept, more = np.arange(len(y)) % 3 > 0, np.arange(len(y)) % 3 == 0
    ours, whole = clone(estimator).fit(X[kept], y[kept]), clone(estimator).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        ours.partial_fit(X[:, 1:], y)
    assert ours.influence_params().shape[0] == kept.sum()
    ours.partial_fit(X[more], y[more])
    for call in (ours.influence_params, ours.leave_out_params, ours.self_influence):
        with pytest.raises(TrainingDataMissingError, match="from_fitted"):
            call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = from_fitted(ours, X, y)
    np.testing.assert_allclose(again.params_, whole.params_)
    np.testing.assert_allclose(again.self_influence(), whole.self_influence())


def test_partial_fit_without_one_fit_of_the_same_statistics_warns():
    X, y = data("iris")
    ours = GaussianNB(var_smoothing=0.1).partial_fit(X[:30], y[:30], classes=np.unique(y))
    with pytest.warns(InfluenceWarning, match="not those that this"):
        from_fitted(ours.partial_fit(X[30:], y[30:]), X, y)


def test_first_order_removal_is_the_sum_of_influences(case):
    _, _, y, w, ours = case
    params = ours.influence_params()
    share = np.full(len(y), 1 / len(y)) if w is None else w / w.sum()
    found = ours.leave_out_params([[0, 4, 9]], method="influence")[0]
    expected = ours.params_ - share[[0, 4, 9]] @ params[[0, 4, 9]]
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_cross_validation_without_refits(case):
    estimator, X, y, _, _ = case
    if isinstance(estimator, CategoricalNB) and estimator.min_categories is None:
        pytest.skip("folds that lack a category of the others cannot predict")
    ours = fitted(estimator, X, y, None)
    for response in ("predict", "predict_proba"):
        found = ours.leave_out_predict(cv=5, method="exact", response_method=response)
        expected = cross_val_predict(estimator, X, y, cv=5, method=response)
        if response == "predict":
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, atol=1e-6)
    if hasattr(ours, "decision_function"):
        found = ours.leave_out_predict(cv=5, response_method="decision_function")
        expected = cross_val_predict(estimator, X, y, cv=5, method="decision_function")
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    score = ours.leave_out_score(cv=5, scoring="neg_log_loss")
    folds = cross_val_score(estimator, X, y, cv=5, scoring="neg_log_loss")
    assert score == pytest.approx(np.mean(folds), rel=0.1)
    assert 0 <= ours.leave_out_score(cv=5) <= 1


def test_decision_values_move_with_the_weight_of_a_row(case):
    _, X, y, w, ours = case
    if not hasattr(ours, "decision_function"):
        pytest.skip("no decision values")
    w = np.ones(len(y)) if w is None else w
    influence = ours.influence_prediction(X[:2], response_method="decision_function")
    step = 1e-5 * (np.arange(len(y)) == 3)
    ahead, back = ours.reweight_predict(
        X[:2], [w + step, w - step], response_method="decision_function"
    )
    expected = w.sum() * (ahead - back) / 2e-5
    assert np.abs(influence[:, 3] - expected).max() < 1e-5 * np.abs(influence).max()


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
def test_updates_are_refits(case):
    estimator, X, y, w, ours = case
    names = ("coef_", "intercept_", "theta_", "var_", "means_", "centroids_")
    first = {name: np.copy(vars(ours)[name]) for name in names if name in vars(ours)}
    ours.remove_samples([2, 7])
    refit = without(estimator, X, y, w, [2, 7])
    np.testing.assert_array_equal(ours.params_, refit.params_)
    np.testing.assert_allclose(
        ours.influence_loss(X[:2], y[:2]), refit.influence_loss(X[:2], y[:2])
    )
    ours.add_samples(X[[2, 7]], y[[2, 7]], None if w is None else w[[2, 7]])
    for name, value in first.items():
        np.testing.assert_allclose(getattr(ours, name), value, rtol=1e-6)
    check = ours.leave_out_check(4, random_state=0)
    assert check.max_relative_error < 1e-6


def test_results_do_not_depend_on_n_jobs_and_fill_out(case):
    _, X, y, _, ours = case
    for name, args in [("influence_loss", (X, y)), ("leave_out_params", ())]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InfluenceWarning)
            one = getattr(ours, name)(*args)
            out = np.empty(one.shape, dtype=np.float32)
            two = getattr(ours, name)(*args, n_jobs=2, out=out)
        assert two is out
        atol = 1e-5 * np.nanmax(np.abs(one))
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=atol)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
def test_from_fitted_checks_the_data(case):
    estimator, X, y, w, ours = case
    cls = parent_class(type(estimator))
    given = {} if w is None else {"sample_weight": w}
    plain = cls(**estimator.get_params()).fit(X, y, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = from_fitted(plain, X, y, **given)
    np.testing.assert_array_equal(
        again.influence_loss(X[:2], y[:2]), ours.influence_loss(X[:2], y[:2])
    )
    with pytest.warns(InfluenceWarning, match="not those that this"):
        from_fitted(plain, X[1:], y[1:])
    with pytest.raises(TrainingDataMissingError):
        from_fitted(plain).influence_params()
    copied = pickle.loads(pickle.dumps(again))
    np.testing.assert_array_equal(copied.influence_params(), again.influence_params())
    copied.drop_training_data()
    copied.sample_loss(X, y)
    with pytest.raises(TrainingDataMissingError):
        copied.self_influence()
    copied.set_training_data(X, y, w)
    np.testing.assert_array_equal(copied.influence_params(), again.influence_params())


PIPELINES = [
    ("iris", make_pipeline(StandardScaler(), GaussianNB())),
    ("cancer", make_pipeline(StandardScaler(), GaussianNB(var_smoothing=0.1))),
    ("wine", make_pipeline(StandardScaler(), PCA(4), LinearDiscriminantAnalysis())),
    ("wine", make_pipeline(PCA(3), QuadraticDiscriminantAnalysis(reg_param=0.1))),
    ("counts", make_pipeline(TfidfTransformer(smooth_idf=False), MultinomialNB())),
    ("counts", make_pipeline(TfidfTransformer(smooth_idf=False), ComplementNB(norm=True))),
    ("iris", make_pipeline(MinMaxScaler(), BernoulliNB(binarize=None))),
]


@pytest.mark.parametrize(("name", "pipe"), PIPELINES, ids=lambda p: type(p[-1]).__name__)
def test_influence_and_removal_of_pipelines(name, pipe):
    X, y = data(name)
    ours, n = clone(pipe).fit(X, y), len(y)
    loss = ours.influence_loss(X[:5], y[:5])

    def numbers(counts, m):
        rows, model = np.repeat(np.arange(n), counts), clone(pipe)
        if hasattr(model[-1], "alpha"):
            model[-1].alpha = model[-1].alpha * m
        return model.fit(X[rows], y[rows]).sample_loss(X[:5], y[:5])

    if not is_unbiased(pipe[-1]):
        found = n * difference(numbers, n, 3)
        np.testing.assert_allclose(loss[:, 3], found, atol=1e-5 * np.abs(loss).max(), rtol=0)
    np.testing.assert_allclose(ours.self_influence()[:5], np.diag(loss), rtol=1e-8, atol=1e-12)
    average = ours.influence_loss(X[:5], y[:5], average=True)
    np.testing.assert_allclose(average, loss.mean(0), atol=1e-9 * np.abs(loss).max())
    probability = ours.influence_prediction(X[:5], response_method="predict_proba")
    own = np.arange(5), slice(None), y[:5]
    share = -probability[own] / ours.predict_proba(X[:5])[np.arange(5), y[:5]][:, None]
    np.testing.assert_allclose(share, loss, atol=1e-8 * np.abs(loss).max())
    refit = clone(pipe).fit(np.delete(X, 3, 0), np.delete(y, 3))
    atol = 1e-8 * np.abs(refit.params_).max()
    np.testing.assert_allclose(ours.leave_out_params()[3], refit.params_, atol=atol)
    moved = ours.params_ - ours.influence_params()[3] / n
    np.testing.assert_allclose(ours.leave_out_params([[3]], method="influence")[0], moved)
    plain = make_plain_pipeline(*(step for _, step in pipe.steps))
    found = ours.leave_out_predict(cv=5, response_method="predict_proba")
    expected = cross_val_predict(plain, X, y, cv=5, method="predict_proba")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    ours.remove_samples([3])
    np.testing.assert_allclose(ours.params_, refit.params_, atol=atol)
    ours.add_samples(X[[3]], y[[3]])
    assert ours.influence_loss(X[:1], y[:1]).shape == (1, n)


@pytest.mark.parametrize("model", [GaussianNB(), QuadraticDiscriminantAnalysis()])
def test_functionals(model):
    X, y = data("wine")
    X = X[:, :4]
    for ours in (
        clone(model).fit(X, y),
        make_pipeline(StandardScaler(), clone(model)).fit(X, y),
    ):
        probability = functionals.probability(ours, X[30:31], label=1)
        expected = ours.influence_prediction(X[30:31], response_method="predict_proba")[
            0, :, 1
        ]
        assert probability.value(ours.params_) == pytest.approx(
            ours.predict_proba(X[30:31])[0, 1]
        )
        np.testing.assert_allclose(ours.influence_functional(probability), expected, rtol=1e-9)
    margin = functionals.margin(ours, X[30:31], label=1)
    moved = 1e-6 * np.random.default_rng(0).normal(size=len(ours.params_))
    change = margin.value(ours.params_ + moved) - margin.value(ours.params_ - moved)
    assert change == pytest.approx(2 * margin.gradient(ours.params_) @ moved, rel=1e-5)
    ours = clone(model).fit(X, y > 0)
    area = functionals.auc_surrogate(ours, X, y > 0)
    change = area.value(ours.params_ + moved[: len(ours.params_)])
    change -= area.value(ours.params_ - moved[: len(ours.params_)])
    expected = 2 * area.gradient(ours.params_) @ moved[: len(ours.params_)]
    assert change == pytest.approx(expected, rel=1e-4)


def test_inspection_and_search():
    X, y = data("iris")
    ours = GaussianNB().fit(X, y)
    for strategy in ("relabel", "leave_out_loss", "self_influence", "loss"):
        assert len(inspection.rank_label_errors(ours, strategy=strategy)) == len(y)
    with pytest.raises(UnsupportedEstimatorError, match="leave_out_params"):
        inspection.most_influential_set(ours, functionals.probability(ours, X[:1], label=1))
    with pytest.raises(UnsupportedEstimatorError, match="means, variances or counts"):
        inspection.ConvergenceDisplay.from_estimator(ours)
    display = inspection.LeaveOutDisplay.from_estimator(ours, groups=[[3]], method="influence")
    influence = ours.influence_params()
    error = np.sqrt((influence**2).sum(axis=0)) / len(y)  # the infinitesimal jackknife
    expected = -influence[3] / len(y)
    moves = error > 0
    expected = expected[moves] / error[moves]
    np.testing.assert_allclose(display.predicted[0], expected, rtol=1e-7, atol=1e-12)
    pipe = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="no sample weights: use whole"):
        pipe.reweight_loss(X, y, np.full(len(y), 1.5))
    search = LeaveOneOutSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 0.1]}).fit(X, y)
    for candidate, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        plain = plain_bayes.GaussianNB(**candidate)
        expected = cross_val_predict(plain, X, y, cv=LeaveOneOut()) == y
        assert score == pytest.approx(expected.mean())


def test_steps_before_categories_are_refused_by_name():
    X, y = data("iris")
    pipe = make_pipeline(MinMaxScaler(), BernoulliNB(binarize=0.5)).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=r"BernoulliNB.*leave_out"):
        pipe.influence_loss(X, y)
    refit = clone(pipe).fit(X[1:], y[1:])
    np.testing.assert_allclose(pipe.leave_out_params()[0], refit.params_)


def test_sparse_rows_are_those_of_dense_ones():
    X, y = data("digits")
    for estimator in (
        MultinomialNB(),
        ComplementNB(),
        BernoulliNB(binarize=8),
        NearestCentroid(),
    ):
        dense, thin = clone(estimator).fit(X, y), clone(estimator).fit(sparse.csr_array(X), y)
        queries = sparse.csr_array(X[:3])
        one, two = dense.influence_loss(X[:3], y[:3]), thin.influence_loss(queries, y[:3])
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            dense.leave_out_params(), thin.leave_out_params(), rtol=1e-9
        )
        np.testing.assert_allclose(dense.self_influence(), thin.self_influence(), rtol=1e-9)


def test_lost_classes_are_named_and_nan():
    X, y = data("iris")
    ours = GaussianNB().fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"group 2 \(class 2\)"):
        params = ours.leave_out_params(y, n_jobs=2)
    assert np.isnan(params).all()
    assert ours.leave_out_check(3, cv=4, random_state=0).max_relative_error < 1e-8
    with pytest.raises(ValueError, match="last samples of class 1"):
        ours.remove_samples(np.flatnonzero(y == 1))
    with pytest.raises(ValueError, match="every training sample"):
        ours.leave_out_params([np.arange(len(y))])


def test_single_samples_leave_no_covariance():
    X, y = data("iris")
    kept = np.append(np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:2])
    ours = QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.5).fit(X[kept], y[kept])
    with pytest.warns(InfluenceWarning, match=r"2 of 36 group.*there is no model"):
        params = ours.leave_out_params()
    assert np.isnan(params).all(axis=1).sum() == 2


def test_lost_categories_are_nan():
    X = np.array([[0, 1], [1, 0], [2, 1], [1, 1], [0, 0], [1, 1.0]])
    y = np.array([0, 1, 0, 1, 0, 1])
    ours = CategoricalNB().fit(X, y)
    with pytest.warns(InfluenceWarning, match="row 2"):
        params = ours.leave_out_params()
    refit = CategoricalNB().fit(np.delete(X, 2, 0), np.delete(y, 2))
    np.testing.assert_allclose(params[2][np.isfinite(params[2])], refit.params_)
    assert np.isnan(params[2][[2, 7]]).all()


@pytest.mark.parametrize(
    ("estimator", "advice"),
    [
        (plain_neighbors.NearestCentroid(metric="manhattan"), "metric='euclidean'"),
        (plain_neighbors.NearestCentroid(shrink_threshold=0.1), "shrink_threshold=None"),
        (
            plain_discriminant.LinearDiscriminantAnalysis(
                solver="lsqr", covariance_estimator=LedoitWolf()
            ),
            "shrinkage='auto'",
        ),
    ],
)
def test_refused_configurations(estimator, advice):
    X, y = data("iris")
    plain = estimator.fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=advice):
        from_fitted(plain, X, y)
    ours = {"NearestCentroid": NearestCentroid}.get(
        type(plain).__name__, LinearDiscriminantAnalysis
    )(**plain.get_params(deep=False))
    ours.fit(X, y)
    assert ours.score(X, y) > 0.8
    for call in (ours.influence_params, ours.leave_out_params):
        with pytest.raises(UnsupportedEstimatorError, match=advice):
            call()


def test_methods_of_objectives_are_hidden_with_a_reason():
    ours = GaussianNB().fit(*data("iris"))
    for name in (
        "polish",
        "newton_step",
        "solve_hessian",
        "split_params",
    ):
        assert not hasattr(ours, name)
    with pytest.raises(AttributeError) as error:
        ours.convergence_report()
    assert "closed form" in str(error.value.__cause__)


SUMMARISED = [
    ("iris", GaussianNB(), True),
    ("iris", make_pipeline(StandardScaler(), GaussianNB()), False),
    ("cancer", LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3), False),
    ("digits", ComplementNB(norm=True), True),
]


@pytest.mark.parametrize(("name", "model", "is_weighted"), SUMMARISED, ids=str)
def test_measures_are_those_of_refits(name, model, is_weighted):
    X, y = data(name)
    w = weights(model, y) if is_weighted else None
    ours, n = fitted(model, X, y, w), len(y)
    start = ours.predict_proba(X)

    def measures(rows):
        refit = without(model, X, y, w, rows)
        seen = start > 1e-200
        moved = np.zeros(start.shape)  # up to a number in each row
        moved[seen] = np.log(refit.predict_proba(X)[seen] / start[seen])
        moved -= np.sum(start * moved, axis=1, keepdims=True)
        distance = np.sum((np.ones(n) if w is None else w)[:, None] * start * moved**2)
        return distance / len(ours.params_), np.sqrt(distance), refit.sample_loss(X, y)[rows]

    names = ["cooks_distance", "dffits", "leave_out_loss"]
    summary, rows = ours.influence_summary(as_frame=True), (0, 7, n - 1)
    assert list(summary) == ["self_influence", *names]
    np.testing.assert_allclose(summary.self_influence, ours.self_influence())
    for row in rows:
        cook, dffits, loss = measures([row])
        assert abs(summary.dffits[row]) == pytest.approx(dffits, rel=1e-6)
        assert summary.cooks_distance[row] == pytest.approx(cook, rel=1e-6)
        assert summary.leave_out_loss[row] == pytest.approx(loss[0], rel=1e-6)
    if name == "cancer":  # one score: positive if the sample's own falls
        own = ours.leave_out_predict(response_method="decision_function")
        np.testing.assert_array_equal(
            np.sign(summary.dffits), np.sign(ours.decision_function(X) - own)
        )
    groups = [list(rows), [1, 2]]
    grouped = ours.influence_summary(groups=groups)
    assert list(grouped) == ["size", *names]
    assert grouped["size"].tolist() == [3, 2]
    for group, one in enumerate(groups):
        cook, dffits, loss = measures(one)
        found = [grouped[name][group] for name in names]
        np.testing.assert_allclose(found, [cook, dffits, loss.mean()], rtol=1e-6)


def test_measures_without_a_model_are_nan_and_named():
    X, y = data("iris")
    for ours in (GaussianNB(), make_pipeline(StandardScaler(), GaussianNB())):
        ours.fit(X, y)
        with pytest.warns(InfluenceWarning, match="group 0"):
            found = ours.influence_summary(groups=[np.flatnonzero(y == 1), [3]])
        for name in ("cooks_distance", "dffits", "leave_out_loss"):
            assert np.isnan(found[name]).tolist() == [True, False]
    pipe = make_pipeline(MinMaxScaler(), BernoulliNB(binarize=0.5)).fit(X, y)
    with pytest.warns(InfluenceWarning, match="self_influence is NaN"):
        summary = pipe.influence_summary()
    assert np.isnan(summary.self_influence).all()
    assert np.isfinite(summary.dffits).all()
    for call in (inspection.influence_cutoffs, inspection.LeverageDisplay.from_estimator):
        with pytest.raises(UnsupportedEstimatorError, match="no leverages"):
            call(pipe)


@pytest.mark.parametrize("groups", [None, np.arange(50) % 7], ids=["samples", "groups"])
def test_uncertainty_of_class_means_is_that_of_least_squares(groups):
    X, y = data("iris")
    w = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    ours, classes = GaussianNB().fit(X, y, w), np.eye(3)[y]
    for j, x in enumerate(X.T):  # the coefficients of indicators are the class means
        reg = LinearRegression(fit_intercept=False).fit(classes, x, w)
        means = [4 * k + j for k in range(3)]
        for kind in ("infinitesimal_jackknife", "jackknife"):
            found = ours.params_covariance(kind, groups)[np.ix_(means, means)]
            np.testing.assert_allclose(found, reg.params_covariance(kind, groups), atol=1e-12)
        error = np.sqrt(np.diag(reg.params_covariance()))
        expected = (reg.params_ - reg.leave_out_params(groups)) / error
        np.testing.assert_allclose(ours.dfbetas(groups)[:, means], expected, atol=1e-10)
    with pytest.raises(UnsupportedEstimatorError, match=r"no optimum .* or .jackknife."):
        ours.params_covariance("hessian")
    fixed = GaussianNB(priors=[0.2, 0.3, 0.5]).fit(X, y)
    assert not fixed.dfbetas(groups)[:, -3:].any()
    pipe = make_pipeline(StandardScaler(), GaussianNB()).fit(X, y)
    error = np.linalg.norm(pipe.influence_params(), axis=0) / len(y)
    expected = (pipe[-1].params_ - pipe.leave_out_params(groups)) / error
    np.testing.assert_allclose(pipe.dfbetas(groups), expected, atol=1e-10)


def test_samples_of_weight_zero():
    X, y = data("iris")
    w = np.where(np.arange(len(y)) == 4, 0.0, 1.0)
    with pytest.warns(InfluenceWarning, match="epsilon_"):
        influence = GaussianNB().fit(X, y, w).influence_loss(X[:2], y[:2])
    assert np.flatnonzero(np.isnan(influence).any(axis=0)).tolist() == [4]
    with pytest.warns(InfluenceWarning, match="epsilon_"):
        on_itself = GaussianNB().fit(X, y, w).self_influence()
    assert np.flatnonzero(np.isnan(on_itself)).tolist() == [4]
    with pytest.warns(InfluenceWarning, match="epsilon_"):
        covariance = GaussianNB().fit(X, y, w).params_covariance()
    assert np.isfinite(covariance).all()
    ours = GaussianNB(var_smoothing=0).fit(X, y, w)
    assert np.isfinite(ours.influence_loss(X[:2], y[:2])).all()
    refit = GaussianNB().fit(np.delete(X, 4, 0), np.delete(y, 4))
    found = GaussianNB().fit(X, y, w).leave_out_params()[4]
    np.testing.assert_allclose(found, refit.params_, rtol=1e-9)


def test_bad_input():
    X, y = data("iris")
    ours = GaussianNB().fit(X, y)
    with pytest.raises(ValueError, match="not seen in fit"):
        ours.influence_loss(X[:1], [7])
    with pytest.raises(ValueError, match="features"):
        ours.influence_loss(X[:, :2], y)
    with pytest.raises(ValueError, match="method='best'"):
        ours.leave_out_params(method="best")
    with pytest.raises(ValueError, match="class labels"):
        ours.influence_prediction(X, response_method="predict")
    with pytest.raises(UnsupportedEstimatorError, match="needs no bound"):
        ours.leave_out_params(return_bound=True)
    with pytest.raises(UnsupportedEstimatorError, match="method='exact'"):
        ours.remove_samples([1], method="influence")
    with pytest.raises(UnsupportedEstimatorError, match="not negative"):
        from_fitted(plain_bayes.GaussianNB().fit(X, y), X, y, -np.ones(len(y)))
    with pytest.raises(ValueError, match="categories in fit"):
        CategoricalNB().fit(X.astype(int), y).sample_loss(np.full((1, 4), 99), y[:1])
    lda = LinearDiscriminantAnalysis().fit(X, y)
    with pytest.raises(ValueError, match="no sample weights"):
        lda.add_samples(X[:1], y[:1], [2.0])
