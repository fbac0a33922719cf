"""Stages of text, categories, chosen columns and functions without statistics.

Every stage has the derivative of scikit-learn's own fit in the multiplicity of each row.

By the oracle of copies, see `tests.stages`. A fit that adds a constant to counts of rows is
another fit on m copies: its stage is made from them.
"""

import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
import sklearn
from scipy import sparse
from scipy.special import expit, logit
from sklearn import feature_selection as sk
from sklearn.base import clone
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
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
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

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import make_stage
from skinfluence.stages.base import dense
from tests.stages import (
    check_added,
    cotangent_for,
    derivative,
    missing,
    numeric,
    product,
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
each_case = {"argvalues": CASES, "argnames": "case", "ids": [case.name for case in CASES]}
ROWS = (0, 7, 23)
COPIES = 32
SOME = (slice(0, 1), slice(1, 9), slice(9, None))


def fitted(case):
    X, y = case.data()
    if case.smoothed:
        index = np.tile(np.arange(len(y)), COPIES)
        X, y = X[index], y[index]
    transformer = clone(case.transformer).fit(X, y)
    return make_stage(transformer, X, y), X, y


def derivative_at_copies(value, X, y, row):
    """Return the derivative where each row occurs so often that a copy is a small change."""

    def moved(change):
        everything = np.arange(len(y))
        if change < 0:
            index = np.delete(everything, row + len(y) // COPIES * np.arange(-change))
        else:
            index = np.append(everything, [row] * change)
        return value(X[index], y[index])

    return (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / 12


@pytest.mark.parametrize(**each_case)
def test_statistics_move_with_the_multiplicity_of_a_row(case):
    stage, X, y = fitted(case)
    output = stage.transformer.transform(X)
    B = cotangent_for(output)
    c = stage.pull_statistics(stage.X, B)
    found = stage.row_influence(c)
    if not isinstance(case.transformer, TargetEncoder):
        check_added(stage, c, X, found)

    def value(X_again, y_again, _copies=None):
        return product(B, clone(case.transformer).fit(X_again, y_again).transform(X))

    scale = np.abs(found).max()
    oracle = derivative_at_copies if case.smoothed else derivative
    for row in ROWS:
        assert abs(found[row] - oracle(value, X, y, row)) <= 1e-5 * scale


@pytest.mark.parametrize(**each_case)
def test_inputs_move_the_output(case):
    """Of the transform as fitted, and of the statistics that are fitted to the rows."""
    stage, X, y = fitted(case)
    output = stage.transformer.transform(X)
    B = cotangent_for(output, 1)
    if not stage.takes_numbers:
        assert stage.pull_input(stage.X, B) is None
        assert stage.pull_training_input(B) is None
        assert stage.pull_fit(stage.pull_statistics(stage.X, B)) is None
        return
    direct = dense(stage.pull_input(stage.X, B))
    through_fit = stage.pull_fit(stage.pull_statistics(stage.X, B))
    through_fit = np.zeros(direct.shape) if through_fit is None else dense(through_fit)
    values = dense(X)
    step, scale = 1e-6, np.abs(direct + through_fit).max()
    for i, j in zip(*np.nonzero(np.nan_to_num(values)), strict=True):
        if (i + j) % 11:
            continue
        moved = []
        for sign in (1, -1):
            changed = X.copy()
            changed[i, j] += sign * step
            again = clone(case.transformer).fit(changed, y)
            moved.append(
                [product(B, t.transform(changed)) for t in (stage.transformer, again)]
            )
        frozen, whole = (np.array(moved[0]) - np.array(moved[1])) / (2 * step)
        assert abs(direct[i, j] - frozen) <= 1e-6 * scale
        assert abs(direct[i, j] + through_fit[i, j] - whole) <= 1e-6 * scale


@pytest.mark.parametrize(**each_case)
def test_rows_are_pulled_one_by_one(case):
    """As many rows as there are queries, and training rows like others."""
    stage, X, _ = fitted(case)
    B = cotangent_for(stage.transformer.transform(X), 2)
    B = sparse.csr_array(B) if sparse.issparse(B) else B
    whole = stage.row_influence(stage.pull_statistics(stage.X, B))
    parts = [stage.row_influence(stage.pull_statistics(X[k], B[k])) for k in SOME]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-9, atol=1e-9)
    own_training_side = isinstance(case.transformer, TargetEncoder)
    if not own_training_side:
        again = stage.row_influence(stage.pull_training_statistics(B))
        np.testing.assert_allclose(again, whole, rtol=1e-12, atol=1e-12)
    if stage.takes_numbers:
        whole = dense(stage.pull_input(stage.X, B))
        parts = np.vstack([dense(stage.pull_input(stage.X[k], B[k])) for k in SOME])
        np.testing.assert_allclose(parts, whole, rtol=1e-12, atol=1e-12)
        again = dense(stage.pull_training_input(B))
        np.testing.assert_allclose(again, whole, rtol=1e-12, atol=1e-12)


def test_other_functions_do_without_a_derivative_only_as_the_first_step():
    pandas = pytest.importorskip("pandas")
    X, y = between_0_and_1()
    rows = pandas.DataFrame(X, columns=list("abcde"))
    for transformer in (
        FunctionTransformer(lambda rows: rows[["a", "c"]]),
        FunctionTransformer(np.log1p, kw_args={"where": True}),
    ):
        stage = make_stage(transformer.fit(rows), rows, y)
        output = np.asarray(stage.training_output())
        np.testing.assert_array_equal(output, transformer.transform(rows))
        assert stage.pull_training_statistics(output) is None
        with pytest.raises(UnsupportedEstimatorError, match="first step"):
            stage.pull_training_input(output)


def test_missing_entries_have_no_derivative():
    X, y = missing()
    stage = make_stage(FunctionTransformer(np.exp).fit(X), X, y)
    pulled = stage.pull_training_input(np.ones(X.shape))
    np.testing.assert_array_equal(pulled, np.nan_to_num(np.exp(X)))


def test_idf_needs_no_memory_for_absent_words():
    rng = np.random.default_rng(0)
    index = rng.integers(0, [[300], [50_000]], (2, 3000))
    X = sparse.coo_array((rng.random(3000), tuple(index)), shape=(300, 50_000)).tocsr()
    stage = make_stage(TfidfTransformer().fit(X), X)
    B = cotangent_for(X)
    tracemalloc.start()
    stage.row_influence(
        stage.pull_training_statistics(B) + stage.pull_statistics(X[:2], B[:2])
    )
    stage.pull_training_input(B)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.05 * 8 * X.shape[0] * X.shape[1]


def test_rows_of_text_may_be_a_list():
    X, y = texts()
    for transformer in (CountVectorizer(), TfidfVectorizer()):
        output = transformer.fit_transform(X)
        stage = make_stage(transformer, list(X))
        assert stage.n_rows == len(y)
        found = dense(stage.training_output())
        np.testing.assert_allclose(found, dense(output), rtol=1e-14)


def encoded(X, Y, weight, folds, smooth):
    """Return each fold of the rows of X, encoded by the weighted targets of the others."""
    output = np.empty((len(X), X.shape[1], Y.shape[1]))
    for fold in np.unique(folds):
        train, test = folds != fold, np.flatnonzero(folds == fold)
        w = weight[train, None]
        mean = (w * Y[train]).sum(axis=0) / w.sum()
        variance = (w * (Y[train] - mean) ** 2).sum(axis=0) / w.sum()
        for row in test:
            for j in range(X.shape[1]):
                of_kind = X[train, j] == X[row, j]
                n, targets = w[of_kind].sum(), Y[train][of_kind]
                if n == 0:
                    output[row, j] = mean
                    continue
                own = (w[of_kind] * targets).sum(axis=0) / n
                share = n / (n + smooth) if smooth != "auto" else None
                if share is None:
                    spread = (w[of_kind] * (targets - own) ** 2).sum(axis=0) / n
                    share = variance * n / (variance * n + spread)
                output[row, j] = share * own + (1 - share) * mean
    return output.reshape(len(X), -1)


@pytest.mark.filterwarnings("ignore:.*deprecated in version 1.9:FutureWarning")
@pytest.mark.parametrize("smooth", ["auto", 0.0, 7.0])
@pytest.mark.parametrize(
    ("data", "cv", "seed"),
    [
        pytest.param(categories, FOLDS, {}, marks=needs_splitter),
        (categories, 3, {"random_state": 1}),
        (categories, 3, {"shuffle": False}),
        (categories_and_two_classes, 3, {"random_state": 1}),
        pytest.param(categories_and_classes, StratifiedKFold(3), {}, marks=needs_splitter),
        pytest.param(
            categories_and_classes, list(FOLDS.split(np.zeros(60))), {}, marks=needs_splitter
        ),
    ],
)
def test_target_encoder_of_training_rows(data, cv, seed, smooth):
    """They are encoded by the rows of the other folds, and rows keep their folds."""
    X, y = data()
    # A category in one row alone has no other rows.
    X[7, 1] = "alone"
    encoder = TargetEncoder(cv=cv, smooth=smooth, **seed)
    expected = encoder.fit_transform(X, y)
    stage = make_stage(encoder, X, y)
    kinds = np.unique(y)
    Y = (y[:, None] == (kinds if len(kinds) > 2 else kinds[1:])).astype(float)
    Y = y[:, None] if data is categories else Y
    splitter = check_cv(cv)
    if isinstance(cv, int):
        kind = KFold if data is categories else StratifiedKFold
        splitter = kind(cv, **{"shuffle": True, **seed})
    folds = np.empty(len(y))
    for fold, (_, test) in enumerate(splitter.split(X, y)):
        folds[test] = fold
    ones = np.ones(len(y))
    np.testing.assert_allclose(encoded(X, Y, ones, folds, smooth), expected, rtol=1e-12)
    np.testing.assert_array_equal(stage.training_output(), expected)
    B = cotangent_for(expected)
    found = stage.row_influence(stage.pull_training_statistics(B))
    step = 1e-4
    for row in range(0, 60, 7):
        change = step * (np.arange(len(y)) == row)
        above, below = (
            product(B, encoded(X, Y, ones + sign * change, folds, smooth)) for sign in (1, -1)
        )
        close = 1e-6 * np.abs(found).max()
        assert abs(found[row] - (above - below) / (2 * step)) <= close


def test_target_encoder_of_unknown_categories_takes_the_mean():
    X, y = categories()
    encoder = TargetEncoder(**SEEDED).fit(X, y)
    stage = make_stage(encoder, X, y)
    unknown = np.array([["new", X[0, 1]]], dtype=object)
    B = np.array([[2.0, 0.0]])
    found = stage.row_influence(stage.pull_statistics(unknown, B))
    np.testing.assert_allclose(found, 2 * (y - y.mean()) / len(y), atol=1e-14)


def test_target_encoder_needs_folds_that_can_be_drawn_again():
    X, y = categories()
    for cv in (5, KFold(3, shuffle=True)) if TAKES_SPLITTER else (5,):
        encoder = TargetEncoder(cv=cv).fit(X, y)
        with pytest.raises(UnsupportedEstimatorError, match="random_state=0"):
            make_stage(encoder, X, y)
    if not TAKES_SPLITTER:
        return
    once = TargetEncoder(cv=iter(list(FOLDS.split(X))))
    once.fit_transform(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="a list"):
        make_stage(once, X, y)


def test_target_encoder_needs_the_categories_of_its_rows():
    X, y = categories()
    encoder = TargetEncoder(categories=[["a"], list("pqrst")], **SEEDED).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match='categories="auto"'):
        make_stage(encoder, X, y)
