"""If the penalty keeps every row of a hinge model inside its margin, no path can start."""

import numpy as np
import pytest
from sklearn.base import clone

from skinfluence import InfluenceWarning
from skinfluence.svm import SVC
from tests.fits import data


def test_the_remedy_for_rows_without_a_path_refits_them():
    X, y, _ = data("cancer")
    rows = np.r_[np.flatnonzero(y == "benign")[:20], np.flatnonzero(y == "malignant")[:20]]
    X, y = X[rows, :4], y[rows]
    clf = SVC(C=1e-3, kernel="linear", tol=1e-10).fit(X, y)
    with pytest.warns(InfluenceWarning, match="With method='exact' scikit-learn refits them"):
        assert np.isnan(clf.leave_out_params([[4]])[0, -1])
    with (
        pytest.warns(InfluenceWarning, match="method='exact'"),
        pytest.raises(ValueError, match=r"no predicted class.*A warning says why"),
    ):
        clf.leave_out_score()
    found = clf.leave_out_params([[4]], method="exact")[0]
    kept = np.arange(40) != 4
    refit = clone(clf).fit(X[kept], y[kept])
    dual = np.zeros(40)
    dual[np.flatnonzero(kept)[refit.support_]] = refit.dual_coef_[0]
    np.testing.assert_allclose(found[:40] @ X, dual @ X, rtol=0, atol=1e-9)
