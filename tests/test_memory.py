"""Temporaries stay within `working_memory`, whatever the size of the data."""

import numpy as np
import pytest
import sklearn

from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of
from skinfluence.svm import SVC
from tests.memory import peak


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((35_000, 30))
    y = (X[:, 0] + rng.standard_normal(len(X)) > 0).astype(int)
    return LogisticRegression(tol=1e-8).fit(X, y), X, y


WEIGHTS = np.random.default_rng(0).uniform(size=(30, 35_000))
CALLS = {
    "influence_loss": lambda e, X, y, jobs: e.influence_loss(X[:150], y[:150], n_jobs=jobs),
    "influence_params": lambda e, X, y, jobs: e.influence_params(n_jobs=jobs),
    "self_influence": lambda e, X, y, jobs: e.self_influence(n_jobs=jobs),
    "prediction": lambda e, X, y, jobs: e.influence_prediction(X[:150], n_jobs=jobs),
    "top": lambda e, X, y, jobs: e.influential_samples(X[:1000], y[:1000], 5, n_jobs=jobs)[0],
    "gradient": lambda e, X, y, jobs: e.loss_gradient(X, y, n_jobs=jobs),
    "functional": lambda e, X, y, jobs: e.influence_functional(
        np.eye(150, e.params_.size), n_jobs=jobs
    ),
    "step": lambda e, X, y, jobs: e.newton_step(0.1, n_jobs=jobs),
    "relabel": lambda e, X, y, jobs: e.influence_relabel(
        X[:150], y[:150], y_new=1 - y, n_jobs=jobs
    ),
    "report": lambda e, X, y, jobs: e.convergence_report(n_jobs=jobs).correction,
    "leave out, influence": lambda e, X, y, jobs: e.leave_out_params(
        method="influence", n_jobs=jobs
    ),
    "leave out, newton": lambda e, X, y, jobs: e.leave_out_params(n_jobs=jobs),
    "leave a few out": lambda e, X, y, jobs: e.leave_out_params(
        [[0], [1, 2]], method="exact", n_jobs=jobs
    ),
    "leave groups out": lambda e, X, y, jobs: e.leave_out_params(
        [np.arange(g, len(y), 200) for g in range(12)], method="exact", n_jobs=jobs
    ),
    "leave-out loss": lambda e, X, y, jobs: e.leave_out_loss(X[:150], y[:150], n_jobs=jobs),
    "leave-out prediction": lambda e, X, y, jobs: e.leave_out_predict(
        response_method="predict_proba", n_jobs=jobs
    ),
    "reweight": lambda e, X, y, jobs: e.reweight_params(
        WEIGHTS[:, : len(y)], method="exact", n_jobs=jobs
    ),
    "summary": lambda e, X, y, jobs: np.column_stack(
        list(e.influence_summary(n_jobs=jobs).values())
    ),
    "dfbetas": lambda e, X, y, jobs: e.dfbetas(n_jobs=jobs),
    "sandwich": lambda e, X, y, jobs: e.params_covariance(n_jobs=jobs),
    "jackknife": lambda e, X, y, jobs: e.params_covariance("jackknife", n_jobs=jobs),
    "perturbation": lambda e, X, y, jobs: e.influence_perturbation(X[:150], y[:150], index=3),
}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("name", ["influence_loss", "prediction", "top", "functional"])
def test_the_kernel_matrix_of_a_fit_is_not_copied(name, jobs):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 10))
    y = (X[:, 0] + rng.standard_normal(1500) > 0).astype(int)
    fitted = SVC(gamma=0.1).fit(X, y)
    fitted.influence_loss(X[:1], y[:1])  # the factor is kept
    with sklearn.config_context(working_memory=12):
        used, result = peak(CALLS[name], fitted, X, y, jobs)
    assert used <= result.nbytes + 12 * 2**20 < 8 * 1500**2


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("kind", ["infinitesimal_jackknife", "jackknife"])
def test_a_wide_covariance_is_the_only_one_of_its_size(kind, jobs):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 1500))
    fitted = Ridge().fit(X, X[:, 0] + rng.standard_normal(400))
    fitted.influence_loss(X[:1], X[:1, 0])  # the factor is kept
    with sklearn.config_context(working_memory=8):
        used, covariance = peak(fitted.params_covariance, kind, n_jobs=jobs)
    assert used <= covariance.nbytes + 8 * 2**20


# Half of the calls with each number of jobs: all divide their work in one place.
@pytest.mark.parametrize(("name", "jobs"), [(n, 1 + i % 2) for i, n in enumerate(CALLS)])
def test_peak_is_the_output_plus_working_memory(problem, name, jobs):
    fitted, X, y = problem
    problem_of(fitted).forget_state()
    with sklearn.config_context(working_memory=14):
        used, result = peak(CALLS[name], fitted, X, y, jobs)
    assert used <= result.nbytes + 14 * 2**20


def test_chunks_stay_within_their_working_memory(problem):
    fitted, X, y = problem

    def run():
        return sum(
            len(c) for c in fitted.influence_loss_chunked(X[:800], y[:800], working_memory=14)
        )

    used, total = peak(run)
    assert total == 800
    assert used <= 14 * 2**20
