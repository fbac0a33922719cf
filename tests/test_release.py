"""A release states the same versions, names and links everywhere."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

import skinfluence
from benchmarks.__main__ import BENCHMARKS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
METADATA = PROJECT["project"]
HOME = METADATA["urls"]["Source"]
CHANGES = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def minimum(requirement):
    """Return (name, oldest version) of a requirement such as ``numpy>=1.26``."""
    return re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()


def pythons():
    found = [re.search(r":: (3\.\d+)$", one) for one in METADATA["classifiers"]]
    return [match[1] for match in found if match]


def test_policies_state_the_oldest_versions():
    page = text("doc/policies.md").partition("## Checklists")[0]
    table = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", page, re.M))
    stated = {name.lower(): version for name, version in table.items()}
    expected = dict(map(minimum, METADATA["dependencies"]))
    assert stated == {"python": METADATA["requires-python"].removeprefix(">="), **expected}


def test_versions_that_are_not_supported_are_older_than_spec_0_asks_for():
    line = r"^\| ([\w-]+) \| ([\d.]+) \| (\d{4})-(\d\d) \| (\d{4})-(\d\d)"
    rows = re.findall(line, text("doc/policies.md"), re.M)
    oldest = dict(map(minimum, METADATA["dependencies"]))
    oldest["python"] = METADATA["requires-python"].removeprefix(">=")
    assert {name.lower() for name, *_ in rows} == set(oldest)
    today = str(yaml.safe_load(text("CITATION.cff"))["date-released"])
    for name, version, year, month, *until in rows:
        major, minor = version.split(".")
        assert oldest[name.lower()] == f"{major}.{int(minor) + 1}"  # the one after it
        years = 3 if name == "Python" else 2
        assert until == [str(int(year) + years), month]
        assert name == "scikit-learn" or "-".join(until) < today


def test_the_places_that_a_checklist_names_exist():
    section = text("doc/policies.md").partition("## Checklists")[2].partition("SPEC 0")[0]
    named = set(re.findall(r"(?<!})`([\w./-]+)`", section)) - {"urls", "check_estimator"}
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert {"LICENSE", "tests/test_check_estimator.py"} <= named
    assert METADATA["license"] == "BSD-3-Clause"
    assert text("LICENSE").startswith("BSD 3-Clause License")
    assert {"E", "W", "N"} <= set(PROJECT["tool"]["ruff"]["lint"]["select"])


def test_every_supported_python_is_tested():
    oldest = METADATA["requires-python"].removeprefix(">=")
    minors = [int(version.partition(".")[2]) for version in pythons()]
    assert pythons()[0] == oldest
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    jobs = yaml.safe_load(text(".github/workflows/tests.yml"))["jobs"]
    matrix = jobs["newest"]["strategy"]["matrix"]
    assert matrix["python"] == pythons()
    assert {system.partition("-")[0] for system in matrix["os"]} == {
        *("ubuntu", "macos", "windows")
    }


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "workflows").iterdir()), ids=lambda path: path.stem
)
def test_workflows_hold_no_rights_but_those_of_publishing(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        expected = {"id-token": "write"} if name == "publish" else None
        assert job.get("permissions") == expected
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_hooks_are_the_tools_of_the_checks():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    tools = {tool for hook in hooks for tool in hook["additional_dependencies"][:1]}
    assert tools == set(METADATA["optional-dependencies"]["lint"])
    checks = text(".ci/run")
    for hook in hooks:
        command, *options = hook["entry"].split()
        assert f".venv/bin/{command}" in checks
        assert set(options) <= {"check", "format", "--force-exclude", "--fix"}


def test_the_changelog_is_dated_and_in_kinds():
    page = text("CHANGELOG.md")
    headings = re.findall(r"^## (.+)$", page, re.M)
    if headings[0] == "Unreleased":
        headings = headings[1:]
    dated = re.compile(r"(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)")
    versions = [dated.fullmatch(heading) for heading in headings]
    assert all(versions)
    assert versions[0][1] == skinfluence.__version__
    dates = [date.fromisoformat(match[2]) for match in versions]
    assert dates == sorted(dates, reverse=True)
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        kinds = re.findall(r"^### (.+)$", section, re.M)
        assert kinds == [kind for kind in CHANGES if kind in kinds]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == skinfluence.__version__
    assert citation["license"] == METADATA["license"]
    assert citation["repository-code"] == HOME
    released = re.search(r"^## [\d.]+ \((.+)\)$", text("CHANGELOG.md"), re.M)[1]
    assert str(citation["date-released"]) == released


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md"])
def test_links_work_outside_the_repository(name):
    """An index of packages shows the README without the files beside it."""
    page = text(name)
    addresses = re.findall(r"\]\(([^)\s]+)\)|^\[.+\]: (.+)$", page, re.M)
    addresses = [inline or below for inline, below in addresses]
    labels = set(re.findall(r"^\[(.+)\]: ", page, re.M))
    assert set(re.findall(r"\]\[([^\]]+)\]", page)) <= labels
    assert addresses
    assert all(address.startswith("https://") for address in addresses)
    raw = HOME.replace("github.com", "raw.githubusercontent.com")
    starts = (f"{HOME}/blob/main/", f"{HOME}/tree/main/", f"{raw}/main/")
    inside = [
        address.removeprefix(start)
        for address in addresses
        for start in starts
        if address.startswith(start)
    ]
    assert inside
    assert [path for path in inside if not (ROOT / path.partition("#")[0]).exists()] == []


def test_the_readme_has_two_commands():
    section = re.search(r"^## Two commands$(.*?)^## ", text("README.md"), re.M | re.S)[1]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    assert [block.count("\n") for block in blocks] == [1, 1]
    assert text("README.md").count("```sh") == 2


@pytest.mark.parametrize(
    "command", re.findall(r"^\| .+ \| `(.+?)` \|", text("doc/claims.md"), re.M)
)
def test_the_command_of_a_claim_exists(command):
    program, *arguments = command.split()
    if arguments[:2] == ["-m", "benchmarks"]:
        assert set(arguments[2:]) <= set(BENCHMARKS)
    elif arguments[:1] == ["-m"]:
        assert (ROOT / (arguments[1].replace(".", "/") + ".py")).exists()
    else:
        assert program in {"python", "pytest", ".ci/release"}
        assert all((ROOT / path).exists() for path in arguments or [program])


def test_every_claim_has_a_command():
    rows = re.findall(r"^\| (?!claim|-).+$", text("doc/claims.md"), re.M)
    commands = re.findall(r"^\| .+ \| `(.+?)` \|", text("doc/claims.md"), re.M)
    assert len(rows) == len(commands) > 20
