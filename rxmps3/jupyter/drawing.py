"""Charts of other libraries: as a picture, or by the library's own JavaScript in a frame that nothing gets out of.

Nothing is imported that the program has not imported: a value of a library is there only if the library is.
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
    """A chart that a library's own JavaScript draws.

    Attributes:
        library: which, for `library`.
        data: JSON text of the chart.
    """

    library: str
    data: str


def scripted(value: Any) -> Scripted | None:
    """A chart of plotly or bokeh; None for anything else."""
    plotly: Any = sys.modules.get("plotly.basedatatypes")
    if plotly is not None and isinstance(value, plotly.BaseFigure):
        return Scripted("plotly", value.to_json())
    bokeh: Any = sys.modules.get("bokeh.models")
    if bokeh is not None and isinstance(value, bokeh.UIElement):
        return Scripted("bokeh", json.dumps(_imported("bokeh.embed").json_item(value)))
    return None


def _imported(name: str) -> Any:
    """A module of a library that the program uses, whatever types it has."""
    return importlib.import_module(name)


def library(name: str) -> list[str]:
    """The JavaScript of a library, as its Python package has it: scripts to run in order. Nothing is downloaded."""
    if name == "plotly":
        return [_imported("plotly.offline").get_plotlyjs()]
    if name == "bokeh":
        return list(_imported("bokeh.resources").INLINE.js_raw)
    return []


def picture(value: Any) -> tuple[str, bytes] | None:
    """A figure of matplotlib, what is in one (axes, lines, bars, a grid of seaborn), or a chart of altair, as an image.

    Returns:
        Its media type and its bytes; None for anything else.
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
    """Dots per inch for screens with two dots per pixel; the page shows it at half its size."""
    return 2 * figure.get_dpi()


def figure_of(value: Any) -> Any:
    """The matplotlib figure that a value is or is in."""
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
    """Have pyplot forget a figure, which it keeps otherwise until the kernel ends, and draws under the next cell."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    figure = figure_of(value)
    if pyplot is not None and figure is not None:
        pyplot.close(figure)


@contextmanager
def no_figures_left() -> Generator[None]:
    """Have pyplot forget what figures are made meanwhile."""
    numbers: Callable[[], list[int]] = lambda: getattr(sys.modules.get("matplotlib.pyplot"), "get_fignums", list)()  # noqa: E731
    before = set(numbers())
    try:
        yield
    finally:
        for number in set(numbers()) - before:
            cast(Any, sys.modules["matplotlib.pyplot"]).close(number)
