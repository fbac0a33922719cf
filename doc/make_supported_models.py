"""Write doc/supported_models.md: which estimators of scikit-learn have influence.

What is supported comes from the lists that the tests run over, in tests/cases.py, and its
objectives from the docstrings; what is not, and why, from `skinfluence.unsupported`, which
errors are made from, too. Run from the root of the repository:

    python -m doc.make_supported_models
"""

import inspect
import re
import textwrap
from pathlib import Path

from sklearn.utils import all_estimators

from skinfluence.fitted import composites
from skinfluence.unsupported import NOT_CONVEX, UNSUPPORTED
from tests.cases import CASES, HINGES, KNOTS, MOMENTS, NORMALISED, sklearn_parent

PAGE = Path(__file__).parent / "supported_models.md"


def supported():
    """Return the cases of each mirrored class, by its name."""
    found = {}
    for case in [*CASES, *HINGES, *KNOTS, *NORMALISED, *MOMENTS]:
        if sklearn_parent(case.estimator) is not None:
            found.setdefault(type(case.estimator).__name__, []).append(case)
    return dict(sorted(found.items()))


def unclassified():
    """Return the classifiers and regressors of scikit-learn that this page forgets."""
    listed = {*supported(), *UNSUPPORTED, *(cls.__name__ for cls in composites())}
    listed.update(name for names in NOT_CONVEX.values() for name in names.split())
    known = all_estimators(type_filter=["classifier", "regressor"])
    return sorted({name for name, _ in known} - listed)


def objective(cls):
    """Return what the docstring says of the objective: its formula, or whose it is."""
    doc = inspect.getdoc(cls)
    formula = re.search(r"^    F = .*?(?=\n\n)", doc, flags=re.MULTILINE | re.DOTALL)
    if formula:
        return f"```text\n{textwrap.dedent(formula[0])}\n```"
    return re.search(r"The objective is [^.:]*", " ".join(doc.split()))[0] + "."


def shown(case):
    """Return the line that shows the parameters of a case."""
    line = f"- `{' '.join(repr(case.estimator).split())}`"
    loss = getattr(case.estimator, "loss", None)
    if case in HINGES:
        line += ", on the active set" + (f" of `loss={loss!r}`" if loss else "")
    return line


def render():
    """Return the page."""
    lines = [
        "# Supported models",
        "",
        "This page lists the estimators of scikit-learn with influence. For each it has the",
        "objective that `fit` minimises, and the settings that the tests compare with refits.",
        "The last two sections list the other estimators, with the reasons. In the objectives",
        "w are sample weights and S their sum, c class weights, eta the raw prediction.",
        "Written by `python -m doc.make_supported_models`.",
        "",
        "## With influence",
    ]
    for name, cases in supported().items():
        cls = type(cases[0].estimator)
        module = ".".join(cls.__module__.split(".")[:2])
        lines += ["", f"### {name}", "", f"{{class}}`{module}.{name}`", "", objective(cls), ""]
        lines += ["Tested as:", ""]
        lines += dict.fromkeys(shown(case) for case in cases)
    lines += [
        "",
        "## Estimators around others",
        "",
        "Their members may be any estimators with influence, pipelines of these, and others",
        "of this list.",
        "",
    ]
    for cls in sorted(composites().values(), key=lambda cls: cls.__name__):
        first = inspect.getdoc(cls).partition("\n")[0].removesuffix(", with influence.")
        lines.append(f"- {{class}}`{cls.__module__}.{cls.__name__}`: {first}")
    lines += [
        "",
        "## Convex, without influence here",
        "",
        "| estimator | objective | why not | instead |",
        "|---|---|---|---|",
    ]
    for name, (what, why, instead) in UNSUPPORTED.items():
        what = what.replace("|", "\\|")
        lines.append(f"| {name} | {what} | {why} | {instead or ''} |")
    lines += ["", "## No convex objective of their own", ""]
    for kind, names in NOT_CONVEX.items():
        lines.append(f"- {kind}: {', '.join(names.split())}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
