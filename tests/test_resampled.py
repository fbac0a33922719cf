"""Pipelines with steps that choose rows: results belong to the samples before the choice.

`Sampler` follows the protocol of imbalanced-learn, whose own pipelines are tested where it is
installed. The oracle is scikit-learn's pipeline fitted with weights, as often as a sample was
chosen.
"""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression as PlainLogistic
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.inspection import rank_label_errors
from skinfluence.methods import get_problem
from skinfluence.pipeline import Pipeline as OurPipeline
from tests.fits import NEWTON

X, Y = load_breast_cancer(return_X_y=True)
X, Y = X[:150, :5], Y[:150]
N = len(Y)


class Sampler(BaseEstimator):
    """Draws as many rows of each class."""

    def __init__(self, size=40, replacement=False, shrinkage=None):
        self.size = size
        self.replacement = replacement
        self.shrinkage = shrinkage

    def fit_resample(self, X, y):
        rng = np.random.default_rng(0)
        of = [np.flatnonzero(y == label) for label in np.unique(y)]
        drawn = [rng.choice(rows, self.size, replace=self.replacement) for rows in of]
        self.sample_indices_ = np.concatenate(drawn)
        return X[self.sample_indices_], y[self.sample_indices_]


class Synthetic(BaseEstimator):
    """Makes rows between the classes' own."""

    def fit_resample(self, X, y):
        return np.concatenate([X, X[y == 0] + 0.1]), np.concatenate([y, y[y == 0]])


class SamplingPipeline(Pipeline):
    """Fits as imbalanced-learn's pipeline does."""

    def fit(self, X, y):
        for _, step in self.steps[:-1]:
            if hasattr(step, "fit_resample"):
                X, y = step.fit_resample(X, y)
            else:
                X = step.fit_transform(X, y)
        self.steps[-1][1].fit(X, y)
        return self


def make(*steps):
    return SamplingPipeline([(type(step).__name__, step) for step in steps])


def weighted(w):
    """Return scikit-learn's fit in which sample i occurs w_i times."""
    rows = np.flatnonzero(w)
    pipe = Pipeline([("scale", StandardScaler()), ("model", PlainLogistic(**NEWTON))])
    given = {"scale__sample_weight": w[rows], "model__sample_weight": w[rows]}
    return pipe.fit(X[rows], Y[rows], **given)


@pytest.fixture(params=[False, True], ids=["under", "over"])
def fitted(request):
    """Return the fit with influence, and how often each sample was chosen."""
    sampler = Sampler(60, replacement=True) if request.param else Sampler()
    pipe = make(sampler, StandardScaler(), PlainLogistic(**NEWTON)).fit(X, Y)
    counts = np.bincount(sampler.sample_indices_, minlength=N).astype(float)
    assert counts.min() == 0
    assert (counts.max() > 1) == request.param
    return from_fitted(pipe, X, Y), counts


def test_influence_is_the_derivative_for_the_samples_before_the_choice(fitted):
    ours, counts = fitted
    influence = ours.influence_prediction(X[:4])
    assert not influence[:, counts == 0].any()
    most = int(counts.argmax())
    for row in (most, int(np.flatnonzero(counts == 1)[3])):
        step = 1e-4 * counts * (np.arange(N) == row)
        more, less = (weighted(counts + s).decision_function(X[:4]) for s in (step, -step))
        expected = N * (more - less) / 2e-4
        np.testing.assert_allclose(influence[:, row], expected, rtol=1e-5)
    loss = ours.influence_loss(X, Y)
    np.testing.assert_allclose(ours.self_influence(), np.diag(loss), rtol=1e-8, atol=1e-12)
    proba = ours.predict_proba(X)[np.arange(N), Y]
    np.testing.assert_allclose(ours.sample_loss(X, Y), -np.log(proba), rtol=1e-8)
    best = ours.influential_samples(X[:3], Y[:3], 2, return_influence=False)
    np.testing.assert_array_equal(best, np.argsort(-np.abs(loss[:3]), axis=1)[:, :2])


@pytest.mark.filterwarnings("ignore:Results without samples")
def test_removal_is_the_refit_with_the_same_choice(fitted):
    ours, counts = fitted
    groups = [[int(counts.argmax())], np.arange(20, 30), [int(counts.argmin())]]
    losses = ours.leave_out_loss(X[:6], Y[:6], groups, method="exact")
    for rows, found in zip(groups, losses.T, strict=True):
        w = counts.copy()
        w[rows] = 0.0
        proba = weighted(w).predict_proba(X[:6])[np.arange(6), Y[:6]]
        np.testing.assert_allclose(found, -np.log(proba), rtol=1e-6)
    assert ours.leave_out_check(4, random_state=0).max_relative_error < 1e-2
    for scoring in (None, "roc_auc"):
        assert 0.8 < ours.leave_out_score(cv=5, scoring=scoring) <= 1
    assert len(rank_label_errors(ours)) == N
    again = pickle.loads(pickle.dumps(ours)).remove_samples(groups[1])
    w = np.delete(counts, groups[1])
    assert (
        np.bincount(get_problem(again).parts[0].rows, minlength=len(w)).tolist() == w.tolist()
    )


def test_removal_says_that_the_choice_is_kept(fitted):
    ours, counts = fitted
    drawn = np.count_nonzero(counts)
    with pytest.warns(
        InfluenceWarning, match=f"{drawn} of {N} samples that Sampler"
    ) as caught:
        ours.leave_out_predict(cv=5)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.influence_loss(X[:2], Y[:2])


@pytest.mark.filterwarnings("ignore:Results without samples")
def test_the_fit_again_and_several_samplers():
    model = PlainLogistic(**NEWTON)
    pipe = make(Normalizer(), Sampler(50), Sampler(30), StandardScaler(), model).fit(X, Y)
    ours = from_fitted(pipe, X, Y)
    rows = pipe[1].sample_indices_[pipe[2].sample_indices_]
    np.testing.assert_array_equal(ours.sample_indices_, rows)
    expected = clone(model).fit(
        StandardScaler().fit_transform(Normalizer().transform(X[rows])), Y[rows]
    )
    np.testing.assert_allclose(ours.model_[-1].coef_, expected.coef_, rtol=1e-6)
    again = clone(ours).fit(X, Y)
    np.testing.assert_allclose(
        again.influence_loss(X[:2], Y[:2]), ours.influence_loss(X[:2], Y[:2])
    )
    assert again.score(X, Y) == ours.score(X, Y) == np.mean(ours.predict(X) == Y)


@pytest.mark.filterwarnings("ignore:Results without samples")
def test_steps_before_a_sampler_learn_from_all_samples():
    model = PlainLogistic(**NEWTON)
    steps = StandardScaler(), Sampler(50), Normalizer(), StandardScaler(), Sampler(30)
    pipe = make(*steps, model).fit(X, Y)
    ours = from_fitted(pipe, X, Y)
    assert type(ours) is OurPipeline
    first, second = pipe[1].sample_indices_, pipe[4].sample_indices_

    def refit(w):
        """Return scikit-learn's fit in which sample i occurs w_i times, as a pipeline."""
        scaler = StandardScaler().fit(X, sample_weight=w)
        Z = Normalizer().transform(scaler.transform(X)[first])
        kept = w[first] > 0
        again = StandardScaler().fit(Z[kept], sample_weight=w[first][kept])
        rows = second[kept[second]]
        last = clone(model)
        last.fit(again.transform(Z[rows]), Y[first][rows], sample_weight=w[first][rows])
        return make(scaler, Normalizer(), again, last)

    expected = refit(np.ones(N)).predict_proba(X)
    np.testing.assert_allclose(ours.predict_proba(X), expected, rtol=1e-6)
    influence = ours.influence_prediction(X[:4])
    out, chosen = np.setdiff1d(np.arange(N), first)[0], first[second][0]
    for row in (out, chosen):
        step = 1e-4 * (np.arange(N) == row)
        more, less = (refit(1.0 + s).decision_function(X[:4]) for s in (step, -step))
        expected = N * (more - less) / 2e-4
        np.testing.assert_allclose(influence[:, row], expected, rtol=1e-4)
    groups = [[out], [chosen], np.arange(20, 30)]
    losses = ours.leave_out_loss(X[:6], Y[:6], groups, method="exact")
    for rows, found in zip(groups, losses.T, strict=True):
        w = np.ones(N)
        w[rows] = 0.0
        proba = refit(w).predict_proba(X[:6])[np.arange(6), Y[:6]]
        np.testing.assert_allclose(found, -np.log(proba), rtol=1e-6)
    with pytest.warns(InfluenceWarning, match="that Sampler chose"):
        weighted = ours.reweight_loss(X[:6], Y[:6], 1.0 + (np.arange(N) == chosen))[:, 0]
    proba = refit(1.0 + (np.arange(N) == chosen)).predict_proba(X[:6])[np.arange(6), Y[:6]]
    np.testing.assert_allclose(weighted, -np.log(proba), rtol=1e-3)
    again = clone(ours).fit(X, Y)
    np.testing.assert_allclose(again.predict_proba(X), ours.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((Synthetic(),), "rows that Synthetic made.*RandomUnderSampler"),
        ((Sampler(shrinkage=1.0),), "rows that Sampler made.*without shrinkage"),
    ],
    ids=["synthetic", "smoothed"],
)
def test_samplers_that_make_rows_are_refused_by_name(steps, message):
    pipe = make(*steps, PlainLogistic(max_iter=10_000)).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match=message):
        from_fitted(pipe, X, Y)


def test_other_data_and_weights_are_refused_or_named():
    pipe = make(Sampler(), StandardScaler(), PlainLogistic(**NEWTON)).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="leave out sample_weight"):
        from_fitted(pipe, X, Y, np.ones(N))
    with pytest.raises(ValueError, match="pass the samples of the fit"):
        from_fitted(pipe, X[:20], Y[:20])
    with pytest.warns(InfluenceWarning, match="not those that this"):
        from_fitted(pipe, X[::-1], Y[::-1])
    with pytest.raises(UnsupportedEstimatorError, match="add_samples of ResampledPipeline"):
        from_fitted(pipe, X, Y).add_samples(X[:2], Y[:2])


def test_imbalanced_learn():
    imblearn = pytest.importorskip("imblearn.pipeline")
    from imblearn.over_sampling import SMOTE, RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    model = PlainLogistic(**NEWTON)
    for sampler in (RandomUnderSampler(random_state=0), RandomOverSampler(random_state=0)):
        pipe = imblearn.make_pipeline(sampler, StandardScaler(), clone(model))
        search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=3).fit(X, Y)
        ours, best = from_fitted(search, X, Y), search.best_estimator_
        np.testing.assert_allclose(ours.predict_proba(X), best.predict_proba(X))
        counts = np.bincount(best[0].sample_indices_, minlength=N)
        chosen = ours.influence_loss(X[:3], Y[:3]).any(axis=0)
        np.testing.assert_array_equal(chosen, counts > 0)
    pipe = imblearn.make_pipeline(
        StandardScaler(), RandomUnderSampler(random_state=0), clone(model)
    ).fit(X, Y)
    ours = from_fitted(pipe, X, Y)
    np.testing.assert_allclose(ours.predict_proba(X), pipe.predict_proba(X))
    assert ours.influence_loss(X[:3], Y[:3]).all()  # through the scaler
    pipe = imblearn.make_pipeline(SMOTE(), clone(model)).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="rows that SMOTE made"):
        from_fitted(pipe, X, Y)
    pipe = imblearn.make_pipeline(StandardScaler(), clone(model)).fit(X, Y)
    ours = from_fitted(pipe, X, Y)
    assert type(ours) is OurPipeline
    assert ours.influence_loss(X[:2], Y[:2]).shape == (2, N)
