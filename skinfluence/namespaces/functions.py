"""NumPy's functions for arrays of other libraries, in the array API standard's terms.

Each has NumPy's arguments, as far as computations here use them, behind the `Space`. Cholesky
factors have functions of their own, as `solvers.cholesky` needs them.
"""

from importlib import import_module

import numpy as np
from scipy.sparse.linalg import LinearOperator, onenormest

from skinfluence.namespaces.array import HANDLERS, DeviceArray, unsupported


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


@_handles(np.full)
def _full(space, shape, fill_value, dtype=None, **layout):
    dtype = np.result_type(fill_value) if dtype is None else dtype
    out = _zeros(space, shape, dtype)
    out[...] = fill_value
    return out


@_handles(np.full_like)
def _full_like(space, a, fill_value, dtype=None, **layout):
    return _full(space, a.shape, fill_value, a.dtype if dtype is None else dtype)


# -------------------------------------------------------------------- shapes


@_handles(np.expand_dims)
def _expand_dims(space, a, axis):
    axes = (axis,) if np.ndim(axis) == 0 else tuple(axis)
    ndim = a.ndim + len(axes)
    shape, new = list(a.shape), {axis % ndim for axis in axes}
    return a.reshape([1 if i in new else shape.pop(0) for i in range(ndim)])


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


def _largest(name):
    def handler(space, a, axis=None, keepdims=False, initial=None):
        own = getattr(np, name)
        if initial is not None and a.size == 0:
            return own(np.empty(a.shape), axis=axis, keepdims=keepdims, initial=initial)
        found = space.call(name, a, axis=_axis(axis), keepdims=keepdims)
        if initial is None:
            return found
        return (np.maximum if name == "max" else np.minimum)(found, initial)

    return handler


def _reduced(name, convert=lambda a: a):
    """Return a handler that reduces an array, converted first, along axes."""

    def handler(space, a, axis=None, keepdims=False):
        return space.call(name, convert(a), axis=_axis(axis), keepdims=keepdims)

    return handler


def _floats(a):
    return a if a.dtype.kind == "f" else a.astype(np.float64)


def _truths(a):
    return a if a.dtype == bool else a != 0


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


@_handles(np.argsort)
def _argsort(space, a, axis=-1, kind=None):
    return space.call("argsort", a, axis=axis, stable=True)


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


@_handles(np.median)
def _median(space, a, axis=None):
    if axis is not None:
        raise unsupported("numpy.median along an axis", space)
    ordered = space.call("sort", a.ravel(), axis=-1)
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


@_handles(np.linalg.eigh)
def _eigh(space, a):
    values, vectors = space.xp.linalg.eigh(a.raw)
    return space.wrap(values), space.wrap(vectors)


@_handles(np.linalg.inv)
def _inv(space, a):
    try:
        return space.wrap(space.xp.linalg.inv(a.raw))
    except Exception as error:  # each library has its own class
        raise np.linalg.LinAlgError(str(error)) from error


# -------------------------------------------------------------------- in one expression

HANDLERS |= {
    np.ones: lambda space, shape, dtype=np.float64, **_: _full(
        space, shape, 1, np.float64 if dtype is None else dtype
    ),
    np.ones_like: lambda space, a, dtype=None, **_: _full_like(space, a, 1, dtype),
    np.asarray: lambda space, a, dtype=None: space.array(a, dtype),
    np.ascontiguousarray: lambda space, a, dtype=None: space.array(a, dtype),
    np.array: lambda space, a, dtype=None, order="C": (
        space.array(a).copy() if dtype is None else space.array(a).astype(dtype)
    ),
    np.arange: lambda space, *bounds, dtype=None: space.array(np.arange(*bounds, dtype=dtype)),
    np.eye: lambda space, *shape, dtype=np.float64, **_: space.array(
        np.eye(*shape, dtype=dtype)
    ),
    np.shape: lambda space, a: a.shape,
    np.ndim: lambda space, a: a.ndim,
    np.size: lambda space, a: a.size,
    np.reshape: lambda space, a, shape: a.reshape(shape),
    np.ravel: lambda space, a, order="C": a.ravel(),
    np.transpose: lambda space, a, axes=None: a.transpose(*(axes or ())),
    np.atleast_2d: lambda space, a: a if a.ndim > 1 else a[None],
    np.hstack: lambda space, arrays: _concatenate(
        space, arrays, 0 if np.ndim(arrays[0]) == 1 else 1
    ),
    np.vstack: lambda space, arrays: _concatenate(space, [np.atleast_2d(a) for a in arrays]),
    np.prod: _reduced("prod"),
    np.mean: _reduced("mean", _floats),
    np.std: _reduced("std", _floats),
    np.any: _reduced("any", _truths),
    np.all: _reduced("all", _truths),
    **dict.fromkeys((np.max, np.amax), _largest("max")),
    **dict.fromkeys((np.min, np.amin), _largest("min")),
    np.ptp: lambda space, a, axis=None: a.max(axis=axis) - a.min(axis=axis),
    np.argmax: _reduced("argmax"),
    np.argmin: _reduced("argmin"),
    np.cumsum: lambda space, a, axis=None: space.call(
        "cumulative_sum", a.ravel() if axis is None else a, axis=axis or 0
    ),
    np.nan_to_num: lambda space, x: _where(
        space, np.isnan(x), 0.0, np.clip(x, -np.finfo(x.dtype).max, np.finfo(x.dtype).max)
    ),
    # Indices are NumPy's.
    np.flatnonzero: lambda space, a: np.flatnonzero(a.host()),
    np.nonzero: lambda space, a: np.nonzero(a.host()),
    np.argwhere: lambda space, a: np.argwhere(a.host()),
    np.sort: lambda space, a, axis=-1: space.call("sort", a, axis=axis),
    np.argpartition: lambda space, a, kth, axis=-1: _argsort(space, a, axis),
    np.dot: lambda space, a, b: np.matmul(a, b),
    np.triu: lambda space, m, k=0: space.call("triu", m, k=k),
    np.tril: lambda space, m, k=0: space.call("tril", m, k=k),
    np.linalg.norm: lambda space, x, axis=None: np.sqrt(_sum(space, x * x, axis=axis)),
    np.linalg.solve: lambda space, a, b: space.wrap(
        space.xp.linalg.solve(space.raw(a), space.raw(b))
    ),
    np.linalg.eigvalsh: lambda space, a: space.wrap(space.xp.linalg.eigvalsh(a.raw)),
    np.linalg.det: lambda space, a: space.wrap(space.xp.linalg.det(a.raw)),
    np.array_equal: lambda space, a1, a2: (
        np.shape(a1) == np.shape(a2) and bool(np.all(a1 == a2))
    ),
    np.may_share_memory: lambda space, a, b: False,
    np.shares_memory: lambda space, a, b: False,
}


# -------------------------------------------------------------------- beyond NumPy's


def smallest(a, k):
    """Return the indices of the k smallest numbers in each row of a (m, n), in any order."""
    if hasattr(a, "space") and a.space.name == "torch":
        found = a.space.xp.topk(a.raw, k, dim=1, largest=False, sorted=False)
        return a.space.wrap(found.indices)
    return np.argpartition(a, k - 1, axis=1)[:, :k]


def factorise(block):
    """Return the lower factor of a symmetric array and its reciprocal condition number.

    The factor is None if the array is not positive definite.
    """
    space = block.space
    try:
        factor = space.wrap(space.xp.linalg.cholesky(block.raw))
    except Exception:  # each library has its own class
        return None, 0.0
    if not np.all(np.isfinite(factor)):
        return None, 0.0

    def apply(v):
        return solve(factor, space.array(np.asarray(v, dtype=np.float64))).host()

    inverse = LinearOperator(
        block.shape, matvec=apply, rmatvec=apply, matmat=apply, rmatmat=apply, dtype=np.float64
    )
    size = np.abs(block).sum(axis=0).max()
    # Two columns, as in LAPACK's estimate; more would be as many solves.
    return factor, 1.0 / float(size * onenormest(inverse, t=min(2, len(block))))


def solve(factor, B):
    """Return (L L')^-1 B for a lower factor L and B (p, m) or (p,)."""
    flat = B.ndim == 1
    B = B[:, None] if flat else B
    out = _triangular(factor, _triangular(factor, B), transposed=True)
    return out[:, 0] if flat else out


def half_solve(factor, B):
    """Return L^-1 B for a lower factor L and B (p, m)."""
    return _triangular(factor, B)


def _triangular(factor, B, transposed=False):
    space, xp = factor.space, factor.space.xp
    L, B = factor.raw, B.raw
    if space.name == "torch":
        native = xp.linalg.solve_triangular
        return space.wrap(
            native(L.mT, B, upper=True) if transposed else native(L, B, upper=False)
        )
    if space.name == "cupy":
        native = import_module("cupyx.scipy.linalg").solve_triangular
        return space.wrap(native(L, B, lower=True, trans=int(transposed)))
    # The standard has no triangular solve.
    return space.wrap(xp.linalg.solve(xp.matrix_transpose(L) if transposed else L, B))
