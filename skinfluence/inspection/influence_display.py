"""Display for the most helpful and most harmful training samples for a query."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._typing import Axes, Estimator, Floats, MatrixLike
from skinfluence.checks import check_count
from skinfluence.inspection.plotting import (
    BLUE,
    ORANGE,
    at,
    make_axes,
    row_names,
    shorten,
    tidy,
)
from skinfluence.pipeline import problem_of

# Characters in a title line that is as wide as the bars.
_TITLE_WIDTH = 60

# Largest number of characters in a name or label, and in an image caption.
_CAPTION_WIDTH, _PICTURE_WIDTH = 24, 14


@dataclass(eq=False, repr=False)
class InfluenceDisplay:
    """The training samples that help and harm one query most.

    The display shows the influence on the loss at the query, with the name and label of each
    sample, and its text or image if `samples` has them. If the influence is negative, more
    weight on the sample lowers the loss: the sample helps.

    Parameters
    ----------
    influence : ndarray of shape (n,)
        Influence of each training sample on the loss at the query, in loss units.
    labels : sequence of length n, default=None
        Training labels or targets.
    samples : sequence of length n, default=None
        Training texts, or images as an array of shape (n, height, width) or
        (n, height, width, 3).
    names : sequence of length n, default=None
        Training sample names; None for indices.
    query : object, default=None
        Query text or image.
    query_name : str, default="the query"
        Query name in the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot; each image has inset axes.
    figure_ : matplotlib Figure
        Figure with the axes.
    helpful_, harmful_ : ndarray of int
        Indices of the training samples shown, the most helpful and most harmful first.

    See Also
    --------
    LeaveOutDisplay : Predicted changes against refits.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skinfluence.inspection import InfluenceDisplay
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = LogisticRegression(C=0.01, max_iter=1000).fit(X[:300], y[:300])
    >>> images = X[:300].reshape(-1, 8, 8)
    >>> display = InfluenceDisplay.from_estimator(
    ...     clf, X[[350]], y[[350]], samples=images, query=X[350].reshape(8, 8)
    ... )
    >>> display.helpful_.shape
    (5,)
    """

    influence: Floats
    _: KW_ONLY
    labels: Sequence[Any] | None = None
    samples: Sequence[Any] | None = None
    names: Sequence[Any] | None = None
    query: object = None
    query_name: str = "the query"

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: MatrixLike,
        y: ArrayLike,
        *,
        samples: Sequence[Any] | None = None,
        query: object = None,
        query_name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the influence of training samples on the loss at one query.

        Parameters
        ----------
        estimator : object
            Fitted skinfluence estimator, or a pipeline that ends in one.
        X : {array-like, sparse matrix} of shape (1, n_features)
            The query.
        y : array-like of shape (1,)
            Query target or label.
        samples : sequence of length n, default=None
            Training texts or images.
        query : object, default=None
            Query text or image.
        query_name : str, default=None
            Query name in the title; None uses its label and its prediction.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : InfluenceDisplay
            The plot.
        """
        problem = problem_of(estimator, composites=True)
        problem.refuse_dask("InfluenceDisplay", X, y)
        Xt = problem.transform(X)
        if np.shape(Xt)[0] != 1:
            raise ValueError(
                f"X has {np.shape(Xt)[0]} samples, but the display shows one query: pass "
                "X[[i]] and y[[i]]."
            )
        problem = problem_of(estimator, "influence_loss", "InfluenceDisplay", composites=True)
        influence = problem.influence_loss(X, y)[0]
        if query_name is None:
            kind = "class" if problem.is_classifier else "target"
            query_name = f"a query of {kind} {_text(np.asarray(y)[0])}"
            query_name += f", predicted {_text(problem.estimator.predict(Xt)[0])}"
        display = cls(
            influence,
            labels=problem.training_target,
            samples=samples,
            names=problem.index,
            query=query,
            query_name=query_name,
        )
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        influence: ArrayLike,
        *,
        labels: Sequence[Any] | None = None,
        samples: Sequence[Any] | None = None,
        names: Sequence[Any] | None = None,
        query: object = None,
        query_name: str = "the query",
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot precomputed influences.

        Parameters
        ----------
        influence : array-like of shape (n,)
            One row from `influence_loss`.
        labels : sequence of length n, default=None
            Training labels or targets.
        samples : sequence of length n, default=None
            Training texts or images.
        names : sequence of length n, default=None
            Training sample names.
        query : object, default=None
            Query text or image.
        query_name : str, default="the query"
            Query name in the title.
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : InfluenceDisplay
            The plot.
        """
        display = cls(
            np.asarray(influence),
            labels=labels,
            samples=samples,
            names=names,
            query=query,
            query_name=query_name,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Axes | None = None, *, n_influential: int = 5, width: int = 60) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; None for a new figure.
        n_influential : int, default=5
            Largest number of helpful samples, and of harmful samples, to show. There are
            fewer if fewer samples help or harm.
        width : int, default=60
            Number of characters after which a text is cut.

        Returns
        -------
        display : InfluenceDisplay
            The plot.
        """
        check_count("n_influential", n_influential, len(self.influence))
        order = np.argsort(self.influence, kind="stable")
        self.helpful_ = order[:n_influential][self.influence[order[:n_influential]] < 0]
        last = order[::-1][:n_influential]
        self.harmful_ = last[self.influence[last] > 0]
        images = self.samples is not None and np.ndim(at(self.samples, 0)) >= 2
        rows = np.concatenate([self.helpful_, self.harmful_[::-1]])
        query_name = textwrap.fill(str(self.query_name), _TITLE_WIDTH)
        title = f"Influence of training samples on the loss at\n{query_name}"
        if images:
            captions = dict(zip(rows, self._names(rows, _PICTURE_WIDTH, "y = "), strict=True))
            self.figure_, self.ax_ = make_axes(ax, (1.35 * n_influential + 1.6, 4.2))
            self._draw_images(n_influential, captions)
            self.ax_.set_title(title)
        else:
            captions = self._captions(rows, width)
            wide = 8.0 + 0.08 * max(map(len, captions), default=0)
            self.figure_, self.ax_ = make_axes(ax, (wide, 0.72 * n_influential + 1.6))
            self._draw_bars(rows, captions)
            if isinstance(self.query, str):
                shown = textwrap.shorten(self.query, width, placeholder=" ...")
                title += ":\n" + textwrap.fill(shown, _TITLE_WIDTH)
            tidy(
                self.ax_,
                title=title,
                xlabel="influence on the loss at the query (negative helps)",
                ylabel="training sample" + ("" if self.labels is None else ": y"),
            )
        return self

    def _draw_bars(self, rows, captions):
        """Draw one bar for each sample, the most helpful at the top."""
        values = self.influence[rows]
        colors = np.where(values < 0, BLUE, ORANGE)
        positions = -np.arange(len(rows), dtype=float)
        self.ax_.barh(positions, values, color=colors, height=0.7)
        self.ax_.axvline(0.0, color="black", linewidth=0.6)
        self.ax_.set_yticks(positions, captions)
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.margins(y=0.02)

    def _draw_images(self, n_influential, captions):
        """Draw two rows of images, with the query to their left."""
        ax = self.ax_
        ax.set_axis_off()
        with_query = self.query is not None
        columns = n_influential + int(with_query)
        wide = 1.0 / columns
        if with_query:
            self._draw_image(self.query, (0.0, 0.25, 0.92 * wide, 0.5), "query", "black")
        for line, (rows, word, color) in enumerate(
            [(self.helpful_, "helps", BLUE), (self.harmful_, "harms", ORANGE)]
        ):
            for column, row in enumerate(rows):
                x0 = (column + int(with_query) + 0.08) * wide
                caption = f"{word} {self.influence[row]:+.3g}\n{captions[row]}"
                box = (x0, 0.5 * (1 - line), 0.84 * wide, 0.36)
                self._draw_image(at(self.samples, row), box, caption, color)

    def _draw_image(self, image, box, caption, color):
        inset = self.ax_.inset_axes(box)
        inset.imshow(image, cmap="gray_r")
        inset.set_title(caption.replace("-", "\N{MINUS SIGN}", 1), fontsize=9, color=color)
        inset.set(xticks=[], yticks=[])
        inset.spines[:].set_color(color)

    def _captions(self, rows, width):
        names = self._names(rows, 2 * _CAPTION_WIDTH)
        if self.samples is None:
            return names
        texts = [
            textwrap.shorten(str(at(self.samples, row)), width, placeholder=" ...")
            for row in rows
        ]
        return [f"{text}  [{name}]" for text, name in zip(texts, names, strict=True)]

    def _names(self, rows, width, symbol=""):
        """Return the names and labels for some rows, about `width` characters together."""
        names = row_names(self.names, rows)
        if self.labels is None:
            return shorten(names, width)
        labels = shorten([_text(at(self.labels, row)) for row in rows], width // 2)
        labels = [f": {symbol}{label}" for label in labels]
        names = shorten(names, max(6, width - max(map(len, labels), default=0)))
        return [name + label for name, label in zip(names, labels, strict=True)]


def _text(label):
    """Return a label or target as text."""
    if isinstance(label, np.ndarray):
        return ", ".join(_text(value) for value in label)
    return f"{label:.4g}" if isinstance(label, float | np.floating) else str(label)
