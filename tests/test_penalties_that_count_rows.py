"""Removal from pipelines with gradient descent, whose penalty is proportional to n.

All groups of a call have the penalty of their refit, whatever the steps before the model are.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest

from skinfluence.linear_model import SGDClassifier
from skinfluence.pipeline import make_pipeline

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4))
TEXTS = np.array([" ".join(rng.choice(list("abcde"), 6)) for _ in X], dtype=object)
LABELS = (X[:, 0] + rng.normal(size=40) > 0).astype(int)
GROUPS = [[0], [1], [2], [3, 4], [5, 6, 7]]


@pytest.mark.parametrize(
    ("step", "data"),
    [(SelectKBest(k=2), X), (TfidfVectorizer(token_pattern=r"\w"), TEXTS)],
)
def test_each_group_has_the_penalty_of_its_refit(step, data):
    model = SGDClassifier(loss="log_loss", alpha=0.05, random_state=0)
    pipe = make_pipeline(clone(step), model).fit(data, LABELS).polish()
    full = pipe.sample_loss(data, LABELS)
    for rows, found in zip(
        GROUPS, pipe.leave_out_loss(data, LABELS, GROUPS, method="exact").T, strict=True
    ):
        kept = np.delete(np.arange(40), rows)
        refit = clone(pipe).fit(data[kept], LABELS[kept]).polish()
        loss = refit.sample_loss(data, LABELS)
        assert np.linalg.norm(found - loss) <= 1e-6 * np.linalg.norm(loss - full)
