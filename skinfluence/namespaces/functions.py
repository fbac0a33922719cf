"""NumPy's functions for arrays of other libraries, in the array API standard's terms.

Each has NumPy's arguments, as far as computations here use them, behind the `Space`.
"""

import numpy as np

from skinfluence.namespaces.array import HANDLERS, DeviceArray, unsupported

__all__: list[str] = []


def _handles(*functions):
    def decorate(handler):
        HANDLERS.update(dict.fromkeys(functions, handler))
        return handler

    return decorate


# -------------------------------------------------------------------- new arrays


@_handles(np.empty, np.zeros)
def _zeros(space, shape, dtype=np.float64, **layout):
    shape = shape if np.ndim(shape) else (shape,)
    shape = tuple(int(n) for n in shape)
    dtype = space.dtype(np.float64 if dtype is None else dtype)
    return DeviceArray(space.xp.zeros(shape, dtype=dtype, device=space.device), space)


@_handles(np.empty_like, np.zeros_like)
def _zeros_like(space, a, dtype=None, **layout):
    return _zeros(space, a.shape, a.dtype if dtype is None else dtype)


@_handles(np.ones)
def _ones(space, shape, dtype=np.float64, **layout):
    return _full(space, shape, 1, np.float64 if dtype is None else dtype)


@_handles(np.ones_like)
def _ones_like(space, a, dtype=None, **layout):
    return _full_like(space, a, 1, dtype)


@_handles(np.full)
def _full(space, shape, fill_value, dtype=None, **layout):
    dtype = np.result_type(fill_value) if dtype is None else dtype
    out = _zeros(space, shape, dtype)
    out[...] = fill_value
    return out


@_handles(np.full_like)
def _full_like(space, a, fill_value, dtype=None, **layout):
    return _full(space, a.shape, fill_value, a.dtype if dtype is None else dtype)


@_handles(np.asarray, np.ascontiguousarray)
def _asarray(space, a, dtype=None):
    return space.array(a, dtype)


@_handles(np.array)
def _array(space, a, dtype=None, order="C"):
    a = space.array(a)
    return a.copy() if dtype is None else a.astype(dtype)


@_handles(np.arange)
def _arange(space, *bounds, dtype=None):
    return space.array(np.arange(*bounds, dtype=dtype))


@_handles(np.eye)
def _eye(space, N, M=None, k=0, dtype=np.float64, **layout):
    return space.array(np.eye(N, M, k, dtype=dtype))


# -------------------------------------------------------------------- shapes


@_handles(np.shape)
def _shape(space, a):
    return a.shape


@_handles(np.ndim)
def _ndim(space, a):
    return a.ndim


@_handles(np.size)
def _size(space, a):
    return a.size


@_handles(np.reshape)
def _reshape(space, a, shape):
    return a.reshape(shape)


@_handles(np.ravel)
def _ravel(space, a, order="C"):
    return a.ravel()


@_handles(np.transpose)
def _transpose(space, a, axes=None):
    return a.transpose(*(axes or ()))


@_handles(np.expand_dims)
def _expand_dims(space, a, axis):
    axes = (axis,) if np.ndim(axis) == 0 else tuple(axis)
    ndim = a.ndim + len(axes)
    shape, new = list(a.shape), {axis % ndim for axis in axes}
    return a.reshape([1 if i in new else shape.pop(0) for i in range(ndim)])


@_handles(np.atleast_2d)
def _atleast_2d(space, a):
    return a if a.ndim > 1 else a[None]


@_handles(np.broadcast_to)
def _broadcast_to(space, a, shape):
    shape = tuple(int(n) for n in (shape if np.ndim(shape) else (shape,)))
    return space.wrap(space.xp.broadcast_to(space.raw(a), shape))


@_handles(np.broadcast_arrays)
def _broadcast_arrays(space, *arrays):
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    return tuple(_broadcast_to(space, array, shape) for array in arrays)


@_handles(np.concatenate)
def _concatenate(space, arrays, axis=0):
    arrays = list(arrays)
    dtype = np.result_type(*(a.dtype for a in arrays))
    return space.wrap(space.xp.concat([space.raw(a, dtype) for a in arrays], axis=axis))


@_handles(np.hstack)
def _hstack(space, arrays):
    arrays = list(arrays)
    return _concatenate(space, arrays, 0 if np.ndim(arrays[0]) == 1 else 1)


@_handles(np.vstack)
def _vstack(space, arrays):
    return _concatenate(space, [a if np.ndim(a) > 1 else a[None] for a in arrays], 0)


@_handles(np.stack)
def _stack(space, arrays, axis=0):
    arrays = list(arrays)
    dtype = np.result_type(*(a.dtype for a in arrays))
    return space.wrap(space.xp.stack([space.raw(a, dtype) for a in arrays], axis=axis))


@_handles(np.repeat)
def _repeat(space, a, repeats, axis=None):
    a = a.ravel() if axis is None else a
    axis = 0 if axis is None else axis
    index = np.repeat(np.arange(a.shape[axis]), repeats)
    return space.wrap(space.xp.take(a.raw, space.raw(index), axis=axis))


# -------------------------------------------------------------------- sums


def _axis(axis):
    return tuple(axis) if isinstance(axis, list | tuple) else axis


@_handles(np.sum)
def _sum(space, a, axis=None, keepdims=False, dtype=None):
    a = a.astype(np.int64) if a.dtype == bool else a
    dtype = space.dtype(a.dtype if dtype is None else dtype)
    return space.call("sum", a, axis=_axis(axis), keepdims=keepdims, dtype=dtype)


@_handles(np.prod)
def _prod(space, a, axis=None, keepdims=False):
    return space.call("prod", a, axis=_axis(axis), keepdims=keepdims)


@_handles(np.mean)
def _mean(space, a, axis=None, keepdims=False):
    a = a if a.dtype.kind == "f" else a.astype(np.float64)
    return space.call("mean", a, axis=_axis(axis), keepdims=keepdims)


@_handles(np.std)
def _std(space, a, axis=None, keepdims=False):
    a = a if a.dtype.kind == "f" else a.astype(np.float64)
    return space.call("std", a, axis=_axis(axis), keepdims=keepdims)


def _largest(name, smallest):
    def handler(space, a, axis=None, keepdims=False, initial=None):
        if initial is not None and a.size == 0:
            kept = np.max if name == "max" else np.min
            return kept(np.empty(a.shape), axis=axis, keepdims=keepdims, initial=initial)
        found = space.call(name, a, axis=_axis(axis), keepdims=keepdims)
        if initial is None:
            return found
        return (np.maximum if name == "max" else np.minimum)(found, initial)

    return handler


_handles(np.max, np.amax)(_largest("max", -np.inf))
_handles(np.min, np.amin)(_largest("min", np.inf))


@_handles(np.ptp)
def _ptp(space, a, axis=None):
    return a.max(axis=axis) - a.min(axis=axis)


@_handles(np.any)
def _any(space, a, axis=None, keepdims=False):
    a = a if a.dtype == bool else a != 0
    return space.call("any", a, axis=_axis(axis), keepdims=keepdims)


@_handles(np.all)
def _all(space, a, axis=None, keepdims=False):
    a = a if a.dtype == bool else a != 0
    return space.call("all", a, axis=_axis(axis), keepdims=keepdims)


@_handles(np.argmax)
def _argmax(space, a, axis=None, keepdims=False):
    return space.call("argmax", a, axis=axis, keepdims=keepdims)


@_handles(np.argmin)
def _argmin(space, a, axis=None, keepdims=False):
    return space.call("argmin", a, axis=axis, keepdims=keepdims)


@_handles(np.cumsum)
def _cumsum(space, a, axis=None):
    a = a.ravel() if axis is None else a
    return space.call("cumulative_sum", a, axis=axis or 0)


@_handles(np.bincount)
def _bincount(space, x, weights=None, minlength=0):
    codes = x if isinstance(x, np.ndarray) else x.host()
    columns = max(minlength, int(codes.max(initial=-1)) + 1)
    member = space.array(codes)[:, None] == np.arange(columns)
    weights = np.ones(len(codes)) if weights is None else weights
    return (member * space.array(weights)[:, None]).sum(axis=0)


# -------------------------------------------------------------------- choices and order


@_handles(np.where)
def _where(space, condition, x, y):
    dtypes = (getattr(v, "dtype", v) for v in (x, y))
    dtype = np.result_type(*(np.dtype(type(d)) if isinstance(d, bool) else d for d in dtypes))
    condition, x, y = space.raw(condition, bool), space.raw(x, dtype), space.raw(y, dtype)
    return space.wrap(space.xp.where(condition, x, y))


@_handles(np.nan_to_num)
def _nan_to_num(space, x):
    largest = np.finfo(x.dtype).max
    return _where(space, np.isnan(x), 0.0, np.minimum(np.maximum(x, -largest), largest))


@_handles(np.clip)
def _clip(space, a, a_min, a_max, out=None):
    clipped = np.minimum(np.maximum(a, a_min), a_max)
    if out is None:
        return clipped
    out[...] = clipped
    return out


@_handles(np.copyto)
def _copyto(space, dst, src, casting="same_kind", where=True):
    if not isinstance(dst, DeviceArray):
        raise unsupported("Writing into an array of NumPy", space)
    dst[...] = src if where is True else _where(space, where, src, dst)


@_handles(np.flatnonzero)
def _flatnonzero(space, a):
    return np.flatnonzero(a.host())


@_handles(np.nonzero)
def _nonzero(space, a):
    return np.nonzero(a.host())


@_handles(np.argwhere)
def _argwhere(space, a):
    return np.argwhere(a.host())


@_handles(np.argsort)
def _argsort(space, a, axis=-1, kind=None):
    return space.call("argsort", a, axis=axis, stable=True)


@_handles(np.argpartition)
def _argpartition(space, a, kth, axis=-1):
    return _argsort(space, a, axis)


@_handles(np.lexsort)
def _lexsort(space, keys, axis=-1):
    order = None
    for key in keys:  # the last key counts first
        key = space.array(key)
        if order is None:
            order = _argsort(space, key, axis)
        else:
            by = _argsort(space, _take_along_axis(space, key, order, axis), axis)
            order = _take_along_axis(space, order, by, axis)
    return order


@_handles(np.sort)
def _sort(space, a, axis=-1):
    return space.call("sort", a, axis=axis)


@_handles(np.median)
def _median(space, a, axis=None):
    if axis is not None:
        raise unsupported("numpy.median along an axis", space)
    ordered = _sort(space, a.ravel())
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


@_handles(np.take_along_axis)
def _take_along_axis(space, arr, indices, axis):
    arr, indices = space.array(arr), space.array(indices)
    shape = list(np.broadcast_shapes(_but(arr.shape, axis), _but(indices.shape, axis)))
    sides = (list(shape), list(shape))
    for side, array in zip(sides, (arr, indices), strict=True):
        side[axis] = array.shape[axis]
    arr, indices = (
        _broadcast_to(space, a, s) for a, s in zip((arr, indices), sides, strict=True)
    )
    return space.call("take_along_axis", arr, indices.astype(np.int64), axis=axis)


@_handles(np.put_along_axis)
def _put_along_axis(space, arr, indices, values, axis):
    if indices.shape[axis] != 1:
        raise unsupported("numpy.put_along_axis with several indices", space)
    along = [1] * arr.ndim
    along[axis] = -1
    chosen = space.array(np.arange(arr.shape[axis]).reshape(along)) == indices
    arr[...] = _where(space, chosen, values, arr)


def _but(shape, axis):
    shape = list(shape)
    shape[axis] = 1
    return tuple(shape)


# -------------------------------------------------------------------- products


@_handles(np.dot)
def _dot(space, a, b):
    return np.matmul(a, b)


@_handles(np.tensordot)
def _tensordot(space, a, b, axes=2):
    if not isinstance(axes, int):
        axes = tuple((k,) if np.ndim(k) == 0 else tuple(k) for k in axes)
    dtype = np.result_type(a.dtype, b.dtype)
    return space.wrap(space.xp.tensordot(space.raw(a, dtype), space.raw(b, dtype), axes=axes))


@_handles(np.einsum)
def _einsum(space, subscripts, *operands):
    """Return the sum over the products of entries, with the library's own if it has one."""
    operands = [space.array(operand) for operand in operands]
    native = getattr(space.xp, "einsum", None)
    if native is not None:
        return space.wrap(native(subscripts, *(operand.raw for operand in operands)))
    given, wanted = subscripts.split("->")
    labels = dict.fromkeys(given.replace(",", ""))
    product = 1.0
    for names, operand in zip(given.split(","), operands, strict=True):
        for name in dict.fromkeys(names):
            while names.count(name) > 1:  # the diagonal of two axes
                i, j = names.index(name), names.rindex(name)
                if (i, j) != (len(names) - 2, len(names) - 1):
                    raise unsupported(f"numpy.einsum({subscripts!r})", space)
                every = np.arange(operand.shape[i])
                operand, names = operand[..., every, every], names[:-1]
        order = sorted(range(len(names)), key=lambda i, names=names: [*labels].index(names[i]))
        shape = [operand.shape[names.index(k)] if k in names else 1 for k in labels]
        product = operand.transpose(order).reshape(shape) * product
    summed = tuple(i for i, k in enumerate(labels) if k not in wanted)
    remaining = [k for k in labels if k in wanted]
    product = _sum(space, product, axis=summed) if summed else product
    return product.transpose([remaining.index(k) for k in wanted]) if wanted else product


@_handles(np.triu)
def _triu(space, m, k=0):
    return space.call("triu", m, k=k)


@_handles(np.tril)
def _tril(space, m, k=0):
    return space.call("tril", m, k=k)


@_handles(np.linalg.norm)
def _norm(space, x, axis=None):
    return np.sqrt(_sum(space, x * x, axis=axis))


@_handles(np.linalg.solve)
def _solve(space, a, b):
    return space.wrap(space.xp.linalg.solve(space.raw(a), space.raw(b)))


@_handles(np.linalg.eigh)
def _eigh(space, a):
    values, vectors = space.xp.linalg.eigh(a.raw)
    return space.wrap(values), space.wrap(vectors)


@_handles(np.linalg.eigvalsh)
def _eigvalsh(space, a):
    return space.wrap(space.xp.linalg.eigvalsh(a.raw))


@_handles(np.linalg.det)
def _det(space, a):
    return space.wrap(space.xp.linalg.det(a.raw))


@_handles(np.linalg.inv)
def _inv(space, a):
    try:
        return space.wrap(space.xp.linalg.inv(a.raw))
    except Exception as error:  # each library has its own class
        raise np.linalg.LinAlgError(str(error)) from error


# -------------------------------------------------------------------- comparisons


@_handles(np.array_equal)
def _array_equal(space, a1, a2):
    return np.shape(a1) == np.shape(a2) and bool(np.all(a1 == a2))


@_handles(np.may_share_memory, np.shares_memory)
def _may_share_memory(space, a, b):
    return False
