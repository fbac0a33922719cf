"""Reproduce the experiments of Koh & Liang (2017) and of its follow-up (2019).

`python -m benchmarks.reproduce_paper [name ...]` prints a table for each experiment; with
`--write` the tables go into `doc/reproductions.md`. The data are those that
`benchmarks/_data.py` looks for.
"""

import argparse
import os
import sys
from pathlib import Path

if not __package__:  # run as a file, which puts its own directory first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.paper._fits import CACHE
from benchmarks.paper.components import components
from benchmarks.paper.convergence import non_convergence
from benchmarks.paper.groups import groups
from benchmarks.paper.hinge import hinge
from benchmarks.paper.labels import labels
from benchmarks.paper.leave_one_out import leave_one_out

__all__ = ["BENCHMARKS", "EXPERIMENTS", "main"]

#: Experiments by the name the command line takes.
EXPERIMENTS = {
    "components": components,
    "leave_one_out": leave_one_out,
    "hinge": hinge,
    "labels": labels,
    "groups": groups,
    "non_convergence": non_convergence,
}
#: The same as benchmarks, in the order of the page.
BENCHMARKS = {f"paper_{name}": function for name, function in EXPERIMENTS.items()}


def main(arguments=None):
    from benchmarks.__main__ import main as run_benchmarks

    options = _parse(arguments)
    if options.cache is not None:
        os.environ[CACHE] = str(options.cache)
    names = [f"paper_{name}" for name in options.names or EXPERIMENTS]
    run_benchmarks([*names, "--repeats", "1", *["--write"] * options.write])


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce_paper", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"{', '.join(EXPERIMENTS)}; all by default",
    )
    parser.add_argument(
        "--write", action="store_true", help="store the tables in the documentation"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        help="directory of fits to begin from; by default one of the user's",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"no experiment {unknown[0]!r}; there are {', '.join(EXPERIMENTS)}")
    return options


if __name__ == "__main__":
    main()
