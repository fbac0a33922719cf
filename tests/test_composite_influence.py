"""Influence on an estimator around others is the derivative of its weighted fit.

The oracles are differences of scikit-learn's fits in a row's weight or, where a fit takes no
weights, in the number of its copies. At a kink the derivative is one-sided, and told.
"""

import warnings

import numpy as np
import pytest
from sklearn import config_context, ensemble, linear_model, svm
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

from skinfluence import (
    InfluenceWarning,
    UnsupportedEstimatorError,
    from_fitted,
)
from tests.composites import (
    CASES,
    LOGISTIC,
    RESPONSES,
    RIDGE,
    classes,
    differences,
    every_case,
    fitted,
    numbers,
    requesting,
    responses,
    two_classes,
)


@pytest.mark.parametrize("name", [name for name in CASES if name != "power of targets"])
def test_influence_is_the_derivative_of_the_weighted_fit(name):
    template, data = CASES[name]
    X, y = data()
    weight = np.random.default_rng(1).uniform(0.5, 1.5, len(y))
    with config_context(enable_metadata_routing=True):
        template = requesting(template)
        plain = clone(template).fit(X, y, sample_weight=weight)
        ours = from_fitted(plain, X, y, weight)
        losses = ours.influence_loss(X[:3], y[:3])
        names = [r for r in RESPONSES[1:] if hasattr(ours, r)]
        if not hasattr(ours, "classes_"):
            names = ["predict"]
        moved = {}
        for response in names:
            value = ours.influence_prediction(X[:3], response_method=response)
            moved[response] = np.concatenate(value, -1) if isinstance(value, list) else value
        for row in (1, 17):
            expected = differences(
                template,
                X,
                y,
                weight,
                row,
                lambda fit: from_fitted(fit, X, y, weight).sample_loss(X[:3], y[:3]),
            )
            np.testing.assert_allclose(losses[:, row], expected, rtol=1e-5, atol=1e-5)
            for response, value in moved.items():
                expected = differences(
                    template,
                    X,
                    y,
                    weight,
                    row,
                    lambda fit, response=response: responses(fit, X[:3], [response])[response],
                )
                np.testing.assert_allclose(value[:, row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "transformer"),
    [
        (RIDGE, PowerTransformer()),
        (RIDGE, StandardScaler()),
        (linear_model.Lasso(0.05, tol=1e-12, max_iter=10_000), StandardScaler()),
        # With a quantile at each sample, copies of all of them have the same quantiles.
        (RIDGE, QuantileTransformer(n_quantiles=len(numbers()[1]), subsample=None)),
    ],
)
def test_influence_through_transformed_targets_is_that_of_copies_of_a_row(model, transformer):
    X, y = numbers()
    reg = TransformedTargetRegressor(model, transformer=transformer).fit(X, y)
    moved = from_fitted(reg, X, y).influence_prediction(X[:4])
    m, row = 200, 7
    values = []
    for extra in (1, -1):
        counts = np.full(len(y), m)
        counts[row] += extra
        rows = np.repeat(np.arange(len(y)), counts)
        many = clone(reg)
        if model is RIDGE:  # its penalty is added to a sum, not to a mean
            many.set_params(regressor__alpha=m * RIDGE.alpha)
        values.append(many.fit(X[rows], y[rows]).predict(X[:4]))
    expected = len(y) * (values[0] - values[1]) * m / 2
    np.testing.assert_allclose(moved[:, row], expected, rtol=1e-3, atol=1e-4)


def test_influence_of_a_bag_counts_a_row_as_often_as_it_was_drawn():
    plain, ours, X, y = fitted("bag of numbers")
    moved = ours.influence_prediction(X[:4])
    counts = [np.bincount(rows, minlength=len(y)) for rows in plain.estimators_samples_]
    for row in (0, 3):
        values = []
        for sign in (1, -1):
            scale = np.ones(len(y))
            scale[row] += sign * 1e-4
            fits = [clone(RIDGE).fit(X, y, count * scale) for count in counts]
            values.append(np.mean([fit.predict(X[:4]) for fit in fits], axis=0))
        expected = len(y) * (values[0] - values[1]) / 2e-4
        np.testing.assert_allclose(moved[:, row], expected, rtol=1e-6, atol=1e-8)


@every_case
def test_summaries_agree_with_the_whole_array(name):
    _, ours, X, y = fitted(name)
    whole = ours.influence_loss(X, y)
    np.testing.assert_allclose(ours.self_influence(), whole.diagonal(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        ours.influence_loss(X, y, average=True), whole.mean(axis=0), rtol=1e-8, atol=1e-10
    )
    chunks = list(ours.influence_loss_chunked(X, y, working_memory=0.05))
    assert len(chunks) > 1
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=1e-8, atol=1e-10)
    values, indices = ours.influential_samples(X[:4], y[:4], 3, order="helpful")
    np.testing.assert_array_equal(indices, np.argsort(whole[:4], axis=1)[:, :3])
    np.testing.assert_allclose(values, np.take_along_axis(whole[:4], indices, 1))
    out = np.empty((4, len(y)), dtype=np.float32)
    assert ours.influence_loss(X[:4], y[:4], out=out) is out
    np.testing.assert_allclose(out, whole[:4], rtol=1e-5)


def test_labels_have_no_derivative():
    _, ours, X, _ = fitted("hard")
    with pytest.raises(ValueError, match="no derivative"):
        ours.influence_prediction(X)
    bag = ensemble.BaggingClassifier(svm.LinearSVC(), 2, random_state=0)
    X, y = classes()
    with pytest.raises(ValueError, match="counts votes"):
        from_fitted(bag.fit(X, y), X, y).influence_prediction(
            X, response_method="predict_proba"
        )


def test_a_frozen_member_whose_features_move_has_no_influence():
    X, y = two_classes()
    scaled = StandardScaler().fit_transform(X)
    last = CalibratedClassifierCV(FrozenEstimator(clone(LOGISTIC).fit(scaled, y)), cv=2)
    ours = from_fitted(make_pipeline(StandardScaler(), last).fit(X, y), X, y)
    with pytest.raises(UnsupportedEstimatorError, match="Freeze the steps"):
        ours.influence_loss(X[:1], y[:1])
    assert np.isfinite(ours.leave_out_loss(X[:1], y[:1], [[3]], method="exact")).all()
    frozen_steps = FrozenEstimator(StandardScaler().fit(X))
    again = from_fitted(make_pipeline(frozen_steps, last).fit(X, y), X, y)
    assert np.isfinite(again.influence_loss(X[:1], y[:1])).all()


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "behind a scaler"])
def test_blocks_that_split_are_named_and_their_influence_is_one_sided(steps):
    X, y = np.arange(6.0)[:, None], np.array([0, 1, 0, 1, 0, 1])
    model = CalibratedClassifierCV(
        clone(LOGISTIC), method="isotonic", cv=[(np.arange(6),) * 2]
    )
    plain, ones = make_pipeline(*steps, model), np.ones(6)
    ours = from_fitted(clone(plain).fit(X, y), X, y)
    # The block of the labels 1, 0, 1, 0 has the mean of each of its halves.
    with pytest.warns(InfluenceWarning, match="4 of 6 training samples .* that split"):
        moved = ours.influence_prediction(X, response_method="predict_proba")[:, :, 1]

    def move(row, step):
        weight = ones.copy()
        weight[row] += step
        weights = {"calibratedclassifiercv__sample_weight": weight}
        return (clone(plain).fit(X, y, **weights).predict_proba(X)[:, 1] - before) * 6 / step

    before = ours.predict_proba(X)[:, 1]
    if not steps:  # a scaler would not see the weights
        np.testing.assert_allclose(moved[:, 1], move(1, 1e-6), atol=1e-4)
        halved = move(1, -1e-6)  # the first half alone moves, twice as much
        np.testing.assert_allclose(halved[1:3], 2 * moved[1:3, 1], atol=1e-4)
        np.testing.assert_allclose(halved[3:5], 0.0, atol=1e-4)
    weight = 1.0 + 0.1 * np.arange(6)
    fit = {"calibratedclassifiercv__sample_weight": weight}
    weighted = from_fitted(clone(plain).fit(X, y, **fit), X, y, weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".* that split")
        weighted.influence_prediction(X)


@pytest.mark.parametrize("reach", [(True, False), (False, True)])
def test_weights_reach_the_steps_of_members_that_request_them(reach):
    X, y = load_diabetes(return_X_y=True)
    X, y, weight = X[:40], y[:40], np.random.default_rng(0).uniform(0.5, 2.0, 40)
    kept = np.arange(40) != 3
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=reach[0])
        ridge = linear_model.Ridge().set_fit_request(sample_weight=reach[1])
        pipe = make_pipeline(scaler, ridge)
        for model in (pipe, ensemble.VotingRegressor([("one", pipe)])):
            plain = clone(model).fit(X, y, sample_weight=weight)
            with warnings.catch_warnings():
                warnings.simplefilter("error", InfluenceWarning)
                found = from_fitted(plain, X, y, weight).leave_out_predict(method="exact")
            refit = clone(model).fit(X[kept], y[kept], sample_weight=weight[kept])
            np.testing.assert_allclose(found[3], refit.predict(X[[3]])[0], rtol=1e-10)
