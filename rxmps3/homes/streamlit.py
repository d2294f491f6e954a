"""Values that all sessions of a Streamlit app share, and that make them run again when they change.

::

    import streamlit as st
    from rxmps3.homes.streamlit import database, shared

    db = database("s3://bucket/app")
    title = shared(db, "title", "untitled")
    st.header(title.value)
    title.value = st.text_input("Title", title.value)

Streamlit runs the script again for each click of each visitor. `database` is made once and kept for all of them;
`shared` subscribes once for each session and key, however often the script runs.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any, Unpack

import streamlit as st
from reactivex import Observable
from reactivex.abc import DisposableBase
from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from rxmps3.blocking import Database, connect
from rxmps3.database.connect import ConnectOptions
from rxmps3.jupyter.frames import checked_fps

__all__ = ["Shared", "database", "shared", "watch"]

DEFAULT_FPS = 4.0
_STATE = "rxmps3 watched"


@st.cache_resource(show_spinner=False)
def database(url: str, **options: Unpack[ConnectOptions]) -> Database:
    """The database at a URL, opened once for all sessions. Options and errors are those of `rxmps3.blocking.connect`.

    It follows its log all the time (``live=True``), so a run of the script finds the latest state.
    """
    options.setdefault("live", True)
    return connect(url, **options)


class Shared:
    """A key's value, shared by all sessions. Made by `shared`."""

    def __init__(self, db: Database, key: str, default: Any) -> None:
        self._db = db
        self._key = key
        self._default = default

    @property
    def value(self) -> Any:
        """The value as it is shown now; the default if there is none. Setting it writes it if it differs."""
        return self._db.key(self._key, default=self._default).value

    @value.setter
    def value(self, value: Any) -> None:
        if value != self.value:
            self._db.put(self._key, value)


def shared(db: Database, key: str, default: Any = None, fps: float = DEFAULT_FPS) -> Shared:
    """A key's value, shared by all sessions; this session's script runs again when it changes elsewhere.

    Args:
        db: from `database`.
        key: the key.
        default: the value of a missing key.
        fps: the most reruns a second.

    Raises:
        InvalidKey, InvalidOption: an argument is invalid.
    """
    found = Shared(db, key, default)
    _watch(db.observe(key, default), (id(db), key), fps, db)
    return found


def watch(source: Observable[Any], name: str, fps: float = DEFAULT_FPS) -> None:
    """Run this session's script again whenever a source emits something, until the session ends.

    Args:
        source: any Observable, which may emit on any thread. Its first item, if that comes while it is subscribed to,
            is what the script shows already.
        name: calls of one session with the same name subscribe once, and again once the source has ended.
        fps: the most reruns a second.

    Raises:
        InvalidOption: ``fps`` is not a positive number.
    """
    _watch(source, name, fps, source)


def _watch(source: Observable[Any], name: Hashable, fps: float, kept: object) -> None:
    checked_fps(fps)
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:
        return  # a script that runs without Streamlit
    watched: dict[Hashable, _Rerun] = st.session_state.setdefault(_STATE, {})
    if name not in watched or watched[name].over:
        watched[name] = _Rerun(source, context.session_id, 1 / fps, kept)


class _Rerun:
    """Reruns of one session.

    Attributes:
        over: whether the source has ended.
        kept: what its name is the name of.
    """

    def __init__(self, source: Observable[Any], session: str, pause: float, kept: object) -> None:
        self.over = False
        self.kept = kept
        self._session = session
        self._pause = pause
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._again = False
        self._subscription: DisposableBase | None = None
        self._begun = False
        self._subscription = source.subscribe(self._heard, lambda _: self._ended(), self._ended)
        self._begun = True

    def _ended(self) -> None:
        self.over = True

    def _heard(self, _: object) -> None:
        if not self._begun:
            return
        with self._lock:
            if self._timer is not None:
                self._again = True
                return
            self._start()
        self._rerun()

    def _start(self) -> None:
        self._timer = threading.Timer(self._pause, self._over)
        self._timer.daemon = True
        self._timer.start()

    def _over(self) -> None:
        with self._lock:
            self._timer = None
            if not self._again:
                return
            self._again = False
            self._start()
        self._rerun()

    def _rerun(self) -> None:
        session = None
        if exists():
            info = get_instance()._session_mgr.get_session_info(self._session)  # pyright: ignore
            session = None if info is None else info.session
        if session is None:
            if self._subscription is not None:
                self._subscription.dispose()  # the session has ended
            return
        session.request_rerun(None)
