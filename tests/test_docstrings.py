"""Every public docstring is valid numpydoc, and every public method shows an example."""

import importlib
import inspect
import pydoc

import pytest
from numpydoc.validate import validate

from tests.fits import sklearn_parent

MODULES = [
    "skinfluence",
    "skinfluence.calibration",
    "skinfluence.compose",
    "skinfluence.composite.resampled",
    "skinfluence.discriminant_analysis",
    "skinfluence.ensemble",
    "skinfluence.fitted",
    "skinfluence.functionals",
    "skinfluence.inspection",
    "skinfluence.gaussian_process",
    "skinfluence.kernel_ridge",
    "skinfluence.linear_model",
    "skinfluence.model_selection",
    "skinfluence.multiclass",
    "skinfluence.multioutput",
    "skinfluence.naive_bayes",
    "skinfluence.neighbors",
    "skinfluence.pipeline",
    "skinfluence.solvers",
    "skinfluence.svm",
]
ESTIMATORS = (
    "skinfluence.calibration.",
    "skinfluence.compose.",
    "skinfluence.discriminant_analysis.",
    "skinfluence.ensemble.",
    "skinfluence.gaussian_process.",
    "skinfluence.kernel_ridge.",
    "skinfluence.linear_model.",
    "skinfluence.multiclass.",
    "skinfluence.multioutput.",
    "skinfluence.naive_bayes.",
    "skinfluence.neighbors.",
    "skinfluence.svm.",
)
# Not required: extended summaries and see-also sections that would add nothing,
# summaries starting on the second line, returned values without a name.
IGNORED = {"ES01", "EX01", "GL01", "GL02", "GL03", "RT02", "RT03", "SA01", "SS05", "SS06"}


def public_objects():
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            member = getattr(importlib.import_module(module), name)
            if inspect.isclass(member) or inspect.isfunction(member):
                yield f"{module}.{name}"
                if inspect.isclass(member):
                    yield from (f"{module}.{name}.{m}" for m in own_methods(member))


def own_methods(cls):
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        module = getattr(function, "__module__", "") or ""
        hidden = not hasattr(cls, name)
        if not hidden and not name.startswith("_") and module.startswith("skinfluence"):
            yield name


def distinct(names):
    """Return a name for each object: one method is inherited by many classes."""
    found = {}
    for name in names:
        member = pydoc.locate(name)
        function = member.fget if isinstance(member, property) else inspect.unwrap(member)
        found.setdefault(function, name)
    return list(found.values())


OBJECTS = distinct(sorted(set(public_objects())))


@pytest.mark.parametrize("name", OBJECTS)
def test_numpydoc(name):
    errors = dict(validate(name)["errors"])
    ignored = set(IGNORED)
    if name.startswith(ESTIMATORS) and sklearn_parent(pydoc.locate(name)):
        ignored.add("PR01")  # a mirror's parameters are documented by the class it mirrors
    if "Yields\n" in inspect.getdoc(pydoc.locate(name)):
        ignored.add("RT01")
    if isinstance(pydoc.locate(name), type) or ".factorise" in name:
        ignored.add("GL08")  # inherited from the base class
    assert set(errors) <= ignored, errors


@pytest.mark.parametrize(
    "name", [n for n in OBJECTS if n.startswith(ESTIMATORS) and n.count(".") == 3]
)
def test_public_methods_show_an_example(name):
    *module, cls, method = name.split(".")
    member = getattr(getattr(importlib.import_module(".".join(module)), cls), method)
    plain = {"fit", "params_", "param_names", "set_training_data", "drop_training_data"}
    if method not in plain:
        assert ">>>" in inspect.getdoc(member)
