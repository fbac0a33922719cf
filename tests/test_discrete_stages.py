"""Stages of text, categories, chosen columns and functions without statistics.

Every stage has the derivative of scikit-learn's own fit in the multiplicity of each row.

By the oracle of copies, see `tests.stages`. A fit that adds a constant to counts of rows is
another fit on m copies: its stage is made from them.
"""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import (
    CountVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.preprocessing import (
    FunctionTransformer,
    TargetEncoder,
)

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import make_stage
from skinfluence.stages.base import dense
from tests.discrete_stage_cases import CASES, between_0_and_1, texts
from tests.stages import (
    check_added,
    cotangent_for,
    derivative,
    missing,
    product,
)

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
    values = values[: len(case.data()[1])]  # of copies, which move alike, the first
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
