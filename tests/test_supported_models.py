"""The page of supported models lists every estimator, and the tests run over its list."""

from collections import Counter

import pytest

from doc import make_supported_models as page
from skinfluence.fitted import MIRROR_MODULES
from tests.fits import sklearn_parent

MIRRORS = {
    name: getattr(module, name)
    for module in MIRROR_MODULES
    for name in module.__all__
    if sklearn_parent(getattr(module, name)) is not None
}


def test_the_page_is_current():
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), (
        "run python -m doc.make_supported_models"
    )


def test_every_estimator_of_scikit_learn_is_on_it():
    assert page.unclassified() == []
    twice = [name for name, count in Counter(page.listed()).items() if count > 1]
    assert twice == []


def test_every_mirror_is_in_the_lists_that_the_tests_run_over():
    assert set(MIRRORS) == set(page.supported())
    assert not set(MIRRORS) & set(page.UNSUPPORTED)


@pytest.mark.parametrize("name", page.supported())
def test_every_objective_is_stated(name):
    stated = page.objective(MIRRORS[name])
    assert any(words in stated for words in ("F = ", "that of", "closed form"))


def test_replacements_exist():
    for _, _, instead in page.UNSUPPORTED.values():
        assert instead is None or instead.split("(")[0] in MIRRORS
