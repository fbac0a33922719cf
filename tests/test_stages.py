"""Every stage has the derivative of scikit-learn's own fit in the multiplicity of each row.

By the oracle of copies, see `tests.stages`.
"""

import numpy as np
import pytest
from sklearn.base import clone

from skinfluence.stages import STAGES, make_stage
from skinfluence.stages.base import dense
from tests.discrete_stage_cases import CASES as DISCRETE
from tests.stage_cases import CASES, each_case, every, not_extreme, slope
from tests.stages import (
    check_added,
    cotangent_for,
    derivative,
    product,
)

# An imputer says so whenever it leaves out a column without a value.
skipping_is_expected = pytest.mark.filterwarnings("ignore:Skipping features:UserWarning")


ROWS = (0, 7, 23)


def fitted(case):
    X, y = case.data()
    transformer = clone(case.transformer).fit(X, y)
    return make_stage(transformer, X, y), X, y


@skipping_is_expected
@pytest.mark.parametrize(**each_case)
def test_statistics_move_with_the_multiplicity_of_a_row(case):
    stage, X, y = fitted(case)
    output = stage.transformer.transform(X)
    B = cotangent_for(output)
    c = stage.pull_statistics(stage.X, B)
    found = stage.row_influence(c)
    check_added(stage, c, X, found)

    def value(X_again, y_again, copies):
        again = clone(case.transformer).fit(X_again, y_again)
        if case.adjust is not None:
            case.adjust(again, X_again.shape[0], copies)
        return product(B, again.transform(X))

    scale = np.abs(found).max()
    for row in ROWS:
        expected = derivative(value, X, y, row)
        assert abs(found[row] - expected) <= case.tolerance * scale


def moved_entries(case, X, every_so_many, moves=False):
    """Return the places of the entries of rows that a test moves.

    Of many that a case names, every fifth one and those that move the fit.
    """
    values = dense(X)
    place = np.add.outer(*map(np.arange, values.shape))
    chosen = place % every_so_many == 0
    if case.entries is not None:
        chosen = case.entries(values)
        if chosen.mean() > 0.5:
            chosen &= (place % 5 == 0) | moves
    places = list(zip(*np.nonzero(chosen & (np.nan_to_num(values) != 0)), strict=True))
    assert places
    return places


@skipping_is_expected
@pytest.mark.parametrize(**each_case)
def test_inputs_move_the_output(case):
    """Of the transform as fitted, and of the statistics that are fitted to the rows."""
    stage, X, y = fitted(case)
    transformer = stage.transformer
    B = cotangent_for(transformer.transform(X), 1)
    direct = dense(stage.pull_input(stage.X, B))
    through_fit = stage.pull_fit(stage.pull_statistics(stage.X, B))
    moves = False if through_fit is None else dense(through_fit) != 0
    whole = direct if through_fit is None else direct + dense(through_fit)

    def refitted(changed):
        return product(B, clone(transformer).fit(changed, y).transform(changed))

    for i, j in moved_entries(case, X, 17, moves):
        frozen = slope(lambda rows: product(B, transformer.transform(rows)), X, i, j)
        assert abs(direct[i, j] - frozen) <= 1e-6 * np.abs(direct).max()
        found = slope(refitted, X, i, j, case.step)
        assert abs(whole[i, j] - found) <= case.input_tolerance * np.abs(whole).max()


@skipping_is_expected
@pytest.mark.parametrize(**each_case)
def test_queries_move_with_the_fit(case):
    """Of rows that lie partly beyond the training rows."""
    stage, X, y = fitted(case)
    transformer, queries = stage.transformer, stage.X[:15] * 1.4
    B = cotangent_for(transformer.transform(queries), 2)
    direct = dense(stage.pull_input(queries, B))
    through_fit = stage.pull_fit(stage.pull_statistics(queries, B))
    through_fit = np.zeros(X.shape) if through_fit is None else dense(through_fit)

    def refitted(changed):
        return product(B, clone(transformer).fit(changed, y).transform(queries))

    for i, j in moved_entries(case, queries, 13):
        frozen = slope(lambda rows: product(B, transformer.transform(rows)), queries, i, j)
        assert abs(direct[i, j] - frozen) <= 1e-6 * np.abs(direct).max()
    # The extremes may move here: no query is one.
    whole = case._replace(entries=every) if case.entries is not_extreme else case
    for i, j in moved_entries(whole, X, 17, through_fit != 0):
        found = slope(refitted, X, i, j, case.step)
        size = np.abs(through_fit).max()
        assert abs(through_fit[i, j] - found) <= case.input_tolerance * size


def test_every_stage_has_a_case():
    tried = {type(case.transformer) for case in [*CASES, *DISCRETE]}
    assert tried >= set(STAGES)
