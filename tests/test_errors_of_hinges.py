"""Standard errors by the Hessian need a loss with curvature.

The oracle is the jackknife, whose refits need none.
"""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence import UnsupportedEstimatorError, from_fitted

X, Y = load_diabetes(return_X_y=True)
X, Y = scale(X[:60, :3]), scale(Y[:60])
MODELS = {
    "hinge": (LinearSVC(loss="hinge", tol=1e-8, max_iter=10**6, random_state=0), Y > 0),
    "tube": (LinearSVR(tol=1e-8, max_iter=10**6, random_state=0), Y),
}


@pytest.fixture(params=MODELS)
def fitted(request):
    return request.param, *MODELS[request.param]


@pytest.mark.parametrize("scaled", [False, True], ids=["model", "pipeline"])
def test_a_loss_without_curvature_has_no_standard_errors(fitted, scaled):
    _, model, target = fitted
    model = make_pipeline(StandardScaler(), model) if scaled else model
    model = from_fitted(model.fit(X, target), X, target)
    for groups in (None, np.arange(60) % 4):
        with pytest.raises(UnsupportedEstimatorError, match="no standard errors: use loss="):
            model.dfbetas(groups)
    with pytest.raises(UnsupportedEstimatorError, match="no standard errors by the Hessian"):
        model.params_covariance("hessian")


def test_the_squared_loss_that_the_refusal_names_has_them(fitted):
    name, model, target = fitted
    loss = {"hinge": "squared_hinge", "tube": "squared_epsilon_insensitive"}[name]
    model = type(model)(loss=loss, dual=False, tol=1e-10).fit(X, target)
    model = from_fitted(model, X, target)
    errors = np.sqrt(np.diag(model.params_covariance("hessian")))
    jackknife = np.sqrt(np.diag(model.params_covariance("jackknife")))
    assert np.all(errors < 2 * jackknife)
    assert np.all(errors > jackknife / 2)
    moves = model.params_ - model.leave_out_params(method="exact")
    np.testing.assert_allclose(model.dfbetas(), moves / errors, rtol=0.4, atol=0.02)
