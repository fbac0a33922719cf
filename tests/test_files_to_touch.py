"""CONTRIBUTING.md names the files in which a loss, solver, estimator or method is added.

The test adds one of each to a copy of the package, where a new process uses them.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

SOLVER = """
from dataclasses import dataclass

from skinfluence.solvers.cholesky import CholeskySolver


@dataclass(frozen=True)
class OtherSolver(CholeskySolver):
    name = "other"
"""
METHOD = '''
    @available
    def largest_self_influence(self):
        """Return the index of the sample with the largest self-influence."""
        return get_problem(self, "largest_self_influence").largest_self_influence()
'''
ANSWER = """
    def largest_self_influence(self):
        return int(np.argmin(self.self_influence()))
"""
USE = """
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler
from skinfluence.linear_model import LogCoshRegressor, Ridge
from skinfluence.losses import LOSSES
from skinfluence.pipeline import make_pipeline

X, y = load_diabetes(return_X_y=True)
X, y = 20 * X[:60], y[:60] / 77
assert "LogCoshLoss" in {type(loss).__name__ for loss in LOSSES}
reg = LogCoshRegressor(alpha=0.1, tol=1e-12).fit(X, y)
refit = LogCoshRegressor(alpha=0.1, tol=1e-12).fit(X[1:], y[1:])
found = reg.leave_out_params([[0]], method="exact")[0]
np.testing.assert_allclose(found, refit.params_, rtol=1e-4)
np.testing.assert_allclose(
    reg.influence_params(hessian_solver="other"),
    reg.influence_params(hessian_solver="cholesky"),
)
for model in (reg, Ridge(), make_pipeline(StandardScaler(), Ridge())):
    model.fit(X, y)
    assert model.largest_self_influence() == np.argmin(model.self_influence())
"""


def blocks(page):
    """Return the code on a page that is no session of Python."""
    text = (ROOT / "doc" / page).read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return "\n\n".join(block for block in found if ">>>" not in block)


def named(kind):
    """Return the files that the table has for a kind of addition."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    line = re.search(rf"^\| {kind} \|(.*)\|$", text, flags=re.MULTILINE).group(1)
    return re.findall(r"`([\w./]+)`", line)


class Copy:
    """A copy of the package, and the files that were written in it for each kind."""

    def __init__(self, folder):
        self.folder = folder / "skinfluence"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "skinfluence", self.folder, ignore=ignored)
        self.touched = {}

    def write(self, kind, name, text, *, more=False):
        path = self.folder / name
        assert path.exists() == more
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
        self.touched.setdefault(kind, []).append(name)

    def insert(self, kind, name, after, text):
        path = self.folder / name
        old = path.read_text(encoding="utf-8")
        assert old.count(after) == 1
        path.write_text(old.replace(after, after + text), encoding="utf-8")
        self.touched.setdefault(kind, []).append(name)


def test_each_is_added_in_the_named_files(tmp_path):
    copy = Copy(tmp_path)
    copy.write(
        "loss",
        "losses/log_cosh.py",
        blocks("adding_a_loss.md").replace(
            "skinfluence.losses import", "skinfluence.losses.base import"
        ),
    )
    line = (
        "\nfrom skinfluence.losses.log_cosh import LogCoshLoss\nLOSSES.append(LogCoshLoss())\n"
    )
    copy.write("loss", "losses/__init__.py", line, more=True)
    copy.write("solver", "solvers/other.py", SOLVER)
    line = (
        "\nfrom skinfluence.solvers.other import OtherSolver\n"
        "SOLVERS['other'] = OtherSolver()\n"
    )
    copy.write("solver", "solvers/__init__.py", line, more=True)
    copy.write("estimator", "linear_model/log_cosh.py", blocks("adding_an_estimator.md"))
    line = (
        "\nfrom skinfluence.linear_model.log_cosh import LogCoshRegressor\n"
        "__all__.append('LogCoshRegressor')\n"
    )
    copy.write("estimator", "linear_model/__init__.py", line, more=True)
    first = '"""Losses, gradients, and influence on parameters and their functions."""\n'
    copy.insert("public method", "methods/gradients.py", first, METHOD)
    first = "class InfluenceAnswers(RankedSamples):\n"
    copy.insert("public method", "problem/influence.py", first, ANSWER)

    for kind, most in (("loss", 2), ("solver", 2), ("estimator", 4), ("public method", 3)):
        listed = named(kind)
        assert len(listed) <= most
        for name in copy.touched[kind]:
            assert name in listed or f"{name.split('/')[0]}/" in listed
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", USE], check=True, cwd=tmp_path, env=env)
