"""Values as text and as HTML, without a kernel."""

from __future__ import annotations

import pytest

pytest.importorskip("anywidget")

from rxmps3.jupyter.html import harmless, to_html
from rxmps3.jupyter.text import MOST_CHARACTERS, MOST_IN_A_ROW, MOST_ROWS, to_text
from rxmps3.jupyter.values import rounded


class Drawn:
    def _repr_html_(self) -> str:
        return "<i>drawn</i>"

    def __repr__(self) -> str:
        return "Drawn()"


class Picture:
    def _repr_png_(self) -> bytes:
        return b"png"


class Vectors:
    def _repr_svg_(self) -> tuple[str, dict[str, str]]:
        return "<svg/>", {}


class Bundle:
    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": "plain", "image/jpeg": "anBl\nZw=="}


class Mapped(dict[str, int]):
    def _repr_html_(self) -> str:
        return "<i>mapped</i>"


@pytest.mark.parametrize("value", [Picture(), Vectors(), Bundle(), Mapped(a=1)], ids=lambda value: type(value).__name__)
def test_what_draws_itself_is_drawn(value: object) -> None:
    assert (
        to_html(value)
        == {
            "Picture": '<img src="data:image/png;base64,cG5n" alt="">',
            "Vectors": "<svg/>",
            "Bundle": '<img src="data:image/jpeg;base64,anBlZw==" alt="">',
            "Mapped": "<i>mapped</i>",
        }[type(value).__name__]
    )


@pytest.mark.parametrize(
    ("value", "text", "html"),
    [
        ("a <b>", "a <b>", "<pre>a &lt;b&gt;</pre>"),
        (None, "None", "<pre>None</pre>"),
        ([1, "a"], "[1, 'a']", "<pre>[1, &#x27;a&#x27;]</pre>"),
        (Drawn(), "Drawn()", "<i>drawn</i>"),
        ({}, "{}", '<table class="rxmps3-values"></table>'),
        ({"a<": "x"}, "a<  x", '<table class="rxmps3-values"><tr><th scope="row">a&lt;</th><td>x</td></tr></table>'),
        ({"k" * 50: 1, "a": 2}, f"{'k' * 50}  1\n{'a':40}  2", None),
        (0.1 + 0.2, "0.30000000000000004", "<pre>0.30000000000000004</pre>"),
        ({"a": 0.1 + 0.2, "b": 12, "c": 1764494152.1234}, "a           0.3\nb          12\nc  1764494152.12", None),
        ({"a": 1 / 3, "b": "x"}, "a  0.333333\nb  x", None),
        ({"a": True, "b": 1 / 3}, "a  True\nb  0.333333", None),
    ],
)
def test_a_value(value: object, text: str, html: str | None) -> None:
    assert to_text(value) == text
    assert html is None or to_html(value) == html


def test_numbers_below_each_other_are_rounded_and_aligned_and_say_what_they_are() -> None:
    rows = {"a": {"x": 0.1 + 0.2, "n": 7, "m": "text"}, "b": {"x": 12.123456789, "n": 1234, "m": 2}, "c": {"x": 5}}
    html = to_html(rows)
    assert '<th scope="col" class="rxmps3-number">x</th><th scope="col" class="rxmps3-number">n</th>' in html
    assert '<th scope="col">m</th>' in html
    assert '<td class="rxmps3-number" style="--rx-room: 3" title="0.30000000000000004">0.3</td>' in html
    assert '<td class="rxmps3-number" title="12.123456789">12.1235</td>' in html
    assert '<td class="rxmps3-number" style="--rx-room: 5">5</td><td></td><td></td>' in html
    assert '<td class="rxmps3-number">1234</td>' in html
    assert '<td class="rxmps3-number" title="0.3333333333333333">0.333333</td>' in to_html({"a": 1 / 3})
    assert '<td title="0.3333333333333333">0.333333</td>' in to_html({"a": 1 / 3, "b": "x"})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0.1 + 0.2, 0.3), (1.0, 1.0), (-1 / 3, -0.333333), (999.99999, 1000.0), (1234567.891, 1234567.89)),
        *((1764494152.1239, 1764494152.12), (1.23456789e-7, 1.23457e-07), (1.23456789e20, 1.23457e20)),
        *((float("inf"), float("inf")), (7, 7), (True, True), ("0.123456789", "0.123456789"), (None, None)),
    ],
)
def test_a_float_beside_others(value: object, shown: object) -> None:
    assert repr(rounded(value)) == repr(shown)


def test_what_is_too_much_to_look_at_is_cut_off() -> None:
    assert to_text("x" * (MOST_CHARACTERS + 1)) == "x" * MOST_CHARACTERS + "…"
    assert to_html("x" * (MOST_CHARACTERS + 1)) == f"<pre>{'x' * MOST_CHARACTERS}…</pre>"
    assert to_text(list(range(10_000_000))).startswith("[0, 1, ")
    assert to_text({"a": "x" * (MOST_IN_A_ROW + 1)}) == f"a  {'x' * MOST_IN_A_ROW}…"
    assert len(to_html({str(number): "x" * 100_000 for number in range(MOST_ROWS)})) < 2 * MOST_ROWS * MOST_IN_A_ROW
    many = {f"{number:05}": number for number in range(MOST_ROWS + 1234)}
    assert to_text(many).splitlines()[-2:] == ["00199  199", "and 1,234 more"]
    assert to_html(many).count("<tr>") == MOST_ROWS
    assert "and 1,234 more" in to_html(many)


EVIL = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg onload=alert(1)><animate onbegin=alert(1)></svg>",
    '<a href="javascript:alert(1)">x</a>',
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<form action=https://example.com><input name=password></form>",
    "<style>* { display: none }</style>",
    "<div style='position: fixed; inset: 0; z-index: 9'>x</div>",
    "<b style='background: url(javascript:alert(1))'>x</b>",
    "<link rel=stylesheet href=//example.com>",
    "<meta http-equiv=refresh content='0;url=https://example.com'>",
    "<base href=https://example.com>",
    "<object data=x></object><embed src=x>",
    "<details open ontoggle=alert(1)>x</details>",
    "<img src='data:text/html,<script>alert(1)</script>'>",
]


@pytest.mark.parametrize("text", EVIL)
def test_html_with_a_value_of_others_in_it_keeps_nothing_that_acts(text: str) -> None:
    html = harmless(f"<p class='mine' style='color: red'>{text}</p>")
    assert html.replace(" ", "").startswith('<pclass="mine"style="color:red">')
    for word in (
        "alert",
        "javascript:",
        " on",
        "<script",
        "<iframe",
        "<form",
        "<input",
        "<style",
        "position",
        "<link",
        "<meta",
        "<base",
        "<object",
        "<embed",
        "data:",
    ):
        assert word not in html.lower(), word


def test_harmless_html_stays() -> None:
    html = '<table class="t"><tbody><tr><td colspan="2" title="a">1 &lt; 2</td></tr></tbody></table><meter value="3" max="5"></meter>'
    assert harmless(html) == html
    picture = '<img src="data:image/png;base64,cG5n" alt="">'
    assert harmless(picture) == picture
