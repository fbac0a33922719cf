"""Imports go one way: a module imports only from rooms before its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skinfluence"
ROOMS = [
    ["_typing"],
    ["_version", "_compat", "exceptions", "blocks", "checks", "unsupported"],
    ["products"],
    ["losses", "targets", "layout", "l1_support"],
    ["design", "column_scales"],
    ["kernels"],
    ["gradients", "rank", "pairs"],
    ["objective"],
    ["solvers", "existence"],
    ["stages"],
    ["groups", "influence", "convergence", "active_set"],
    ["parameters", "responses"],
    ["stopping"],
    ["data_check"],
    ["removal", "distributed"],
    ["diagnostics"],
    ["problem"],
    ["methods"],
    ["mixins", "moments"],
    ["linear_model", "svm", "kernel_ridge"],
    ["naive_bayes", "discriminant_analysis", "neighbors"],
    ["steps"],
    ["supervised"],
    ["whole"],
    ["pipeline"],
    ["fitted"],
    ["functionals", "leave_one_out"],
    ["search"],
    ["model_selection"],
    ["inspection"],
]
LEVEL = {name: level for level, room in enumerate(ROOMS) for name in room}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_come_from_earlier_rooms(path):
    here = room_of(path)
    for module, name in imports(path):
        if module.split(".")[0] != "skinfluence":
            continue
        there = module.split(".")[1] if "." in module else name
        if there == here:
            continue
        assert LEVEL[there] < LEVEL[here], f"{here} imports {there}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_compat_touches_private_names_of_scikit_learn(path):
    if path.stem == "_compat":
        return
    for module, name in imports(path):
        if module.startswith("sklearn"):
            private = [p for p in (*module.split("."), name or "") if p.startswith("_")]
            assert not private, f"{path.name}: {module}.{name}"


@pytest.mark.parametrize("name", ["losses", "layout", "l1_support"])
def test_the_ground_floor_is_plain_numpy_and_scipy(name):
    roots = {module.split(".")[0] for module, _ in imports(PACKAGE / f"{name}.py")}
    assert roots <= {"abc", "dataclasses", "functools", "math", "typing", "numpy", "scipy"}
