"""What holds for pipelines and estimators around others, tried on random ones.

Each test draws rows in random units, steps that learn from them, and a model or several. A
violation is printed as the `Whole` it was shrunk to.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from skinfluence.ensemble import VotingClassifier
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.multiclass import OneVsOneClassifier, OneVsRestClassifier
from skinfluence.multioutput import MultiOutputRegressor
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from tests.fits import NEWTON

STEPS = {
    "mean of the observed": [SimpleImputer(), StandardScaler()],
    "scaler": [StandardScaler()],
    "scaler without mean": [StandardScaler(with_mean=False)],
    "range": [MinMaxScaler()],
    "quartiles": [RobustScaler()],
    "powers": [PowerTransformer()],
    "components": [StandardScaler(), PCA(2)],
    "white components": [StandardScaler(), PCA(2, whiten=True)],
    "splines": [SplineTransformer(3, knots="uniform")],
    "products": [StandardScaler(), PolynomialFeatures(2)],
    "directions": [StandardScaler(), Normalizer()],
    "by column": [
        make_column_transformer((StandardScaler(), [0, 2]), (PowerTransformer(), [1]))
    ],
}
LOGISTIC = LogisticRegression(**NEWTON)
BAYES = GaussianNB()
BALANCED = LogisticRegression(class_weight="balanced", **NEWTON)
MODELS = {
    "logistic": LOGISTIC,
    "balanced": BALANCED,
    "ridge": Ridge(),
    "poisson": PoissonRegressor(alpha=0.1, solver="newton-cholesky", tol=1e-12),
    "bayes": BAYES,
}
COMPOSITES = {
    "one-vs-rest": lambda steps: OneVsRestClassifier(make_pipeline(*steps, BALANCED)),
    "one-vs-one": lambda steps: OneVsOneClassifier(make_pipeline(*steps, LOGISTIC)),
    "vote": lambda steps: VotingClassifier(
        [(str(i), make_pipeline(*steps, model)) for i, model in enumerate((BALANCED, BAYES))],
        voting="soft",
    ),
    "outputs": lambda steps: MultiOutputRegressor(make_pipeline(*steps, Ridge())),
}
each = settings(max_examples=max(10, settings.default.max_examples // 2))


@dataclass(frozen=True)
class Whole:
    """Rows, and the names of the steps and the model that are fitted to them.

    The steps stand before a composite, or in its members.
    """

    steps: str
    model: str
    n_rows: int
    before: bool
    seed: int

    @cached_property
    def samples(self):
        rng = np.random.default_rng(self.seed)
        units = 10.0 ** rng.integers(-2, 3, 3)
        X = (rng.standard_normal((self.n_rows, 3)) + rng.integers(-2, 3, 3)) * units
        y = np.arange(self.n_rows) % 3  # of each class some are left in every removal
        X[:, 0] += 0.5 * units[0] * y
        if self.model == "outputs":
            y = np.column_stack([y, X[:, 0] / units[0]])
        elif self.model == "ridge":
            y = y + rng.standard_normal(self.n_rows)
        if self.steps == "mean of the observed":
            X[rng.random(X.shape) < 0.1] = np.nan
        return X, y

    @property
    def queries(self):
        X, y = self.samples
        return X[:5], y[:5]

    def fit(self, rows=None):
        """Return the fit to some rows, by default all; rows may repeat."""
        X, y = self.samples
        rows = slice(None) if rows is None else rows
        steps = STEPS[self.steps]
        if self.model in MODELS:
            whole = make_pipeline(*steps, MODELS[self.model])
        elif self.before:
            whole = make_pipeline(*steps, COMPOSITES[self.model]([]))
        else:
            whole = COMPOSITES[self.model](steps)
        return clone(whole).fit(X[rows], y[rows])


def wholes(models=(*MODELS, *COMPOSITES), before=(False, True)):
    return st.builds(
        Whole,
        steps=st.sampled_from(list(STEPS)),
        model=st.sampled_from(list(models)),
        n_rows=st.integers(24, 36),
        before=st.sampled_from(before),
        seed=st.integers(0, 2**31 - 1),
    )


few_rows = st.sets(st.integers(0, 23), min_size=2, max_size=4).map(sorted)


def assert_close(found, expected, start, tolerance=1e-6):
    """Assert that changes from the start agree relative to the largest one."""
    size = np.abs(expected - start).max()
    assert np.abs(found - expected).max() <= tolerance * size


@each
@given(whole=wholes(), rows=few_rows)
def test_one_removal_after_another_is_the_removal_of_both(whole, rows):
    fitted, queries = whole.fit(), whole.queries
    start = fitted.sample_loss(*queries)
    together = fitted.leave_out_loss(*queries, [rows], method="exact")[:, 0]
    first, *others = rows
    left = np.delete(np.arange(whole.n_rows), first)
    fitted.remove_samples([first])
    others = [np.searchsorted(left, others)]
    after = fitted.leave_out_loss(*queries, others, method="exact")[:, 0]
    assert_close(after, together, start)


@each
@given(whole=wholes(before=(False,)), rows=few_rows, seed=st.integers(0, 99))
def test_reweighting_is_the_fit_to_rows_that_often(whole, rows, seed):
    counts = 1 + np.random.default_rng(seed).integers(0, 3, whole.n_rows)
    without = np.ones(whole.n_rows)
    without[rows] = 0.0
    fitted, queries = whole.fit(), whole.queries
    start = fitted.sample_loss(*queries)[:, None]
    found = fitted.reweight_loss(*queries, [counts, without], method="exact")
    repeated = whole.fit(np.repeat(np.arange(whole.n_rows), counts)).sample_loss(*queries)
    removed = fitted.leave_out_loss(*queries, [rows], method="exact")[:, 0]
    assert_close(found, np.column_stack([repeated, removed]), start)


@each
@given(whole=wholes(), row=st.integers(0, 23))
def test_two_copies_of_a_row_are_told_apart_by_nothing(whole, row):
    queries = whole.queries
    doubled = whole.fit([*range(whole.n_rows), row])
    influence = doubled.influence_loss(*queries)
    np.testing.assert_allclose(
        influence[:, row], influence[:, -1], rtol=1e-7, atol=1e-9 * np.abs(influence).max()
    )
    both = doubled.leave_out_loss(*queries, [[row, whole.n_rows]], method="exact")
    alone = whole.fit().leave_out_loss(*queries, [[row]], method="exact")
    assert_close(both, alone, doubled.sample_loss(*queries)[:, None])


@each
@given(whole=wholes(), seed=st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(whole, seed):
    order = np.random.default_rng(seed).permutation(whole.n_rows)
    queries, fitted, shuffled = whole.queries, whole.fit(), whole.fit(order)
    influence, moved = (one.influence_loss(*queries) for one in (fitted, shuffled))
    assert_close(moved, influence[:, order], 0.0)
    expected = fitted.leave_out_loss(*queries, [[row] for row in order[:3]])
    found = shuffled.leave_out_loss(*queries, [[0], [1], [2]])
    assert_close(found, expected, fitted.sample_loss(*queries)[:, None])


@each
@given(whole=wholes(MODELS), seed=st.integers(0, 99))
def test_first_order_is_linear_in_the_weights(whole, seed):
    fitted = whole.fit()
    n = whole.n_rows
    first, second = np.random.default_rng(seed).uniform(0.0, 2.0, (2, n))
    params = fitted.reweight_params(
        [np.ones(n), first, second, first + 3.0 * second], method="influence"
    )
    change = params - fitted.params_
    size = np.abs(change).max()
    np.testing.assert_allclose(change[0], 0.0, atol=1e-12 * size)
    expected = change[1] + 3.0 * change[2] + 3.0 * fitted.influence_params().mean(axis=0)
    np.testing.assert_allclose(change[3], expected, atol=1e-9 * size)
