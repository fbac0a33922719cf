"""From users' arrays to the ones that computations see, and back."""

import numpy as np
from sklearn import get_config
from sklearn.utils import Bunch

from skinfluence._compat import convert_to_numpy, is_array_api_obj, namespace, place
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import functions  # noqa: F401  registers them
from skinfluence.namespaces.array import DeviceArray, Space

__all__ = [
    "as_given",
    "device_array",
    "from_host",
    "is_foreign",
    "place_of",
    "to_host",
    "where_it_is",
]


def is_foreign(array):
    """Return whether a user's array stays in its library, as in scikit-learn's dispatch."""
    if isinstance(array, np.ndarray) or not get_config()["array_api_dispatch"]:
        return False
    return is_array_api_obj(array)


def place_of(array):
    """Return the `Space` of an array of another library, None for all else."""
    if array is None or isinstance(array, np.ndarray) or not is_array_api_obj(array):
        return None
    return Space(namespace(array), place(array))


def device_array(array):
    """Return a user's array as computations see it, without a copy."""
    space = place_of(array)
    try:
        space.raw(np.zeros(1))
    except Exception as error:  # each library has its own class
        raise UnsupportedEstimatorError(
            f"The device {space.device} of {space.name} has no float64, and computations use "
            "it: move X to another device, or to NumPy."
        ) from error
    return DeviceArray(array, space)


def where_it_is(array):
    """Return an array that stays in its library as computations see it, else the argument."""
    return device_array(array) if is_foreign(array) else array


def to_host(array):
    """Return any array of another library as a NumPy array, and all else as it is."""
    if isinstance(array, DeviceArray):
        return array.host()
    if isinstance(array, np.ndarray | float | int | list) or not is_array_api_obj(array):
        return array
    return np.asarray(convert_to_numpy(array, namespace(array)))


def from_host(values, like):
    """Return NumPy values as the library's own array that goes with another array."""
    return like.space.raw(values) if isinstance(like, DeviceArray) else values


def as_given(result, space):
    """Return a result whose arrays are the library's own, not NumPy's or ours.

    Numbers, names and tables stay as they are.
    """
    if isinstance(result, DeviceArray):
        return result.raw
    if isinstance(result, np.ndarray):
        return space.raw(result) if result.dtype.kind in "fiub" else result
    if isinstance(result, Bunch):
        return type(result)(**{name: as_given(part, space) for name, part in result.items()})
    if isinstance(result, dict):
        return {name: as_given(value, space) for name, value in result.items()}
    if isinstance(result, tuple | list):
        return type(result)(as_given(value, space) for value in result)
    return result
