"""What a call takes of memory."""

import tracemalloc

__all__ = ["peak"]


def peak(function, *args, **kwargs):
    """Return the largest number of bytes that a call allocates at a time, and its result."""
    tracemalloc.start()
    try:
        result = function(*args, **kwargs)
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()
