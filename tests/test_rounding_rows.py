"""Kernel models take the rows of their fit, by whichever way a transformer computes them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, SVR

import skinfluence
from skinfluence import from_fitted, kernel_ridge, svm


def documents():
    """Return (texts, labels), texts being the pixels of digits, a word for each."""
    X, y = load_digits(return_X_y=True)
    keep = np.flatnonzero(np.isin(y, [3, 8]))[:24]
    words = np.array([f"w{j}" for j in range(X.shape[1])])
    texts = [" ".join(np.repeat(words, row.astype(int))) for row in X[keep]]
    return texts, y[keep]


@pytest.mark.parametrize("dense", [None, np.float64, np.float32])
@pytest.mark.parametrize(
    ("plain", "ours"),
    [
        (SVC(tol=1e-8), svm.SVC(tol=1e-8)),
        (SVR(tol=1e-8), svm.SVR(tol=1e-8)),
        (KernelRidge(kernel="rbf"), kernel_ridge.KernelRidge(kernel="rbf")),
    ],
)
def test_rows_that_differ_by_rounding_are_those_of_the_fit(plain, ours, dense):
    texts, y = documents()
    steps = [TfidfVectorizer(dtype=dense or np.float64)]
    if dense:
        steps.append(TruncatedSVD(20, algorithm="arpack", random_state=0))
    transformer = make_pipeline(*map(clone, steps))
    change = abs(transformer.fit_transform(texts) - transformer.transform(texts)).max()
    assert 0 < change < 1e-4
    fitted = make_pipeline(*steps, plain).fit(texts, y)
    expected = skinfluence.pipeline.make_pipeline(*map(clone, steps), ours).fit(texts, y)
    found = from_fitted(fitted, texts, y)
    # Rows that the model holds are those of the fit; of the others libsvm keeps nothing.
    known = dense is not np.float32 or isinstance(plain, KernelRidge)
    for name in ("self_influence", "leave_out_predict"):
        np.testing.assert_allclose(
            getattr(found, name)(),
            getattr(expected, name)(),
            rtol=1e-8 if known else 30 * change,
            atol=1e-10 if known else change,
        )
    np.testing.assert_array_equal(found.params_, expected.params_)


@pytest.mark.parametrize("change", [1e-6, 1e-3])
def test_rows_that_differ_by_more_are_refused_with_the_number(change):
    X, y = load_diabetes(return_X_y=True)
    model = KernelRidge(kernel="rbf").fit(X, y)
    other = X.copy()
    other[3, 2] += change
    with pytest.raises(ValueError, match=rf"differs in 1 value.*by up to {change:.3g} where"):
        from_fitted(model, other, y)
