"""First-order influence against real leave-one-out refits on handwritten digits.

Removing row j changes the loss at a query by about -I_up,loss / n. Against refits without
every second of the 40 most influential rows of two misclassified digits the correlation
is all but one; the slope above one is the leverage, which first order leaves out.
"""

import numpy as np
import pytest
from scipy.stats import linregress
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skinfluence.linear_model import LogisticRegression

pytestmark = pytest.mark.slow


def refitted_loss(fitted, X, y, row, query, label):
    """Return the loss after a refit, from the whole fit on, which saves half of the steps."""
    refit = linear_model.LogisticRegression(**fitted.get_params()).set_params(warm_start=True)
    refit.coef_, refit.intercept_ = fitted.coef_.copy(), fitted.intercept_.copy()
    refit.fit(np.delete(X, row, 0), np.delete(y, row))
    return -refit.predict_log_proba(query[None])[0, label]


@pytest.mark.parametrize(
    ("C", "correlation", "slopes"), [(0.1, 0.9995, (1.03, 1.08)), (1.0, 0.995, (1.2, 1.5))]
)
def test_digits(C, correlation, slopes):
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.3, random_state=0)
    clf = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(X, y)
    wrong = np.flatnonzero(clf.predict(X_test) != y_test)[:2]
    assert len(wrong) == 2
    influence, rows = clf.influential_samples(X_test[wrong], y_test[wrong], 40)
    influence, rows = influence[:, ::2], rows[:, ::2]
    before = clf.sample_loss(X_test[wrong], y_test[wrong])
    for q, query in enumerate(wrong):
        after = [
            refitted_loss(clf, X, y, row, X_test[query], y_test[query]) for row in rows[q]
        ]
        fit = linregress(-influence[q] / len(y), np.array(after) - before[q])
        print(f"C={C:g} query {query}: r={fit.rvalue:.5f} slope={fit.slope:.3f}")
        assert fit.rvalue >= correlation
        assert slopes[0] <= fit.slope <= slopes[1]
