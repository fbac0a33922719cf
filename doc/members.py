"""Public members that this package adds to a class, for the pages of the reference."""

import inspect
import pydoc

__all__ = ["own_members"]


def own_members(name):
    """Return the names of the public methods and attributes that are ours.

    What a class has from scikit-learn is documented there.
    """
    cls = pydoc.locate(name)
    found = {"methods": [], "attributes": []}
    for member, value in inspect.getmembers(cls):
        function = value.fget if isinstance(value, property) else value
        module = getattr(function, "__module__", "") or ""
        ours = module.startswith("skinfluence") and not member.startswith("_")
        if not ours or not hasattr(cls, member):  # some hide what makes no sense for them
            continue
        found["attributes" if isinstance(value, property) else "methods"].append(member)
    return found
