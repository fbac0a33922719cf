"""from_fitted: fits by scikit-learn give the same results as fits by our classes.

The oracles are our own fits, refits of scikit-learn, and the argument, which never changes.
"""

import importlib
import pickle
import pkgutil

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model, svm
from sklearn.base import TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline as PlainPipeline
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    PolynomialFeatures,
    StandardScaler,
)

import skinfluence
from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    from_fitted,
)
from skinfluence import pipeline as our_pipeline
from skinfluence.fitted import MIRROR_MODULES
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.svm import LinearSVC, SmoothHingeLinearSVC
from tests.cases import CASES, KNOTS
from tests.fits import NEWTON, data, fit, sklearn_parent
from tests.hinges import HINGES
from tests.moments import MOMENTS

MIRRORED = [c for c in [*CASES, *HINGES] if sklearn_parent(c.estimator) is not None]


each_mirrored = {"argvalues": MIRRORED, "ids": [case.name for case in MIRRORED]}


def plain_fit(case):
    """Return the fit of scikit-learn's own class, and its data."""
    X, y, w = case.data()
    params = clone(case.estimator).get_params(deep=False)
    plain = sklearn_parent(case.estimator)(**params)
    return fit(plain, X, y, w), (X, y, w)


@pytest.mark.parametrize("case", **each_mirrored)
def test_a_fit_of_scikit_learn_answers_like_ours(case):
    plain, (X, y, w) = plain_fit(case)
    found = from_fitted(plain, X, y, w)
    ours = fit(clone(case.estimator), X, y, w)
    assert type(found) is type(ours)
    assert joblib.hash(found.get_params()) == joblib.hash(ours.get_params())
    assert all(vars(found)[name] is value for name, value in vars(plain).items())
    np.testing.assert_array_equal(found.influence_loss(X, y), ours.influence_loss(X, y))
    groups = [[0, 1, 2]]
    np.testing.assert_array_equal(
        found.leave_out_params(groups), ours.leave_out_params(groups)
    )
    # The training data can come later.
    later = from_fitted(plain)
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        later.influence_loss(X, y)
    assert later.set_training_data(X, y, w) is later
    np.testing.assert_array_equal(later.influence_params(), found.influence_params())


def test_methods_without_training_rows_work_without_training_data():
    X, y, _ = data("cancer")
    weights = {"benign": 3.0, "malignant": 0.5}
    plain = linear_model.LogisticRegression(class_weight=weights, **NEWTON).fit(X, y)
    ours = LogisticRegression(class_weight=weights, **NEWTON).fit(X, y)
    found = from_fitted(plain)
    np.testing.assert_array_equal(found.sample_loss(X, y), ours.sample_loss(X, y))
    np.testing.assert_array_equal(found.params_, ours.params_)
    assert found.param_names() == ours.param_names()


def test_balanced_class_weights_come_with_the_training_data_and_then_stay():
    X, y, w = data("wine")
    settings = {"class_weight": "balanced", **NEWTON}
    plain = linear_model.LogisticRegression(**settings).fit(X, y, w)
    ours = LogisticRegression(**settings).fit(X, y, w)
    found = from_fitted(plain)
    with pytest.raises(TrainingDataMissingError, match="depends on its training data"):
        found.sample_loss(X, y)
    with pytest.raises(ValueError, match="13 features"):
        found.set_training_data(X[:, 1:], y, w)
    with pytest.raises(TrainingDataMissingError):  # the failed call has frozen nothing
        found.sample_loss(X, y)
    found.set_params(C=1e-3, class_weight=None)
    found.set_training_data(X, y, w)
    np.testing.assert_array_equal(found.influence_params(), ours.influence_params())
    rows = np.flatnonzero(y < 2)
    for estimator in (found, ours):
        estimator.set_training_data(X[rows], y[rows])
    np.testing.assert_array_equal(found.newton_correction(), ours.newton_correction())


def test_influence_is_the_derivative_of_scikit_learns_refits():
    X, y, _ = data("cancer")
    plain = linear_model.LogisticRegression(**NEWTON).fit(X, y)
    influence = from_fitted(plain, X, y).influence_params()
    for row in (3, 11):
        step, w = 1e-4, np.ones(len(y))
        params = []
        for sign in (1, -1):
            w[row] = 1 + sign * step
            refit = clone(plain).fit(X, y, sample_weight=w)
            params.append(np.concatenate([refit.coef_.ravel(), refit.intercept_]))
        derivative = len(y) * (params[0] - params[1]) / (2 * step)
        np.testing.assert_allclose(influence[row], derivative, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda fitted, X, y: fitted.polish(),
        lambda fitted, X, y: fitted.remove_samples([0, 1]),
        lambda fitted, X, y: fitted.add_samples(X[:3], y[:3]),
        lambda fitted, X, y: fitted.drop_training_data(),
        lambda fitted, X, y: fitted.set_params(C=3.0).fit(X[:50], y[:50]),
        lambda fitted, X, y: fitted.influential_samples(X, y),
    ],
    ids=["polish", "remove", "add", "drop", "fit", "influence"],
)
def test_the_argument_is_never_changed(change):
    X, y, _ = data("cancer")
    plain = linear_model.LogisticRegression().fit(X, y)
    for obj in (plain, LogisticRegression().fit(X, y)):
        before = joblib.hash(obj), joblib.hash((X, y))
        change(from_fitted(obj, X, y), X, y)
        assert (joblib.hash(obj), joblib.hash((X, y))) == before


def test_a_pipelines_argument_is_never_changed_and_its_steps_are_shared():
    X, y, _ = data("cancer")
    plain = make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(X, y)
    steps, before = plain.steps, joblib.hash(plain)
    found = from_fitted(plain, X, y)
    found.polish().influence_loss(X, y)
    assert found[0] is plain[0]
    found.remove_samples([0])
    assert found[0] is not plain[0]  # it was fitted again
    with pytest.warns(InfluenceWarning, match="not those that"):
        found.set_training_data(X[::2], y[::2])
    found.steps.append(("more", None))
    assert joblib.hash(plain) == before
    assert plain.steps is steps


class Relabelled(linear_model.LogisticRegression):
    """Another constructor and another method, the fit of scikit-learn."""

    def __init__(self, strength=1.0):
        super().__init__(C=1 / strength, **NEWTON)
        self.strength = strength

    def odds(self, X):
        return np.exp(self.decision_function(X))


class AlsoTransforms(TransformerMixin, linear_model.Ridge):
    def transform(self, X):
        return self.predict(X)[:, None]


def test_a_subclass_with_the_fit_of_its_parent_is_taken_for_its_parent():
    X, y, _ = data("cancer")
    found = from_fitted(Relabelled(strength=2.0).fit(X, y), X, y)
    ours = LogisticRegression(C=0.5, **NEWTON).fit(X, y)
    assert type(found) is LogisticRegression
    np.testing.assert_array_equal(found.influence_loss(X, y), ours.influence_loss(X, y))
    X, y, _ = data("diabetes")
    assert type(from_fitted(AlsoTransforms().fit(X, y), X, y)) is Ridge


def test_our_own_estimators_are_copied():
    X, y, w = data("wine")
    ours = LogisticRegression(**NEWTON).fit(X, y, w)
    found = from_fitted(ours)
    assert found is not ours
    np.testing.assert_array_equal(found.influence_params(), ours.influence_params())
    elsewhere = from_fitted(ours, X[::2], y[::2]).polish()
    assert elsewhere.self_influence().shape == (len(y[::2]),)
    assert ours.self_influence().shape == (len(y),)
    smooth = SmoothHingeLinearSVC().fit(X, y)
    assert type(from_fitted(smooth)) is SmoothHingeLinearSVC


def test_three_ways_in_give_the_same_numbers_with_frozen_transformers():
    X, y, _ = data("cancer")
    train, test = slice(0, None, 2), slice(1, None, 2)
    scaler = StandardScaler().fit(X[train])
    settings = {"C": 0.3, "class_weight": "balanced"}
    mirror = LogisticRegression(**settings).fit(scaler.transform(X[train]), y[train])
    frozen = FrozenEstimator(scaler)
    ours = our_pipeline.make_pipeline(frozen, LogisticRegression(**settings))
    ours.fit(X[train], y[train])
    plain = make_pipeline(frozen, linear_model.LogisticRegression(**settings))
    found = from_fitted(plain.fit(X[train], y[train]), X[train], y[train])
    assert type(found) is our_pipeline.Pipeline
    expected = mirror.influence_loss(scaler.transform(X[test]), y[test])
    np.testing.assert_array_equal(ours.influence_loss(X[test], y[test]), expected)
    np.testing.assert_array_equal(found.influence_loss(X[test], y[test]), expected)
    expected = mirror.leave_out_loss(scaler.transform(X[test]), y[test])
    np.testing.assert_array_equal(ours.leave_out_loss(X[test], y[test]), expected)
    np.testing.assert_array_equal(found.leave_out_loss(X[test], y[test]), expected)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_plain_pipeline_answers_for_its_whole_fit_as_ours(class_weight):
    X, y, _ = data("cancer")
    train, test = slice(0, None, 2), slice(1, None, 2)
    settings = {"C": 0.3, "class_weight": class_weight}
    ours = our_pipeline.make_pipeline(StandardScaler(), LogisticRegression(**settings))
    ours.fit(X[train], y[train])
    plain = make_pipeline(StandardScaler(), linear_model.LogisticRegression(**settings))
    found = from_fitted(plain.fit(X[train], y[train]), X[train], y[train])
    later = from_fitted(plain)
    for name in ("influence_loss", "leave_out_loss"):
        expected = getattr(ours, name)(X[test], y[test])
        np.testing.assert_array_equal(getattr(found, name)(X[test], y[test]), expected)
        with pytest.raises(TrainingDataMissingError, match="set_training_data"):
            getattr(later, name)(X[test], y[test])
        copied = from_fitted(ours)  # with the samples that ours was fitted on
        np.testing.assert_array_equal(getattr(copied, name)(X[test], y[test]), expected)
    later.set_training_data(X[train], y[train])
    np.testing.assert_array_equal(later.leave_out_loss(X[test], y[test]), expected)
    alone = from_fitted(ours[-1]).leave_out_loss(ours[:-1].transform(X[test]), y[test])
    assert np.abs(alone - expected).max() > 0.01


def test_a_search_over_a_plain_pipeline():
    X, y, _ = data("cancer")
    grid = {"logisticregression__C": [0.01, 0.1, 1.0]}
    plain = make_pipeline(StandardScaler(), linear_model.LogisticRegression(**NEWTON))
    search = GridSearchCV(plain, grid, cv=3).fit(X, y)
    ours = our_pipeline.make_pipeline(StandardScaler(), LogisticRegression(**NEWTON))
    ours.set_params(**search.best_params_).fit(X, y)
    found = from_fitted(search, X, y)
    before = pickle.dumps(search)
    np.testing.assert_allclose(
        found.influence_loss(X, y), ours.influence_loss(X, y), rtol=1e-10, atol=1e-14
    )
    assert found.leave_out_check(6, method="exact", random_state=0).max_relative_error < 1e-6
    assert pickle.dumps(search) == before
    our_search = GridSearchCV(ours, grid, cv=3).fit(X, y)
    np.testing.assert_array_equal(
        from_fitted(our_search).influence_loss(X, y), found.influence_loss(X, y)
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda clf, X, y: FrozenEstimator(clf.fit(X, y)),
        lambda clf, X, y: FrozenEstimator(FrozenEstimator(clf.fit(X, y))),
        lambda clf, X, y: FixedThresholdClassifier(clf).fit(X, y),
        lambda clf, X, y: FixedThresholdClassifier(FrozenEstimator(clf.fit(X, y))),
        lambda clf, X, y: TunedThresholdClassifierCV(clf, cv=2).fit(X, y),
        lambda clf, X, y: GridSearchCV(clf, {"C": [1.0]}, cv=2).fit(X, y),
        lambda clf, X, y: FrozenEstimator(GridSearchCV(clf, {"C": [1.0]}, cv=2).fit(X, y)),
        lambda clf, X, y: PlainPipeline([("clf", clf)]).fit(X, y),
        lambda clf, X, y: PlainPipeline([("no", None), ("clf", clf)]).fit(X, y),
        lambda clf, X, y: make_pipeline("passthrough", make_pipeline(clf)).fit(X, y),
        lambda clf, X, y: make_pipeline(FixedThresholdClassifier(clf)).fit(X, y),
    ],
)
def test_members_of_objects_are_found(wrap):
    X, y, _ = data("cancer")
    y = (y == "malignant").astype(int)
    obj = wrap(linear_model.LogisticRegression(**NEWTON), X, y)
    expected = LogisticRegression(**NEWTON).fit(X, y).influence_loss(X, y)
    found = from_fitted(obj, X, y)
    np.testing.assert_array_equal(found.influence_loss(X, y), expected)
    later = from_fitted(obj).set_training_data(X, y)
    np.testing.assert_array_equal(later.influence_loss(X, y), expected)


def test_a_hinge_fit_has_a_smooth_model():
    X, y, _ = data("cancer")
    settings = {"loss": "hinge", "random_state": 0, "tol": 1e-8, "max_iter": 1_000_000}
    plain = svm.LinearSVC(**settings).fit(X, y)
    smooth = LinearSVC(**settings).fit(X, y).smooth().polish()
    found = from_fitted(plain, X, y).smooth().polish()
    np.testing.assert_array_equal(found.influence_params(), smooth.influence_params())
    plain.set_params(class_weight="balanced").fit(X, y)
    found = from_fitted(plain)
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        found.smooth()
    assert found.set_training_data(X, y).smooth().polish().self_influence().shape == y.shape


def test_every_public_mirror_is_found():
    found = set()
    for module in pkgutil.iter_modules(skinfluence.__path__, "skinfluence."):
        module = importlib.import_module(module.name)
        for name in getattr(module, "__all__", []):
            member = getattr(module, name)
            if isinstance(member, type) and issubclass(member, InfluenceEstimatorMixin):
                parent = sklearn_parent(member)
                if parent is not None:
                    assert parent.__name__ == name
                    found.add(module)
    assert found == set(MIRROR_MODULES)


def test_every_mirror_is_among_the_cases():
    mirrors = {
        getattr(module, name)
        for module in MIRROR_MODULES
        for name in module.__all__
        if sklearn_parent(getattr(module, name)) is not None
    }
    assert mirrors == {type(case.estimator) for case in [*MIRRORED, *KNOTS, *MOMENTS]}


def test_sparse_training_data_and_transformers():
    X, y, _ = data("diabetes")
    X = sparse.csr_array(np.maximum(X[:, :4], 0.0))
    plain = make_pipeline(PolynomialFeatures(2), linear_model.Ridge(solver="sparse_cg"))
    ours = our_pipeline.make_pipeline(PolynomialFeatures(2), Ridge(solver="sparse_cg"))
    found = from_fitted(plain.fit(X, y), X, y)
    np.testing.assert_array_equal(
        found.influence_loss(X, y), ours.fit(X, y).influence_loss(X, y)
    )
