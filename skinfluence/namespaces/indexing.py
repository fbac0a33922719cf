"""Indices as NumPy takes them, in the terms of the array API standard.

The standard has slices, `take` along one axis and whole masks. Index arrays for neighbouring
axes become one index into these axes joined.
"""

import numpy as np

# Libraries that write at index arrays, as NumPy does.
_ASSIGN = ("torch", "cupy")


def get(space, raw, key):
    """Return the entries of the library's own array that a key selects."""
    key = _full(space, raw, key)
    axes = _index_axes(key)
    if not axes:
        return _basic(space, raw, key)
    if any(part is None for part in key):
        return _with_new_axes(space, raw, key)
    joined, axis, index = _joined(space, raw, key, axes)
    values = space.xp.take(joined, space.raw(index.ravel(), np.int64), axis=axis)
    shape = (*joined.shape[:axis], *index.shape, *joined.shape[axis + 1 :])
    return space.xp.reshape(values, shape)


def put(space, raw, key, values):
    """Write values into the entries of the library's own array that a key selects."""
    mask = _whole_mask(space, raw, key)
    if mask is not None and not values.shape:
        raw[...] = space.xp.where(mask, values, raw)
        return
    key = _full(space, raw, key)
    axes = _index_axes(key)
    if not axes:
        raw[(*key, ...)] = values
        return
    if space.name in _ASSIGN:
        raw[tuple(space.raw(part) if _is_index(part) else part for part in key)] = values
        return
    joined, axis, index = _joined(space, raw, key, axes)
    shape = (*joined.shape[:axis], *index.shape, *joined.shape[axis + 1 :])
    values = space.xp.broadcast_to(values, shape)
    flat = (*joined.shape[:axis], index.size, *joined.shape[axis + 1 :])
    values = space.xp.reshape(values, flat)
    # Each position in the joined axis either keeps its value or takes one of the new ones.
    source = np.full(joined.shape[axis], -1)
    source[index.ravel()] = np.arange(index.size)
    if not index.size:
        return
    taken = space.xp.take(values, space.raw(np.maximum(source, 0), np.int64), axis=axis)
    along = [1] * len(joined.shape)
    along[axis] = -1
    changed = space.raw((source >= 0).reshape(along))
    new = space.xp.where(changed, taken, joined)
    # The other entries of the selected part keep their values.
    _write_basic(space, raw, key, new)


def _full(space, raw, key):
    """Return one entry for each axis: numbers, slices, None, or index arrays on the host."""
    key = key if isinstance(key, tuple) else (key,)
    entries = []
    for part in key:
        if part is None or part is Ellipsis or isinstance(part, slice):
            entries.append(part)
            continue
        part = part.host() if hasattr(part, "host") else np.asarray(part)
        if part.dtype == bool:
            entries.extend(np.nonzero(part))
        elif part.ndim == 0:
            entries.append(int(part))
        else:
            entries.append(part.astype(np.intp))
    used = sum(part is not None and part is not Ellipsis for part in entries)
    rest = [slice(None)] * (len(raw.shape) - used)
    place = next((i for i, part in enumerate(entries) if part is Ellipsis), None)
    if place is None:
        return (*entries, *rest)
    return (*entries[:place], *rest, *entries[place + 1 :])


def _index_axes(key):
    """Return the places of index arrays in a key."""
    return [i for i, part in enumerate(key) if _is_index(part)]


def _with_new_axes(space, raw, key):
    """Return the entries for a key that has one index array, and None for new axes."""
    entries = get(space, raw, tuple(part for part in key if part is not None))
    shape, place = list(entries.shape), 0
    for part in key:
        if part is None:
            shape.insert(place, 1)
        place += 0 if isinstance(part, int) else np.ndim(part) if _is_index(part) else 1
    return space.xp.reshape(entries, tuple(shape))


def _is_index(part):
    return isinstance(part, np.ndarray)


def _basic(space, raw, key):
    for axis, part in enumerate(key):
        if isinstance(part, slice) and part.step is not None and part.step < 0:
            rest = [p if i != axis else slice(None) for i, p in enumerate(key)]
            index = np.arange(raw.shape[axis])[part]
            raw = space.xp.take(raw, space.raw(index, np.int64), axis=axis)
            return _basic(space, raw, tuple(rest))
    return raw[(*key, ...)]


def _joined(space, raw, key, axes):
    """Return the array with all indexed axes joined, that axis, and the index into it.

    Numbers beside index arrays count as index arrays, as in NumPy.
    """
    axes = [i for i, part in enumerate(key) if isinstance(part, np.ndarray | int)]
    first, last = axes[0], axes[-1]
    if axes != list(range(first, last + 1)):
        raise NotImplementedError("index arrays for axes that are not neighbours")
    slices = tuple(part if isinstance(part, slice) else slice(None) for part in key)
    part = _basic(space, raw, slices)
    sizes = part.shape[first : last + 1]
    index = np.ravel_multi_index(
        [np.where(k < 0, k + n, k) for k, n in zip(_arrays(key, axes), sizes, strict=True)],
        tuple(sizes),
    )
    shape = (*part.shape[:first], -1, *part.shape[last + 1 :])
    size = int(np.prod(sizes, dtype=np.int64))
    shape = tuple(size if n == -1 else n for n in shape)
    return space.xp.reshape(part, shape), first, np.asarray(index)


def _arrays(key, axes):
    return np.broadcast_arrays(*(np.asarray(key[axis]) for axis in axes))


def _write_basic(space, raw, key, new):
    """Write the changed part to the place of the slices, with its indexed axes apart again."""
    slices = tuple(part if isinstance(part, slice) else slice(None) for part in key)
    part = raw[(*slices, ...)]
    raw[(*slices, ...)] = space.xp.reshape(new, part.shape)


def _whole_mask(space, raw, key):
    """Return a mask that can be broadcast against the array if the key is one, else None."""
    part = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    kind = getattr(getattr(part, "dtype", None), "kind", None)
    if kind != "b" or not part.ndim:
        return None
    mask = space.raw(part)
    return space.xp.reshape(mask, (*mask.shape, *[1] * (len(raw.shape) - len(mask.shape))))
