"""Rules that turn raw predictions into responses, one class for each rule.

An estimator sets the class attribute `_responses` to an instance.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import d2_tweedie_score

from skinfluence._compat import has_several_labels
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import to_host
from skinfluence.pairs import PairDecision


class Responses:
    """The decision function is the raw prediction; its largest entry gives the label."""

    def transform(self, model):
        """Return the map from raw predictions to `decision_function`, None if equal."""
        return None

    def has_class_values(self, model):
        """Return whether `decision_function` has a value for each class, or one for two."""
        return True

    def labels(self, model, raw):
        """Return the predicted classes for raw predictions (m, K)."""
        code = (raw[:, 0] > 0).astype(int) if raw.shape[1] == 1 else raw.argmax(axis=1)
        return to_host(model.classes_)[to_host(code)]

    def is_flat(self, model):
        """Return whether `decision_function` has one value for a sample."""
        return np.shape(model.classes_)[0] == 2

    def check(self, response_method):
        """Raise if a response is not a function of the raw predictions."""

    def score(self, pooled, X, y, params, **metadata):
        """Return the model's own score for an estimator with precomputed predictions."""
        return pooled.score(X, y, **metadata)

    def limit(self, model):
        """Let a copy with other parameters raise for responses that would be the old ones."""


class RidgeResponses(Responses):
    """If there are several labels for each sample, each has its own decision value."""

    def labels(self, model, raw):
        if has_several_labels(model):
            return to_host((raw > 0).astype(int))
        return super().labels(model, raw)

    def is_flat(self, model):
        return not has_several_labels(model) and super().is_flat(model)


@dataclass(frozen=True)
class DevianceResponses(Responses):
    """The score is the share of a Tweedie deviance that the model explains.

    Parameters
    ----------
    power : float or None, default=None
        The deviance's power, None for the estimator's parameter `power`.
    """

    power: float | None = None

    def score(self, pooled, X, y, params, **metadata):
        power = params["power"] if self.power is None else self.power
        return d2_tweedie_score(y, pooled.predict(None), power=power, **metadata)


class PairResponses(Responses):
    """Each raw prediction belongs to a pair of classes, and the pairs vote."""

    def transform(self, model):
        n_classes = len(model.classes_)
        if n_classes == 2 or getattr(model, "decision_function_shape", "ovr") == "ovo":
            return None
        return PairDecision(n_classes)

    def has_class_values(self, model):
        return len(model.classes_) == 2 or self.transform(model) is not None

    def labels(self, model, raw):
        n_classes = len(model.classes_)
        if n_classes == 2:
            return super().labels(model, raw)
        decide = PairDecision(n_classes)
        values = decide(raw) if getattr(model, "break_ties", True) else decide.votes(raw)
        return model.classes_[values.argmax(axis=1)]

    def check(self, response_method):
        if response_method == "predict_proba":
            raise UnsupportedEstimatorError(
                "SVC(probability=True): its probabilities are calibrated by a "
                "cross-validation inside libsvm and have no influence. Use "
                "'decision_function'."
            )

    def limit(self, model):
        if hasattr(model, "predict_proba"):
            model.predict_proba = self._refuse_probabilities

    def _refuse_probabilities(self, X):
        self.check("predict_proba")
