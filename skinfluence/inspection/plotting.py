"""What the displays share; matplotlib is imported inside, as scikit-learn does."""

import numpy as np

__all__ = ["label_points", "make_axes", "row_names", "shorten", "tidy"]

#: Helpful and harmful, good and doubtful: blue and orange read in every colour vision.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "0.55"

# Width of a character relative to the font size, height of a line, gap to the point.
_WIDE, _HIGH, _GAP = 0.62, 1.25, 5.0

# Share of the axes that a label may be wide: less than half, so that it fits on either side.
_WIDEST = 0.35


def make_axes(ax, figsize=(6.4, 4.8)):
    """Return (figure, axes): those of `ax`, or new ones."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "The displays need matplotlib: python -m pip install matplotlib."
        ) from error
    if ax is not None:
        return ax.figure, ax
    return plt.subplots(figsize=figsize, layout="constrained")


def tidy(ax, *, title, xlabel, ylabel):
    """Write titles and take away the lines that carry nothing."""
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)


def row_names(names, rows):
    """Return what to call some rows: their names, or their positions."""
    return [str(row if names is None else names[row]) for row in rows]


def shorten(labels, width):
    """Return labels of at most `width` characters.

    Words at the ends that all labels share go first, then the middle of a label.
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
    """Return how many characters of whole words all labels begin with."""
    first, last = min(labels), max(labels)
    pairs = zip(first, last, strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))
    return first[:shared].rfind(" ") + 1


def _width(ax, label, fontsize):
    """Return how wide a label is, in pixels."""
    probe = ax.text(0.0, 0.0, label, fontsize=fontsize)
    width = probe.get_window_extent().width
    probe.remove()
    return width


def label_points(ax, x, y, labels, *, fontsize=9):
    """Write labels beside points so that no two overlap, as many as the axes have room for.

    Long labels are shortened.

    A label stands to the right of its point, or to the left near the right border, and
    moves up past the labelled points and labels that are there already, with a line back to
    its point; down where it would leave the axes at the top.
    """
    from matplotlib.patheffects import withStroke

    ax.figure.canvas.draw()  # limits and layout are settled from here on
    scale = ax.figure.dpi / 72.0
    high, gap = _HIGH * fontsize * scale, _GAP * scale
    frame = ax.get_window_extent()
    labels = shorten(labels, max(6, int(_WIDEST * frame.width / (_WIDE * fontsize * scale))))
    points = ax.transData.transform(np.column_stack([x, y]))
    halo = [withStroke(linewidth=2.5, foreground="white")]
    dot = 0.8 * gap
    taken = [(px - dot, px + dot, py - dot, py + dot) for px, py in points]
    for i in np.argsort(points[:, 1], kind="stable"):
        px, py = points[i]
        wide = _width(ax, labels[i], fontsize)
        left = px + gap + wide > frame.x1
        x0 = px - gap - wide if left else px + gap
        beside = [(b0, b1) for a0, a1, b0, b1 in taken if x0 < a1 and a0 < x0 + wide]
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
        taken.append((x0, x0 + wide, y0, y0 + high))
        rise = (y0 + high / 2 - py) / scale
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
        written = ax.annotate(
            labels[i],
            (x[i], y[i]),
            xytext=(-_GAP if left else _GAP, rise),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=fontsize,
            path_effects=halo,
            arrowprops=line if abs(rise) > 2 else None,
        )
        written.set_in_layout(False)  # a label must not take room from the axes
