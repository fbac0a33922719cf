"""Run benchmarks and print a table for each: `python -m benchmarks [name ...]`."""

import argparse
from contextlib import nullcontext

from threadpoolctl import threadpool_limits

from benchmarks import (
    conjugate_gradients,
    dask_influence,
    diagnostics,
    influence_loss,
    removal,
    streaming,
    svm,
    wide,
)
from benchmarks._report import format_table, machine

#: Every module with benchmarks; a new one is added here and nowhere else.
MODULES = [
    influence_loss,
    conjugate_gradients,
    wide,
    streaming,
    removal,
    svm,
    diagnostics,
    dask_influence,
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
            table = BENCHMARKS[name](repeats=options.repeats)
            print(format_table(table))
            print(f"Measured on {machine()}.")
            print(f"Again: {_command(name, options)}\n", flush=True)


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
        f"{name:<{width}}  {function.__doc__.splitlines()[0]}"
        for name, function in BENCHMARKS.items()
    )


def _command(name, options):
    command = f"python -m benchmarks {name} --repeats {options.repeats}"
    if options.blas_threads is not None:
        command += f" --blas-threads {options.blas_threads}"
    return command


if __name__ == "__main__":
    main()
