"""Messages show values as users write them, without the names of NumPy's types."""

import numpy as np
import pytest

from skinfluence.functionals import equal_opportunity, mean_prediction
from skinfluence.inspection import data_values, most_influential_set
from skinfluence.linear_model import LogisticRegression, Ridge

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 2))
Y = np.where(np.arange(12) % 3 < 1, "n", "y")
SENSITIVE = np.where(Y == "n", "f", "m")
ONE = np.float64(-1)

CALLS = {
    "group 'f' has": lambda clf, _: equal_opportunity(clf, X, Y, SENSITIVE, label="y"),
    "param='q'": lambda clf, _: most_influential_set(clf, np.str_("q")),
    "method='x'": lambda clf, _: clf.leave_out_loss(X, Y, method=np.str_("x")),
    "hessian_solver='x'": lambda clf, _: clf.influence_params(hessian_solver=np.str_("x")),
    "groups=-1.0 is": lambda clf, _: clf.leave_out_loss(X, Y, groups=ONE),
    "group 'z' contains": lambda clf, _: clf.leave_out_loss(X, Y, groups=np.repeat("z", 12)),
    "y='n' is": lambda clf, _: clf.influence_loss(X[:1], Y[0]),
    "refine=-1.0 must": lambda clf, _: clf.leave_out_loss(X, Y, refine=ONE),
    "n_checks=-3 must": lambda clf, _: clf.leave_out_check(np.int64(-3)),
    "tol=-1.0 must": lambda clf, _: clf.polish(tol=ONE),
    "label=7 must": lambda _, reg: mean_prediction(reg, X, label=np.int64(7)),
    r"beta=\(-1.0, 2\) must": lambda clf, _: data_values(
        clf, X, Y, kind="beta_shapley", beta=(ONE, np.int64(2))
    ),
}


@pytest.mark.parametrize("told", CALLS)
def test_values_are_plain(told):
    clf, reg = LogisticRegression().fit(X, Y), Ridge().fit(X, X)
    with pytest.raises(ValueError, match=told):
        CALLS[told](clf, reg)
