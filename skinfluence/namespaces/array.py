"""An array of another library that NumPy's functions accept, from users' arrays and back."""

import operator
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from sklearn import get_config
from sklearn.utils import Bunch

from skinfluence._compat import convert_to_numpy, is_array_api_obj, namespace, place
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import indexing

_DTYPES = (
    *("float64", "float32", "int64", "int32", "bool"),
    *("uint8", "int8", "int16", "uint16", "uint32", "uint64"),
)
# Ufuncs that are operators. These take a number without making it an array first.
_OPERATORS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.power: operator.pow,
    np.negative: operator.neg,
    np.positive: operator.pos,
    np.absolute: abs,
    np.less: operator.lt,
    np.less_equal: operator.le,
    np.greater: operator.gt,
    np.greater_equal: operator.ge,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
    np.bitwise_and: operator.and_,
    np.bitwise_or: operator.or_,
    np.bitwise_xor: operator.xor,
    np.invert: operator.invert,
    np.matmul: operator.matmul,
}
_FUNCTIONS = {
    getattr(np, name): name
    for name in (
        *("exp", "expm1", "log", "log1p", "sqrt", "square", "sign", "tanh", "hypot"),
        "copysign",
        *("maximum", "minimum", "isfinite", "isnan", "isinf"),
        *("logical_not", "logical_and", "logical_or", "floor", "floor_divide"),
    )
}
# Functions whose result has fractions even if the argument has none.
_REAL = {"exp", "expm1", "log", "log1p", "sqrt", "tanh", "hypot", "divide"}
#: NumPy's functions for these arrays, filled by `functions.py`.
HANDLERS: dict = {}


def is_device(array):
    """Return whether an array is of another library, as computations see it."""
    return isinstance(array, DeviceArray)


def unsupported(what, space):
    """Return the error for a computation that is written for NumPy only."""
    return UnsupportedEstimatorError(
        f"{what} does not take arrays of {space.name}: convert X and y to NumPy, and fit on "
        "them. The page on devices lists the methods that take such arrays."
    )


@dataclass(frozen=True)
class Space:
    """A namespace of the array API standard, and a device.

    Parameters
    ----------
    xp : module
        The namespace.
    device : object
        The device, as its arrays have it.
    """

    xp: Any
    device: Any

    @property
    def name(self):
        """The library's name."""
        return self.xp.__name__.rsplit(".", maxsplit=1)[-1]

    def dtype(self, dtype):
        """Return the namespace's dtype for NumPy's."""
        return getattr(self.xp, np.dtype(dtype).name)

    def raw(self, values, dtype=None):
        """Return the library's own array with the values of any array or number."""
        if isinstance(values, DeviceArray):
            return values.raw if dtype is None else values.astype(dtype, copy=False).raw
        values = np.asarray(values, dtype=dtype)
        values = np.ascontiguousarray(values).reshape(values.shape)
        if not values.flags.writeable:  # as PyTorch asks for
            values = values.copy()
        return self.xp.asarray(values, dtype=self.dtype(values.dtype), device=self.device)

    def array(self, values, dtype=None):
        """Return a `DeviceArray` on this device with the values of an array or number."""
        return DeviceArray(self.raw(values, dtype), self)

    def wrap(self, raw):
        """Return a `DeviceArray`, or a number for an array without axes."""
        array = DeviceArray(raw, self)
        return array if array.ndim else array.host()[()]

    def call(self, name, *arrays, **options):
        """Apply a function of the namespace to arrays of this class."""
        raw = (a.raw if isinstance(a, DeviceArray) else a for a in arrays)
        return self.wrap(getattr(self.xp, name)(*raw, **options))


class DeviceArray(NDArrayOperatorsMixin):
    """An array of another library that NumPy's functions and operators accept.

    Parameters
    ----------
    raw : array
        The library's own array, kept by reference.
    space : Space
        Its namespace and device.
    """

    __slots__ = ("raw", "space")

    def __init__(self, raw, space):
        self.raw, self.space = raw, space

    # ---------------------------------------------------------------- as ndarray has them

    @property
    def shape(self):
        return tuple(self.raw.shape)

    @property
    def ndim(self):
        return len(self.raw.shape)

    @property
    def size(self):
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self):
        for name in _DTYPES:
            if getattr(self.space.xp, name, None) == self.raw.dtype:
                return np.dtype(name)
        raise unsupported(f"The dtype {self.raw.dtype}", self.space)

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def flags(self):
        """Every layout counts as contiguous, because each library copies if it must."""
        yes = dict.fromkeys(("carray", "forc", "c_contiguous", "writeable"), True)
        return SimpleNamespace(**yes)

    @property
    def T(self):
        return self.transpose()

    def __len__(self):
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        return self.space.wrap(indexing.get(self.space, self.raw, key))

    def __setitem__(self, key, value):
        indexing.put(self.space, self.raw, key, self.space.raw(value, self.dtype))

    def __bool__(self):
        return bool(self.host())

    def __array__(self, dtype=None, copy=None):
        raise unsupported("This computation", self.space)

    def __repr__(self):
        return f"DeviceArray({self.raw!r})"

    def host(self):
        """Return a NumPy array with the values."""
        return np.asarray(convert_to_numpy(self.raw, self.space.xp))

    def astype(self, dtype, order="K", copy=True):
        xp = self.space.xp
        return DeviceArray(xp.astype(self.raw, self.space.dtype(dtype), copy=copy), self.space)

    def copy(self, order="C"):
        return DeviceArray(self.space.xp.asarray(self.raw, copy=True), self.space)

    def reshape(self, *shape, order="C"):
        shape = shape[0] if len(shape) == 1 and np.ndim(shape[0]) else shape
        known = -int(np.prod(shape, dtype=np.int64))  # -1 is the remaining size
        rest = 0 if not known or -1 not in shape else self.size // known
        shape = tuple(rest if n == -1 else int(n) for n in shape)
        return DeviceArray(self.space.xp.reshape(self.raw, shape), self.space)

    def ravel(self):
        return self.reshape(-1)

    def transpose(self, *axes):
        axes = axes[0] if len(axes) == 1 and np.ndim(axes[0]) else axes
        axes = tuple(axes) or tuple(range(self.ndim))[::-1]
        return DeviceArray(self.space.xp.permute_dims(self.raw, axes), self.space)

    def swapaxes(self, axis1, axis2):
        order = list(range(self.ndim))
        order[axis1], order[axis2] = order[axis2], order[axis1]
        return self.transpose(order)

    def diagonal(self, axis1=0, axis2=1):
        order = np.arange(min(self.shape[axis1], self.shape[axis2]))
        return self[(*[slice(None)] * axis1, order, order)]

    def tolist(self):
        return self.host().tolist()

    # ---------------------------------------------------------------- NumPy's protocols

    def __array_ufunc__(self, ufunc, method, *inputs, out=(None,), where=True, **options):
        if method != "__call__" or len(out) != 1:
            raise unsupported(f"{ufunc.__name__}.{method}", self.space)
        result = _apply(self.space, ufunc, inputs)
        (out,) = out
        if out is None:
            return result
        if not isinstance(out, DeviceArray):
            raise unsupported("Writing into an array of NumPy", self.space)
        if where is not True:
            result = self.space.array(HANDLERS[np.where](self.space, where, result, out))
        out[...] = result
        return out

    def __array_function__(self, func, types, args, kwargs):
        if func not in HANDLERS:
            raise unsupported(f"numpy.{func.__name__}", self.space)
        return HANDLERS[func](self.space, *args, **kwargs)

    def _reduced(self, func, axis, options):
        return HANDLERS[func](self.space, self, axis=axis, **options)

    def sum(self, axis=None, **options):
        return self._reduced(np.sum, axis, options)

    def prod(self, axis=None, **options):
        return self._reduced(np.prod, axis, options)

    def mean(self, axis=None, **options):
        return self._reduced(np.mean, axis, options)

    def std(self, axis=None, **options):
        return self._reduced(np.std, axis, options)

    def max(self, axis=None, **options):
        return self._reduced(np.max, axis, options)

    def min(self, axis=None, **options):
        return self._reduced(np.min, axis, options)

    def any(self, axis=None, **options):
        return self._reduced(np.any, axis, options)

    def all(self, axis=None, **options):
        return self._reduced(np.all, axis, options)

    def argmax(self, axis=None, **options):
        return self._reduced(np.argmax, axis, options)

    def argsort(self, axis=-1, **options):
        return self._reduced(np.argsort, axis, options)


def _apply(space, ufunc, inputs):
    """Apply a ufunc to arrays and numbers, with NumPy's dtype for the result."""
    known = [i.dtype if hasattr(i, "dtype") else i for i in inputs]
    known = [np.dtype(type(k)) if isinstance(k, bool) else k for k in known]
    dtype = np.result_type(*known)
    name = _FUNCTIONS.get(ufunc, ufunc.__name__)
    if name in _REAL and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    if ufunc in (np.logical_not, np.logical_and, np.logical_or):
        dtype = np.dtype(bool)
    if ufunc in _OPERATORS:
        raw = [i if _is_number(i) else space.raw(i, dtype) for i in inputs]
        raw = [dtype.type(i).item() if _is_number(i) else i for i in raw]
        return space.wrap(_OPERATORS[ufunc](*raw))
    if ufunc not in _FUNCTIONS:
        raise unsupported(f"The function {ufunc.__name__}", space)
    return space.wrap(getattr(space.xp, name)(*(space.raw(i, dtype) for i in inputs)))


def _is_number(value):
    return not isinstance(value, DeviceArray) and np.ndim(value) == 0


def is_foreign(array):
    """Return whether a user's array stays in its library, as in scikit-learn's dispatch."""
    if isinstance(array, np.ndarray) or not get_config()["array_api_dispatch"]:
        return False
    return is_array_api_obj(array)


def is_dask(*arguments):
    """Return whether any of the arguments is a dask collection, without importing dask."""
    dask = sys.modules.get("dask")  # without the import there are no collections
    return dask is not None and any(map(dask.is_dask_collection, arguments))


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
