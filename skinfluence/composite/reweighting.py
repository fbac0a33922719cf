"""Composites at other sample weights: each member moves to its own share of them."""

import numpy as np

from skinfluence import removal
from skinfluence.blocks import row_blocks
from skinfluence.checks import check_option, prepare_out
from skinfluence.composite.influence import as_rows, as_target, check_length
from skinfluence.composite.removal import RESPONSES
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.problem.reweighting import check_weights

__all__ = ["CompositeReweighting"]


class CompositeReweighting:
    """Methods for other sample weights with the signatures that estimators have."""

    #: Whether sample weights change the members and nothing else.
    takes_weights = False

    def reweight_loss(
        self, X, y, sample_weight, *, method="newton", dtype=None, out=None, **options
    ):
        values = self.check_vectors(sample_weight, method)
        X, y = as_rows(X), as_target(y)
        check_length(X, y)
        out = prepare_out(out, (X.shape[0], len(values)), dtype)
        for vector, model in self.each_weighted(values, method, **options):
            out[:, vector] = np.nan if model is None else model.sample_loss(X, y)
        return out

    def reweight_predict(
        self, X, sample_weight, *, method="newton", response_method="predict", **options
    ):
        check_option("response_method", response_method, RESPONSES)
        if not hasattr(self.estimator, response_method):
            raise ValueError(f"{self.name} has no {response_method}.")
        values, X = self.check_vectors(sample_weight, method), as_rows(X)
        found, known = [], getattr(self.estimator, response_method)(X)
        for vector, model in self.each_weighted(values, method, **options):
            if model is None and response_method == "predict" and self.is_classifier:
                raise ValueError(
                    f"There is no model at row {vector} of sample_weight, so it predicts no "
                    "class. Give weight to every class, or use another response_method, "
                    "whose values are NaN there."
                )
            found.append(
                _unknown(known) if model is None else getattr(model, response_method)(X)
            )
        if isinstance(known, list):  # one for each output
            return [np.array(one) for one in zip(*found, strict=True)]
        return np.array(found)

    def check_vectors(self, sample_weight, method):
        """Return vectors of weights (m, n) after a check that they can be followed."""
        check_option("method", method, removal.METHODS)
        if not self.takes_weights:
            raise UnsupportedEstimatorError(
                f"Other sample weights of {self.name}: they change more than its members, "
                "such as draws, folds or features from members. Ask the models that it holds, "
                "or use the methods that remove samples (leave_out_*)."
            )
        return check_weights(sample_weight, self.n_rows)

    def models_at_weights(self, values, method, **options):
        """Return the composite at each vector of weights (m, n), None if there is none."""
        values = self.check_vectors(values, method)
        columns = []
        for part in self.parts:
            models = [part.member] * len(values)
            if part.reached and not part.is_constant:
                weights = np.array([part.weight(weight) for weight in values])
                possible = np.flatnonzero(weights.any(axis=1))
                models = [None] * len(values)
                problem = part.member._problem("reweight_loss")
                found = problem.models_at_weights(weights[possible], method, **options)
                for vector, model in zip(possible, found, strict=True):
                    models[vector] = model
            columns.append(models)
        return [
            None
            if any(m is None for m in members)
            else self.with_members(list(members), self.data, None, method)
            for members in zip(*columns, strict=True)
        ]

    def each_weighted(self, values, method, **options):
        """Generate (vector, model) at each vector of weights, None without a model.

        Models are computed in blocks that fit into memory.
        """
        options.pop("verbose", None)
        lost = []
        for block in row_blocks(len(values), self.model_bytes + 16 * values.shape[1]):
            models = self.models_at_weights(values[block], method, **options)
            for vector, model in zip(range(block.start, block.stop), models, strict=True):
                if model is None:
                    lost.append(vector)
                yield vector, model
        if lost:
            named = ", ".join(f"row {vector}" for vector in lost[:5])
            warn(
                f"At {len(lost)} of {len(values)} row(s) of sample_weight a member of "
                f"{self.name} has no model, because a class is lost or its objective has no "
                f"optimum; their results are NaN: {named}."
            )


def _unknown(response):
    """Return NaN in the shape of a response."""
    if isinstance(response, list):
        return [_unknown(one) for one in response]
    return np.full(np.shape(response), np.nan)
