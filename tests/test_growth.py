"""As n and p grow together, removal by a Newton step gets better and influence does not.

With p = n/8 the leverage of a row, which influence ignores and the Newton step has in full,
stays where it is; what the Newton step ignores, the change of the other rows' curvature, is
a sum of ever more terms of either sign.
"""

import numpy as np
import pytest
from sklearn.base import clone

from skinfluence.pipeline import problem_of
from skinfluence.problem.requests import Removal
from skinfluence.removal import ONE_STEP, Base
from tests.cases import CASES, one_of_each
from tests.fits import frozen

SIZES, N_ROWS = (60, 480), 16
# The data of "digits" have 64 features for good, and sparse twins say nothing new.
GROWING = [
    c for c in one_of_each(CASES) if c.dataset != "digits" and not c.name.endswith("csr")
]


def grown(case, n):
    """Return n rows with n/8 features and targets of the case's kind."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, n // 8))
    eta = X @ rng.standard_normal(n // 8) / np.sqrt(n // 8)
    noisy = eta + rng.logistic(size=n)
    if case.dataset == "cancer":
        return X, np.where(noisy > 0, "malignant", "benign")
    if case.dataset == "wine":
        return X, np.digitize(noisy, [-0.7, 0.7])
    if case.dataset == "labels":
        return X, np.column_stack([noisy > -0.7, noisy > 0.7, X[:, 0] > 0]).astype(int)
    if case.dataset == "counts":
        return X, rng.poisson(np.exp(0.5 * eta)).astype(float)
    if case.dataset == "amounts":
        return X / 4, rng.gamma(8.0, (3 + 0.4 * eta) / 8)
    if case.dataset == "linnerud":
        return X, eta[:, None] + rng.standard_normal((n, 3))
    return X, eta + rng.standard_normal(n)


def removal(fitted, groups, method):
    """Return `leave_out_params`, also by one Newton step that is not refined."""
    if method != ONE_STEP:
        return fitted.leave_out_params(groups, method=method)
    base, request = problem_of(fitted).start_removal(Removal(groups))
    theta = Base.remove(base, request.groups.padded(np.arange(len(groups))), ONE_STEP)[0]
    return base.point.objective.formulation.layout.to_public(theta)


def errors(case, n):
    """Return the mean relative error of one Newton step and of "influence" over some rows."""
    estimator = frozen(case, case.fit())
    if type(estimator) is not type(case.estimator):  # it holds values for each feature
        estimator = clone(case.estimator)
    fitted = estimator.fit(*grown(case, n)).polish()
    groups = [[row] for row in range(N_ROWS)]
    exact, newton, influence = (
        removal(fitted, groups, method) for method in ("exact", ONE_STEP, "influence")
    )
    change = np.linalg.norm(exact - fitted.params_, axis=1)
    moved = change > 1e-6 * np.linalg.norm(fitted.params_)  # not so for rows beyond a hinge
    return [
        np.mean(np.linalg.norm(found - exact, axis=1)[moved] / change[moved])
        for found in (newton, influence)
    ]


@pytest.mark.parametrize("case", GROWING, ids=lambda c: c.name)
def test_newton_gets_better_and_influence_does_not(case):
    (newton, influence), (newton_later, influence_later) = (errors(case, n) for n in SIZES)
    form = problem_of(case.fit()).formulation
    loss = form.loss
    assert newton_later < influence_later
    if form.l1_support is not None:
        return  # few rows change the support, and they are all of the error
    if loss.constant_curvature:
        assert newton_later < 1e-8
    elif not loss.has_kinks and getattr(loss, "temperature", 1.0) > 0.1:
        # At a kink, smooth or not, the few rows that cross it are all of the error.
        assert newton_later / influence_later < 0.7 * newton / influence
