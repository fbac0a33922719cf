"""What earlier releases pickled is read and answers the same; skops reads and writes all."""

import lzma
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.utils.fixes import parse_version
from skops import io as skops

import skinfluence
from skinfluence import InfluenceWarning, TrainingDataMissingError, svm
from skinfluence.fitted import composites, mirrors
from tests.fits import fit, sklearn_parent
from tests.moments import MOMENTS
from tests.moments import data as moment_data
from tests.pickles.make import QUERIES, answers, examples

FILES = sorted((Path(__file__).parent / "pickles").glob("*/*.pkl.xz"))
CLASSES = {cls.__name__ for known in (composites(), mirrors()) for cls in known.values()}
CLASSES |= {*svm.__all__, "Pipeline", "LeaveOneOutSearchCV"}


def read(pickled):
    """Return the object in a pickle, and the warnings if it is from other versions."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = pickle.loads(pickled)
    return estimator, [str(w.message) for w in caught if w.category is InfluenceWarning]


def explained(estimator):
    return getattr(estimator, "best_estimator_", estimator)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if np.asarray(value).dtype.kind == "f":
            scale = np.abs(value).max()
            np.testing.assert_allclose(found[name], value, 1e-9, 1e-11 * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value)


def test_every_class_is_kept():
    folders = {path.parent for path in FILES}
    assert any(folder.name.startswith(f"{skinfluence.__version__}-") for folder in folders)
    for folder in folders:
        assert {path.name.removesuffix(".pkl.xz") for path in folder.iterdir()} >= CLASSES
    assert sum(path.stat().st_size for path in FILES) < 4_000 * len(FILES)


def unpack(path, saved):
    """Return the object in a file; skip if scikit-learn cannot read its own fit."""
    if parse_version(saved) > parse_version(sklearn.__version__):
        pytest.skip("pickled with a later scikit-learn")
    kept = pickle.loads(lzma.decompress(path.read_bytes()))
    try:
        pickle.loads(kept["plain"])
    except ModuleNotFoundError as error:
        pytest.skip(f"scikit-learn's own pickle: {error}")
    return kept


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_pickle_of_a_release_answers_as_it_did(path):
    versions = tuple(path.parent.name.split("-sklearn"))
    kept = unpack(path, versions[1])
    X, y, w = kept["X"], kept["y"], kept["sample_weight"]
    fitted, told = read(kept["fitted"])
    if versions == (skinfluence.__version__, sklearn.__version__):
        assert not told
    else:
        assert told
    assert all(f"{version} " in message for version in versions for message in told)
    assert_same(answers(fitted, X, y), kept["answers"])

    dropped, _ = read(kept["dropped"])
    assert_same({"predict": dropped.predict(X)}, {"predict": kept["answers"]["predict"]})
    with pytest.raises(TrainingDataMissingError):
        explained(dropped).influence_loss(X[QUERIES], y[QUERIES])
    explained(dropped).set_training_data(X, y, w)
    assert_same(answers(dropped, X, y), kept["answers"])


@pytest.mark.parametrize("case", MOMENTS, ids=lambda case: repr(case.estimator))
def test_formulas_of_means_are_made_when_a_pickle_is_read(case):
    X, y = (rows[::2] for rows in moment_data(case.name))
    fitted = clone(case.estimator).fit(X, y)
    expected = fitted.influence_loss(X[:3], y[:3])
    assert b"Moments" not in pickle.dumps(fitted).replace(b"skinfluence.moments", b"")
    state = vars(fitted).copy()  # with the formulas, as in earlier pickles
    formulation = pickle.loads(pickle.dumps(state["_influence_problem"].formulation))
    vars(formulation.model).clear()
    state["_influence_problem"] = state["_influence_problem"].with_formulation(formulation)
    other = type(fitted)()
    other.__setstate__(state)
    np.testing.assert_allclose(other.influence_loss(X[:3], y[:3]), expected, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_skops_reads_its_own_files(name):
    fitted, X, y, w = examples()[name]
    dumped = skops.dumps(fitted)
    untrusted = skops.get_untrusted_types(data=dumped)
    foreign = {path for path in untrusted if not path.startswith("skinfluence.")}
    parent = sklearn_parent(fitted)
    if foreign:  # scikit-learn's own, which a user of skops has to trust there as well
        plain = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]})
        if name == "LeaveOneOutSearchCV":  # which takes more parameters than its parent
            plain.fit(X, y, sample_weight=w)
        else:
            plain = fit(parent(**fitted.get_params(deep=False)), X, y, w)
        assert foreign <= set(skops.get_untrusted_types(data=skops.dumps(plain)))
    restored = skops.loads(dumped, trusted=untrusted)
    assert type(restored) is type(fitted)
    assert_same(answers(restored, X, y), answers(fitted, X, y))
