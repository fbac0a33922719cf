"""Measured tables in the documentation: all there, readable again, and on the page."""

import re

import pytest

from benchmarks import _pages
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks._report import Table, format_markdown

STORED = [name for name in BENCHMARKS if name not in _pages.NOT_STORED]


def test_every_benchmark_has_a_table_or_a_reason_for_none():
    assert {path.stem for path in _pages.TABLES.glob("*.md")} == set(STORED)
    assert set(_pages.NOT_STORED) <= set(BENCHMARKS)


@pytest.mark.parametrize("name", STORED)
def test_a_table_names_its_machine_and_its_command(name):
    text = _pages.stored(name).read_text(encoding="utf-8")
    summary = BENCHMARKS[name].__doc__.splitlines()[0]
    assert text.startswith(f"# {name}\n\n{summary}\n\n**")
    header, rule, *rows = re.findall(r"^\|.*\|$", text, flags=re.MULTILINE)
    assert rows
    assert {line.count(" | ") for line in (header, rule, *rows)} == {header.count(" | ")}
    for said in ("Measured on", "cores", "BLAS", "numpy", "sklearn"):
        assert said in text
    assert f"Again: `python -m benchmarks {name} --repeats " in text


@pytest.mark.parametrize("path", _pages.PAGES, ids=lambda path: path.name)
def test_a_page_is_made_from_the_stored_tables(path):
    page = path.read_text(encoding="utf-8")
    assert page == _pages.render(page), (
        "run python -m benchmarks --write with the name of any quick one"
    )


@pytest.mark.parametrize("path", _pages.PAGES, ids=lambda path: path.name)
def test_a_page_shows_stored_tables(path):
    page = path.read_text(encoding="utf-8")
    shown = re.findall(r"<!-- table (\w+) -->", page)
    assert shown
    assert set(shown) <= set(BENCHMARKS)
    assert len(shown) == len(set(shown))
    assert page.count("Measured on ") == len(set(shown) & set(STORED))


def test_a_page_leads_to_all_tables():
    performance = _pages.PAGES[0].read_text(encoding="utf-8")
    for name in STORED:
        assert f"](benchmarks/{name}.md)" in performance


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A page with one region and a list, and a benchmark that takes no time."""

    def instant(repeats):
        """What nothing costs."""
        return Table("Nothing (ms)", ["what", "a | b"], [["x", float(repeats)]], ["Read it."])

    page = tmp_path / "performance.md"
    page.write_text("A\n\n<!-- table instant -->\nold\n<!-- end -->\n\nB\n\n<!-- tables -->\n")
    page.write_text(page.read_text() + "<!-- end -->\n")
    monkeypatch.setattr(_pages, "PAGES", (page,))
    monkeypatch.setattr(_pages, "TABLES", tmp_path / "benchmarks")
    monkeypatch.setitem(BENCHMARKS, "instant", instant)
    return page


def test_write_stores_the_table_and_fills_the_page(elsewhere):
    main(["instant", "--write", "--repeats", "2"])
    text = _pages.stored("instant").read_text()
    assert "| what | a \\| b |\n| :-- | --: |\n| x | 2.0 |\n\nRead it.\n\nMeasured on " in text
    page = elsewhere.read_text()
    assert "old" not in page
    assert page.startswith("A\n\n<!-- table instant -->\n\n**Nothing (ms)**\n\n| what |")
    assert "\nAgain: `python -m benchmarks instant --repeats 2`\n\n<!-- end -->\n\nB" in page
    assert "- [instant](benchmarks/instant.md): What nothing costs.\n" in page
    assert page == _pages.render(page)


def test_without_write_nothing_is_stored(elsewhere):
    before = elsewhere.read_text()
    main(["instant"])
    assert not _pages.TABLES.exists()
    assert elsewhere.read_text() == before


def test_a_table_with_rows_missing_is_not_stored(elsewhere, monkeypatch, capsys):
    def partial(repeats):
        """What is not there."""
        return Table("Nothing", ["what"], [["x"]], missing=["numpy2"])

    monkeypatch.setitem(BENCHMARKS, "instant", partial)
    main(["instant", "--write"])
    assert "Not stored, not installed: numpy2." in capsys.readouterr().out
    assert not _pages.TABLES.exists()


def test_missing_data_are_told_and_the_others_run(elsewhere, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SKINFLUENCE_DATA", str(tmp_path))
    main(["hinge_on_mnist", "instant", "--write"])
    out = capsys.readouterr().out
    assert f"hinge_on_mnist skipped: mnist.npz is not in {tmp_path}" in out
    assert _pages.stored("instant").exists()


def test_markdown_without_notes_ends_with_the_table():
    assert format_markdown(Table("T", ["a"], [["x"]])) == "**T**\n\n| a |\n| :-- |\n| x |"
