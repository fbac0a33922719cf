"""Tables as text and as Markdown, and what they were measured on."""

import os
import platform
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import scipy
import sklearn
from threadpoolctl import threadpool_info

import skinfluence

__all__ = ["MissingError", "Table", "format_markdown", "format_table", "machine"]


class MissingError(Exception):
    """What a benchmark needs is not installed or not there; says what."""


@dataclass
class Table:
    """What a benchmark returns.

    Parameters
    ----------
    title : str
        What is compared, with units.
    header : list of str
        Column names.
    rows : list of list
        Cells; floats are shown with one digit, unless formatted already.
    notes : list of str
        How to read the columns.
    missing : list of str
        What was not installed, so that rows are missing; such a table is not stored.
    """

    title: str
    header: list
    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    missing: list = field(default_factory=list)


def format_table(table):
    """Return the table as aligned text: words to the left, numbers to the right."""
    cells, words = _cells(table)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if word else f"{cell:>{width}}"
            for cell, width, word in zip(row, widths, words, strict=True)
        ).rstrip()
        for row in cells
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([table.title, "", lines[0], rule, *lines[1:], "", *table.notes])


def format_markdown(table):
    """Return the table as Markdown: its title, the table, how to read it."""
    (header, *rows), words = _cells(table)
    rule = [":--" if word else "--:" for word in words]
    lines = ["| " + " | ".join(_escape(row)) + " |" for row in (header, rule, *rows)]
    notes = textwrap.fill(" ".join(" ".join(table.notes).split()), 95)
    return "\n\n".join([f"**{table.title}**", "\n".join(lines), notes]).rstrip()


def machine():
    """Return processor, cores, BLAS libraries and versions in one sentence."""
    versions = ", ".join(
        f"{module.__name__} {module.__version__}"
        for module in (numpy, scipy, sklearn, skinfluence)
    )
    return (
        f"{_processor()}, {os.cpu_count()} cores; {_blas()}; "
        f"Python {platform.python_version()}, {versions}"
    )


def _cells(table):
    """Return header and rows as text, and of each column whether it holds words."""
    cells = [table.header, *([_text(cell) for cell in row] for row in table.rows)]
    words = [isinstance(cell, str) and not _is_number(cell) for cell in table.rows[0]]
    return cells, words


def _escape(row):
    return [cell.replace("|", "\\|") for cell in row]


def _processor():
    """Return the processor's model where the system tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _blas():
    """Return each BLAS in the process; NumPy and SciPy wheels bring one each."""
    found = [
        f"{info['internal_api']} {info['version']} "
        f"({info.get('architecture', 'unknown kernel')}, {info['num_threads']} threads)"
        for info in threadpool_info()
        if info["user_api"] == "blas"
    ]
    return "BLAS " + " and ".join(found) if found else "BLAS unknown"


def _text(cell):
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _is_number(text):
    return text.replace(",", "").replace(".", "").isdigit()
