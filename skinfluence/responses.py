"""Rules that turn raw predictions into responses, one class for each rule.

An estimator sets the class attribute `_responses` to an instance.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import d2_tweedie_score

from skinfluence._compat import has_several_labels, one_vs_one_decision
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import to_host


@dataclass(frozen=True)
class PairDecision:
    """Votes from all pairs of classes, with confidences to break ties.

    As in scikit-learn, a class gets one vote for each pair that it wins. Its summed
    confidences c add c/(3 (|c| + 1)), which is less than half a vote.

    Parameters
    ----------
    n_classes : int
        Number of classes.
    """

    n_classes: int

    def __call__(self, raw):
        """Return the decision values (m, n_classes) for raw predictions (m, n_pairs)."""
        # The first class in a pair is positive here, the second one in scikit-learn.
        return one_vs_one_decision(raw < 0, -raw, self.n_classes)

    def votes(self, raw):
        """Return the number of pairs that each class wins, (m, n_classes)."""
        wins = (raw > 0).astype(np.float64)
        return wins @ (self._signs > 0) + (1.0 - wins) @ (self._signs < 0)

    def jacobian(self, raw):
        """Return the derivative of the decision values, (m, n_classes, n_pairs).

        Votes are constant almost everywhere, so only the confidences contribute.
        """
        slope = 1.0 / (3.0 * (np.abs(raw @ self._signs) + 1.0) ** 2)
        return slope[:, :, None] * self._signs.T

    @property
    def _signs(self):
        """+1 for the first class in a pair, -1 for the second, (n_pairs, n_classes)."""
        first, second = np.triu_indices(self.n_classes, 1)
        signs = np.zeros((len(first), self.n_classes))
        signs[np.arange(len(first)), first] = 1.0
        signs[np.arange(len(first)), second] = -1.0
        return signs


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

    def deviance_power(self, params):
        """Return the power of the Tweedie deviance that `score` explains, None for others."""
        return None

    def score(self, estimator, X, y, params, **metadata):
        """Return the model's own score for another estimator's predictions."""
        power = self.deviance_power(params)
        if power is None:
            return estimator.score(X, y, **metadata)
        return d2_tweedie_score(y, estimator.predict(X), power=power, **metadata)

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

    def deviance_power(self, params):
        return params["power"] if self.power is None else self.power


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
