"""Shared plotting helpers. As in scikit-learn, functions import matplotlib when called."""

import numpy as np

#: Blue marks helpful or reliable, orange harmful or doubtful. Colour-blind people can tell
#: them apart.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "0.55"

_FONT_SIZE = 9
# Character width and line height relative to the font size, and gap between point and label.
_WIDE, _HIGH, _GAP = 0.62, 1.25, 5.0

# Largest label width relative to the axes. It is below 0.5 so that a label fits on one side.
_WIDEST = 0.35


def make_axes(ax, figsize=(6.4, 4.8)):
    """Return `ax` and its figure, or new ones if it is None, as (figure, axes)."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib: run python -m pip install matplotlib."
        ) from error
    if ax is not None:
        return ax.figure, ax
    return plt.subplots(figsize=figsize, layout="constrained")


def tidy(ax, *, title, xlabel, ylabel):
    """Set the titles and hide the top and right spines."""
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)


def at(values, row):
    """Return the value at a position; a pandas object would look up its own index."""
    return (values.iloc if hasattr(values, "iloc") else values)[row]


def row_names(names, rows):
    """Return the names of some rows, or their indices if `names` is None."""
    return [str(row if names is None else at(names, row)) for row in rows]


def shorten(labels, width):
    """Shorten labels to at most `width` characters.

    The function first removes words at both ends that all labels share, and then characters
    from the middle of long labels.
    """
    labels = [str(label) for label in labels]
    if max(map(len, labels), default=0) <= width:
        return labels
    if len(set(labels)) > 1:
        backwards = [label[::-1] for label in labels]
        head = _shared_words(labels)
        tail = min(_shared_words(backwards), min(map(len, labels)) - head)
        labels = [
            ("\N{HORIZONTAL ELLIPSIS}" if head else "")
            + label[head : len(label) - tail]
            + ("\N{HORIZONTAL ELLIPSIS}" if tail else "")
            for label in labels
        ]
    kept = width - 1
    return [
        label
        if len(label) <= width
        else label[: kept - kept // 2]
        + "\N{HORIZONTAL ELLIPSIS}"
        + label[len(label) - kept // 2 :]
        for label in labels
    ]


def _shared_words(labels):
    """Return the length of the longest shared prefix that ends after a whole word."""
    first, last = min(labels), max(labels)
    pairs = zip(first, last, strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))
    return first[:shared].rfind(" ") + 1


def _width(ax, label):
    """Return the width of a label in pixels."""
    probe = ax.text(0.0, 0.0, label, fontsize=_FONT_SIZE)
    width = probe.get_window_extent().width
    probe.remove()
    return width


def label_points(ax, x, y, labels):
    """Write labels beside points so that no two overlap.

    Long labels are shortened. If there is no room for a label, it is left out.

    A label is to the right of its point, or to the left if the right border is near. If
    another label or a labelled point is in the way, it moves up and a line connects it to
    its point. If it would leave the axes at the top, it moves down instead.
    """
    from matplotlib.patheffects import withStroke

    ax.figure.canvas.draw()  # fixes limits and layout
    scale = ax.figure.dpi / 72.0
    high, gap = _HIGH * _FONT_SIZE * scale, _GAP * scale
    frame = ax.get_window_extent()
    labels = shorten(labels, max(6, int(_WIDEST * frame.width / (_WIDE * _FONT_SIZE * scale))))
    points = ax.transData.transform(np.column_stack([x, y]))
    halo = [withStroke(linewidth=2.5, foreground="white")]
    dot = 0.8 * gap
    occupied = [(px - dot, px + dot, py - dot, py + dot) for px, py in points]
    for i in np.argsort(points[:, 1], kind="stable"):
        px, py = points[i]
        wide = _width(ax, labels[i])
        on_left = px + gap + wide > frame.x1
        x0 = px - gap - wide if on_left else px + gap
        beside = [(b0, b1) for a0, a1, b0, b1 in occupied if x0 < a1 and a0 < x0 + wide]
        y0 = py - high / 2
        for b0, b1 in sorted(beside):
            if y0 < b1 and b0 < y0 + high:
                y0 = b1
        if y0 + high > frame.y1:
            y0 = min(py - high / 2, frame.y1 - high)
            for b0, b1 in sorted(beside, key=lambda span: -span[1]):
                if y0 < b1 and b0 < y0 + high:
                    y0 = b0 - high
            if y0 < frame.y0:
                continue
        occupied.append((x0, x0 + wide, y0, y0 + high))
        rise = (y0 + high / 2 - py) / scale
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
        written = ax.annotate(
            labels[i],
            (x[i], y[i]),
            xytext=(-_GAP if on_left else _GAP, rise),
            textcoords="offset points",
            ha="right" if on_left else "left",
            va="center",
            fontsize=_FONT_SIZE,
            path_effects=halo,
            arrowprops=line if abs(rise) > 2 else None,
        )
        written.set_in_layout(False)  # the axes must not shrink to make room for a label
