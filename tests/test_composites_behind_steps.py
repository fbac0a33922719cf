"""A pipeline that ends in an estimator around others answers as one whole fit.

The oracles are scikit-learn's fits of the whole pipeline: without rows, at other weights, or
with copies of a row. What a frozen step leaves alone, its composite answers by itself.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn import config_context, ensemble, linear_model, multiclass
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import (
    KFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Normalizer,
    StandardScaler,
)

import skinfluence
from skinfluence import (
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.inspection import (
    InfluenceDisplay,
    rank_label_errors,
)
from skinfluence.model_selection import (
    jackknife_plus_interval,
    leave_one_out_scorer,
)
from tests.composites import (
    BAGS,
    BALANCED,
    CASES,
    LOGISTIC,
    REST,
    SCALED,
    STACKS,
    assert_cross_validated,
    assert_equal_responses,
    classes,
    copies,
    differences,
    each_case,
    requesting,
    responses,
    two_classes,
    voting,
)

SCALED_BALANCED = make_pipeline(StandardScaler(), BALANCED)


# ---------------------------------------------------------------- pipelines that end in one


def behind_steps(name):
    """Return (scikit-learn's pipeline, ours, X, y) with a composite last."""
    template, data = {**CASES, **BAGS}[name]
    X, y = data()
    plain = make_pipeline(StandardScaler(), PCA(3), clone(template)).fit(X, y)
    return plain, from_fitted(plain, X, y), X, y


@each_case
def test_removal_from_a_pipeline_that_ends_in_it_is_a_refit(name):
    plain, ours, X, y = behind_steps(name)
    assert_cross_validated(name, plain, ours, X, y)
    rest = np.delete(np.arange(len(y)), [4])
    refit = from_fitted(clone(plain).fit(X[rest], y[rest]), X[rest], y[rest])
    removed = copy.copy(ours).remove_samples([4])
    assert_equal_responses(removed, refit, X, 1e-7)
    if name != "chain":
        np.testing.assert_allclose(
            removed.influence_loss(X[:2], y[:2]),
            refit.influence_loss(X[:2], y[:2]),
            rtol=1e-5,
            atol=1e-6,
        )
    removed.add_samples(X[[4]], y[[4]])
    assert_equal_responses(removed, ours, X, 1e-7)


CALIBRATED_BEHIND = {
    f"{method}, {'an ensemble' if one else 'one classifier'}": (
        CalibratedClassifierCV(SCALED, method=method, cv=KFold(3), ensemble=one),
        classes,
    )
    for method, one in (("sigmoid", True), ("sigmoid", False), ("isotonic", True))
}


NESTED_BEHIND = {
    "balanced weights": (
        voting([("a", BALANCED), ("b", SCALED_BALANCED)], voting="soft"),
        two_classes,
    ),
    "a pipeline that ends in another": (
        voting([("a", make_pipeline(StandardScaler(), REST)), ("b", LOGISTIC)], voting="soft"),
        classes,
    ),
    "means and variances": (multiclass.OneVsRestClassifier(GaussianNB()), classes),
}


WEIGHTED = {**CASES, **STACKS, **CALIBRATED_BEHIND, **NESTED_BEHIND}


del WEIGHTED["power of targets"], WEIGHTED["numbers"]


@pytest.mark.parametrize("name", WEIGHTED)
def test_influence_behind_steps_is_the_derivative_of_the_weighted_fit(name):
    template, data = WEIGHTED[name]
    X, y = data()
    weight = np.random.default_rng(1).uniform(0.5, 1.5, len(y))
    template = clone(template)
    if name in STACKS:
        template.set_params(cv=KFold(3))
    step, tolerance = (1e-3, 1e-3) if name in CALIBRATED_BEHIND else (1e-4, 1e-5)
    with config_context(enable_metadata_routing=True):
        template = requesting(make_pipeline(StandardScaler(), template))
        if name in CALIBRATED_BEHIND:
            template[-1].set_fit_request(sample_weight=True)
        ours = from_fitted(clone(template).fit(X, y, sample_weight=weight), X, y, weight)
        response = "predict_proba" if hasattr(ours, "predict_proba") else "predict"
        if response == "predict" and hasattr(ours[-1], "classes_"):
            response = "decision_function"

        def read(fit):
            """Return responses and losses in one row."""
            found = from_fitted(fit, X, y, weight)
            parts = [] if name == "chain" else [found.sample_loss(X[:3], y[:3])]
            if hasattr(found, response):
                parts += responses(fit, X[:3], [response]).values()
            return np.concatenate([np.ravel(part) for part in parts])

        moved = [] if name == "chain" else [ours.influence_loss(X[:3], y[:3])]
        if hasattr(ours, response):
            value = ours.influence_prediction(X[:3], response_method=response)
            moved.append(np.concatenate(value, -1) if isinstance(value, list) else value)
        found = np.concatenate([np.ravel(part[:, 17]) for part in moved])
        expected = differences(template, X, y, weight, 17, read, step)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["one of pipelines", "soft", "bag", "bag of numbers"])
def test_first_order_and_newton_removal_behind_steps_come_near_the_refit(name):
    _, ours, X, y = behind_steps(name)
    plain = ours.sample_loss(X[:5], y[:5])[:, None]
    rows = [[3], [8], [20], [31]]
    changes = {
        method: ours.leave_out_loss(X[:5], y[:5], rows, method=method) - plain
        for method in ("influence", "newton", "exact")
    }
    size = np.linalg.norm(changes["exact"])
    assert np.linalg.norm(changes["newton"] - changes["exact"]) < 0.01 * size
    assert np.linalg.norm(changes["influence"] - changes["exact"]) < 0.4 * size
    whole = ours.influence_loss(X, y)
    np.testing.assert_allclose(ours.self_influence(), whole.diagonal(), rtol=1e-8, atol=1e-9)
    chunks = list(ours.influence_loss_chunked(X, y, working_memory=0.05))
    assert len(chunks) > 1
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=1e-8, atol=1e-9)


def test_text_before_a_composite():
    _, y = classes()
    last = multiclass.OneVsOneClassifier(LOGISTIC)
    rng, names = np.random.default_rng(0), ["red", "green", "blue", "grey", "pink", "black"]
    codes = np.unique(y, return_inverse=True)[1]
    X = [" ".join([*rng.choice(names, 4), names[c], names[rng.integers(6)]]) for c in codes]
    X = np.array(X)
    template = make_pipeline(
        TfidfVectorizer(smooth_idf=False), StandardScaler(with_mean=False), last
    )
    ours = from_fitted(clone(template).fit(X, y), X, y)
    moved = ours.influence_prediction(X[:3], response_method="decision_function")

    def read(fit):
        return fit.decision_function(X[:3])

    expected = copies(template, X, y, 5, read, lambda template, rows: clone(template))
    size = np.abs(expected).max()
    np.testing.assert_allclose(moved[:, 5], expected, rtol=1e-3, atol=1e-3 * size)
    rest = np.delete(np.arange(len(y)), [5])
    refit = clone(template).fit(X[rest], y[rest])
    assert_equal_responses(ours.remove_samples([5]), refit, X, 1e-7)


def test_functions_of_pipelines_that_end_in_composites():
    plain, ours, X, y = behind_steps("soft")
    own = skinfluence.pipeline.make_pipeline(*(clone(step) for _, step in ours.steps))
    expected = ours.influence_loss(X[:2], y[:2])
    for one in (
        own.fit(X, y),
        pickle.loads(pickle.dumps(ours)),
        from_fitted(plain).set_training_data(X, y),
        copy.copy(ours).drop_training_data().set_training_data(X, y),
    ):
        np.testing.assert_allclose(one.influence_loss(X[:2], y[:2]), expected)
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        from_fitted(plain).influence_loss(X[:2], y[:2])
    assert not hasattr(ours, "params_")
    at_ones = ours.reweight_loss(X[:2], y[:2], np.ones(len(y)))
    np.testing.assert_allclose(at_ones[:, 0], ours.sample_loss(X[:2], y[:2]), rtol=1e-7)
    by_prediction = ours.influential_samples(X[:2], None, 3, return_influence=False)
    assert by_prediction.shape == (2, 3)
    indices, scores = rank_label_errors(ours, strategy="loss", return_scores=True)
    np.testing.assert_allclose(scores, ours.sample_loss(X, y))
    assert sorted(indices) == list(range(len(y)))
    assert InfluenceDisplay.from_estimator(ours, X[[0]], y[[0]]).ax_.get_title()
    theirs = make_pipeline(*(step for _, step in own.steps))
    with pytest.raises(TrainingDataMissingError, match="from_fitted"):
        rank_label_errors(theirs)
    scorer = leave_one_out_scorer("neg_log_loss", method="influence")
    assert scorer(own, X, y) == pytest.approx(scorer(theirs, X, y))
    labels = ours.leave_out_predict(method="influence")
    assert np.mean(labels == ours.leave_out_predict()) > 0.9


def test_steps_that_learn_nothing_leave_everything_to_the_composite():
    X, y = classes()
    last = voting([("a", BALANCED), ("b", SCALED)], voting="soft")
    plain = make_pipeline(Normalizer(), last).fit(X, y)
    rows = Normalizer().transform(X)
    alone = from_fitted(clone(last).fit(rows, y), rows, y)
    ours = from_fitted(plain, X, y)
    np.testing.assert_allclose(
        ours.influence_loss(X[:2], y[:2]), alone.influence_loss(rows[:2], y[:2]), rtol=1e-9
    )
    for method in ("influence", "newton", "exact"):
        found = ours.leave_out_loss(X[:2], y[:2], [[3], [4, 9]], method=method)
        expected = alone.leave_out_loss(rows[:2], y[:2], [[3], [4, 9]], method=method)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    ours.remove_samples([3, 9]).add_samples(X[[3]], y[[3]])
    alone.remove_samples([3, 9]).add_samples(rows[[3]], y[[3]])
    np.testing.assert_allclose(ours.predict_proba(X), alone.predict_proba(rows), rtol=1e-9)
    assert ours.influence_loss(X[:1], y[:1]).shape == (1, len(y) - 1)


def test_a_failed_update_leaves_the_pipeline_as_it_was():
    _, ours, X, y = behind_steps("soft")
    before = ours.predict_proba(X)
    for call, error, message in (
        (
            lambda: ours.remove_samples(np.flatnonzero(y == "a")),
            ValueError,
            "samples of class 'a'",
        ),
        (lambda: ours.add_samples(X[:1], ["z"]), ValueError, "label 'z'"),
        (
            lambda: ours.remove_samples([0], method="influence"),
            UnsupportedEstimatorError,
            "method='exact'",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
        np.testing.assert_array_equal(ours.predict_proba(X), before)
        assert ours.influence_loss(X[:1], y[:1]).shape == (1, len(y))


def test_metrics_and_intervals_of_pipelines_that_end_in_composites_are_those_of_refits():
    X, y = load_diabetes(return_X_y=True)
    X, y, groups = X[:40], y[:40], np.arange(40) % 4
    members = [("one", linear_model.Ridge()), ("two", linear_model.Ridge(10.0))]
    pipe = make_pipeline(StandardScaler(), ensemble.VotingRegressor(members)).fit(X, y)
    ours = from_fitted(pipe, X, y)
    found = ours.leave_out_metric(X, y, scoring="r2", groups=groups, method="exact")
    refits = [clone(pipe).fit(X[groups != g], y[groups != g]) for g in range(4)]
    np.testing.assert_allclose(found, [refit.score(X, y) for refit in refits], rtol=1e-8)
    interval = jackknife_plus_interval(ours, X[:1], method="exact")
    lower = []
    for row in range(40):
        kept = np.arange(40) != row
        refit = clone(pipe).fit(X[kept], y[kept])
        lower.append(refit.predict(X[:1])[0] - abs(refit.predict(X[[row]])[0] - y[row]))
    np.testing.assert_allclose(interval[0, 0], np.sort(lower)[3], rtol=1e-8)


@pytest.mark.parametrize("name", ["VotingRegressor", "StackingRegressor", "VotingClassifier"])
def test_composites_behind_steps_take_targets_of_any_type(name):
    pd = pytest.importorskip("pandas")
    X, y = load_diabetes(return_X_y=True)
    X, y, members = X[:40], y[:40], [("one", linear_model.Ridge())]
    if name == "VotingClassifier":
        y, members = (y > np.median(y)).astype(int), [("one", LOGISTIC)]
    pipe = make_pipeline(StandardScaler(), getattr(ensemble, name)(members))
    shuffled = np.random.default_rng(0).permutation(40)
    expected = from_fitted(clone(pipe).fit(X, y), X, y).leave_out_predict(np.arange(40) // 4)
    for given in (pd.Series(y, index=shuffled), y[:, None], y.tolist()):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A column-vector y")
            model = from_fitted(clone(pipe).fit(X, given), X, given)
        found = model.leave_out_predict(np.arange(40) // 4)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
