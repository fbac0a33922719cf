"""Run benchmarks and print a table for each: `python -m benchmarks [name ...]`.

Without names all benchmarks run, and their tables go into the documentation; with names
they do with `--write`.
"""

import argparse
import textwrap
from contextlib import nullcontext
from datetime import date

from threadpoolctl import threadpool_limits

from benchmarks import (
    composites,
    conjugate_gradients,
    dask_influence,
    devices,
    diagnostics,
    influence_loss,
    influential_sets,
    peers,
    prediction_sets,
    random_removals,
    removal,
    reproduce_paper,
    reweight,
    streaming,
    stress,
    svm,
    whole_cost,
    whole_fit,
    wide,
)
from benchmarks._pages import NOT_STORED, store
from benchmarks._report import MissingError, format_markdown, format_table, machine

#: Every module with benchmarks; a new one is added here and nowhere else.
MODULES = [
    influence_loss,
    peers,
    conjugate_gradients,
    wide,
    streaming,
    removal,
    whole_fit,
    whole_cost,
    reweight,
    random_removals,
    stress,
    svm,
    diagnostics,
    composites,
    prediction_sets,
    influential_sets,
    dask_influence,
    devices,
    reproduce_paper,
]

BENCHMARKS = {
    name: function for module in MODULES for name, function in module.BENCHMARKS.items()
}


def main(arguments=None):
    options = _parse(arguments)
    if options.list:
        print(_summaries())
        return
    limit = nullcontext()
    if options.blas_threads is not None:
        limit = threadpool_limits(limits=options.blas_threads, user_api="blas")
    with limit:
        for name in options.names or BENCHMARKS:
            _run(name, options)


def _run(name, options):
    """Run one benchmark, print its table and store it where that was asked for."""
    try:
        table = BENCHMARKS[name](repeats=options.repeats)
    except MissingError as missing:
        print(f"{name} skipped: {missing}.\n", flush=True)
        return
    print(format_table(table))
    print(f"Measured on {machine()}.")
    print(f"Again: {_command(name, options)}\n", flush=True)
    if table.missing:
        print(f"Not stored, not installed: {', '.join(table.missing)}.\n", flush=True)
    elif options.write or not (options.names or name in NOT_STORED):
        _store(name, table, options)


def _store(name, table, options):
    """Put the table into the documentation, with what it was measured on."""
    measured = textwrap.fill(f"Measured on {machine()}; {date.today():%d %B %Y}.", 95)
    again = f"Again: `{_command(name, options)}`"
    body = f"{format_markdown(table)}\n\n{measured}\n{again}"
    store(name, _summary(BENCHMARKS[name]), body)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Ratios measured side by side in one run; from the repository root.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="name", help="benchmarks to run; all by default"
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    parser.add_argument(
        "--write",
        action="store_true",
        help="store the tables in doc/benchmarks and on the pages, as without names",
    )
    parser.add_argument(
        "--repeats", type=int, default=9, help="runs of which the best counts (%(default)s)"
    )
    parser.add_argument(
        "--blas-threads",
        type=int,
        help="limit on BLAS threads, for both sides of every ratio; none by default",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def _summaries():
    width = max(map(len, BENCHMARKS))
    return "\n".join(
        f"{name:<{width}}  {_summary(function)}" for name, function in BENCHMARKS.items()
    )


def _summary(function):
    return function.__doc__.splitlines()[0]


def _command(name, options):
    command = f"python -m benchmarks {name} --repeats {options.repeats}"
    if options.blas_threads is not None:
        command += f" --blas-threads {options.blas_threads}"
    return command


if __name__ == "__main__":
    main()
