"""Names that the pages link to at other projects.

Intersphinx would read them from the network, on which a build then depends. The sites of
these projects give each name a page of its own, so that the list can be written here: that
of scikit-learn from the installed package, of others by hand.
"""

import zlib
from importlib import import_module

from sklearn import exceptions
from sklearn.utils.discovery import all_displays, all_estimators, all_functions

__all__ = ["UNDOCUMENTED", "write"]

#: Project: address, page of a name, kind of each name.
OTHERS = {
    "python": (
        "https://docs.python.org/3/",
        "library/{module}.html#{name}",
        {"ValueError": ("exception", "library/exceptions.html#ValueError")},
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        "reference/generated/{name}.html#{name}",
        {"numpy.unique": "function", "numpy.linalg.LinAlgError": "exception"},
    ),
    "scipy": (
        "https://docs.scipy.org/doc/scipy/",
        "reference/generated/{name}.html#{name}",
        {},
    ),
    "matplotlib": (
        "https://matplotlib.org/stable/",
        "api/_as_gen/{name}.html#{name}",
        {"matplotlib.axes.Axes": "class"},
    ),
}

#: Roles and names that may go without a link. Single backticks in docstrings are links where
#: they can be, and are also used for methods of the class at hand, which scikit-learn may
#: document, and for parameters.
UNDOCUMENTED = [("py:obj", r"(np\.)?\w+")]


def sklearn_names():
    """Return the public classes and functions of scikit-learn, by kind."""
    for kind, objects in [
        ("class", [*all_estimators(), *all_displays()]),
        ("function", all_functions()),
    ]:
        for name, value in objects:
            yield f"{public_module(value)}.{name}", kind
    for name in exceptions.__all__:
        yield f"sklearn.exceptions.{name}", "class"


def public_module(value):
    """Return the shortest module from which a public name of scikit-learn is imported."""
    parts = value.__module__.split(".")
    for end in range(2, len(parts) + 1):
        module = ".".join(parts[:end])
        if hasattr(import_module(module), value.__name__):
            return module


def write(folder):
    """Write the inventories and return the setting `intersphinx_mapping`."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    page = "modules/generated/{name}.html#{name}"
    sklearn = ("https://scikit-learn.org/stable/", page, dict(sklearn_names()))
    for project, (address, page, names) in {"sklearn": sklearn, **OTHERS}.items():
        lines = []
        for name, kind in names.items():
            kind, where = kind if isinstance(kind, tuple) else (kind, page)
            lines.append(f"{name} py:{kind} 1 {where.format(name=name)} -")
        header = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        header += "# The remainder of this file is compressed using zlib.\n"
        body = zlib.compress("\n".join([*lines, ""]).encode())
        path = folder / f"{project}.inv"
        path.write_bytes(header.encode() + body)
        mapping[project] = (address, str(path))
    return mapping
