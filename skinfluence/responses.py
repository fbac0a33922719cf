"""Rules that turn raw predictions into responses, one class for each rule.

A classifier sets the class attribute `_responses` to an instance.
"""

import numpy as np

from skinfluence._compat import has_several_labels
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import to_host
from skinfluence.pairs import PairDecision

__all__ = ["PairResponses", "Responses", "RidgeResponses"]


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
