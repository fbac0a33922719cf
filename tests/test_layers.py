"""Imports go one way: a module imports only from rooms before its own."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from benchmarks.house import Package, branches, moves, overridden

PACKAGE = Path(__file__).parents[1] / "skinfluence"
ROOMS = [
    ["_typing"],
    ["_version", "_compat", "exceptions", "blocks", "checks", "unsupported", "results"],
    ["namespaces"],
    ["losses", "targets", "layout", "l1_support"],
    ["design", "column_scales", "class_balance"],
    ["kernels"],
    ["gradients", "rank", "active_path", "largest"],
    ["objective"],
    ["solvers", "existence"],
    ["optimum"],
    ["stages"],
    ["groups", "influence", "convergence", "kinks", "active_set"],
    ["parameters", "responses"],
    ["stopping"],
    ["data_check"],
    ["removal"],
    ["diagnostics"],
    ["distributed"],
    ["problem"],
    ["methods"],
    ["mixins", "moments"],
    ["linear_model", "kernel_ridge", "gaussian_process"],
    ["naive_bayes", "discriminant_analysis", "neighbors"],
    ["steps"],
    ["whole"],
    ["svm"],
    ["pipeline"],
    ["fitted"],
    ["composite"],
    ["calibration", "compose", "ensemble", "multiclass", "multioutput", "thresholds"],
    ["functionals", "jackknife", "leave_one_out"],
    ["search"],
    ["model_selection"],
    ["inspection"],
]
LEVEL = {name: level for level, room in enumerate(ROOMS) for name in room}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def package():
    return Package(PACKAGE)


@cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path):
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module, alias.name) for alias in node.names)


def test_imports_come_from_earlier_rooms():
    for path in MODULES:
        here = room_of(path)
        for module, name in imports(path):
            if module.split(".")[0] == "skinfluence":
                there = module.split(".")[1] if "." in module else name
                below = there == here or LEVEL[there] < LEVEL[here]
                assert below, f"{path} imports {there}"


def test_the_map_of_the_house_has_every_room_below_those_from_which_it_imports():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("| layer |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [re.findall(r"`(\w+)/?`", line.split("|")[1]) for line in table]
    place = {name: number for number, names in enumerate(cells) for name in names}
    assert set(place) == set(LEVEL) - {"_version"}
    for path in MODULES:
        for module, name in imports(path):
            there = module.split(".")[1] if "." in module else name
            if module.split(".")[0] == "skinfluence" and there in place:
                assert place[there] <= place[room_of(path)], f"{path.name} imports {there}"


def test_names_with_an_underscore_stay_in_their_module():
    for path in MODULES:
        for module, name in imports(path):
            if module.startswith("skinfluence.") and name is not None:
                assert not name.startswith("_"), f"{path} imports {name} of {module}"


def test_only_compat_touches_private_names_of_scikit_learn():
    for path in MODULES:
        for module, name in imports(path):
            if module.startswith("sklearn") and path.stem != "_compat":
                private = [p for p in (*module.split("."), name or "") if p.startswith("_")]
                assert not private, f"{path}: {module}.{name}"


@pytest.mark.parametrize("name", ["losses", "layout", "l1_support"])
def test_the_lowest_layer_is_plain_numpy_and_scipy(name):
    allowed = {"abc", "dataclasses", "functools", "math", "typing", "numpy", "scipy"}
    for path in (path for path in MODULES if room_of(path) == name):
        for module, _ in imports(path):
            own = module.startswith(f"skinfluence.{name}.")
            assert own or module.split(".")[0] in allowed, f"{path.name} imports {module}"


def test_public_modules_are_there_after_importing_the_package():
    code = (
        "import sys, skinfluence\n"
        "assert 'sklearn.linear_model' not in sys.modules\n"
        "assert 'from_fitted' in dir(skinfluence)\n"
        "for name in ('calibration compose ensemble functionals inspection linear_model '\n"
        "             'model_selection multiclass multioutput svm').split():\n"
        "    assert name in dir(skinfluence), name\n"
        "    assert getattr(skinfluence, name).__name__ == f'skinfluence.{name}'\n"
        "assert not hasattr(skinfluence, 'missing')\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_is_longer_than_500_lines():
    for path in (*MODULES, *Path(__file__).parent.rglob("*.py")):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path


OUTSIDE = {
    "fitted",
    "functionals",
    "inspection",
    "jackknife",
    "leave_one_out",
    "model_selection",
    "search",
    "pipeline",
    "steps",
    "whole",
}


def test_nothing_private_of_an_estimator_is_read_from_outside():
    for path in (path for path in MODULES if room_of(path) in OUTSIDE):
        for node in nodes(path):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
                continue
            if node.attr.startswith("__"):
                continue
            read = f"{path}:{node.lineno} reads {ast.unparse(node)}"
            assert isinstance(node.value, ast.Name), read
            assert node.value.id in ("self", "cls"), read


def test_no_private_method_is_overridden():
    for label, number, names in overridden(package()):
        assert number == 0, f"{label}: {names}"


def test_a_call_on_a_plain_model_enters_few_files():
    figures = {label: value for label, value, *_ in moves(package())}
    assert figures["files entered by influence_loss"] <= 20
    assert figures["files entered by leave_out_loss exact"] <= 28


def test_few_modules_ask_about_kinks_supports_and_kernels():
    ((label, number, names),) = branches(package())
    assert number <= 19, f"{label}: {names}"
