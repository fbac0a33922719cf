"""Stages of text, categories, chosen columns and functions, and their data."""

from typing import NamedTuple

import numpy as np
import pytest
import sklearn
from scipy import sparse
from scipy.special import expit, logit
from sklearn import feature_selection as sk
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.impute import MissingIndicator
from sklearn.kernel_approximation import AdditiveChi2Sampler, RBFSampler
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from sklearn.utils.fixes import parse_version

from tests.stages import (
    missing,
    numeric,
    sparse_rows,
)


class Case(NamedTuple):
    """A transformer and the data that it is tried on."""

    name: str
    transformer: object
    data: object
    #: Whether the fit adds a constant to counts of rows.
    smoothed: bool = False


def selectable():
    """Return two columns that make y, and three that are orthogonal to it."""
    X, y = numeric()
    basis = np.linalg.qr(np.column_stack([np.ones(len(y)), X]))[0]
    return X.mean() + 40 * basis[:, 1:], 3 * basis[:, 2] - 2 * basis[:, 4]


def sparse_selectable():
    X, y = selectable()
    return sparse.csr_array(X), y


def between_0_and_1():
    X, y = numeric()
    return (X - X.min() + 1) / (X.max() - X.min() + 2), y


def classes():
    X, y = numeric()
    return X, np.digitize(y, np.quantile(y, [0.3, 0.7]))


WORDS = ["the", "cat", "sat", "on", "the", "mat", "and", "a", "dog", "ran", "after", "the"]


WORDS += ["mice", "in", "old", "barns"]


def texts():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 12, size=30)
    joined = [" ".join(rng.choice(WORDS, size=length)) for length in lengths]
    return np.array(joined, dtype=object), np.arange(30.0)


def counts():
    X, y = texts()
    return sparse.csr_array(CountVectorizer().fit_transform(X), dtype=float), y


def dense_counts():
    X, y = counts()
    return X.toarray(), y


def counts_with_an_empty_row():
    X, y = counts()
    X = sparse.vstack([X, sparse.csr_array((1, X.shape[1]))], format="csr")
    return X, np.append(y, 0.0)


def sparse_and_an_empty_row():
    """Return rows without ties, some of them negative."""
    X, y = counts_with_an_empty_row()
    X.data *= np.random.default_rng(0).standard_normal(len(X.data))
    return X, y


def words():
    """Return rows {word: count}, as dictionaries."""
    X, y = texts()
    rows = [{word: text.split().count(word) for word in text.split()} for text in X]
    return np.array(rows, dtype=object), y


def categories():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.choice(list(letters), size=60) for letters in ("aab", "pqrrst")])
    y = (X[:, 0] == "a") + 0.3 * (X[:, 1] == "q") + rng.standard_normal(60)
    return X.astype(object), y


def categories_and_two_classes():
    X, y = categories()
    return X, np.where(y > np.median(y), "yes", "no")


def categories_and_classes():
    X, y = categories()
    return X, np.digitize(y, np.quantile(y, [0.3, 0.7]))


FOLDS = KFold(4, shuffle=True, random_state=0)


# TargetEncoder takes a splitter from scikit-learn 1.9 on, and has a seed of its own before.
TAKES_SPLITTER = parse_version(sklearn.__version__) >= parse_version("1.9")


SEEDED = {"cv": FOLDS} if TAKES_SPLITTER else {"cv": 4, "random_state": 0}


needs_splitter = pytest.mark.skipif(
    not TAKES_SPLITTER, reason="TargetEncoder takes no splitter before scikit-learn 1.9"
)


CASES = [
    Case("standard", StandardScaler(), numeric),
    Case("standard-without-mean", StandardScaler(with_mean=False), numeric),
    Case("standard-without-std", StandardScaler(with_std=False), numeric),
    Case("standard-missing", StandardScaler(), missing),
    Case("standard-sparse", StandardScaler(with_mean=False), sparse_rows),
]


CASES += [
    Case("tfidf", TfidfTransformer(), counts, True),
    Case("tfidf-l1", TfidfTransformer(norm="l1"), counts, True),
    Case("tfidf-without-norm", TfidfTransformer(norm=None), counts, True),
    Case("tfidf-without-idf", TfidfTransformer(use_idf=False), counts),
    Case("tfidf-not-smooth", TfidfTransformer(smooth_idf=False), counts),
    Case("tfidf-sublinear", TfidfTransformer(sublinear_tf=True), counts, True),
    Case("tfidf-dense", TfidfTransformer(norm="l1", smooth_idf=False), dense_counts),
    Case("tfidf-empty-row", TfidfTransformer(), counts_with_an_empty_row, True),
    Case("tfidf-of-text", TfidfVectorizer(), texts, True),
    Case(
        "tfidf-of-pairs",
        TfidfVectorizer(ngram_range=(1, 2), max_df=0.6, sublinear_tf=True, norm="l1"),
        texts,
        True,
    ),
    Case("tfidf-of-text-without-idf", TfidfVectorizer(use_idf=False, binary=True), texts),
    Case("count", CountVectorizer(), texts),
    Case("hashing", HashingVectorizer(n_features=64), texts),
    Case("dictionaries", DictVectorizer(), words),
    Case("hashed-dictionaries", FeatureHasher(n_features=16), words),
    Case("one-hot", OneHotEncoder(), categories),
    Case("one-hot-infrequent", OneHotEncoder(min_frequency=0.2, drop="first"), categories),
    Case("one-hot-dense", OneHotEncoder(sparse_output=False, max_categories=3), categories),
    Case("ordinal", OrdinalEncoder(), categories),
    Case("target", TargetEncoder(**SEEDED), categories, True),
    Case("target-smooth", TargetEncoder(smooth=30.0, **SEEDED), categories, True),
    Case("target-not-smooth", TargetEncoder(smooth=0.0, **SEEDED), categories),
    Case("target-binary", TargetEncoder(**SEEDED), categories_and_two_classes, True),
    Case("target-classes", TargetEncoder(**SEEDED), categories_and_classes, True),
    Case("k-best", sk.SelectKBest(k=2), classes),
    Case("k-best-sparse", sk.SelectKBest(sk.f_regression, k=2), sparse_selectable),
    Case("percentile", sk.SelectPercentile(sk.f_regression, percentile=40), selectable),
    Case("fpr", sk.SelectFpr(sk.f_regression), selectable),
    Case("fdr", sk.SelectFdr(sk.f_regression), selectable),
    Case("fwe", sk.SelectFwe(sk.f_regression), selectable),
    Case(
        "generic",
        sk.GenericUnivariateSelect(sk.f_regression, mode="k_best", param=2),
        selectable,
    ),
    Case("from-model", sk.SelectFromModel(Ridge()), selectable),
    Case("elimination", sk.RFE(Ridge(), n_features_to_select=2), selectable),
    Case("elimination-cv", sk.RFECV(Ridge(), cv=2, min_features_to_select=2), selectable),
    Case(
        "sequential",
        sk.SequentialFeatureSelector(Ridge(), n_features_to_select=2, cv=2),
        selectable,
    ),
    Case("variance", sk.VarianceThreshold(0.2), numeric),
    *[Case(f"norm-{norm}", Normalizer(norm), numeric) for norm in ("l1", "l2", "max")],
    *[
        Case(f"norm-{norm}-sparse", Normalizer(norm), sparse_and_an_empty_row)
        for norm in ("l1", "l2", "max")
    ],
    Case("binarizer", Binarizer(threshold=1.0), numeric),
    Case("binarizer-sparse", Binarizer(threshold=1.0), sparse_rows),
    Case("missing", MissingIndicator(), missing),
    Case("polynomial", PolynomialFeatures(3), numeric),
    Case("polynomial-degrees", PolynomialFeatures((2, 3), include_bias=False), numeric),
    Case("interactions", PolynomialFeatures(interaction_only=True), numeric),
    Case("polynomial-sparse", PolynomialFeatures(3), sparse_rows),
    Case("interactions-sparse", PolynomialFeatures(interaction_only=True), sparse_rows),
    Case("identity", FunctionTransformer(), numeric),
    Case("logarithm-sparse", FunctionTransformer(np.log1p, accept_sparse=True), counts),
    Case("random", GaussianRandomProjection(3, random_state=0), numeric),
    Case("random-of-sparse", GaussianRandomProjection(3, random_state=0), sparse_rows),
    Case("random-sparse", SparseRandomProjection(3, random_state=0), sparse_rows),
    Case("random-sparse-of-dense", SparseRandomProjection(3, random_state=0), numeric),
    Case("chi2", AdditiveChi2Sampler(sample_steps=1), between_0_and_1),
    Case("chi2-steps", AdditiveChi2Sampler(sample_steps=3), between_0_and_1),
    Case("chi2-sparse", AdditiveChi2Sampler(sample_interval=0.3), counts),
    Case("rbf", RBFSampler(gamma=0.1, n_components=7, random_state=0), numeric),
    Case("rbf-scale", RBFSampler(gamma="scale", n_components=7, random_state=0), numeric),
    Case("rbf-sparse", RBFSampler(gamma="scale", random_state=0), sparse_rows),
    Case("variance-sparse", sk.VarianceThreshold(0.2), sparse_rows),
]


FUNCTIONS = [np.cbrt, np.log, np.log10, np.log1p, np.log2, np.reciprocal, np.sqrt, logit]


FUNCTIONS_OF_ALL = [
    np.abs,
    np.arcsinh,
    np.arctan,
    np.cos,
    np.exp,
    np.expm1,
    np.fabs,
    np.negative,
]


FUNCTIONS_OF_ALL += [np.sin, np.square, np.tanh, expit]


for functions, data in [(FUNCTIONS, between_0_and_1), (FUNCTIONS_OF_ALL, numeric)]:
    CASES += [Case(f"function-{f.__name__}", FunctionTransformer(f), data) for f in functions]
