"""The API reference lists every public name, and the pages of the site refer to each other."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.test_docstrings import MODULES, public_objects

DOC = Path(__file__).parents[1] / "doc"
PAGES = [*DOC.glob("*.md"), *DOC.glob("*.rst")]


def listed():
    """Return the names in the reference, each after the last module named above it."""
    module = None
    for line in (DOC / "api.rst").read_text(encoding="utf-8").splitlines():
        found = re.match(r"\.\. (?:module|currentmodule):: (\S+)", line)
        if found:
            module = found[1]
        elif re.fullmatch(r"   \w+", line):
            yield f"{module}.{line.strip()}"


def public_names():
    return {name for name in public_objects() if _is_top(name)}


def _is_top(name):
    return any(name.startswith(f"{m}.") and "." not in name[len(m) + 1 :] for m in MODULES)


def test_the_reference_lists_every_public_name_once():
    names = list(listed())
    assert len(names) == len(set(names))
    # skinfluence.fitted is where from_fitted is defined; users import it from skinfluence.
    assert set(names) == {n for n in public_names() if not n.startswith("skinfluence.fitted.")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_reached(page):
    """Sphinx warns too; this needs no build."""
    entries = {
        line.strip()
        for other in PAGES
        for line in other.read_text(encoding="utf-8").splitlines()
    }
    reached = any(fnmatch(page.stem, entry) for entry in entries)
    assert reached or page.stem == "index"
