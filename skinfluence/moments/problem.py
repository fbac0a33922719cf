"""The problem for a fitted moment model: results for the public methods.

Influence pulls a scalar's gradient back to the sums and multiplies it by each row's terms, see
`base`. Removal subtracts the removed rows' sums: "newton" and "exact" are the refit,
"influence" is first order in the sums.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_is_fitted, validate_data

from skinfluence import distributed
from skinfluence._compat import FITTED_BY, check_sample_weight
from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.methods import InfluenceEstimatorMixin, get_problem
from skinfluence.moments.base import (
    MomentFormulation,
    MomentLayout,
    MomentModel,
    MomentResponses,
)
from skinfluence.moments.data import MomentData, MomentRows
from skinfluence.moments.diagnostics import MomentDiagnostics
from skinfluence.moments.removal import MomentRemoval, MomentReweighting, MomentUncertainty
from skinfluence.parameters import Coefficients
from skinfluence.problem import Problem
from skinfluence.problem.closed_form import ClosedFormAnswers
from skinfluence.problem.requests import NEW, PLAIN
from skinfluence.problem.samples import check_not_negative
from skinfluence.targets import ClassCodes

# Largest relative difference between fitted and recomputed statistics, by precision.
_SAME = {np.dtype(np.float32): 1e-3}


class MomentQuery:
    """Query rows with gradients in their scores.

    Parameters
    ----------
    model, theta : MomentModel and ndarray of shape (p,)
        The model.
    X : {ndarray, sparse matrix} of shape (m, d)
        Rows.
    raw_gradient : ndarray of shape (m, K)
        Gradients.
    """

    def __init__(self, model, theta, X, raw_gradient):
        self.model, self.theta = model, theta
        self.X, self.raw_gradient = X, raw_gradient

    def __len__(self):
        return self.X.shape[0]

    @property
    def design(self):
        """The object that has the rows in `X`."""
        return self

    def take(self, rows):
        """Return the query for some rows."""
        return MomentQuery(self.model, self.theta, self.X[rows], self.raw_gradient[rows])

    def toarray(self):
        """Return the gradients in the parameters, (m, p)."""
        X = self.model.prepare(self.X)
        return self.model.pull_raw(self.theta, X, self.raw_gradient)

    def blocks(self, width, n_jobs=None):
        """Return row blocks whose gradients and arrays with this width fit into memory."""
        row_bytes = 8 * (width + 4 * self.theta.size)
        return row_blocks(len(self), row_bytes, n_jobs=n_jobs)

    def sum(self):
        """Return the gradients' sum, (p,)."""
        return sum(self.take(block).toarray().sum(axis=0) for block in self.blocks(0))


class MomentProblem(
    MomentRemoval,
    MomentReweighting,
    MomentUncertainty,
    MomentDiagnostics,
    ClosedFormAnswers,
    Problem,
):
    """The problem for an estimator whose parameters are means, variances and counts."""

    #: Refits need no start.
    nearby_factor = None

    def of(self, estimator):
        return MomentProblem(estimator)

    @property
    def n_scores(self):
        return self.predict_rows(self.objective.design.take(slice(0, 0))).shape[1]

    # ---------------------------------------------------------------- fitting

    def formulate(self, y, sample_weight):
        self.check_arrays()
        estimator = self.as_fitted
        model = estimator._moments(estimator)
        model.check_supported(estimator)
        target = ClassCodes(np.asarray(self.estimator.classes_))
        return MomentFormulation(model, target, self.parameters.layout(self.estimator))

    def formulate_again(self):
        """Make the formulas of a fit from the estimator, or store why there are none."""
        fitted = vars(self.estimator).get("_influence_problem")
        if fitted is None or fitted.refusal is not None:
            return
        try:
            self.fitted = fitted.with_formulation(self.formulate(None, None))
        except Exception as error:
            self.fitted = replace(fitted, refusal=self.reason(error, "parameters"))

    def make_objective(self, formulation, X, y, sample_weight):
        if distributed.is_dask(X, y, sample_weight):
            self.parameters.check_takes_dask(self.estimator, formulation)
        index = X.index if hasattr(X, "iloc") else None
        design, codes = self.check_samples(formulation, X, y)
        weight = check_sample_weight(sample_weight, design.X, dtype=np.float64)
        check_not_negative(weight.min())
        return MomentData(formulation, design.X, codes.copy(), weight.copy(), index)

    def check_X(self, formulation, X, training=False):
        if distributed.is_dask(X):
            self.parameters.check_takes_dask(self.estimator, formulation)
        rows = self.estimator._check_moment_rows(self.transform(X))
        formulation.model.prepare(rows[:1] if rows.shape[0] > 1 else rows)  # may raise
        return MomentRows(formulation.model, rows)

    def check_scores(self, X):
        design = super().check_scores(X)
        return MomentRows(design.model, design.X, design.model.n_classes)

    def pull_sum(self, design, raw_gradient, params):
        return MomentQuery(design.model, params, design.X, raw_gradient).sum()

    def warn_of_other_data(self, objective, data, guess):
        fitted = self.params
        model = objective.model
        with np.errstate(divide="ignore", invalid="ignore"):
            found = model.params(*objective.sums, objective.centres, objective.counts)
        scale = np.maximum(np.abs(fitted), np.abs(fitted[np.isfinite(fitted)]).mean())
        with np.errstate(invalid="ignore"):
            gap = np.abs(found - fitted) / np.where(scale > 0, scale, 1.0)
        gap[np.isnan(found) & np.isnan(fitted) | (found == fitted)] = 0.0
        gap = np.where(np.isnan(gap), np.inf, gap)
        if gap.max() <= _SAME.get(objective.X.dtype, 1e-6):
            return
        entry = int(gap.argmax())
        name = model.names(*self.parameters.labels_and_features(self.estimator))[entry]
        looks = "other rows, or weights left out" if guess is None else guess
        warn(
            f"X, y and sample_weight are not those that this {self.name} was fitted on: their "
            f"{name} is {found[entry]:.6g}, and the fitted one is {fitted[entry]:.6g}. It "
            f"looks like {looks}. Pass the data of the fit; or, if other data are meant, fit "
            "again."
        )

    # ---------------------------------------------------------------- losses and influence

    @property
    def checked_data(self):
        """The training data, after a check that every class has a positive weight."""
        data = self.objective
        empty = data.counts == 0
        if empty.any():
            label = self.label(self.estimator.classes_.tolist()[int(empty.argmax())])
            raise UnsupportedEstimatorError(
                f"No training sample of class {label!r} has a weight, so the class has no "
                "statistics. Give samples of every class, or fit without this class."
            )
        return data

    @property
    def data_of_fit(self):
        """The training data, after a check that the fit has a derivative."""
        data = self.checked_data
        check = getattr(data.model, "check", None)
        if check is not None:
            check(*data.sums, data.centres)
        return data

    def loss_gradient(self, X, y, output=NEW, *, n_jobs=None):
        query = self.check_query(X, y)
        out = output.prepare((len(query), query.theta.size))

        def work(block):
            out[block] = query.take(block).toarray()

        run_blocks(work, query.blocks(0, n_jobs), n_jobs=n_jobs)
        return out

    def check_query(self, X, y, *, hessian_solver="auto"):
        check_is_fitted(self.estimator)
        design, codes = self.check_samples(self.formulation, X, y)
        gradient = self.formulation.loss.gradient(codes, self.predict_rows(design))
        return self.query(design, gradient)

    def query(self, design, raw_gradient):
        """Return rows with gradients in their scores, as `MomentQuery`."""
        return MomentQuery(design.model, self.params, design.X, raw_gradient)

    def influence_on(self, V, n_jobs=None):
        """Return the influence (m, n) on scalars with gradients V (m, ..., p)."""
        data = self.data_of_fit
        gN, gM = data.model.pull(*data.sums, data.centres, V.reshape(len(V), -1))
        return data.influence(gN, gM, np.arange(data.n_rows), n_jobs=n_jobs)

    def influence_of(self, query):
        """Return the influence (m, n) on scalars whose gradients are query rows."""
        return self.influence_on(query.toarray())

    def influence_of_labels(self, query, target):
        """Return the influence (m, n) of other class codes of the training rows."""
        data = self.data_of_fit
        pulled = data.model.pull(*data.sums, data.centres, query.toarray())
        return data.relabelling(*pulled, target)

    @property
    def query_bytes(self):
        """Bytes for the arrays of one scalar."""
        return 8 * (self._width + 4 * len(self.params))

    @property
    def _width(self):
        """Array entries needed to pull back one scalar."""
        data = self.objective
        return 4 * data.n_blocks * data.n_terms + data.n_rows

    def _param_blocks(self):
        """Generate parameter blocks with their unit vectors."""
        p = len(self.params)
        for block in row_blocks(p, 8 * (p + self._width)):
            V = np.zeros((block.stop - block.start, p))
            V[np.arange(len(V)), np.arange(block.start, block.stop)] = 1.0
            yield block, V

    def influence_params(self, X=None, y=None, request=PLAIN, output=NEW):
        data = self.data_of_fit
        if X is None and y is not None:
            raise ValueError("y was given without X: pass both, or neither.")
        given = data
        if X is not None:
            design, codes = self.check_samples(self.formulation, X, y)
            given = data.beside(design.X, codes)
        out = output.prepare((given.n_rows, len(self.params)))
        rows = np.arange(given.n_rows)
        options = {"n_jobs": request.n_jobs, "weight_sum": data.weight_sum}
        for block, V in self._param_blocks():
            gN, gM = data.model.pull(*data.sums, data.centres, V)
            out[:, block] = given.influence(gN, gM, rows, **options).T
        self.warn_of_uncounted(out)
        return out

    def prediction_query(self, X, theta):
        method = self.response_method("auto")
        design = self.check_X(self.formulation, X)
        gradient = self.prediction_gradient(method, self.predict_rows(design))
        return self.query(design, gradient)

    def prediction_gradient(self, method, raw):
        J, axis = self.score_jacobian(method, raw)
        return J[np.arange(len(raw)), self.decisive(raw) if axis else 0]

    def response_method(self, response_method):
        if response_method == "auto" and not hasattr(self.estimator, "decision_function"):
            return "predict_proba"
        return super().response_method(response_method)

    def score_jacobian(self, method, raw):
        """Return d response / d scores, (m, R, K), and whether responses have an axis R."""
        if method == "predict_proba":
            return self.formulation.loss.response_jacobian(raw), True
        J = self.responses.transform(self.estimator).jacobian(raw)
        return J, J.shape[1] > 1

    def influence_prediction(self, X, request=PLAIN, output=NEW, *, response_method="auto"):
        method = self.response_method(response_method)
        design, n = self.check_X(self.formulation, X), self.data_of_fit.n_rows
        J, axis = self.score_jacobian(method, self.predict_rows(design))
        m, R, _ = J.shape
        out = output.prepare((m, n, R) if axis else (m, n))
        wide = out if axis else out[:, :, None]

        def work(block):
            for r in range(R):
                query = self.query(design.take(block), J[block, r])
                wide[block, :, r] = self.influence_of(query)

        self.run(work, m, request)
        self.warn_of_uncounted(out)
        return out

    def self_influence(self, request=PLAIN):
        data, out = self.data_of_fit, np.empty(self.n_rows)
        raw = self.predict_rows(data.design)
        query = self.query(data.design, self.formulation.loss.gradient(data.target, raw))

        def work(block):
            gN, gM = data.model.pull(*data.sums, data.centres, query.take(block).toarray())
            codes = data.target[block]
            positions = np.arange(len(codes))

            def along(codes):
                terms = data.model.terms(data.centred(block, codes))
                terms = terms.toarray() if hasattr(terms, "toarray") else terms
                return gN[positions, codes] + np.einsum(
                    "ms,ms->m", gM[positions, codes], terms
                )

            part = data.weight_sum * along(codes)
            if data.model.counts_rows:
                w = data.sample_weight[block]
                scale = data.weight_sum / np.where(w > 0, w, np.nan)
                part += scale * along(np.full(len(codes), data.model.n_classes))
            out[block] = part

        self.run(work, len(query), request)
        self.warn_of_uncounted(out)
        return out

    def warn_of_uncounted(self, result):
        """Warn that rows with weight 0 are NaN because a statistic counts them."""
        data = self.objective
        count = int(np.sum(data.sample_weight == 0)) if data.model.counts_rows else 0
        if count and np.isnan(result).any():
            warn(
                f"{count} training sample(s) with a weight of 0 have no influence, because "
                "epsilon_ counts them without their weight: their entries are NaN. Their "
                "removal (leave_out_*) is defined; var_smoothing=0 has no epsilon_."
            )


class _Moments(Coefficients):
    """Fitted statistics in one vector, with the layout from the model's formulas."""

    def layout(self, model):
        return MomentLayout(len(self.vector(model, None)), len(model.classes_))

    def ndims(self, model, layout):
        return None

    def has_flat_target(self, model, layout):
        return True

    def vector(self, model, layout):
        return model._moments(model).read(model)

    def theta(self, model, layout):
        return layout.from_public(self.vector(model, layout))

    def names(self, model, layout):
        classes, features = self.labels_and_features(model)
        return model._moments(model).names(classes, features)

    def labels_and_features(self, model):
        """Return class and feature names."""
        features = self.column_names(model, model.n_features_in_)
        return [str(label) for label in self.class_names(model)], features

    def forget(self, model):
        vars(model).pop(FITTED_BY, None)

    def rows_of_X(self, objective, rows):
        """Return some training rows."""
        return objective.X[rows]

    def check_takes_dask(self, model, formulation):
        raise UnsupportedEstimatorError(
            f"{type(model).__name__} does not take dask arrays: call compute() on them."
        )


class MomentMixin(InfluenceEstimatorMixin):
    """An estimator whose parameters are means, variances and counts.

    List before a scikit-learn class, and after `UnweightedMixin` if its `fit` takes no sample
    weights.
    """

    _parameters = _Moments()
    _responses = MomentResponses()
    #: The formulas, a subclass of `MomentModel`.
    _moments: ClassVar[type[MomentModel]]
    _has_objective = False
    #: Arguments for `validate_data`, as in scikit-learn's own `predict`.
    _row_checks: ClassVar[dict[str, Any]] = {}

    def __getstate__(self):
        # The formulas follow from the estimator. Pickles of other versions then have none of
        # their fields.
        state = super().__getstate__()
        fitted = state.get("_influence_problem")
        if fitted is not None:
            state["_influence_problem"] = fitted.with_formulation(None)
        return state

    def __setstate__(self, state):
        if "_skinfluence_versions" in state:
            state = {FITTED_BY: state["_skinfluence_versions"][1]} | state
        super().__setstate__(state)
        get_problem(self).formulate_again()

    def _check_moment_rows(self, X):
        """Return samples after scikit-learn's own checks."""
        X = validate_data(self, X, reset=False, **self._row_checks)
        return X.tocsr() if sparse.issparse(X) else np.asarray(X)


@get_problem.register(MomentMixin)
def problem_of_moments(estimator, method=None):
    """Return a moment model's problem."""
    return MomentProblem(estimator)
