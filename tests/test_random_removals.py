"""Removals from random models of every estimator against refits, a slice of the benchmark."""

import pytest

from benchmarks.random_removals import OUTCOMES, removals_of
from tests.problems import FAMILIES


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_none_is_outside_the_stated_accuracy_without_a_warning(family):
    removals = removals_of(2, (family,), n_groups=4)
    assert {r["outcome"] for r in removals} <= set(OUTCOMES)
    assert [r for r in removals if r["outcome"] == "outside"] == []
    within = [r for r in removals if r["outcome"] in OUTCOMES[:2]]
    assert len(within) > 0.5 * len(removals)
