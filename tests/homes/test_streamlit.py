"""Values shared by the sessions of a Streamlit app, run as Streamlit runs a page for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("streamlit", reason="needs the extra 'streamlit'")

import streamlit as st
from reactivex import Subject
from streamlit.testing.v1 import AppTest

from rxmps3.blocking.portal import portal
from rxmps3.homes.streamlit import database

SCRIPT = """
import streamlit as st
from rxmps3.homes.streamlit import database, shared

db = database({url!r})
title = shared(db, "title", "untitled")
st.header(title.value)
title.value = st.text_input("Title", title.value)
"""


def visit(app: AppTest) -> AppTest:
    app.run(timeout=60)
    assert [one.value for one in app.exception] == []
    return app


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    url = f"file:{tmp_path}/app"
    yield url
    database(url).close()
    st.cache_resource.clear()


async def tasks() -> int:
    return len(asyncio.all_tasks())


def test_all_sessions_share_a_value(url: str) -> None:
    one, two = visit(AppTest.from_string(SCRIPT.format(url=url))), visit(AppTest.from_string(SCRIPT.format(url=url)))
    assert one.header[0].value == "untitled"
    one.text_input[0].set_value("Minutes")
    assert visit(one).header[0].value == "untitled"  # the header was drawn before
    assert visit(one).header[0].value == visit(two).header[0].value == "Minutes"


TWO = """
import streamlit as st
from rxmps3.homes.streamlit import database, shared, watch
from reactivex import Subject

for url in {urls!r}:
    shared(database(url), "title", "untitled")
source = st.session_state.setdefault("source", Subject())
watch(source, "source")
st.header(len(source.observers))
"""


def test_the_same_key_of_two_databases_is_watched_twice_and_a_source_that_ended_again(url: str, tmp_path: Path) -> None:
    other = f"file:{tmp_path}/other"
    app = visit(AppTest.from_string(TWO.format(urls=[url, other])))
    try:
        assert len([name for name in app.session_state["rxmps3 watched"] if name != "source"]) == 2
        app.session_state["source"].on_completed()
        app.session_state["source"] = Subject()
        assert visit(app).header[0].value == visit(app).header[0].value == "1"
    finally:
        database(other).close()


def test_nothing_is_left_over_two_hundred_runs(url: str) -> None:
    app = visit(AppTest.from_string(SCRIPT.format(url=url)))
    before = portal().call("count", tasks)
    for _ in range(200):
        visit(app)
    assert portal().call("count", tasks) <= before
