"""Size and structure of the package, as figures to compare before and after a change.

`python -m benchmarks.house` prints the figures. `--json FILE` stores them, and
`--compare FILE` prints stored ones beside those of now. `--package PATH` measures the package
in another folder.
"""

import argparse
import ast
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import statistics
import subprocess
import sys
import textwrap
import tokenize
from collections import Counter, defaultdict
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType

__all__ = ["MEASURES", "main", "measure"]

NAME = "skinfluence"
#: Lines of a file above which a module is long.
LONG = 500
#: Modules that use estimators, and modules about pipelines. A folder stands for its files.
OUTSIDE = ["functionals", "leave_one_out", "search", "model_selection", "inspection", "fitted"]
PIPELINES = ["whole", "pipeline", "steps"]
#: Modules that are about kinks, supports of parameters, or kernels.
HOMES = [
    "active_path",
    "active_set",
    "kernel_ridge",
    "kernels",
    "kinks",
    "l1_support",
    "parameters",
    "problem/kinds",
    "removal/support*",
    "svm",
]
#: Text within names about these three, in lower case. "supported" is another word.
THEIRS = re.compile("kink|piecewise|kernel|(?<!un)support(?!ed)")
#: Modules with a class for each estimator around others.
COMPOSITES = [
    "calibration",
    "compose",
    "composite/chains",
    "composite/stacking",
    "ensemble",
    "multiclass",
    "multioutput",
    "thresholds",
]
#: Words that are counted in the text, and the wanted number among 1,000 words.
WORDS = {"what": "<= 1.2", "where": "<= 3.5", "of": "<= 38", "if": ">= 3"}
#: Classes whose base classes are counted.
CLASSES = ["linear_model.LogisticRegression", "svm.SVC", "pipeline.Pipeline"]
_QUERIES, _REPEATS = 20, 7

_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_FOR_TOOLS = re.compile(r"#\s*(noqa|type:|pragma|fmt:|ruff:|mypy:).*")
# A fence, a doctest with its output, and a literal block with the indented lines below it.
_CODE = [
    re.compile(r"^ *```.*?^ *```", flags=re.MULTILINE | re.DOTALL),
    re.compile(r"^ *>>>.*\n?(?:.*\S.*\n?)*", flags=re.MULTILINE),
    re.compile(r"(?<=::)\n+( +)\S.*\n?(?:\1.*\n?|\s*\n)*", flags=re.MULTILINE),
]
# A line that begins a directive, a role with its target, and code between two backticks.
_MARKUP = re.compile(r"^ *\.\. \S+::.*$|:[a-z:]+:`[^`]*`|``.+?``", flags=re.MULTILINE)


class Module:
    """A file of the package: its path below the package, its tree, tokens and docstrings."""

    def __init__(self, path, package):
        self.name = path.relative_to(package).with_suffix("").as_posix()
        text = path.read_text(encoding="utf-8")
        self.lines, self.tree = text.splitlines(), ast.parse(text)
        self.tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        statements = [n.value for n in ast.walk(self.tree) if isinstance(n, ast.Expr)]
        constants = [value for value in statements if isinstance(value, ast.Constant)]
        self.docstrings = [value for value in constants if isinstance(value.value, str)]

    @cached_property
    def full(self):
        """The numbers of the lines that are not blank."""
        return {n for n, line in enumerate(self.lines, 1) if line.strip()}

    @cached_property
    def docstring_lines(self):
        """The numbers of the lines of docstrings."""
        strings = [range(s.lineno, s.end_lineno + 1) for s in self.docstrings]
        return self.full.intersection(set().union(*strings))

    @cached_property
    def code(self):
        """The numbers of the lines of code."""
        tokens = [t for t in self.tokens if t.type not in _LAYOUT | {tokenize.COMMENT}]
        lines = set().union(*(range(t.start[0], t.end[0] + 1) for t in tokens))
        return (lines & self.full) - self.docstring_lines

    def within(self, places):
        """Return whether the module is one of some places, or in a folder of theirs."""
        return any(fnmatch(self.name, p) or fnmatch(self.name, f"{p}/*") for p in places)


class Package:
    """The package in a folder: its modules as text, and its classes as imported."""

    def __init__(self, path):
        self.path = path
        self.modules = [Module(file, path) for file in sorted(path.rglob("*.py"))]

    @cached_property
    def classes(self):
        """The classes that the package's modules define."""
        found = pkgutil.walk_packages([str(self.path)], f"{NAME}.")
        modules = [importlib.import_module(info.name) for info in found]
        objects = [thing for module in modules for thing in vars(module).values()]
        return list(dict.fromkeys(c for c in objects if isinstance(c, type) and is_ours(c)))


def is_ours(cls):
    """Return whether a module of the package defines a class."""
    return cls.__module__.split(".")[0] == NAME


def size(package):
    """Count lines and modules.

    A docstring is a string that is a statement. A line of code holds more than a comment and
    is no part of a docstring. A line of comments holds a comment and no code. Blank lines
    count nowhere but in the length of a long module.
    """
    total = Counter()
    for module in package.modules:
        code, docstrings = module.code, module.docstring_lines
        comments = module.full - code - docstrings
        counts = {"code": code, "docstrings": docstrings, "comments": comments}
        total.update({kind: len(lines) for kind, lines in counts.items()})
    yield from ((f"lines of {kind}", n) for kind, n in total.items())
    long = {m.name: [f"{len(m.lines)}"] for m in package.modules if len(m.lines) > LONG}
    yield "modules", len(package.modules)
    yield f"modules above {LONG} lines", len(long), long


def each_estimator(package):
    """Count the lines of code of each composite's problem and each moment model's formulas."""
    for label, places, ending in (
        ("composite", COMPOSITES, "Problem"),
        ("moment model", ["moments"], "Moments"),
    ):
        found = {}
        for module in package.modules:
            for node in module.tree.body if module.within(places) else ():
                if isinstance(node, ast.ClassDef) and re.fullmatch(
                    f"[A-Z].*{ending}", node.name
                ):
                    lines = module.code & set(range(node.lineno, node.end_lineno + 1))
                    found[node.name] = [f"{len(lines)}"]
        middle = statistics.median(int(n) for (n,) in found.values())
        yield f"lines of code of a {label}, median", middle, found


def overridden(package):
    """Count the private methods that a class defines and a subclass defines again.

    Both classes are of the package. A private method is a function, property, class method or
    static method with one underscore before its name. A name counts once, whatever number of
    classes defines it. It is listed below the last class that defines it in the order of
    inheritance. The second figure counts the other names that two classes define if a third
    inherits from both. The third counts names of private abstract methods.
    """
    by_subclass, by_sibling, abstract = {}, {}, {}
    for cls in package.classes:
        ours = [base for base in cls.__mro__ if is_ours(base)]
        defined = [(name, base) for base in ours for name in private_methods(base)]
        times, last = Counter(name for name, _ in defined), dict(defined)
        for name, method in private_methods(cls).items():
            if times[name] > 1:
                by_subclass[name] = last[name].__name__
            if getattr(method, "__isabstractmethod__", False):
                abstract[name] = cls.__name__
        by_sibling |= {name: last[name].__name__ for name in times if times[name] > 1}
    others = {name: by_sibling[name] for name in by_sibling if name not in by_subclass}
    kinds = {"methods overridden": by_subclass, "methods defined by two bases": others}
    for kind, classes in (kinds | {"abstract methods": abstract}).items():
        listed = defaultdict(list)
        for name in sorted(classes):
            listed[classes[name]].append(name)
        yield f"private {kind}", len(classes), dict(sorted(listed.items()))


def private_methods(cls):
    """Return the private methods that a class itself defines, by name."""
    kinds = FunctionType | property | classmethod | staticmethod | cached_property
    return {n: m for n, m in vars(cls).items() if is_private(n) and isinstance(m, kinds)}


def is_private(name):
    """Return whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def private_accesses(package):
    """Count the attributes with one underscore that modules take from other objects.

    Each `obj._name` in the text counts, unless obj is `self`, `cls` or a call of `super`, or
    _name is a module of the package. Names in strings, as for `getattr`, do not count.
    """
    modules = {module.name.split("/")[-1] for module in package.modules}
    for label, places in (("modules outside", OUTSIDE), ("those of pipelines", PIPELINES)):
        found = {}
        for module in package.modules:
            nodes = [n for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)]
            private = [n for n in nodes if is_private(n.attr) and n.attr not in modules]
            own = re.compile(r"(self|cls|super\(.*\))\._\w+")
            taken = [t for t in map(ast.unparse, private) if not own.fullmatch(t)]
            if taken and module.within(places):
                found[module.name] = sorted(taken)
        yield f"private accesses in {label}", sum(map(len, found.values())), found


def moves(package):
    """Count files and moves between files in two calls of LogisticRegression.

    The model is fitted on the breast cancer data with standardised features. The calls are
    influence_loss and leave_out_loss(method="exact") for 20 queries. Each call is made once
    before on another fit, so that every module is loaded. Files are those of the package in
    which a function is called. A move is a call or a return after which Python runs another
    file of the package than before. Code outside the package is passed over: a function that
    scikit-learn calls for the package counts as called by the package. Other threads do not
    count.
    """
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import scale

    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    cls = importlib.import_module(f"{NAME}.linear_model").LogisticRegression
    for method, options in (("influence_loss", {}), ("leave_out_loss", {"method": "exact"})):
        for _ in range(2):
            call = getattr(cls().fit(X, y), method)
            files, n_moves = trace(package.path, call, X[:_QUERIES], y[:_QUERIES], **options)
        label = " ".join([method, *options.values()])
        yield f"files entered by {label}", len(files), {"": files}
        yield f"moves of {label}", n_moves


def trace(path, function, *args, **kwargs):
    """Return the files below a path that a call enters, and its number of moves."""
    start = f"{path}/"
    files, n_moves, here = set(), 0, None

    def follow(frame, event, _):
        nonlocal n_moves, here
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(start):
            return
        if event == "call":
            files.add(frame.f_code.co_filename.removeprefix(start))
        else:
            frame = frame.f_back
            while frame is not None and not frame.f_code.co_filename.startswith(start):
                frame = frame.f_back
        if frame is not None:
            n_moves += here not in (None, frame.f_code.co_filename)
            here = frame.f_code.co_filename

    sys.setprofile(follow)
    try:
        function(*args, **kwargs)
    finally:
        sys.setprofile(None)
    return sorted(files), n_moves


def ancestors(package):
    """Count the classes of the package in the order of inheritance of a class, itself too."""
    for place in CLASSES:
        module, name = place.split(".")
        cls = getattr(importlib.import_module(f"{NAME}.{module}"), name)
        ours = [base.__name__ for base in cls.__mro__ if is_ours(base)]
        yield f"our classes in {name}", len(ours), {"": ours}


def branches(package):
    """Count the conditions about kinks, supports and kernels outside the modules about them.

    A condition is the test of an `if`, `elif`, conditional expression or filter of a
    comprehension, or a `match` with its patterns. It counts once if a name or attribute in it
    contains a word of `THEIRS`. `HOMES` lists the modules that are left out.
    """
    found = {}
    for module in package.modules:
        tests = [] if module.within(HOMES) else conditions(module.tree)
        if about := list(filter(None, map(names_of_theirs, tests))):
            found[module.name] = sorted(about)
    total = sum(map(len, found.values()))
    yield "branches on kinks, supports, kernels", total, found


def conditions(tree):
    """Yield each condition in a tree as a list of nodes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp):
            yield [node.test]
        elif isinstance(node, ast.comprehension):
            yield from ([test] for test in node.ifs)
        elif isinstance(node, ast.Match):
            guards = [case.guard for case in node.cases if case.guard is not None]
            yield [node.subject, *(case.pattern for case in node.cases), *guards]


def names_of_theirs(nodes):
    """Return the names in a condition that contain a word of `THEIRS`, in one string."""
    inner = [node for top in nodes for node in ast.walk(top)]
    names = {getattr(node, "id", getattr(node, "attr", "")) for node in inner}
    return " ".join(sorted(name for name in names if THEIRS.search(name.lower())))


def words(package):
    """Count some words among 1,000 words of docstrings and comments, and all words.

    A word is a letter with the letters, digits and underscores that follow. Left out are
    fenced code, doctests with their output, literal blocks after `::`, code between double
    backticks, first lines of directives, roles such as :func:`x`, and comments for tools.
    """
    counts = Counter()
    for module in package.modules:
        comments = [t.string for t in module.tokens if t.type == tokenize.COMMENT]
        texts = [_FOR_TOOLS.sub("", comment) for comment in comments]
        for text in (inspect.cleandoc(string.value) for string in module.docstrings):
            for code in _CODE:
                text = code.sub("\n", text)
            texts.append(_MARKUP.sub("", text))
        counts.update(re.findall(r"\b[a-z]\w*", "\n".join(texts).lower()))
    yield "words in docstrings and comments", counts.total()
    for word, wanted in WORDS.items():
        yield f'"{word}" in 1,000 words ({wanted})', 1000.0 * counts[word] / counts.total()


def imports(package):
    """Compare the time that imports take with that of `sklearn.linear_model`.

    Each import runs in a new process, and the processor time of the statement alone counts.
    The best of 7 counts. The modules take turns. One round before these compiles the modules
    into a temporary folder, because an installed package is compiled as well.
    """
    reference, *ours = modules = ["sklearn.linear_model", NAME, f"{NAME}.linear_model"]
    seconds = defaultdict(list)
    with TemporaryDirectory() as compiled:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPYCACHEPREFIX": compiled}
        for name in modules * (1 + _REPEATS):
            code = "from time import process_time as now; start = now(); "
            command = [sys.executable, "-c", f"{code}import {name}; print(now() - start)"]
            printed = subprocess.check_output(command, cwd=package.path.parent, env=env)
            seconds[name].append(float(printed))
    for name in ours:
        ratio = min(seconds[name]) / min(seconds[reference])
        yield f"import of {name} / {reference}", ratio


#: Every measure: a function of a `Package` that yields labels, values and names by group.
MEASURES = [
    size,
    each_estimator,
    overridden,
    private_accesses,
    moves,
    ancestors,
    branches,
    words,
    imports,
]


def measure(path):
    """Return the figures of the package in a folder: value and names by label."""
    sys.path.insert(0, str(path.parent))
    loaded = Path(importlib.import_module(NAME).__file__).resolve().parent
    if loaded != path:
        raise RuntimeError(f"{NAME} was imported from {loaded}, not from {path}.")
    package = Package(path)
    rows = [row for function in MEASURES for row in function(package)]
    return {label: {"value": value, "names": dict(*names)} for label, value, *names in rows}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.house", description=__doc__)
    ours = Path(__file__).parents[1] / NAME
    parser.add_argument("--package", type=Path, default=ours, help="folder to measure")
    parser.add_argument("--json", type=Path, help="file to store the figures in")
    parser.add_argument("--compare", type=Path, help="stored figures to print beside these")
    options = parser.parse_args(arguments)
    options.package = options.package.resolve()
    if options.package.name != NAME or not (options.package / "__init__.py").exists():
        parser.error(f"{options.package} is no folder of the package {NAME}")
    now = measure(options.package)
    from benchmarks._report import Table, format_table  # imports the package measured here

    columns = {"value": now}
    if options.compare is not None:
        before = json.loads(options.compare.read_text(encoding="utf-8"))
        columns = {"before": before, "after": now}
    if options.json is not None:
        options.json.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    table = Table(f"Size and structure of {NAME}", ["measure", *columns])
    for label in dict.fromkeys(label for figures in columns.values() for label in figures):
        values = [figures.get(label, {}).get("value", "-") for figures in columns.values()]
        shown = [f"{v:.2f}" if isinstance(v, float) else v for v in values]
        table.rows.append([label, *shown])
    print(format_table(table).rstrip())
    for label in (label for label in now if now[label]["names"]):
        print(f"\n{label}")
        for group, listed in now[label]["names"].items():
            text = f"{group}: {', '.join(listed)}" if group else ", ".join(listed)
            print(textwrap.fill(text, 95, initial_indent="  ", subsequent_indent="      "))


if __name__ == "__main__":
    main()
