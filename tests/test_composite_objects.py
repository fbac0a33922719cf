"""An estimator around others is an object like any other of this package.

Our own fit answers like `from_fitted`, which leaves its argument alone. Data come and go,
functions of models take composites, and what has no answer is refused by name.
"""

import pickle

import numpy as np
import pytest
from sklearn import ensemble, multiclass
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

import skinfluence
from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.fitted import composites
from skinfluence.functionals import coefficient
from skinfluence.inspection import (
    ConvergenceDisplay,
    InfluenceDisplay,
    LeaveOutDisplay,
    LeverageDisplay,
    most_influential_set,
    rank_candidates,
    rank_label_errors,
    reweigh_samples,
)
from skinfluence.model_selection import (
    LeaveOneOutSearchCV,
)
from tests.composites import (
    LOGISTIC,
    POISSON,
    RIDGE,
    SCALED_RIDGE,
    assert_equal_responses,
    classes,
    each_case,
    every_case,
    fitted,
    numbers,
    responses,
    several,
)


def members(composite):
    """Return the fitted members of a composite of scikit-learn."""
    if hasattr(composite, "calibrated_classifiers_"):
        return [one.estimator for one in composite.calibrated_classifiers_]
    return (
        composite.estimators_ if hasattr(composite, "estimators_") else [composite.regressor_]
    )


@pytest.mark.parametrize(
    "regressor", [POISSON, ensemble.VotingRegressor([("a", RIDGE), ("b", SCALED_RIDGE)])]
)
def test_targets_through_a_transformer_need_a_single_model_of_squared_loss(regressor):
    X, y = numbers()
    reg = TransformedTargetRegressor(regressor, transformer=MinMaxScaler((1, 2))).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="single regressors with a squared"):
        from_fitted(reg, X, y).influence_prediction(X)


@every_case
def test_our_own_fit_answers_like_from_fitted(name):
    plain, found, X, y = fitted(name)
    ours = composites()[type(plain)](**plain.get_params(deep=False)).fit(X, y)
    assert type(ours) is type(found)
    assert clone(ours).get_params(deep=False).keys() == plain.get_params(deep=False).keys()
    expected = found.influence_loss(X[:2], y[:2])
    np.testing.assert_allclose(ours.influence_loss(X[:2], y[:2]), expected)
    assert_equal_responses(ours, plain, X)
    restored = pickle.loads(pickle.dumps(ours))
    np.testing.assert_allclose(restored.influence_loss(X[:2], y[:2]), expected)


@every_case
def test_the_argument_stays_as_it_is(name):
    plain, ours, X, _ = fitted(name)
    before = [id(member) for member in members(plain)]
    answers = responses(plain, X)
    ours.remove_samples([0, 1])
    assert [id(member) for member in members(plain)] == before
    for response, value in responses(plain, X).items():
        np.testing.assert_array_equal(value, answers[response])


@each_case
def test_scores_and_checks(name):
    plain, ours, X, y = fitted(name)
    folds = KFold(3)
    found = ours.leave_out_score(cv=folds, method="exact")
    if hasattr(ours, "classes_"):  # folds of equal sizes
        assert found == pytest.approx(cross_val_score(plain, X, y, cv=folds).mean())
    check = ours.leave_out_check(3, method="exact", random_state=0)
    assert check.max_relative_error < 1e-5
    assert check.slope == pytest.approx(1, abs=1e-5)


@every_case
def test_training_data_come_and_go(name):
    plain, ours, X, y = fitted(name)
    expected = ours.influence_loss(X[:2], y[:2])
    later = from_fitted(plain)
    ours.drop_training_data()
    for one in (later, ours):
        with pytest.raises(TrainingDataMissingError, match="set_training_data"):
            one.influence_loss(X[:2], y[:2])
        assert one.sample_loss(X[:2], y[:2]).shape == (2,)
        assert one.set_training_data(X, y) is one
        np.testing.assert_allclose(one.influence_loss(X[:2], y[:2]), expected)


@pytest.mark.parametrize("strategy", ["relabel", "leave_out_loss", "self_influence", "loss"])
@pytest.mark.parametrize("name", ["rest", "one of pipelines", "mean", "bag"])
def test_wrong_labels_are_ranked(name, strategy):
    _, ours, X, y = fitted(name)
    indices, scores = rank_label_errors(ours, strategy=strategy, return_scores=True)
    assert sorted(indices) == list(range(len(y)))
    if strategy == "loss":
        np.testing.assert_allclose(scores, ours.sample_loss(X, y))
    if strategy == "leave_out_loss":
        row = indices[0]
        expected = ours.leave_out_loss(X[[row]], y[[row]], [[row]])
        np.testing.assert_allclose(scores[row], expected[0, 0])


def test_functions_of_parameters_are_refused_by_name():
    _, ours, X, y = fitted("rest")
    for call in (
        lambda: LeverageDisplay.from_estimator(ours),
        lambda: ConvergenceDisplay.from_estimator(ours),
        lambda: most_influential_set(ours, [1.0]),
        lambda: rank_candidates(ours, X[:2], y[:2], X, y),
        lambda: reweigh_samples(ours, np.ones(len(y))),
    ):
        with pytest.raises(TypeError, match="OneVsRestClassifier has several models"):
            call()
    display = InfluenceDisplay.from_estimator(ours, X[[0]], y[[0]])
    assert display.ax_.get_title()
    X, y = load_diabetes(return_X_y=True)
    changed = TransformedTargetRegressor(clone(RIDGE), func=np.log, inverse_func=np.exp)
    with pytest.raises(TypeError, match=r"changes the targets.* Use its model.*, regressor_"):
        coefficient(from_fitted(changed.fit(X, y), X, y), 0)
    with pytest.raises(AttributeError) as error:
        from_fitted(changed, X, y).params_covariance()
    assert "Ask its model for the changed targets, regressor_" in str(error.value.__cause__)
    model = from_fitted(changed, X, y).regressor_
    assert coefficient(model, 0).value(model.params_)
    assert len(model.params_covariance()) == 11


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "behind a step"])
def test_a_display_of_removals_and_a_search_by_leave_one_out(steps):
    X, y = numbers()
    members = [("a", clone(RIDGE)), ("b", clone(RIDGE))]
    model = skinfluence.ensemble.VotingRegressor(members)
    model = skinfluence.pipeline.make_pipeline(*steps, model) if steps else model
    display = LeaveOutDisplay.from_estimator(clone(model).fit(X, y), groups=[[3], [8, 9]])
    start, order = clone(model).fit(X, y).predict(X), np.argsort(display.names)
    for rows, change in zip(([3], [8, 9]), display.actual[order], strict=True):
        rest = np.delete(np.arange(len(y)), rows)
        expected = clone(model).fit(X[rest], y[rest]).predict(X) - start
        np.testing.assert_allclose(change, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(display.predicted, display.actual, rtol=1e-6, atol=1e-9)
    assert "prediction at a training sample" in display.ax_.get_xlabel()
    name = "votingregressor__a__alpha" if steps else "a__alpha"
    grid = {name: [0.1, 10.0]}
    scoring = "neg_mean_absolute_error"
    search = LeaveOneOutSearchCV(model, grid, scoring=scoring).fit(X, y)
    plain = GridSearchCV(model, grid, scoring=scoring, cv=LeaveOneOut()).fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], rtol=1e-7
    )
    assert search.best_params_ == plain.best_params_
    assert search.best_estimator_.influence_loss(X[:1], y[:1]).shape == (1, len(y))
    tree = ensemble.VotingRegressor([("a", RIDGE)])
    with pytest.raises(TypeError, match="VotingRegressor has no influence methods"):
        LeaveOneOutSearchCV(tree, {}).fit(X, y)


@pytest.mark.parametrize(
    "name", ["params_", "influence_params", "polish", "influence_summary"]
)
def test_methods_about_one_vector_of_parameters_are_hidden(name):
    _, ours, _, _ = fitted("rest")
    assert not hasattr(ours, name)


def test_unknown_labels_and_lengths_are_named():
    _, ours, X, y = fitted("rest")
    with pytest.raises(ValueError, match="label 'z'"):
        ours.sample_loss(X[:2], ["z", "a"])
    with pytest.raises(ValueError, match="2 samples, but y 3 targets"):
        ours.influence_loss(X[:2], y[:3])
    _, ours, X, y = fitted("outputs")
    with pytest.raises(ValueError, match="2 outputs"):
        ours.sample_loss(X, y[:, 0])


def test_members_without_influence_are_refused_by_name():
    X, y = classes()
    tree = DecisionTreeClassifier()
    plain = ensemble.VotingClassifier([("a", LOGISTIC), ("b", tree)]).fit(X, y)
    message = r"estimators_\[1\] is a DecisionTreeClassifier"
    with pytest.raises(UnsupportedEstimatorError, match=message):
        from_fitted(plain, X, y)
    ours = composites()[type(plain)](**plain.get_params(deep=False)).fit(X, y)
    assert_equal_responses(ours, plain, X)
    with pytest.raises(UnsupportedEstimatorError, match=message):
        ours.influence_loss(X, y)


def test_unfitted_composites_have_no_influence():
    with pytest.raises(NotFittedError):
        from_fitted(multiclass.OneVsRestClassifier(LOGISTIC))


def test_a_probability_of_zero_is_named_with_the_nan_that_it_gives():
    X, y = load_iris(return_X_y=True)
    members = [("a", clone(LOGISTIC))]
    vote = skinfluence.ensemble.VotingClassifier(members, voting="soft").fit(X, y)
    far, label = X[[0]] * 1e6, y[[0]]
    with pytest.warns(InfluenceWarning, match="1 sample.* have probability 0"):
        assert np.isnan(vote.influence_loss(far, label)).all()
    assert np.isfinite(vote.influence_prediction(far)).all()


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "behind a step"])
def test_more_samples_of_another_kind_are_refused_by_name(steps):
    X, y = load_iris(return_X_y=True)
    bags = ensemble.BaggingClassifier(clone(LOGISTIC), 2, random_state=0)
    plain = make_pipeline(*steps, bags) if steps else bags
    ours = from_fitted(plain.fit(X, y), X, y)
    for more, message in [
        ((X[:1, :3], y[:1]), "X has 3 features, but the training samples have 4"),
        ((X[:1], [7]), "label 7"),
        ((X[:1], y[:1], [-1.0]), "holds -1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            ours.add_samples(*more)


def test_targets_that_are_not_finite_or_of_another_shape_are_refused():
    X, y = load_diabetes(return_X_y=True)
    for regressor, target in [
        (TransformedTargetRegressor(clone(RIDGE), func=np.log, inverse_func=np.exp), y),
        (several.MultiOutputRegressor(clone(RIDGE)), np.column_stack([y, y])),
    ]:
        ours = from_fitted(regressor.fit(X, target), X, target)
        with pytest.raises(ValueError, match="NaN or infinity"):
            ours.sample_loss(X[:2], target[:2] * np.nan)
        with pytest.raises(ValueError, match=r"y has shape \(2, 3\)"):
            ours.influence_loss(X[:2], np.ones((2, 3)))
