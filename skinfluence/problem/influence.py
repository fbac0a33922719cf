"""Chapter A: the fit's derivatives in a training sample's weight."""

import numpy as np
from sklearn.utils import check_array

from skinfluence import distributed, influence
from skinfluence.checks import (
    check_count,
    check_dtype,
    check_option,
    check_working_memory,
    prepare_out,
)
from skinfluence.groups import check_indices

__all__ = ["InfluenceAnswers"]


class InfluenceAnswers:
    """Influence functions, see `methods.influence`."""

    def sample_loss(self, X, y):
        formulation = self.formulation
        if distributed.is_dask(X, y):
            return distributed.sample_loss(self.dask_queries(formulation, X, y))
        design, target = self.check_samples(formulation, X, y)
        return formulation.loss.loss(target, design.predict(self.theta))

    def loss_gradient(self, X, y, *, n_jobs=None, dtype=None, out=None):
        self.refuse_dask("loss_gradient", X, y, training=False)
        rows = self.check_query(X, y)
        layout = self.formulation.layout
        out = prepare_out(out, (len(rows), layout.size), dtype)
        return influence.write_gradients(rows, layout, out, n_jobs=n_jobs)

    def solve_hessian(self, V, *, hessian_solver="auto", n_jobs=None, dtype=None, out=None):
        self.refuse_dask("solve_hessian", V)
        state = self.state(hessian_solver)
        layout = state.layout
        V = check_array(V, dtype=np.float64, input_name="V")
        if V.shape[1] != layout.size:
            raise ValueError(
                f"V has {V.shape[1]} columns, but the model has {layout.size} parameters."
            )
        out = prepare_out(out, V.shape, dtype)
        return influence.write_solutions(state.factor, V, layout, out, n_jobs=n_jobs)

    def influence_params(
        self, X=None, y=None, *, hessian_solver="auto", n_jobs=None, dtype=None, out=None
    ):
        self.refuse_dask("influence_params", X, y)
        state = self.influence_state(hessian_solver)
        _, _, rows = self.given_rows(state, X, y)
        shape = (len(rows), state.layout.size)
        out = prepare_out(out, shape, dtype)
        return influence.influence_params(state.point, state.factor, rows, out, n_jobs=n_jobs)

    def influence_loss(
        self,
        X,
        y,
        *,
        average=False,
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
        verbose=0,
    ):
        state = self.influence_state(hessian_solver, _n_solves(X, average))
        query = self.check_query(X, y)
        if distributed.is_distributed(state.point, query):
            return self.lazy_influence_loss(state, query, average, dtype, out)
        n = state.point.objective.n_rows
        if average:
            out = prepare_out(out, (n,), dtype)
            V = query.sum()[None] / len(query)
            influence.influence_on(state.point, state.factor, V, out=out[None])
            return out
        out = prepare_out(out, (len(query), n), dtype)
        return influence.influence_loss(
            state.point, state.factor, query, out, n_jobs=n_jobs, verbose=verbose
        )

    def influence_loss_chunked(
        self, X, y, *, reduce_func=None, working_memory=None, hessian_solver="auto"
    ):
        self.refuse_dask("influence_loss_chunked", X, y)
        check_working_memory(working_memory)
        state = self.influence_state(hessian_solver)
        query = self.check_query(X, y)
        return _chunks(state.point, state.factor, query, reduce_func, working_memory)

    def influence_prediction(
        self,
        X,
        *,
        response_method="auto",
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
    ):
        self.refuse_dask("influence_prediction", X)
        method = self.response_method(response_method)
        state = self.influence_state(hessian_solver)
        objective = state.point.objective
        design = self.check_X(objective.formulation, X)
        response_jacobian, trailing = self.response_jacobian(method, design, state.point)
        out = prepare_out(out, (design.n_rows, objective.n_rows, *trailing), dtype)
        influence.output_influence(
            state.point,
            state.factor,
            design,
            out if trailing else out[:, :, None],
            jacobian=response_jacobian,
            n_jobs=n_jobs,
        )
        return out

    def influence_relabel(
        self,
        X,
        y,
        *,
        y_new,
        hessian_solver="auto",
        n_jobs=None,
        dtype=None,
        out=None,
        verbose=0,
    ):
        self.refuse_dask("influence_relabel", X, y, y_new)
        state = self.influence_state(hessian_solver)
        query = self.check_query(X, y)
        target = self.check_new_target(y_new)
        out = prepare_out(out, (len(query), len(target)), dtype)
        rows = influence.relabel_rows(state.point, target)
        return influence.influence_loss(
            state.point, state.factor, query, out, rows=rows, n_jobs=n_jobs, verbose=verbose
        )

    def check_new_target(self, y_new):
        """Return encoded new targets, one for each training row."""
        target = self.formulation.target.encode(y_new)
        if len(target) != self.n_rows:
            raise ValueError(
                f"y_new holds {len(target)} targets, but there are {self.n_rows} "
                "training samples: give each of them one, the old one where nothing changes."
            )
        return target

    def influence_functional(
        self, gradient, *, hessian_solver="auto", n_jobs=None, dtype=None, out=None
    ):
        self.refuse_dask("influence_functional", gradient)
        state = self.influence_state(hessian_solver)
        layout, V = state.layout, self.check_functional(gradient)
        n = state.point.objective.n_rows
        out = prepare_out(out, (*V.shape[:-1], n), dtype)
        influence.influence_functional(
            state.point,
            state.factor,
            layout.from_public(np.atleast_2d(V)),
            out if V.ndim == 2 else out[None],
            n_jobs=n_jobs,
        )
        return out

    def check_functional(self, gradient):
        """Return gradients in the parameters, (p,) or (m, p), as passed or from a function."""
        if callable(gradient):
            gradient = gradient(self.params)
        shape, p = np.shape(gradient), self.layout.size
        if len(shape) not in (1, 2) or shape[-1] != p:
            raise ValueError(
                f"gradient has shape {shape}, but must be ({p},) or (m, {p}), laid out as "
                "params_."
            )
        return check_array(gradient, dtype=np.float64, ensure_2d=False, input_name="gradient")

    def influence_perturbation(self, X, y, *, index, hessian_solver="auto"):
        self.refuse_dask("influence_perturbation", X, y)
        self.parameters.check_perturbable(self.objective)
        state = self.influence_state(hessian_solver)
        index = check_indices(index, state.point.objective.n_rows, "index")
        if len(index) != 1:
            raise ValueError(f"index must be one training sample, not {len(index)}.")
        query = self.check_query(X, y)
        return self.parameters.perturbation(
            self.name, state.point, state.factor, query, int(index[0])
        )

    def self_influence(self, *, hessian_solver="auto", n_jobs=None):
        state = self.influence_state(hessian_solver)
        return influence.self_influence(state.point, state.factor, n_jobs=n_jobs)

    def influential_samples(
        self,
        X,
        y,
        n_influential=10,
        *,
        order="absolute",
        average=False,
        return_influence=True,
        hessian_solver="auto",
        n_jobs=None,
    ):
        check_option("order", order, influence.ORDERS)
        state = self.influence_state(hessian_solver, _n_solves(X, average))
        n = state.point.objective.n_rows
        check_count("n_influential", n_influential, n)
        query = self.check_query(X, y)
        if distributed.is_distributed(state.point, query):
            values, indices = distributed.most_influential(
                state.point, state.factor, query, n_influential, order, average=average
            )
        elif average:
            V = query.sum()[None] / len(query)
            values, indices = influence.most_influential(
                state.point, state.factor, V, n_influential, order
            )
            values, indices = values[0], indices[0]
        else:
            values, indices = influence.most_influential_queries(
                state.point, state.factor, query, n_influential, order, n_jobs=n_jobs
            )
        return (values, indices) if return_influence else indices

    def response_jacobian(self, method, design, point):
        """Return d response / d raw prediction as a function of a block, and its shape.

        The function is None if the response is the raw prediction.
        """
        if method == "decision_function":
            transform = self.responses.transform(self.estimator)
            jacobian = None if transform is None else transform.jacobian
        else:
            jacobian = point.objective.formulation.loss.response_jacobian
        function, trailing = _jacobian(jacobian, design, point.theta)
        flat = self.response_is_flat() and method != "predict_proba"
        return function, () if flat else trailing

    def lazy_influence_loss(self, state, query, average, dtype, out):
        """Return `influence_loss` as a dask array."""
        if out is not None:
            raise ValueError(
                "out cannot be filled where samples are dask arrays, for its memory need not "
                "be that of the workers: store the result, as with its to_zarr or "
                "dask.array.store."
            )
        return distributed.influence_loss(
            state.point, state.factor, query, average=average, dtype=check_dtype(dtype)
        )

    def response_method(self, response_method):
        """Return the response method's name, or raise if it has no influence."""
        options = ("auto", "decision_function", "predict_proba", "predict")
        check_option("response_method", response_method, options)
        if response_method == "auto":
            return "decision_function" if self.is_classifier else "predict"
        if response_method == "predict" and self.is_classifier:
            others = [repr(name) for name in options[1:3] if hasattr(self.estimator, name)]
            raise ValueError(
                "response_method='predict' gives class labels, which have no derivative: "
                f"use {' or '.join(others)}."
            )
        if not hasattr(self.estimator, response_method):
            raise ValueError(f"{self.name} has no {response_method}: use 'auto'.")
        self.responses.check(response_method)
        return response_method

    def response_is_flat(self):
        """Whether decision_function or predict returns one number for a sample."""
        if self.is_classifier:
            return self.responses.is_flat(self.estimator)
        return self.has_flat_target


def _n_solves(X, average):
    """Return the queries' number of right-hand sides, None if X has no shape."""
    if average:
        return 1
    shape = getattr(X, "shape", ())
    return shape[0] if shape else None


def _jacobian(jacobian, design, theta):
    """Return d response / d raw prediction as a function of a block, and the response's shape.

    The function is None if the response is the raw prediction.
    """
    if jacobian is None:
        return None, theta.shape[:1]
    first = jacobian(design.take(slice(0, 1)).predict(theta))
    if first is None:
        return None, theta.shape[:1]
    return lambda block: jacobian(design.take(block).predict(theta)), first.shape[1:2]


def _chunks(point, factor, query, reduce_func, working_memory):
    """Generate `influence_loss` in blocks, see `influence_loss_chunked`."""
    n = point.objective.n_rows
    for block in influence.influence_blocks(
        point, factor, query, working_memory=working_memory, row_bytes=8 * n
    ):
        chunk = influence.influence_of(point, factor, query.take(block))
        yield chunk if reduce_func is None else reduce_func(chunk, block.start)
