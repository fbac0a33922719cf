"""The page on composites and moment models says which methods they have."""

import re
from pathlib import Path

import pytest
from sklearn.base import clone

from skinfluence.fitted import composites
from tests.moments import MOMENTS, data

PAGE = (Path(__file__).parents[1] / "doc" / "composites.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.*`) \| (yes|no) \| (yes|no) \|$", PAGE, flags=re.MULTILINE)
METHODS = [
    (name, composite == "yes", moments == "yes")
    for names, composite, moments in ROWS
    for name in re.findall(r"`(\w+)`", names)
]


def test_the_table_has_methods():
    assert len(METHODS) > 20


@pytest.mark.parametrize("cls", composites().values(), ids=lambda cls: cls.__name__)
def test_composites_have_the_methods_of_the_table(cls):
    composite = object.__new__(cls)
    for name, has, _ in METHODS:
        assert hasattr(composite, name) == has, name


def test_moment_models_have_the_methods_of_the_table():
    fitted = {type(case.estimator): case for case in MOMENTS}.values()
    for case in fitted:
        model = clone(case.estimator).fit(*data(case.name))
        for name, _, has in METHODS:
            assert hasattr(model, name) == has, name


def test_every_class_is_on_the_page():
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {cls.__name__ for cls in composites().values()} <= named
    assert {type(case.estimator).__name__ for case in MOMENTS} <= named
