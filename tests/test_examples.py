"""The examples run and draw their pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/plot_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs(path, tmp_path):
    picture = tmp_path / "picture.png"
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(path.parents[1])}
    subprocess.run([sys.executable, path, picture], env=environment, check=True)
    assert picture.stat().st_size > 10_000
