"""Every example runs, draws its pictures and finds what it says it finds."""

import runpy
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/plot_*.py"))


def quickstart(example):
    assert example.pearson_r > 0.9995
    assert example.newton_r > 0.9999
    assert abs(example.newton_slope - 1) < abs(example.slope - 1) < 0.06


def cross_validation(example):
    assert example.found[: len(example.wrong)].sum() >= 24
    assert example.pearson_r > 0.998
    assert example.after < example.before


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_shows_what_it_says(path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    check = globals()[path.stem.removeprefix("plot_")]
    plt.close("all")
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    monkeypatch.setattr(sys, "argv", [str(path)])
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        example = SimpleNamespace(**runpy.run_path(str(path), run_name="__main__"))
    assert time.process_time() - started < 60
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert figures
    for figure in figures:
        figure.canvas.draw()
    plt.close("all")
    check(example)


@pytest.mark.slow
def test_the_first_example_writes_its_picture(tmp_path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    picture = tmp_path / "quickstart.png"
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    path = EXAMPLES[0].with_name("plot_quickstart.py")
    monkeypatch.setattr(sys, "argv", [str(path), str(picture)])
    runpy.run_path(str(path), run_name="__main__")
    plt.close("all")
    assert picture.stat().st_size > 10_000
