"""The page on the whole fit lists exactly the transformers whose derivative is known."""

import re
from pathlib import Path

from skinfluence.stages import STAGES

PAGE = Path(__file__).parents[1] / "doc" / "whole_fit.md"
TABLE = re.compile(r"^\| transformer \| .*\n\|[-|]*\n((?:\|.*\n)+)", flags=re.MULTILINE)


def test_the_table_of_transformers_is_that_of_the_stages():
    rows = TABLE.search(PAGE.read_text(encoding="utf-8"))[1].splitlines()
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]
    assert sorted(named) == sorted(kind.__name__ for kind in STAGES)


def test_the_figures_of_the_example_have_a_picture():
    picture = PAGE.parent / "images" / "whole_fit.png"
    assert picture.stat().st_size > 10_000
