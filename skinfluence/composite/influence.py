"""Chapter A for composites: the derivatives of the members' responses, combined."""

import numpy as np

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.checks import check_option, check_working_memory
from skinfluence.composite.losses import log_loss, squared_error
from skinfluence.composite.moved import Direct, Moved
from skinfluence.exceptions import warn
from skinfluence.methods import get_problem
from skinfluence.pipeline import is_composite
from skinfluence.problem.ranking import RankedBlocks
from skinfluence.problem.requests import NEW, PLAIN, Output
from skinfluence.steps import innermost
from skinfluence.targets import check_target
from skinfluence.whole import take_rows


class CompositeInfluence(RankedBlocks):
    """Influence methods with the signatures that estimators have."""

    #: Whether the estimator holds several models and has no parameters of its own.
    has_parts = True

    @property
    def loss_method(self):
        """The response used in the loss, None for the sum over the members' losses."""
        if not self.is_classifier:
            return "predict"
        return "predict_proba" if "predict_proba" in self.smooth_responses else None

    @property
    def smooth_responses(self):
        """The names of the responses that have a derivative."""
        names = ["decision_function", "predict_proba"] if self.is_classifier else ["predict"]
        return [name for name in names if hasattr(self.estimator, name)]

    def loss(self, value, y):
        """Return losses (q,) for responses, and their derivatives in the responses."""
        if self.is_classifier:
            return log_loss(value, codes_of(y, self.estimator.classes_))
        return squared_error(value, y)

    def sample_loss(self, X, y):
        self.check_supported()
        X, y = as_rows(X), as_target(y)
        method = self.loss_method
        if method is not None:
            return self.loss(self.response(X, method), y)[0]
        return self.members_loss(X, y, _own_loss)

    @property
    def answering(self):
        """The positions of the members whose responses the composite combines."""
        return range(len(self.members()))

    def members_loss(self, X, y, loss_of):
        """Return the sum (q,) over the members' losses ``loss_of(member, X, y)``."""
        total = np.zeros(X.shape[0])
        for k, member, rows, yk in self.shared(y):
            if rows is None:
                total += loss_of(member, self.features(k, X), yk)
            elif len(rows):
                total[rows] += loss_of(member, self.features(k, take_rows(X, rows)), yk)
        return total

    def shared(self, y):
        """Generate (k, member, rows, target) from labelled samples for members with a loss."""
        targets, members = self.targets(y), self.members()
        for k in self.answering:
            if hasattr(members[k], "sample_loss"):
                yield k, members[k], *targets[k]

    #: Whether probabilities are normalised over classes that were each fitted alone.
    sees_classes_alone = False

    @property
    def compares_by_members(self):
        """Whether the members' losses compare labels, see `label_loss`."""
        members = [self.members()[k] for k in self.answering]
        count = len(getattr(self.estimator, "classes_", ()))
        return (self.sees_classes_alone or any(map(_compares_by_members, members))) and all(
            hasattr(member, "sample_loss") and len(member.classes_) == count
            for member in members
        )

    def label_loss(self, X, y):
        """Return the losses (q,) by which labels of the same sample are compared.

        A score of class k that was fitted against the rest is near its bound for every sample
        that surely belongs to k. After the normalisation, the log odds of k against a wrong
        label then depend on the score of the wrong label alone. The losses that the members
        minimised still contain how much speaks for k.
        """
        if self.compares_by_members:
            return self.members_loss(X, y, label_loss)
        return self.sample_loss(X, y)

    def response(self, X, method):
        """Return one response from the composite."""
        return getattr(self.as_fitted, method)(X)

    def moved(self, X, options):
        """Return the members' derivatives for fixed features, see `tangent`."""
        solver = options.get("hessian_solver", "auto")
        known = vars(self).setdefault("_direct", {})
        if solver not in known:
            known[solver] = Direct(self, options)
        return Moved(known[solver], X, [None] * X.shape[0])

    def influence_on_losses(self, X, y, options):
        """Return the influence (q, n) on losses for samples that fit into memory."""
        return self.moved_losses(X, y, self.moved(X, options))

    def influence_on_responses(self, X, method, options):
        """Return the influence on a response for samples that fit into memory."""
        return self.tangent(X, method, self.moved(X, options))

    def moved_losses(self, X, y, moved):
        """Return the losses' derivatives (q, N) from the members', see `tangent`."""
        method = self.loss_method
        if method is not None:
            _, gradient = self.loss(self.response(X, method), y)
            parts = gradient if isinstance(gradient, list) else [gradient]
            infinite = np.zeros(X.shape[0], dtype=bool)
            for part in parts:  # one for each of several targets
                infinite |= ~np.isfinite(part.reshape(len(part), -1)).all(axis=1)
            if infinite.any():
                warn(
                    f"{infinite.sum()} sample(s) have probability 0 for their class: their "
                    "loss is infinite, and the influence on it is NaN. Use "
                    "influence_prediction."
                )
            return contract(gradient, self.tangent(X, method, moved))
        return self.moved_members_loss(X, y, moved)

    def moved_members_loss(self, X, y, moved):
        """Return the derivatives (q, N) of the sum over the members' losses."""
        total = np.zeros((X.shape[0], moved.width))
        for k, _, rows, yk in self.shared(y):
            if rows is None or len(rows):
                total[slice(None) if rows is None else rows] += moved.losses(k, yk, rows)
        return total

    def blocks(self, n_queries, working_memory=None):
        """Return query blocks whose influences on the members fit into memory."""
        classes = getattr(self.estimator, "classes_", ())
        width = 2 * max(2, len(classes)) * len(self.parts)
        row_bytes = 8 * self.data.n_rows * width
        return row_blocks(n_queries, row_bytes, working_memory=working_memory)

    def influence_loss(self, X, y, request=PLAIN, output=NEW, *, average=False):
        n, X, y = self.data.n_rows, as_rows(X), as_target(y)
        options = _options(request)
        check_length(X, y)
        q = X.shape[0]
        out = output.prepare((n,) if average else (q, n))
        total = np.zeros(n)

        def fill(block):
            Xb, yb = take_block(X, block), take_block(y, block)
            found = self.influence_on_losses(Xb, yb, options)
            if average:
                total[:] += found.sum(axis=0)
            else:
                out[block] = found

        run_blocks(fill, self.blocks(q), verbose=request.verbose)
        if average:
            out[:] = total / q
        return out

    def influence_loss_chunked(
        self, X, y, *, reduce_func=None, working_memory=None, hessian_solver="auto"
    ):
        check_working_memory(working_memory)
        X, y = as_rows(X), as_target(y)
        check_length(X, y)
        blocks = self.blocks(X.shape[0], working_memory)

        def generate():
            for block in blocks:
                Xb, yb = take_block(X, block), take_block(y, block)
                chunk = self.influence_on_losses(Xb, yb, {"hessian_solver": hessian_solver})
                yield chunk if reduce_func is None else reduce_func(chunk, block.start)

        return generate()

    def influence_prediction(self, X, request=PLAIN, output=NEW, *, response_method="auto"):
        method = self.response_method(response_method)
        n, X = self.data.n_rows, as_rows(X)
        options = _options(request)
        q, results = X.shape[0], None
        for block in self.blocks(q):
            Xb = take_block(X, block)
            found = self.influence_on_responses(Xb, method, options)
            several = isinstance(found, list)
            if results is None:
                place = Output(output.dtype) if several else output
                results = [
                    place.prepare((q, n, *part.shape[2:]))
                    for part in (found if several else [found])
                ]
            for result, part in zip(results, found if several else [found], strict=True):
                result[block] = part
        return results if several else results[0]

    def loss_chunks(self, X, y, hessian_solver):
        return self.influence_loss_chunked(X, y, hessian_solver=hessian_solver)

    def prediction_chunks(self, X, hessian_solver):
        method, X = self.response_method("auto"), as_rows(X)
        labels = np.asarray(self.fitted_model.predict(X))
        if labels.ndim > 1 and labels.shape[1] > 1:
            raise ValueError(
                f"This {self.name} predicts {labels.shape[1]} outputs, and "
                "influential_samples without y ranks by a single number. Pass y for the "
                "influence on the loss, or use influence_prediction."
            )
        options = {"hessian_solver": hessian_solver}
        for block in self.blocks(X.shape[0]):
            Xb = take_block(X, block)
            found = self.influence_on_responses(Xb, method, options)
            if found.ndim == 2:
                yield found
            elif found.shape[2] == 1:
                yield found[:, :, 0]
            else:
                codes = codes_of(labels[block], self.estimator.classes_)
                yield found[np.arange(len(found)), :, codes]

    def self_influence(self, request=PLAIN):
        data, options = self.data, _options(request)
        result = np.empty(data.n_rows)
        for block in self.blocks(data.n_rows):
            X, y = take_block(data.X, block), take_block(data.y, block)
            result[block] = self.influence_on_losses(X, y, options)[:, block].diagonal()
        return result

    def response_method(self, response_method):
        """Return the requested response, or raise if it has no influence."""
        options = ("auto", "decision_function", "predict_proba", "predict")
        check_option("response_method", response_method, options)
        known = self.smooth_responses
        if response_method == "auto" and known:
            return known[0]
        if response_method in known:
            return response_method
        listed = " or ".join(repr(name) for name in known) or "influence_loss"
        if response_method == "auto" or hasattr(self.estimator, response_method):
            raise ValueError(
                f"{self.name} predicts class labels or counts votes, which have no "
                f"derivative: use {listed}."
            )
        raise ValueError(f"{self.name} has no {response_method}: use {listed}.")


def label_loss(model, X, y):
    """Return the losses (q,) by which a model compares labels, see `CompositeInfluence`."""
    if is_composite(innermost(model)):
        return get_problem(model).label_loss(X, y)
    return model.sample_loss(X, y)


def _own_loss(model, X, y):
    return model.sample_loss(X, y)


def _compares_by_members(member):
    final = innermost(member)
    return is_composite(final) and get_problem(final).compares_by_members


def _options(request):
    """Return the options of the members' public methods."""
    return {"hessian_solver": request.hessian_solver, "n_jobs": request.n_jobs}


def contract(gradient, moved):
    """Return sum_r (dl/dr) I_r, (q, n), for responses r in one array or in a list."""
    if isinstance(moved, list):
        return sum(contract(g, m) for g, m in zip(gradient, moved, strict=True))
    if moved.ndim == 2:
        return gradient.reshape(len(moved), 1) * moved
    return np.einsum("qk,qnk->qn", gradient, moved)


def codes_of(y, classes):
    """Return the labels' positions among the classes, (q,)."""
    y = np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    known = np.isin(y, classes)
    if not known.all():
        raise ValueError(
            f"y holds the label {y[~known].tolist()[0]!r}, which was not seen in fit: the "
            f"labels are {classes.tolist()}."
        )
    return np.searchsorted(classes, y)


def as_rows(X):
    """Return samples as an object with a shape."""
    return X if hasattr(X, "shape") else np.asarray(X)


def as_target(y):
    """Return targets as an object with a shape."""
    check_target(y)
    return y if hasattr(y, "shape") else np.asarray(y)


def take_block(X, block):
    """Return a block from the rows."""
    return take_rows(as_rows(X), block)


def check_length(X, y):
    """Raise unless there is a target for each sample."""
    if X.shape[0] != y.shape[0]:
        raise ValueError(f"X holds {X.shape[0]} samples, but y {y.shape[0]} targets.")
