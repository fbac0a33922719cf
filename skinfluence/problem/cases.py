"""The cases of an answer, groups that leave or vectors of sample weights, in warnings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skinfluence.exceptions import warn

# Cases that a warning names.
_NAMED = 5


@dataclass(frozen=True)
class Cases:
    """Groups that leave, or vectors of sample weights, in the words of warnings.

    Parameters
    ----------
    at : str
        "Without" or "At", the first word of a sentence about some of them.
    at_name : str
        The beginning of a sentence about one of them, with its name in the braces.
    kind : str
        Their kind, in the plural.
    count : int
        Their number.
    name : callable
        ``name(case)`` returns the words for one of them.
    objective : callable or None, default=None
        ``objective(case)`` returns the objective without the group, or at the weights.
    """

    at: str
    at_name: str
    kind: str
    count: int
    name: Callable[[Any], str]
    objective: Callable[[Any], Any] | None = None

    @classmethod
    def of_groups(cls, groups, objective=None):
        """Return the cases of `Groups`."""
        return cls("Without", "Without {}", "group(s)", len(groups), groups.name, objective)

    @classmethod
    def of_weights(cls, values, objective=None):
        """Return the cases of vectors of sample weights (m, n)."""
        kind, count = "row(s) of sample_weight", len(values)
        return cls("At", "At {} of sample_weight", kind, count, "row {}".format, objective)

    def at_one(self, case):
        """Return the words that begin a sentence about one case."""
        return self.at_name.format(self.name(case))

    def share(self, found):
        """Return the words that begin a sentence about some of the cases."""
        return f"{self.at} {len(found)} of {self.count} {self.kind}"

    def tell(self, found, problem, consequence="", name=None):
        """Warn of some of the cases, if there are any; `name` may replace their names."""
        if len(found):
            named = ", ".join(map(name or self.name, sorted(found)[:_NAMED]))
            warn(f"{self.share(found)} {problem}: {named}. {consequence}".rstrip())

    def tell_why(self, reasons, problem):
        """Warn of some of the cases, a dict of reasons, and tell the first one's reason."""
        if reasons:
            first = min(reasons)
            self.tell(reasons, problem, f"{self.at_one(first)}: {reasons[first]}")
