"""Figures of other libraries, as a picture or, for those drawn by JavaScript, in a sandboxed frame.

No library is imported: a value of a library exists only if the program has imported the library.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

__all__ = ["Scripted", "let_go_of", "library", "no_figures_left", "picture", "scripted"]


class Scripted(NamedTuple):
    """A chart drawn by a library's own JavaScript.

    Attributes:
        library: the library's name, for `library`.
        data: the chart as JSON text.
    """

    library: str
    data: str


def scripted(value: Any) -> Scripted | None:
    """The chart, if the value is one of plotly or bokeh; else None."""
    plotly: Any = sys.modules.get("plotly.basedatatypes")
    if plotly is not None and isinstance(value, plotly.BaseFigure):
        return Scripted("plotly", value.to_json())
    bokeh: Any = sys.modules.get("bokeh.models")
    if bokeh is not None and isinstance(value, bokeh.UIElement):
        return Scripted("bokeh", json.dumps(_imported("bokeh.embed").json_item(value)))
    return None


def _imported(name: str) -> Any:
    """A library's module, if the program has imported it."""
    return importlib.import_module(name)


def library(name: str) -> list[str]:
    """A library's JavaScript, taken from its Python package: the scripts to run, in order. Nothing is downloaded."""
    if name == "plotly":
        return [_imported("plotly.offline").get_plotlyjs()]
    if name == "bokeh":
        return list(_imported("bokeh.resources").INLINE.js_raw)
    return []


def picture(value: Any) -> tuple[str, bytes] | None:
    """A matplotlib figure, an artist or container in one (including seaborn grids), or an altair chart, as an image.

    Returns:
        The media type and the bytes; None for any other value.
    """
    figure = figure_of(value)
    if figure is not None:
        written = io.BytesIO()
        figure.savefig(written, format="png", bbox_inches="tight", dpi=_sharp(figure))
        return "image/png", written.getvalue()
    altair: Any = sys.modules.get("altair")
    if altair is not None and isinstance(value, altair.TopLevelMixin):
        drawn = io.StringIO()
        chart: Any = value
        chart.save(drawn, format="svg")
        return "image/svg+xml", drawn.getvalue().encode()
    return None


def _sharp(figure: Any) -> float:
    """The resolution for high-density screens, in dots per inch; the page shows the image at half its size."""
    return 2 * figure.get_dpi()


def figure_of(value: Any) -> Any:
    """The matplotlib figure that a value is or belongs to."""
    matplotlib: Any = sys.modules.get("matplotlib.figure")
    if matplotlib is None:
        return None
    part: Any = value
    if isinstance(value, (list, tuple)) and value:
        part = cast("list[Any]", value)[0]
    candidates: tuple[Any, ...] = (part, getattr(part, "figure", None))
    for found in candidates:
        if isinstance(found, matplotlib.FigureBase):
            return found if isinstance(found, matplotlib.Figure) else found.figure
    return None


def let_go_of(value: Any) -> None:
    """Remove a figure from pyplot, which would keep it until kernel exit and draw it under the next cell."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    figure = figure_of(value)
    if pyplot is not None and figure is not None:
        pyplot.close(figure)


@contextmanager
def no_figures_left() -> Generator[None]:
    """Remove from pyplot the figures created within the block."""
    numbers: Callable[[], list[int]] = lambda: getattr(sys.modules.get("matplotlib.pyplot"), "get_fignums", list)()  # noqa: E731
    before = set(numbers())
    try:
        yield
    finally:
        for number in set(numbers()) - before:
            cast(Any, sys.modules["matplotlib.pyplot"]).close(number)
