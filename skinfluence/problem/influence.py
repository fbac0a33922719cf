"""Chapter A: the fit's derivatives in a training sample's weight."""

from functools import partial
from numbers import Integral

import numpy as np

from skinfluence import distributed, influence
from skinfluence.blocks import row_blocks
from skinfluence.checks import check_option
from skinfluence.gradients import GradientRows
from skinfluence.groups import check_indices
from skinfluence.namespaces import to_host
from skinfluence.problem.ranking import RankedSamples
from skinfluence.problem.requests import NEW, PLAIN
from skinfluence.targets import check_target


class InfluenceAnswers(RankedSamples):
    """Influence functions, see `methods.influence`."""

    def sample_loss(self, X, y):
        formulation = self.formulation
        if distributed.is_dask(X, y):
            return distributed.sample_loss(self.dask_queries(formulation, X, y, self.theta))
        design, target = self.check_samples(formulation, X, y)
        return formulation.loss.loss(target, self.predict_rows(design))

    def loss_gradient(self, X, y, output=NEW, *, n_jobs=None):
        rows = self.check_query(X, y, self.theta)
        layout = self.formulation.layout
        if rows.is_distributed:
            return distributed.loss_gradient(rows, layout, dtype=output.lazy_dtype())
        out = output.prepare((len(rows), layout.size), rows.design.like)
        return influence.write_gradients(rows, layout, out, n_jobs=n_jobs)

    def solve_hessian(self, V, request=PLAIN, output=NEW):
        state = self.state(request.hessian_solver)
        layout, lazy = state.layout, distributed.is_dask(V)
        if not lazy:
            V = self.check_values(V, "V")
        if V.shape[1:] != (layout.size,):
            raise ValueError(
                f"V has shape {V.shape}, but must be (k, {layout.size}), because the model "
                f"has {layout.size} parameters."
            )
        if lazy:
            dtype = output.lazy_dtype()
            return distributed.solve_hessian(state.factor, V, layout, dtype=dtype)
        out = output.prepare(V.shape, self.like)
        return influence.write_solutions(state.factor, V, layout, out, n_jobs=request.n_jobs)

    def influence_params(self, X=None, y=None, request=PLAIN, output=NEW):
        state = self.influence_state(request.hessian_solver)
        given = None
        if X is None and y is None and state.point.objective.is_distributed:
            given = state.point
        elif distributed.is_dask(X, y):
            given = self.dask_queries(self.formulation, X, y, state.point.theta)
        if given is not None:
            dtype = output.lazy_dtype()
            return distributed.influence_params(state.point, state.factor, given, dtype=dtype)
        _, _, rows = self.given_rows(state, X, y)
        out = output.prepare((len(rows), state.layout.size), self.like)
        return influence.influence_params(
            state.point, state.factor, rows, out, n_jobs=request.n_jobs
        )

    def influence_loss(self, X, y, request=PLAIN, output=NEW, *, average=False):
        state = self.prediction_state(request.hessian_solver, _n_solves(X, average))
        query = self.check_query(X, y)
        if state.point.objective.is_distributed or query.is_distributed:
            dtype = output.lazy_dtype()
            return distributed.influence_loss(
                state.point, state.factor, query, average=average, dtype=dtype
            )
        n = state.point.objective.n_rows
        if average:
            out = output.prepare((n,), self.like)
            V = query.sum()[None] / len(query)
            influence.influence_on(state.point, state.factor, V, out=out[None])
            return out
        out = output.prepare((len(query), n), self.like)
        options = {"n_jobs": request.n_jobs, "verbose": request.verbose}
        return influence.influence_loss(state.point, state.factor, query, out, **options)

    def query_chunks(self, X, query, working_memory, hessian_solver):
        """Generate the influence on scalars with the queries' gradients, in blocks."""
        state = self.prediction_state(hessian_solver)
        return _chunks(state.point, state.factor, query, working_memory)

    def influence_prediction(self, X, request=PLAIN, output=NEW, *, response_method="auto"):
        method = self.response_method(response_method)
        state = self.prediction_state(request.hessian_solver)
        if state.point.objective.is_distributed or distributed.is_dask(X):
            return self.lazy_influence_prediction(state, X, method, output.lazy_dtype())
        objective = state.point.objective
        design = self.check_X(objective.formulation, X)
        response_jacobian, trailing = self.response_jacobian(method, design, state.point)
        out = output.prepare((design.n_rows, objective.n_rows, *trailing), self.like)
        influence.output_influence(
            state.point,
            state.factor,
            design,
            out if trailing else out[:, :, None],
            jacobian=response_jacobian,
            n_jobs=request.n_jobs,
        )
        return out

    def influence_relabel(self, X, y, request=PLAIN, output=NEW, *, y_new):
        self.refuse_dask("influence_relabel", X, y, y_new)
        state = self.influence_state(request.hessian_solver)
        query = self.check_query(X, y)
        target = self.check_new_target(y_new)
        out = output.prepare((len(query), len(target)), self.like)
        rows = influence.relabel_rows(state.point, target)
        options = {"rows": rows, "n_jobs": request.n_jobs, "verbose": request.verbose}
        return influence.influence_loss(state.point, state.factor, query, out, **options)

    def check_new_target(self, y_new):
        """Return encoded new targets, one for each training row."""
        check_target(y_new, "y_new")
        target = self.formulation.target.encode(to_host(y_new))
        if len(target) != self.n_rows:
            raise ValueError(
                f"y_new holds {len(target)} targets, but there are {self.n_rows} training "
                "samples: give each a target, the old one if it does not change."
            )
        return np.asarray(target, like=self.like)

    def influence_functional(self, gradient, request=PLAIN, output=NEW):
        self.refuse_dask("influence_functional", gradient, training=False)
        state = self.influence_state(request.hessian_solver)
        layout, V = state.layout, self.check_functional(gradient)
        if state.point.objective.is_distributed:
            lazy = distributed.influence_functional(
                state.point,
                state.factor,
                layout.from_public(np.atleast_2d(V)),
                of_params=not hasattr(gradient, "sample_gradient"),
                dtype=output.lazy_dtype(),
            )
            return lazy if V.ndim == 2 else lazy[0]
        n = state.point.objective.n_rows
        out = output.prepare((*V.shape[:-1], n), self.like)
        influence.influence_functional(
            state.point,
            state.factor,
            layout.from_public(np.atleast_2d(V)),
            out if V.ndim == 2 else out[None],
            n_jobs=request.n_jobs,
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
        return self.check_values(gradient, "gradient", ensure_2d=False)

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

    def self_influence(self, request=PLAIN):
        state = self.prediction_state(request.hessian_solver)
        return influence.self_influence(state.point, state.factor, n_jobs=request.n_jobs)

    def most_influential(self, X, y, k, order, request, *, average):
        """Return (influence, indices) of the k samples that rank first, best first."""
        state = self.prediction_state(request.hessian_solver, _n_solves(X, average))
        query = self.ranked_query(X, y, state.point.theta)
        if state.point.objective.is_distributed or query.is_distributed:
            gradient = None
            if y is None:  # a function without the data
                method = self.response_method("auto")
                gradient = partial(self.on(None).prediction_gradient, method)
            return distributed.most_influential(
                state.point,
                state.factor,
                query,
                k,
                order,
                average=average,
                gradient=gradient,
            )
        if average:
            V = query.sum()[None] / len(query)
            values, indices = influence.most_influential(
                state.point, state.factor, V, k, order
            )
            return values[0], indices[0]
        return influence.most_influential_queries(
            state.point, state.factor, query, k, order, n_jobs=request.n_jobs
        )

    def ranked_query(self, X, y, theta):
        """Return the gradients of the queries' losses, or without y of their predictions."""
        return self.prediction_query(X, theta) if y is None else self.check_query(X, y)

    def prediction_query(self, X, theta):
        """Return the gradients of the queries' predictions at theta, as `GradientRows`.

        For dask arrays, return a `DistributedPoint` with the queries.

        The prediction is the response that has influence. If it has a value for each class,
        it is the value of the predicted class.
        """
        method = self.response_method("auto")
        self.check_one_prediction()
        if distributed.is_dask(X):
            return self.dask_queries_without_targets(X, theta)
        design = self.check_X(self.formulation, X)
        raw_gradient = np.empty((design.n_rows, self.n_scores), like=design.like)
        for block in row_blocks(design.n_rows, 8 * 4 * self.n_scores**2):
            raw = design.take(block).predict(theta)
            raw_gradient[block] = self.prediction_gradient(method, raw)
        return GradientRows(design, raw_gradient)

    def influence_theta(self, hessian_solver):
        """Return the parameters at which influence is evaluated, (K, D)."""
        state = self.cached_state
        if state is None or state.params != self.params.tobytes():
            state = self.state(hessian_solver, quiet=True)
        return state.of_influence.point.theta

    def check_one_prediction(self):
        """Raise if the prediction of a sample is no single value."""
        if not self.is_classifier and self.formulation.layout.n_predictions > 1:
            raise ValueError(
                f"This {self.name} predicts {self.formulation.layout.n_predictions} targets, "
                "and influential_samples without y ranks by a single number. Pass y for the "
                "influence on the loss, or use influence_prediction."
            )
        if self.is_classifier and not self.responses.has_class_values(self.estimator):
            raise ValueError(
                f"The decision function of this {self.name} has a value for each pair of "
                "classes, and influential_samples without y needs one for each class. Use "
                "decision_function_shape='ovr', or influence_prediction."
            )

    def prediction_gradient(self, method, raw):
        """Return the gradient of the predictions in raw predictions, both (m, K)."""
        jacobian = self.raw_jacobian(method, self.formulation)
        J = None if jacobian is None else jacobian(raw)
        if J is None:
            J = np.broadcast_to(np.eye(raw.shape[1], like=raw), (*raw.shape, raw.shape[1]))
        return J[np.arange(len(raw)), self.decisive(raw) if J.shape[1] > 1 else 0]

    def decisive(self, raw):
        """Return the codes of the predicted classes, (m,)."""
        return np.searchsorted(
            to_host(self.estimator.classes_), self.responses.labels(self.estimator, raw)
        )

    def response_jacobian(self, method, design, point):
        """Return d response / d raw prediction as a function of a block, and its shape.

        The function is None if the response is the raw prediction.
        """
        theta, formulation = point.theta, point.objective.formulation
        jacobian, n_responses = self.probe_jacobian(method, formulation, theta)
        trailing = () if self.is_flat_response(method) else (n_responses,)
        if jacobian is None:
            return None, trailing
        return lambda block: jacobian(design.take(block).predict(theta)), trailing

    def probe_jacobian(self, method, formulation, theta):
        """Return (`raw_jacobian`, number of responses); None also if it returns None."""
        jacobian, K = self.raw_jacobian(method, formulation), len(theta)
        found = None if jacobian is None else jacobian(np.zeros((1, K), like=theta))
        return (None, K) if found is None else (jacobian, found.shape[1])

    def response_jacobians(self, method, design, point):
        """Return d response / d raw prediction for each row, (q, R, K)."""
        jacobian, _ = self.response_jacobian(method, design, point)
        K = len(point.theta)
        if jacobian is None:
            return np.broadcast_to(np.eye(K), (design.n_rows, K, K))
        return jacobian(slice(None))

    def raw_jacobian(self, method, formulation):
        """Return the function d response / d raw prediction, None for the identity."""
        if method != "decision_function":
            return formulation.loss.response_jacobian
        transform = self.responses.transform(self.estimator)
        return None if transform is None else transform.jacobian

    def is_flat_response(self, method):
        """Return whether a response is one number for a sample."""
        return self.response_is_flat() and method != "predict_proba"

    def lazy_influence_prediction(self, state, X, method, dtype):
        """Return `influence_prediction` as a dask array."""
        theta = state.point.theta
        jacobian, n_responses = self.probe_jacobian(method, self.formulation, theta)
        if distributed.is_dask(X):
            query = self.dask_queries_without_targets(X, theta)
        else:
            query = self.check_X(self.formulation, X)
        lazy = distributed.influence_prediction(
            state.point, state.factor, query, jacobian, n_responses, dtype=dtype
        )
        return lazy[..., 0] if self.is_flat_response(method) else lazy

    def dask_queries_without_targets(self, X, theta):
        """Return queries in a dask array whose losses are not used, at parameters (K, D)."""
        if self.is_classifier:
            n_labels = getattr(self.formulation.target, "n_labels", None)
            value = self.estimator.classes_[0] if n_labels is None else np.zeros(n_labels)
        else:
            value = 1.0 if self.has_flat_target else np.ones(len(self.theta))
        target = distributed.constant_target(X, value)
        return self.dask_queries(self.formulation, X, target, theta)

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
    return shape[0] if shape and isinstance(shape[0], Integral) else None


def _chunks(point, factor, query, working_memory):
    """Generate the influence on queries in blocks, see `influence_loss_chunked`."""
    n = point.objective.n_rows
    for block in influence.influence_blocks(
        point, factor, query, working_memory=working_memory, row_bytes=8 * n
    ):
        yield influence.influence_of(point, factor, query.take(block))
