"""Values as HTML. Everything that comes from the database is escaped.

What an object draws of itself (``_repr_html_`` and the like) is used as it is, as in notebooks: the code of its class
is trusted. HTML that a program makes of a value as a ``str`` is cleaned, since somebody else's value may be in it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from html import escape
from itertools import islice
from typing import Any, cast

from IPython.core.formatters import DisplayFormatter
from IPython.core.getipython import get_ipython

from rxmps3.jupyter.drawing import Scripted, picture, scripted
from rxmps3.jupyter.text import MOST_IN_A_ROW, MOST_ROWS, short
from rxmps3.jupyter.values import fields_of, fraction, is_number, plain, rounded, rows_of, visible
from rxmps3.model.missing import MISSING

__all__ = ["Render", "drawn", "harmless", "note", "to_html"]

Render = Callable[[Any], Any]
"""Makes HTML of a value, of which `harmless` is shown; or makes another value, which is drawn as any is."""

_MOST_COLUMNS = 30


def drawn(value: Any) -> str | Scripted:
    """A value's own notebook representation, else a table if it has rows or fields, else its text."""
    return scripted(value) or to_html(value)


def to_html(value: Any) -> str:
    """As `drawn`, without anything that needs scripts."""
    own = None if type(value) in _PLAIN or isinstance(value, type) else _drawn(value)
    if own is not None:
        return own
    rows = rows_of(value, MOST_ROWS)
    if rows is not None:
        return _rows(rows, isinstance(value, Mapping), len(cast("Mapping[Any, Any]", value)))
    fields = cast("Mapping[Any, Any]", value) if isinstance(value, Mapping) else fields_of(value)
    if fields is not None:
        return _table(fields)
    return f"<pre>{_text(value)}</pre>"


def harmless(html: str) -> str:
    """What is left of HTML without all that runs scripts, asks for input or changes the rest of the page."""
    import nh3

    return nh3.clean(
        html,
        tags=nh3.ALLOWED_TAGS | {"meter", "progress"},
        attributes={**nh3.ALLOWED_ATTRIBUTES, **_ATTRIBUTES},
        attribute_filter=_only_pictures_as_data,
        url_schemes=nh3.ALLOWED_URL_SCHEMES | {"data"},
        filter_style_properties=_STYLES,
    )


_ATTRIBUTES = {
    "*": {"class", "style", "title", "lang", "dir", "role", "aria-label"},
    "meter": {"value", "min", "max", "low", "high", "optimum"},
    "progress": {"value", "max"},
}
_SIDES = ("", "-top", "-right", "-bottom", "-left")
_STYLES = {
    *("color", "background", "background-color", "opacity", "text-align", "text-decoration", "vertical-align"),
    *("font", "font-family", "font-size", "font-style", "font-weight", "line-height", "letter-spacing"),
    *("white-space", "overflow", "text-overflow", "text-transform", "list-style", "border-radius", "border-collapse"),
    *(
        "display",
        "gap",
        "flex",
        "flex-direction",
        "flex-wrap",
        "align-items",
        "justify-content",
        "grid-template-columns",
    ),
    *("width", "height", "min-width", "min-height", "max-width", "max-height"),
    *(f"{what}{side}" for what in ("margin", "padding", "border") for side in _SIDES),
}
"""Nothing that is drawn outside of its own place."""


def _only_pictures_as_data(tag: str, attribute: str, value: str) -> str | None:
    is_data = value.strip().lower().startswith("data:")
    is_picture = (tag, attribute) == ("img", "src") and value.strip().lower().startswith("data:image/")
    return None if is_data and not is_picture else value


def note(text: str, *, wrong: bool = False) -> str:
    """A remark below the value."""
    return f'<div class="rxmps3-note{" rxmps3-wrong" if wrong else ""}">{escape(visible(text))}</div>'


def _table(mapping: Mapping[Any, Any]) -> str:
    shown = list(islice(mapping.items(), MOST_ROWS))
    cells = _column([plain(value) for _, value in shown], alone=True)
    rows = [f'<tr><th scope="row">{_cell(key)}</th>{cell}</tr>' for (key, _), cell in zip(shown, cells, strict=True)]
    return f'<table class="rxmps3-values">{"".join(rows)}</table>{_rest(len(mapping))}'


def _rows(rows: Mapping[str, Mapping[str, Any]], named: bool, count: int) -> str:
    """A table with one column per field, and one for the keys if there are any."""
    shown = rows.items()
    columns = list(dict.fromkeys(name for _, row in shown for name in row))[:_MOST_COLUMNS]
    numbers = {name for name in columns if all(is_number(row[name]) for row in rows.values() if name in row)}
    head = ("<td></td>" if named else "") + "".join(
        f'<th scope="col"{_NUMBER if name in numbers else ""}>{_cell(name)}</th>' for name in columns
    )
    drawn = [_column([row.get(name, MISSING) for _, row in shown]) for name in columns]
    body: list[str] = []
    for at, (key, _) in enumerate(shown):
        name = f'<th scope="row">{_cell(key)}</th>' if named else ""
        body.append(f"<tr>{name}{''.join(column[at] for column in drawn)}</tr>")
    return f'<table class="rxmps3-values"><thead><tr>{head}</tr></thead>{"".join(body)}</table>{_rest(count)}'


def _rest(count: int) -> str:
    return note(f"and {count - MOST_ROWS:,} more") if count > MOST_ROWS else ""


_NUMBER = ' class="rxmps3-number"'


def _column(values: list[Any], *, alone: bool = False) -> list[str]:
    """The cells of a column: numbers with their points below each other, to the right; rounded ones say what they are.

    Args:
        values: MISSING where a row has none.
        alone: numbers stay to the left beside other kinds of values.
    """
    plain_text = alone and not all(map(is_number, values))
    texts = ["" if value is MISSING else _cell(rounded(value)) for value in values]
    widest = max((fraction(text) for text, value in zip(texts, values, strict=True) if is_number(value)), default=0)
    cells: list[str] = []
    for text, value in zip(texts, values, strict=True):
        exact = f' title="{_cell(value)}"' if isinstance(value, float) and repr(value) != text else ""
        if is_number(value) and not plain_text:
            missing = widest - fraction(text)
            room = f' style="--rx-room: {missing}"' if missing else ""
            cells.append(f"<td{_NUMBER}{room}{exact}>{text}</td>")
        else:
            cells.append(f"<td{exact}>{text}</td>")
    return cells


def _cell(value: Any) -> str:
    return _text(value, MOST_IN_A_ROW)


def _text(value: Any, *most: int) -> str:
    return escape(visible(short(value, *most)))


_PLAIN = (type(None), bool, int, float, str, bytes, dict)
"""What has nothing of its own to draw."""

_DRAWN = {
    "text/html": "_repr_html_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
}
"""What can be put into a page, the best first, and the method of an object that makes it."""


def _drawn(value: Any) -> str | None:
    if callable(getattr(value, "open", None)) and hasattr(value, "comm") and hasattr(value, "has_trait"):
        return note("A widget is no value to show: display it, and bind its traits to keys.")
    try:
        image = picture(value)
    except ValueError as error:
        if type(value).__module__.partition(".")[0] != "altair":
            raise
        return note(f"altair draws this without the network once it can: pip install vl-convert-python ({error})")
    if image is not None:
        return _element(*image)
    if type(value) in (list, tuple):
        return None
    bundle: dict[str, Any] = _made(value, "_repr_mimebundle_", include=set(_DRAWN)) or {}
    for mime, method in _DRAWN.items():
        made: Any = bundle.get(mime) or _made(value, method) or _registered(value, mime)
        if made is not None:
            return _element(mime, made)
    markdown: Any = _made(value, "_repr_markdown_")
    return None if markdown is None else _markdown(str(markdown))


def _markdown(text: str) -> str:
    """Markdown as HTML. HTML in it is shown as text, and links cannot run scripts."""
    from markdown_it import MarkdownIt

    return MarkdownIt("js-default").render(text)


def _made(value: Any, method: str, **arguments: Any) -> Any:
    """The result of a representation method without its metadata; None if the object has no such method."""
    own: Any = getattr(value, method, None)
    made: Any = own(**arguments) if callable(own) else None
    return cast(Any, made)[0] if isinstance(made, tuple) else made


def _registered(value: Any, mime: str) -> Any:
    """The result of a formatter registered in the kernel for the type, as plotting libraries do."""
    shell: Any = get_ipython()
    formatter: Any = shell.display_formatter if shell is not None else DisplayFormatter()
    try:
        printer: Any = formatter.formatters[mime].lookup_by_type(type(value))
    except KeyError:
        return None
    made: Any = printer(value)
    return cast(Any, made)[0] if isinstance(made, tuple) else made


def _element(mime: str, made: Any) -> str:
    if not mime.startswith("image/"):
        return str(made)
    if mime == "image/svg+xml":
        return made.decode() if isinstance(made, bytes) else str(made)
    encoded = base64.b64encode(made).decode() if isinstance(made, bytes) else "".join(str(made).split())
    sharp = ' class="rxmps3-sharp"' if mime == "image/png" and isinstance(made, bytes) and _doubled(made) else ""
    return f'<img src="data:{mime};base64,{escape(encoded)}"{sharp} alt="">'


def _doubled(png: bytes) -> bool:
    """Whether the picture was made by matplotlib, which draws at two dots per pixel here."""
    return b"Software\x00Matplotlib" in png[:400]
