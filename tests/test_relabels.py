"""Labels whose change flips a conclusion, confirmed by refits with scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.preprocessing import StandardScaler, TargetEncoder, scale

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.functionals import margin, mean_prediction
from skinfluence.inspection import most_influential_relabels
from skinfluence.linear_model import LogisticRegression, Ridge, RidgeClassifier
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.fits import NEWTON


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[:200], np.array(["malignant", "benign"])[y[:200]]


def wine():
    X, y = load_wine(return_X_y=True)
    return scale(X), y


@pytest.mark.parametrize("data", [cancer, wine])
@pytest.mark.parametrize("name", ["LogisticRegression", "RidgeClassifier"])
def test_the_refit_with_new_labels_predicts_another_class(data, name):
    X, y = data()
    options = {"C": 0.1, **NEWTON} if name == "LogisticRegression" else {"alpha": 10.0}
    ours = {"LogisticRegression": LogisticRegression, "RidgeClassifier": RidgeClassifier}[name]
    clf, w = ours(**options), np.linspace(0.5, 2.0, len(y))
    clf.fit(X, y, w)
    for i in (0, 70, 150):
        f = margin(clf, X[[i]])
        linear = most_influential_relabels(clf, f, search="linear")
        result = most_influential_relabels(clf, f)
        assert result.flipped
        assert len(result.indices) <= len(linear.indices) == result.n_linear
        changed = y.copy()
        changed[result.indices] = result.y_new
        assert np.all(changed[result.indices] != y[result.indices])
        refit = getattr(linear_model, name)(**options).fit(X, changed, w)
        assert refit.predict(X[[i]]) != clf.predict(X[[i]])
        np.testing.assert_allclose(
            np.ravel(refit.coef_), result.params[: refit.coef_.size], rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(f.value(result.params), result.target_after)
        if name == "LogisticRegression":
            assert result.n_at_least is None


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "behind a step"])
@pytest.mark.parametrize("name", ["LogisticRegression", "RidgeClassifier"])
def test_balanced_class_weights_are_those_of_the_new_labels(name, steps):
    X, y = cancer()
    X, y = X[:80], y[:80]
    options = {"C": 0.1, **NEWTON} if name == "LogisticRegression" else {"alpha": 10.0}
    model = getattr(linear_model, name)(class_weight="balanced", **options)
    fitted = from_fitted(make_pipeline(*steps, model).fit(X, y), X, y)
    f = margin(fitted, X[[1]])
    result = most_influential_relabels(fitted, f)
    assert result.flipped
    changed = y.copy()
    changed[result.indices] = result.y_new
    refit = clone(fitted).fit(X, changed)
    assert refit.predict(X[[1]]) != fitted.predict(X[[1]])
    np.testing.assert_allclose(f.value(refit[-1].params_), result.target_after, rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_smaller_set_of_labels_flips_least_squares(n_classes):
    exact = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n = 9 if n_classes == 2 else 7
        X, x, w = rng.normal(size=(n, 2)), rng.normal(size=(1, 2)), 1.0 + rng.random(n)
        y = np.arange(n) % n_classes
        X[:, 0] += 2.0 * y
        clf = RidgeClassifier(alpha=0.1).fit(X, y, w)
        label = clf.predict(x)[0]
        result = most_influential_relabels(clf, margin(clf, x), max_samples=n)

        # The decision function is linear in the targets of the one-vs-rest problems.
        A = np.c_[X, np.ones(n)]
        H = A.T @ (w[:, None] * A) + np.diag([0.1, 0.1, 0.0])
        to_scores = np.linalg.solve(H, (w[:, None] * A).T).T @ np.r_[x[0], 1.0]

        def flips(k, y=y, to_scores=to_scores, label=label, n=n):
            for rows in combinations(range(n), k):
                for new in np.ndindex(*(n_classes - 1,) * k):
                    changed = y.copy()
                    changed[list(rows)] = (y[list(rows)] + 1 + np.array(new)) % n_classes
                    ones = np.where(changed[:, None] == np.arange(n_classes), 1.0, -1.0)
                    if (to_scores @ ones).argmax() != label:
                        return True
            return False

        smallest = next(k for k in range(1, n) if flips(k))
        assert result.n_at_least <= smallest <= len(result.indices)
        exact += result.n_at_least == smallest == len(result.indices)
    assert exact >= 6


def test_targets_of_a_regression_move_to_given_ones():
    X, y = load_diabetes(return_X_y=True)
    reg = Ridge(alpha=0.1).fit(X, y)
    y_new = np.where(np.arange(len(y)) % 2, np.median(y), y)
    mean = mean_prediction(reg, X[:5])
    threshold = mean.value(reg.params_) - 1.0
    result = most_influential_relabels(reg, mean, threshold=threshold, y_new=y_new)
    assert result.flipped
    assert np.all(result.indices % 2 == 1)
    np.testing.assert_array_equal(result.y_new, y_new[result.indices])
    changed = y.copy()
    changed[result.indices] = result.y_new
    refit = linear_model.Ridge(alpha=0.1).fit(X, changed)
    np.testing.assert_allclose(refit.predict(X[:5]).mean(), result.target_after)
    assert result.n_at_least == len(result.indices)
    # For a value out of reach, the path ends and all new labels are not enough.
    result = most_influential_relabels(reg, mean, threshold=-1e4, y_new=y_new)
    assert not result.flipped
    assert result.n_at_least == len(y) + 1


def test_steps_that_learned_from_the_labels_are_fitted_to_the_new_ones():
    X, y = cancer()
    pipe = make_pipeline(TargetEncoder(random_state=0), LogisticRegression(**NEWTON))
    X = np.digitize(X[:, :3], [-1.0, -0.3, 0.3, 1.0])
    pipe.fit(X, y)
    for place in (3, 30):
        x = X[[np.abs(pipe.decision_function(X)).argsort()[place]]]
        result = most_influential_relabels(pipe, margin(pipe, x))
        changed = y.copy()
        changed[result.indices] = result.y_new
        refit = clone(pipe).fit(X, changed)
        sign = 1.0 if pipe.predict(x) == pipe.classes_[1] else -1.0
        after = sign * refit.decision_function(x)[0]
        np.testing.assert_allclose(result.target_after, after, rtol=1e-6)
        assert result.flipped
        assert refit.predict(x) != pipe.predict(x)
        assert result.n_at_least is None


def test_pipelines_and_refusals():
    X, y = cancer()
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X, y)
    result = most_influential_relabels(pipe, margin(pipe, X[:1]), max_samples=20)
    assert len(result.indices) == 20 or result.flipped
    encoded = make_pipeline(TargetEncoder(), LogisticRegression(**NEWTON)).fit(X[:, :3] > 0, y)
    with pytest.warns(
        InfluenceWarning, match=r"as they were fitted: TargetEncoder\. .* may not"
    ):
        most_influential_relabels(encoded, margin(encoded, X[:1, :3] > 0), max_samples=1)
    clf = LogisticRegression(**NEWTON).fit(X, y)
    with pytest.raises(ValueError, match="y_new holds 3 labels"):
        most_influential_relabels(clf, 0, y_new=y[:3])
    with pytest.raises(ValueError, match="not seen in fit"):
        most_influential_relabels(clf, 0, y_new=np.full(len(y), "other"))
    with pytest.raises(ValueError, match="threshold=inf"):
        most_influential_relabels(clf, 0, threshold=np.inf)
    reg = Ridge().fit(X, np.arange(200.0))
    with pytest.raises(ValueError, match="pass y_new"):
        most_influential_relabels(reg, 0)
    hinge = SVC(kernel="linear").fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="loss with kinks"):
        most_influential_relabels(hinge, margin(hinge, X[:1]))
    bayes = GaussianNB().fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="closed form"):
        most_influential_relabels(bayes, 0)
