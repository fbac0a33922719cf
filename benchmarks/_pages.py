"""Measured tables in the documentation: one file for each benchmark, and pages of them."""

import re
from pathlib import Path

__all__ = ["NOT_STORED", "PAGES", "TABLES", "render", "store", "stored"]

_DOC = Path(__file__).resolve().parents[1] / "doc"
#: Where the table of each benchmark is stored.
TABLES = _DOC / "benchmarks"
#: The pages that show tables in their regions.
PAGES = (
    _DOC / "performance.md",
    _DOC / "reproductions.md",
    _DOC / "convergence.md",
    _DOC / "whole_fit.md",
    _DOC / "diagnostics.md",
    _DOC / "large_data.md",
    _DOC / "devices.md",
)

#: Benchmarks without a stored table, and why.
NOT_STORED = {
    "removal_accuracy": "its table is in removal.md",
    "removal_exact": "its table is in removal.md",
    "hinge_on_mnist": "its table is in svm.md",
    "label_errors": "its table is in diagnostics.md",
    "composite_label_errors": "its table is in composites.md",
    "sign_flips": "its table is in diagnostics.md",
    "dask_influence": "its table is in large_data.md",
    "peers_diagnostics": "takes minutes: not measured yet with this version",
    "random_removals": "its table is in removal.md",
}

_REGION = re.compile(r"<!-- (table \w+|tables) -->\n.*?<!-- end -->", re.DOTALL)


def stored(name):
    """Return the file of a benchmark's table."""
    return TABLES / f"{name}.md"


def store(name, summary, body):
    """Write the table of a benchmark, and the pages anew.

    Parameters
    ----------
    name : str
        The benchmark.
    summary : str
        What it measures, in one line.
    body : str
        Its table as Markdown, with what it was measured on.
    """
    TABLES.mkdir(exist_ok=True)
    stored(name).write_text(f"# {name}\n\n{summary}\n\n{body}\n", encoding="utf-8")
    for page in PAGES:
        page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")


def render(page):
    """Return the page with its regions filled from the stored tables.

    A region runs from ``<!-- table NAME -->`` or ``<!-- tables -->`` to ``<!-- end -->``:
    comments in Markdown, invisible on the page. The first kind holds one table, the second
    a list of all.
    """
    return _REGION.sub(_fill, page)


def _fill(region):
    kind, _, name = region[1].partition(" ")
    text = _body(stored(name)) if kind == "table" else _list()
    return f"<!-- {region[1]} -->\n\n{text}\n\n<!-- end -->"


def _body(path):
    if path.exists():
        return _parts(path)[2].rstrip()
    return f"`python -m benchmarks {path.stem}` measures it."


def _list():
    return "\n".join(
        f"- [{path.stem}](benchmarks/{path.name}): {_parts(path)[1]}"
        for path in sorted(TABLES.glob("*.md"))
    )


def _parts(path):
    """Return heading, summary and body of a stored table."""
    return path.read_text(encoding="utf-8").split("\n\n", 2)
