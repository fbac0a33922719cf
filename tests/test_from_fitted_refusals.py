"""from_fitted refuses unsupported data, configurations and classes by name.

Data that cannot be those of the fit are an error, other data a warning. A class whose fit may
be another is refused with what to pass instead.
"""

import pickle
import re
import warnings

import numpy as np
import pytest
from sklearn import ensemble, gaussian_process, kernel_ridge, linear_model, multiclass, svm
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import RBF
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline as PlainPipeline
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.semi_supervised import SelfTrainingClassifier

from skinfluence import (
    InfluenceWarning,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence import pipeline as our_pipeline
from skinfluence.fitted import PARTS
from skinfluence.linear_model import LassoLars, LogisticRegression, Ridge
from skinfluence.svm import SVC
from tests.discrete_stage_cases import needs_splitter
from tests.fits import LEGACY, NEWTON, data


@pytest.fixture
def plain():
    X, y, _ = data("cancer")
    return linear_model.LogisticRegression(**NEWTON).fit(X, y)


class OtherFit(linear_model.Ridge):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, np.log(y), sample_weight)


class Rounds:
    def predict(self, X):
        return np.round(super().predict(X))


class OtherPredictions(Rounds, linear_model.PoissonRegressor):
    pass


@pytest.mark.parametrize(
    ("estimator", "method"), [(OtherFit(), "fit"), (OtherPredictions(), "predict")]
)
def test_a_subclass_that_may_fit_something_else_is_refused(estimator, method):
    X, y, _ = data("diabetes")
    with pytest.raises(UnsupportedEstimatorError, match=f"{method} of its own"):
        from_fitted(estimator.fit(X, y), X, y)


def test_data_that_cannot_be_those_of_the_fit_are_refused(plain):
    X, y, _ = data("cancer")
    with pytest.raises(ValueError, match="9 features"):
        from_fitted(plain, X[:, 1:], y)
    with pytest.raises(ValueError, match="unknown"):
        from_fitted(plain, X, np.where(y == "benign", "unknown", y))
    balanced = clone(plain).set_params(class_weight="balanced").fit(X, y)
    for estimator in (plain, balanced):
        with pytest.raises(ValueError, match="y is required"):
            from_fitted(estimator, X)
        with pytest.raises(ValueError, match="X is required"):
            from_fitted(estimator).set_training_data(None, y)
        with pytest.raises(ValueError, match="y is required"):
            from_fitted(estimator).set_training_data(X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        from_fitted(plain, X[1:], y)
    with pytest.raises(ValueError, match="without X"):
        from_fitted(plain, y=y)
    with pytest.raises(ValueError, match="without X"):
        from_fitted(plain, sample_weight=np.ones(len(y)))
    with pytest.raises(UnsupportedEstimatorError, match="sample_weight holds -1"):
        from_fitted(plain, X, y, -np.ones(len(y)))


def test_data_other_than_those_of_the_fit_warn(plain):
    X, y, _ = data("cancer")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_fitted(plain, X, y).influence_loss(X, y)
    with pytest.warns(InfluenceWarning, match="gradient_shift"):
        from_fitted(plain, X[::4], y[::4]).influence_loss(X, y)


def test_steps_that_transform_otherwise_than_they_were_fitted_are_fitted_again():
    X, y = load_iris(return_X_y=True)
    plain = make_pipeline(NMF(2, max_iter=2000, random_state=0), svm.SVC()).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        ours = from_fitted(plain, X, y)
        rows = ours.leave_out_loss(X[:9], y[:9], [[3]])
        ours.drop_training_data()
        ours.set_training_data(X, y)
        np.testing.assert_array_equal(ours.leave_out_loss(X[:9], y[:9], [[3]]), rows)
        found = ours.leave_out_predict(np.arange(150) // 10, response_method="predict")[3]
    assert found == clone(plain).fit(X[10:], y[10:]).predict(X[[3]])


@needs_splitter
def test_a_target_encoder_was_fitted_to_other_values_than_transform_gives():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 60, (400, 2)).astype(str)
    y = rng.uniform(size=400) < 0.3 + 0.4 * (X[:, 0].astype(int) > 30)
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    splits = list(folds.split(X, y))
    steps = [TargetEncoder(cv=splits), FunctionTransformer()]
    plain = make_pipeline(*steps, linear_model.LogisticRegression(**NEWTON)).fit(X, y)
    ours = our_pipeline.make_pipeline(*map(clone, steps), LogisticRegression(**NEWTON))
    with warnings.catch_warnings():  # both have the values that were fitted
        warnings.simplefilter("error", InfluenceWarning)
        influence = ours.fit(X, y).influence_loss(X[:5], y[:5])
        found = from_fitted(plain, X, y)
    np.testing.assert_allclose(found.influence_loss(X[:5], y[:5]), influence, rtol=1e-6)
    assert found.convergence_report().gradient_shift < 1e-6
    with pytest.warns(InfluenceWarning, match="not those that this LogisticRegression"):
        from_fitted(plain, X, ~y)
    plain = make_pipeline(TargetEncoder(), linear_model.LogisticRegression(**NEWTON))
    with pytest.warns(
        InfluenceWarning, match="looks like the random numbers of TargetEncoder"
    ):
        from_fitted(plain.fit(X, y), X, y)
    random = our_pipeline.make_pipeline(TargetEncoder(), LogisticRegression(**NEWTON))
    random.fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="random folds"):
        random.influence_loss(X[:5], y[:5])
    with pytest.raises(UnsupportedEstimatorError, match="refit of TargetEncoder is random"):
        random.leave_out_loss(X[:5], y[:5], [[3]])


@pytest.mark.parametrize(
    "estimator",
    [
        linear_model.LassoLars(alpha=0.01, positive=True),
        linear_model.SGDClassifier(loss="log_loss", penalty="l1"),
        linear_model.LogisticRegressionCV(refit=False, **LEGACY),
        svm.LinearSVC(multi_class="crammer_singer", max_iter=100_000),
        kernel_ridge.KernelRidge(alpha=0.0),
        gaussian_process.GaussianProcessRegressor(alpha=np.linspace(0.1, 0.2, 200)),
        gaussian_process.GaussianProcessRegressor(alpha=0.0, kernel=RBF(0.1), optimizer=None),
        linear_model.Lars(n_nonzero_coefs=2),
        linear_model.LassoLars(jitter=0.1),
    ],
)
@pytest.mark.filterwarnings("ignore:Singular matrix")
def test_a_configuration_without_influence_is_refused_at_once(estimator):
    X, y, _ = data("cancer")
    fitted = make_pipeline(estimator).fit(X, y == "benign")
    for given in [(X, y == "benign"), ()]:
        with pytest.raises(UnsupportedEstimatorError, match=r"use (\w+=|a positive alpha)"):
            from_fitted(fitted, *given)
        with pytest.raises(UnsupportedEstimatorError, match=r"use (\w+=|a positive alpha)"):
            from_fitted(fitted[-1], *given)
    ours = LassoLars(positive=True).fit(X, y == "benign")
    with pytest.raises(UnsupportedEstimatorError, match="positive=False"):
        from_fitted(ours)


@pytest.mark.parametrize("estimator", [svm.SVC(gamma="scale"), kernel_ridge.KernelRidge()])
def test_kernel_models_take_the_rows_of_their_fit_only(estimator):
    X, y, _ = data("cancer")
    y = (y == "benign").astype(int)
    plain = estimator.fit(X, y)
    before = pickle.dumps(plain)
    for later in (False, True):
        found = from_fitted(plain)
        give = found.set_training_data if later else lambda *data: from_fitted(plain, *data)
        with pytest.raises(ValueError, match="190 rows"):
            give(X[:190], y[:190])
        with pytest.raises(ValueError, match="X differs in"):
            give(X + 1.0, y)
        found = give(X, y)
        found.remove_samples([0, 1]).add_samples(X[:1], y[:1])
        assert found.influence_loss(X[:3], y[:3]).shape == (3, len(y) - 1)
    assert pickle.dumps(plain) == before


def test_a_kernel_stays_as_fitted_until_its_data_come():
    X, y, _ = data("cancer")
    plain = svm.SVC(gamma="scale", tol=1e-9).fit(X, y)
    found = from_fitted(plain).set_params(gamma=3.0, C=7.0)
    found.set_training_data(X, y)
    expected = SVC(gamma="scale", tol=1e-9).fit(X, y).influence_loss(X, y)
    np.testing.assert_array_equal(found.influence_loss(X, y), expected)
    assert (found.gamma, found.C) == (3.0, 7.0)


def test_a_precomputed_kernel():
    X, y, _ = data("cancer")
    plain = svm.SVC(kernel="precomputed", tol=1e-9).fit(X @ X.T, y)
    ours = SVC(kernel="precomputed", tol=1e-9).fit(X @ X.T, y)
    np.testing.assert_array_equal(
        from_fitted(plain, X @ X.T, y).influence_loss(X @ X.T, y),
        ours.influence_loss(X @ X.T, y),
    )


CLASSIFIER = linear_model.LogisticRegression()


COMPOSED = [
    (multiclass.OutputCodeClassifier(CLASSIFIER, random_state=0), "estimators_[i]"),
    (RFE(CLASSIFIER, n_features_to_select=12), "estimator_"),
    (SelfTrainingClassifier(CLASSIFIER), "estimator_"),
]


@pytest.mark.filterwarnings("ignore")  # lbfgs on few rows
@pytest.mark.parametrize(("estimator", "inside"), COMPOSED, ids=repr)
def test_an_object_of_several_models_is_refused_with_a_remedy(estimator, inside):
    X, y, _ = data("wine")
    pipe = make_pipeline(StandardScaler(), estimator).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError) as error:
        from_fitted(pipe, X, y)
    found = re.search(r"Pass a model inside it: ([\w.\[\]-]+\w\]?)", str(error.value))[1]
    assert found == f"obj[-1].{inside}"
    part = eval(found, {"obj": pipe, "i": 0})
    assert from_fitted(part).params_.ndim == 1


def test_every_refused_composition_is_tested():
    tested = {type(e).__name__ for e, _ in COMPOSED}
    assert tested | {"RFECV"} == set(PARTS)


def test_a_search_without_a_refit_is_refused():
    X, y, _ = data("cancer")
    search = GridSearchCV(linear_model.LogisticRegression(), {"C": [1.0]}, refit=False)
    with pytest.raises(UnsupportedEstimatorError, match=r"refit=False.*obj\.best_params_"):
        from_fitted(search.fit(X, y), X, y)


class Resampling(PlainPipeline):
    """A pipeline whose fit may do more than transform X."""


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (DummyClassifier(), r"DummyClassifier.*moments and counts.*Use LogisticRegression"),
        (ensemble.RandomForestRegressor(2), r"Regressor.*trees.*Use Ridge or KernelRidge"),
        (svm.NuSVC(nu=0.2), r"obj is a NuSVC.*because nu .*Use SVC instead"),
        (svm.NuSVR(), r"obj is a NuSVR.*because nu .*Use SVR instead"),
        (svm.OneClassSVM(), r"obj is a OneClassSVM.*no targets.*refit it without"),
        (linear_model.MultiTaskLasso(), r"norms of groups.*Use Lasso instead"),
        (make_pipeline(StandardScaler()), r"obj\[-1\] is a StandardScaler"),
        (make_pipeline(StandardScaler(), "passthrough"), "'passthrough'"),
        (PlainPipeline([("scale", StandardScaler()), ("no", None)]), "None"),
        (Resampling([("clf", linear_model.Ridge())]), r"Resampling.*obj\[-1\]"),
    ],
)
def test_an_unsupported_estimator_is_named(estimator, message):
    X, y, _ = data("wine")
    y = np.c_[y, y] if isinstance(estimator, linear_model.MultiTaskLasso) else y
    with pytest.raises(UnsupportedEstimatorError, match=message):
        from_fitted(estimator.fit(X, y), X, y)


@pytest.mark.parametrize(
    "estimator",
    [
        linear_model.Ridge(),
        Ridge(),
        make_pipeline(StandardScaler(), linear_model.Ridge()),
        our_pipeline.make_pipeline(StandardScaler(), Ridge()),
        GridSearchCV(linear_model.Ridge(), {"alpha": [1.0]}),
        GridSearchCV(linear_model.Ridge(), {"alpha": [1.0]}, refit=False),
        TransformedTargetRegressor(linear_model.Ridge()),
        FixedThresholdClassifier(linear_model.LogisticRegression()),
        TunedThresholdClassifierCV(linear_model.LogisticRegression()),
        FrozenEstimator(linear_model.Ridge()),
        CalibratedClassifierCV(linear_model.LogisticRegression()),
        ensemble.RandomForestClassifier(),
    ],
    ids=repr,
)
def test_unfitted_objects_are_not_fitted_here_either(estimator):
    X, y, _ = data("wine")
    for given in [(), (X, y)]:
        with pytest.raises(NotFittedError):
            from_fitted(estimator, *given)


def test_something_that_is_no_estimator():
    with pytest.raises(TypeError, match="class, not an instance"):
        from_fitted(linear_model.Ridge)
    with pytest.raises(UnsupportedEstimatorError, match="'Ridge'"):
        from_fitted("Ridge")
