"""The same numbers from other packages: influence values, and case diagnostics."""

import multiprocessing
import os
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks._data import labelled, measured
from benchmarks._report import MissingError, Table
from benchmarks._timing import best_of
from skinfluence.linear_model import LinearRegression, LogisticRegression
from skinfluence.pipeline import problem_of

__all__ = ["BENCHMARKS"]

SIZES = ("model", "n", "d", "q")

#: Seconds for one row of a table, fits and all rounds included.
LIMIT = 280
#: Seconds that the rounds of a slow peer may take, beyond its first run.
ENOUGH = 20


@dataclass
class Problem:
    """A fitted model and queries.

    Parameters
    ----------
    model : LogisticRegression
        Fitted without intercept.
    X, y, X_query, y_query : ndarray
        Training samples and queries; labels from 0 on.
    """

    model: LogisticRegression
    X: np.ndarray
    y: np.ndarray
    X_query: np.ndarray
    y_query: np.ndarray

    def influence_loss(self):
        """Return all influences, the Hessian factorised anew."""
        problem_of(self.model).forget_state()
        return self.model.influence_loss(self.X_query, self.y_query)


def _logistic(n, d, q):
    return _fitted(*labelled(n, d), *labelled(q, d, seed=1))


def _softmax(n, d, q):
    X, y = load_digits(return_X_y=True)
    X = X / 16.0
    return _fitted(X, y, X[:q], y[:q])


def _fitted(X, y, X_query, y_query):
    model = LogisticRegression(solver="newton-cholesky", tol=1e-8, fit_intercept=False)
    return Problem(model.fit(X, y), X, y, X_query, y_query)


#: Name, way to make it, and (n, d, q).
CELLS = [
    ("logistic", _logistic, (10_000, 100, 1_000)),
    ("logistic", _logistic, (5_000, 500, 500)),
    ("logistic", _logistic, (20_000, 1_000, 200)),
    ("softmax digits", _softmax, (1_797, 64, 200)),
]


def influence_values(repeats):
    """influence_loss, factorisation included, against the exact path of other packages."""
    table = Table(
        "All influence values of one fitted model, factorisation included (ms)",
        [*SIZES, "peer", "peer ms", "influence_loss ms", "ratio", "difference"],
        notes=[
            "Ratio: time of the peer over that of influence_loss, both in a process of their",
            "own, with as many BLAS threads and in float64. Difference: largest between the",
            "two results after scaling one to the other, relative to the largest influence.",
            "No intercept: pyDVL, captum and dattri add a multiple of the identity to the",
            "Hessian, which is the penalty of scikit-learn only without one. Their exact",
            "paths: DirectInfluence, NaiveInfluenceFunction with all eigenvectors,",
            "IFAttributorExplicit, network and tensors ready made; pyDVL and captum in the",
            "batches that were fastest, dattri in one, without which it is not exact.",
        ],
    )
    peers = _installed(PEERS, table)
    if find_spec("torch") is not None:
        table.notes.append(f"torch {version('torch')}, which brings a BLAS of its own.")
    for name, make, sizes in CELLS:
        for peer, (_, run, n_classes) in peers.items():
            row = [name, *sizes, f"{peer} {version(peer)}"]
            if make is _softmax and n_classes == 2:
                table.rows.append([*row, "two classes only", "", "", ""])
                continue
            seconds = _apart(_against_peer, make, sizes, run, repeats, _blas_threads())
            table.rows.append([*row, *_outcome(seconds)])
    return table


def _against_peer(make, sizes, run, repeats):
    """Return (seconds of the peer, seconds of ours, relative difference)."""
    problem = make(*sizes)
    theirs = run(problem)
    return _compare(problem.influence_loss, theirs, repeats, scaled=True)


def _compare(ours, theirs, repeats, scaled=False):
    """Return (seconds of theirs, seconds of ours, relative difference)."""
    expected = ours()
    start = time.perf_counter()
    found = theirs()
    first = time.perf_counter() - start
    if scaled:
        found = found * (np.vdot(expected, found) / np.vdot(found, found))
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    del expected, found
    rounds = min(repeats, int(ENOUGH / first))
    best = best_of({"theirs": theirs, "ours": ours}, rounds)
    again = best_of({"ours": ours}, repeats - rounds)
    return min(first, best["theirs"]), min(best["ours"], again["ours"]), difference


def _pyinfluence(problem):
    from pyinfluence import InfluenceFunctions

    def run():
        attributor = InfluenceFunctions(mode="loss", damping=0.0)
        attributor.fit(problem.model, problem.X, problem.y)
        return attributor.explain(problem.X_query, problem.y_query)

    return run


def _pydvl(problem):
    from pydvl.influence.torch import DirectInfluence
    from torch.utils.data import DataLoader

    network, loss = _network(problem)
    train, query = _tensors(problem)
    strength = 1.0 / (problem.model.C * len(problem.X))
    # It holds arrays of batch times parameters, and is fastest where they fit into cache.
    batches = _batches(train, 200_000 // problem.model.coef_.size)

    def run():
        influence = DirectInfluence(network, loss, regularization=strength)
        influence = influence.fit(DataLoader(batches, batch_size=None))
        return influence.influences(*query, *train).numpy()

    return run


def _captum(problem):
    from captum.influence import NaiveInfluenceFunction
    from torch.utils.data import DataLoader

    network, loss = _network(problem, reduction="sum")
    train, query = _tensors(problem)
    # It takes the rows of the Hessian one by one, so that large batches cost less overhead.
    batches = _batches(train, 5_000)

    def run():
        influence = NaiveInfluenceFunction(
            network,
            DataLoader(batches, batch_size=None),
            checkpoint="",
            checkpoints_load_func=lambda network, checkpoint: 1.0,  # as it is
            loss_fn=loss,
            sample_wise_grads_per_batch=True,
            projection_dim=problem.model.coef_.size,
            hessian_reg=1.0 / problem.model.C,
            hessian_inverse_tol=0.0,
        )
        return influence.influence(query).detach().numpy()

    return run


def _dattri(problem):
    import torch
    from dattri.algorithm.influence_function import IFAttributorExplicit
    from dattri.task import AttributionTask
    from torch.utils.data import DataLoader, TensorDataset

    network, loss = _network(problem)
    train, query = _tensors(problem)

    def loss_func(params, batch):
        X, y = batch
        return loss(torch.func.functional_call(network, params, X), y)

    def run():
        task = AttributionTask(loss_func, network, network.state_dict())
        strength = 1.0 / (problem.model.C * len(problem.X))
        attributor = IFAttributorExplicit(task, regularization=strength)
        # One batch each: the Hessian is formed for every pair of batches.
        loaders = [
            DataLoader(TensorDataset(*data), batch_size=len(data[0]))
            for data in (train, query)
        ]
        attributor.cache(loaders[0])
        return attributor.attribute(*loaders).detach().numpy().T

    return run


def _network(problem, reduction="mean"):
    """Return the model as a torch module, and its loss."""
    import torch
    from torch import nn

    torch.set_default_dtype(torch.float64)  # results of dattri have the default type
    coef = torch.from_numpy(problem.model.coef_)
    linear = nn.Linear(coef.shape[1], coef.shape[0], bias=False)
    with torch.no_grad():
        linear.weight.copy_(coef)
    if len(coef) == 1:
        network = nn.Sequential(linear, nn.Flatten(0))
        return network, nn.BCEWithLogitsLoss(reduction=reduction)
    return linear, nn.CrossEntropyLoss(reduction=reduction)


def _tensors(problem):
    """Return ((X, y), (X_query, y_query)) as tensors."""
    import torch

    kind = float if len(problem.model.classes_) == 2 else np.int64
    return tuple(
        (torch.from_numpy(X), torch.from_numpy(y.astype(kind)))
        for X, y in ((problem.X, problem.y), (problem.X_query, problem.y_query))
    )


def _batches(data, n_rows):
    X, y = data
    return list(zip(X.split(n_rows), y.split(n_rows), strict=True))


#: By distribution: its package, a function that makes a function without arguments from a
#: problem, and how many classes it takes (None: any number).
PEERS = {
    "pyinfluence": ("pyinfluence", _pyinfluence, 2),
    "pyDVL": ("pydvl", _pydvl, None),
    "captum": ("captum", _captum, None),
    "dattri": ("dattri", _dattri, None),
}


def case_diagnostics(repeats):
    """Diagnostics of every row and removal of every row, against statsmodels."""
    if find_spec("statsmodels") is None:
        raise MissingError("statsmodels is not installed (the extra bench brings it)")
    table = Table(
        "Diagnostics and removal of every row (ms)",
        ["what", "n", "d", "statsmodels", "ours", "ratio", "difference"],
        notes=[
            "Ratio: time of statsmodels over ours, both with the model fitted beforehand, the",
            "factorisation of ours included. Difference: largest between the two results,",
            "relative to the largest. Measures: leverages, Cook's distances and studentised",
            "residuals, with OLS also DFFITS; ours (influence_summary) computes four more.",
            "Without each row: the parameters, exact for OLS, after one step for Logit. With",
            f"OLS statsmodels fits n times. statsmodels {version('statsmodels')}.",
        ],
    )
    for name, (compare, sizes) in DIAGNOSTICS.items():
        for n, d in sizes:
            seconds = _apart(compare, n, d, repeats, _blas_threads())
            table.rows.append([name, n, d, *_outcome(seconds)])
    return table


def _ols(n, d):
    """Return our least squares fit and that of statsmodels."""
    import statsmodels.api as sm

    X, y = measured(n, d)
    return LinearRegression().fit(X, y), sm.OLS(y, _with_ones(X)).fit()


def _logit(n, d):
    """Return our logistic fit without penalty and that of statsmodels."""
    import statsmodels.api as sm

    X, y = labelled(n, d)
    ours = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(X, y)
    options = {"method": "newton", "tol": 1e-14, "disp": 0}
    return ours, sm.Logit(y, _with_ones(X)).fit(**options)


def _with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


def _ols_measures(n, d, repeats):
    model, fit = _ols(n, d)

    def theirs():
        measures = fit.get_influence()
        return np.array(
            [
                measures.hat_matrix_diag,
                measures.cooks_distance[0],
                measures.resid_studentized_external,
                measures.dffits[0],
            ]
        )

    names = ["leverage", "cooks_distance", "studentized_residual", "dffits"]
    return _compare(_summary(model, names), theirs, repeats)


def _logit_measures(n, d, repeats):
    model, fit = _logit(n, d)

    def theirs():
        measures = fit.get_influence()
        return np.array(
            [
                measures.hat_matrix_diag,
                measures.cooks_distance[0],
                measures.resid_studentized,
            ]
        )

    names = ["leverage", "cooks_distance", "studentized_residual"]
    return _compare(_summary(model, names), theirs, repeats)


def _summary(model, names):
    """Return a function that returns the named measures."""

    def ours():
        problem_of(model).forget_state()
        summary = model.influence_summary()
        return np.array([summary[name] for name in names])

    return ours


def _ols_removal(n, d, repeats):
    model, fit = _ols(n, d)
    return _compare(_removal(model), lambda: fit.get_influence().params_not_obsi, repeats)


def _logit_removal(n, d, repeats):
    model, fit = _logit(n, d)
    return _compare(_removal(model), lambda: fit.get_influence().params_one, repeats)


def _removal(model):
    """Return a function that returns the parameters without each row."""

    def ours():
        problem_of(model).forget_state()
        return model.leave_out_params()

    return ours


def _ols_dfbetas(n, d, repeats):
    model, fit = _ols(n, d)
    return _compare(_dfbetas(model), lambda: fit.get_influence().dfbetas, repeats)


def _logit_dfbetas(n, d, repeats):
    model, fit = _logit(n, d)
    return _compare(_dfbetas(model), lambda: fit.get_influence().dfbetas, repeats)


def _dfbetas(model):
    """Return a function that returns how far each row moves each parameter."""

    def ours():
        problem_of(model).forget_state()
        return model.dfbetas()

    return ours


_LARGE = [(10_000, 100), (5_000, 500), (100_000, 30)]
_SMALL = [(1_000, 20), (2_000, 50)]

#: What is compared, and its sizes; small ones where statsmodels fits n times.
DIAGNOSTICS = {
    "OLS, measures": (_ols_measures, _LARGE),
    "OLS, DFBETAS": (_ols_dfbetas, _SMALL),
    "OLS, without each row": (_ols_removal, _SMALL),
    "Logit, measures": (_logit_measures, _LARGE),
    "Logit, DFBETAS": (_logit_dfbetas, _LARGE),
    "Logit, without each row": (_logit_removal, _LARGE),
}


def _installed(peers, table):
    """Return the peers that are installed; the others are named in the table."""
    found = {name: peer for name, peer in peers.items() if find_spec(peer[0])}
    table.missing = [name for name in peers if name not in found]
    if not found:
        raise MissingError(f"none of {', '.join(peers)} is installed")
    return found


def _outcome(result):
    """Return cells: time of the peer and ours, ratio, difference; or what went wrong."""
    if isinstance(result, str):
        return [result, "", "", ""]
    theirs, ours, difference = result
    times = [f"{1e3 * seconds:,.1f}" for seconds in (theirs, ours)]
    return [*times, f"{theirs / ours:.1f}", f"{difference:.0e}"]


def _blas_threads():
    """Return the largest number of threads of a BLAS here, for processes to come."""
    return max(info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas")


def _apart(function, *arguments):
    """Return what the function returns in a process of its own, or a word why it did not.

    Torch brings thread pools and a BLAS of its own, which slow down what follows them in a
    process, and only a process can be stopped after a time. The last argument is the number
    of BLAS threads, the others those of the function.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, *arguments))
    process.start()
    sender.close()
    try:
        result = receiver.recv() if receiver.poll(LIMIT) else f"over {LIMIT} s"
        process.join(timeout=5)
        return result
    except EOFError:  # as when the system ends a process that takes all memory
        process.join()
        return f"ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()


def _send(sender, function, *arguments):
    *arguments, blas_threads = arguments
    # Read by torch and tqdm when they are imported, which happens here and not before.
    os.environ |= {"OMP_NUM_THREADS": str(blas_threads), "TQDM_DISABLE": "1"}
    warnings.simplefilter("ignore")
    try:
        with threadpool_limits(limits=blas_threads, user_api="blas"):
            sender.send(function(*arguments))
    except (MemoryError, RuntimeError) as error:  # torch has no MemoryError of its own
        sender.send(f"{type(error).__name__}: {str(error).splitlines()[0]}")


#: Benchmarks by the name the command line takes.
BENCHMARKS = {"peers": influence_values, "peers_diagnostics": case_diagnostics}
