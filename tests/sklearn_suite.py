"""scikit-learn's own tests, run with the classes of this package in place of its own.

    python -m tests.sklearn_suite           the quick part, which takes half a minute
    python -m tests.sklearn_suite --all     every test module that names one of the classes
    python -m tests.sklearn_suite FILE ...  some, such as linear_model/tests/test_sgd.py

A test counts as failed only if it passes with scikit-learn's own classes: what failed is run
a second time with these. The exit status is 1 if any test fails only with our classes, or if
a module cannot be imported with them.

This module is also the plugin of pytest that puts the classes in place. It does so before any
test module is imported, so that ``from sklearn.linear_model import Ridge`` there gives ours.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import sklearn

ROOT = Path(sklearn.__file__).parent

#: Modules that hold docstrings of scikit-learn's own classes against its style guide.
NOT_OURS = {"tests/test_docstrings.py", "tests/test_docstring_parameters.py"}

#: A test that asks the docstrings of classes in modules of scikit-learn, and of no others.
OF_DOCSTRINGS = (
    "utils/tests/test_estimator_checks.py::test_check_dataframe_column_names_consistency"
)

# Tests of generalised linear models in the quick part. The others fit 12 data sets by every
# solver, and take as long as everything else in it.
_OF_GLM = (
    "glm_identity_regression",
    "glm_log_regression",
    "glm_sample_weight_consistency",
    "glm_wrong_y_range",
    "linalg_warning_with_newton_solver",
    "normal_ridge_comparison",
    "poisson_glmnet",
    "sample_weights_validation",
    "tags",
    "tweedie_link_argument",
    "tweedie_link_auto",
    "tweedie_score",
    "warm_start",
)

#: Modules of the quick part, and single tests: those that are about the classes themselves.
QUICK = (
    *(f"linear_model/_glm/tests/test_glm.py::test_{name}" for name in _OF_GLM),
    "linear_model/tests/test_base.py",
    "linear_model/tests/test_coordinate_descent.py",
    "linear_model/tests/test_huber.py",
    "linear_model/tests/test_sparse_coordinate_descent.py",
    "svm/tests/test_sparse.py",
    "svm/tests/test_svm.py",
    "tests/test_kernel_ridge.py",
)

# Environment variables that the plugin reads in the processes that run the tests.
_ORIGINALS, _REPORT = "SKINFLUENCE_SUITE_ORIGINALS", "SKINFLUENCE_SUITE_REPORT"


def mirrors():
    """Return our class for each class of scikit-learn that has one."""
    from skinfluence.fitted import mirrors

    return mirrors()


def modules():
    """Return the test modules of scikit-learn that name a class of ours."""
    names = re.compile(rf"\b({'|'.join(cls.__name__ for cls in mirrors())})\b")
    paths = {path.relative_to(ROOT).as_posix(): path for path in ROOT.rglob("test_*.py")}
    return sorted(
        name
        for name, path in paths.items()
        if name not in NOT_OURS and names.search(path.read_text(encoding="utf-8"))
    )


def put_in_place():
    """Replace scikit-learn's classes by ours in every module that is there.

    Modules that are imported later, those of the tests among them, find ours.
    """
    ours = mirrors()  # ours inherit from the originals
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "sklearn" and module is not None:
            for attribute, value in list(vars(module).items()):
                if isinstance(value, type) and value in ours:
                    setattr(module, attribute, ours[value])


# Hooks of pytest.


def pytest_configure(config):
    if not os.environ.get(_ORIGINALS):
        put_in_place()


def pytest_collectreport(report):
    if report.failed:
        _outcomes[report.nodeid] = ["failed"]


def pytest_runtest_logreport(report):
    _outcomes.setdefault(report.nodeid, []).append(report.outcome)


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):  # with pytest-xdist: not of a worker
        Path(os.environ[_REPORT]).write_text(json.dumps(_outcomes), encoding="utf-8")


_outcomes: dict[str, list[str]] = {}


# The command.


def run(tests, originals=False, n_workers=2):
    """Run tests, with the originals or ours; return the outcome of each by its name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        listed = Path(folder) / "tests.txt"
        listed.write_text("\n".join(f"{ROOT}/{test}" for test in tests), encoding="utf-8")
        here = Path(__file__).parents[1]
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
            "PYTEST_ADDOPTS": "",
            "OPENBLAS_NUM_THREADS": "1",
            _ORIGINALS: "1" if originals else "",
            _REPORT: str(report),
        }
        command = [sys.executable, "-m", "pytest", "-p", "tests.sklearn_suite", "-q"]
        command += ["-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
        command += ["--tb=short", "--disable-warnings", f"@{listed}"]
        command += ["--deselect", OF_DOCSTRINGS]
        if n_workers > 1:
            command += ["-n", str(n_workers), "--dist", "worksteal"]
        subprocess.run(command, cwd=here, env=env, check=False)
        if not report.exists():
            raise SystemExit("pytest ended before it had run the tests.")
        outcomes = json.loads(report.read_text(encoding="utf-8"))
    return {
        name: "failed" if "failed" in parts else "skipped" if "skipped" in parts else "passed"
        for name, parts in outcomes.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="*", help="test modules, relative to scikit-learn's")
    parser.add_argument("--all", action="store_true", help="every module that names a class")
    parser.add_argument("-n", type=int, default=2, help="number of processes")
    args = parser.parse_args()
    files = args.files or (modules() if args.all else QUICK)
    start = time.perf_counter()
    outcomes = run(files, n_workers=args.n)
    failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
    only_ours = failed
    if failed:
        again = run(failed, originals=True, n_workers=1)
        only_ours = [name for name in failed if again.get(name) != "failed"]
    counts = Counter(outcomes.values())
    seconds = time.perf_counter() - start
    n_files = len({name.split("::")[0] for name in files})
    print(f"{n_files} files, {len(outcomes)} tests in {seconds:.0f} s: {dict(counts)}")
    if not outcomes:
        raise SystemExit("No test was run.")
    print(f"{len(only_ours)} fail only with our classes")
    for name in only_ours:
        print("  " + name)
    return bool(only_ours)


if __name__ == "__main__":
    sys.exit(main())
