"""Write doc/supported_models.md: which estimators of scikit-learn have influence.

What is supported comes from the lists that the tests run over, such as tests/cases.py, and its
objectives from the docstrings; what is not, and why, from `skinfluence.unsupported`, which
errors are made from, too. Run from the root of the repository:

    python -m doc.make_supported_models
"""

import inspect
import re
import textwrap
from pathlib import Path

from sklearn.utils import all_estimators

from skinfluence import model_selection
from skinfluence.fitted import composites
from skinfluence.stages import STAGES
from skinfluence.unsupported import NO_TARGET, NOT_CONVEX, REFITTED, UNSUPPORTED
from tests.cases import CASES, KNOTS, NORMALISED
from tests.fits import sklearn_parent
from tests.hinges import HINGES
from tests.moments import MOMENTS

PAGE = Path(__file__).parent / "supported_models.md"


def supported():
    """Return the cases of each mirrored class, by its name."""
    found = {}
    for case in [*CASES, *HINGES, *KNOTS, *NORMALISED, *MOMENTS]:
        if sklearn_parent(case.estimator) is not None:
            found.setdefault(type(case.estimator).__name__, []).append(case)
    return dict(sorted(found.items()))


#: What holds steps and has influence if they have, and what `from_fitted` looks into.
HOLDERS = ["ColumnTransformer", "FeatureUnion", "Pipeline"]
OPENED = [
    "FrozenEstimator",
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "RandomizedSearchCV",
]


def listed():
    """Return the names of the estimators on this page, each as often as it is there."""
    names = [*supported(), *(cls.__name__ for cls in composites())]
    names += [*HOLDERS, *OPENED, *(cls.__name__ for cls in STAGES), *REFITTED.split()]
    names += UNSUPPORTED
    for kinds in (NOT_CONVEX, NO_TARGET):
        names += (name for listed in kinds.values() for name in listed.split())
    return names


def unclassified():
    """Return the estimators of scikit-learn that this page forgets."""
    return sorted({name for name, _ in all_estimators()} - set(listed()))


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
        "This page has a row for every estimator of scikit-learn:",
        f"{len(supported())} models with influence, {len(composites())} estimators around",
        f"others, {len(STAGES)} transformers whose derivative is known, and the others, with",
        "the reasons. For each model it has the objective that `fit` minimises, and the",
        "settings that the tests compare with refits. In the objectives w are sample weights",
        "and S their sum, c class weights, eta the raw prediction.",
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
        module = cls.__module__
        if cls.__name__ in model_selection.__all__:
            module = model_selection.__name__
        lines.append(f"- {{class}}`{module}.{cls.__name__}`: {first}")
    stages = sorted(kind.__name__ for kind in STAGES)
    lines += [
        "",
        "`from_fitted` looks into " + ", ".join(f"`{name}`" for name in OPENED) + ".",
        "",
        "## Steps before a model",
        "",
        "- with influence and removal ({doc}`whole_fit`): " + ", ".join(stages) + "; and "
        f"{', '.join(HOLDERS)} of these",
        "- with removal, which fits them again, and without influence, because the derivative",
        f"  of their fit is not known: {', '.join(REFITTED.split())}",
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
    lines += [
        "",
        "Use one of the models above instead: `LogisticRegression` or `SVC` for labels,",
        "`Ridge` or `KernelRidge` for numbers. `from_fitted` names the models inside an",
        "estimator around others.",
        "",
        "## No target",
        "",
        "Influence is that of a prediction or a loss. These predict no target, so there is no",
        "alternative here: fit them again without the samples in question.",
        "",
    ]
    for kind, names in NO_TARGET.items():
        lines.append(f"- {kind}: {', '.join(names.split())}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
