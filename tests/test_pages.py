"""The code on the documentation pages runs, and prints the output on the page."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "doc").glob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(page):
    """Return the blocks of Python on a page, each with the line it begins on."""
    text = page.read_text(encoding="utf-8")
    return [
        (match[1], text[: match.start()].count("\n") + 2) for match in FENCE.finditer(text)
    ]


WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_code_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for code, line in blocks(page):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, page.name, page, line)
            failures = []
            runner.run(test, clear_globs=False, out=failures.append)
            assert not failures, "".join(failures)
            names = test.globs
        else:
            exec(compile("\n" * (line - 1) + code, page, "exec"), names)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_lines_fit_the_column_of_the_site(page):
    long = [line for code, _ in blocks(page) for line in code.splitlines() if len(line) > 95]
    assert not long
