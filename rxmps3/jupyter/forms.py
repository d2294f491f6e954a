"""A form for a pydantic model stored in a key."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import traitlets

from rxmps3.database.undo_steps import Actions, one_action
from rxmps3.errors import InvalidOption, InvalidValue, Unsupported, unforeseen
from rxmps3.jupyter.frames import DEFAULT_FPS, Frames, checked_fps, kernel_loop
from rxmps3.jupyter.sources import if_rejected
from rxmps3.jupyter.text import to_text
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.model.missing import MISSING
from rxmps3.replica.receipt import Receipt
from rxmps3.streams.key import Key, KeyEntry
from rxmps3.streams.typed import Codec, codec_for

__all__ = ["ControlsModel", "ControlsView", "controls"]


class ControlsModel(ViewModel):
    """The fields of a key's value.

    States: ``schema``, the model's JSON Schema (the page resolves its references); ``value``, the JSON value; ``by``
    and ``pending``, of the last write; ``wrong``, for each path (joined by ``/``) the reason why it was not written.

    A page sends ``field`` with ``path``, a list of names, and ``value``.
    """

    view = "controls"

    def __init__(self, kind: Any, key: Key[Any], fps: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            loop, fps, schema=kind.model_json_schema(), value=None, by="", pending=False, wrong={},
            title=str(getattr(kind, "__name__", "")),
        )  # fmt: skip
        self._key = key
        self._codec: Codec[Any] = codec_for(kind, f"key {key.name!r}")
        self._entry: KeyEntry[Any] | None = None
        self._edits: dict[tuple[str, ...], Any] = {}
        self._actions = Actions()
        self._action: object = None
        self._failed = ""  # why the last edit was not written
        self._leaving: Frames[None] = Frames(loop, fps, self._write)
        self.owns(key.entries().subscribe(self._arrived, on_completed=self._closed))
        self.flush()

    def _closed(self) -> None:
        self.call(lambda: self.set("status", {"closed": True}))

    def _arrived(self, entry: KeyEntry[Any]) -> None:
        self._entry = entry
        self.wake()

    def show(self) -> None:
        entry = self._entry
        if entry is None or self._leaving.waiting:
            return
        if entry.error is not None:
            self.set("problem", str(entry.error))
            return
        self.set("problem", self._failed)
        self.set("value", self._json(entry.value))
        self.set("by", entry.by)
        self.set("pending", entry.pending)

    def _json(self, value: Any) -> Any:
        """The value shown: the key's value, with the model's defaults for missing fields."""
        if value is None or value is MISSING:
            value = {}
        try:
            loaded = self._codec.load(value) if isinstance(value, dict) else value
            return self._codec.dump(loaded)
        except InvalidValue:
            return cast(Any, value) if isinstance(value, dict) else None

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        path = message.get("path")
        if kind != "field" or not isinstance(path, list) or not path:
            return
        names = [str(name) for name in cast("list[Any]", path)]
        base = cast("dict[str, Any] | None", self.state["value"]) or {}
        whole = _with(base, names, message.get("value"))
        wrong = {name: why for name, why in self.state["wrong"].items() if name != "/".join(names)}
        try:
            self._codec.load(whole)
        except InvalidValue as error:
            self.set("wrong", wrong | {"/".join(names): str(error).rpartition("does not fit its type: ")[2]})
            return
        self.set("wrong", wrong)
        self.set("value", whole)
        self._edits[tuple(names)] = message.get("value")
        self._action = self._actions.at(self.loop.time())
        self._leaving.push(None)

    def _write(self, _: None) -> None:
        """Write a changed field, keeping what others have written to the other fields."""
        edits, self._edits = self._edits, {}
        self._failed = ""
        there: dict[str, Any] = {}
        if self._entry is not None:
            there = self._json(self._entry.value) or there
        whole, patch = there, cast("dict[str, Any]", {})
        for path, part in edits.items():
            whole, patch = _with(whole, list(path), part), _with(patch, list(path), part)
        try:
            with one_action(self._action):
                if whole != there:
                    done = self._patched(patch, list(edits.values())) or self._key.put(self._key.loaded(whole))
                    if_rejected(done, lambda reason: self.call(lambda: self._fail(reason)))
        except Exception as error:
            self._fail(str(unforeseen(error)))
        self.wake()

    def _fail(self, reason: str) -> None:
        self._failed = f"Not written: {reason}"
        self.set("problem", self._failed)

    def _patched(self, patch: dict[str, Any], parts: list[Any]) -> Receipt | None:
        """Write the field as a patch, if there is a value to patch and a patch can express it (null would delete)."""
        if (
            self._entry is None
            or not self._entry.version
            or any(part is None or isinstance(part, dict) for part in parts)
        ):
            return None
        try:
            return self._key.patch(patch)
        except Unsupported:
            return None

    def dispose(self) -> None:
        self._leaving.flush()
        self._leaving.stop()
        super().dispose()


def _with(value: dict[str, Any], path: list[str], part: Any) -> dict[str, Any]:
    """A copy of a value with one part replaced."""
    name, *rest = path
    if rest:
        inner = value.get(name)
        part = _with(cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}, rest, part)
    return value | {name: part}


class ControlsView(Widget[ControlsModel]):
    """A form widget. Created by `controls`."""

    schema = traitlets.Any().tag(sync=True)
    value = traitlets.Any().tag(sync=True)
    by = traitlets.Any().tag(sync=True)
    pending = traitlets.Any().tag(sync=True)
    wrong = traitlets.Any().tag(sync=True)
    title = traitlets.Any().tag(sync=True)

    def __repr__(self) -> str:
        return to_text(self.model.state["value"] or {})


def controls(kind: Any, key: Key[Any], *, fps: float = DEFAULT_FPS) -> ControlsView:
    """Show a form for a key that holds a pydantic model; every page that shows it stays in step.

    A bounded number is a slider, a bool a switch, an enum or literal a menu, a date a date picker, a nested model a
    group; any other type is edited as JSON. A value that the model rejects is not written, and the form shows why.

    Args:
        kind: the model class.
        key: from ``db.key``, untyped or typed by that class.
        fps: the maximum number of writes a second; the last value is always written.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: an argument is invalid.
    """
    if not callable(getattr(kind, "model_json_schema", None)):
        raise InvalidOption(f"{kind!r} is not a pydantic model", operation="controls", remedy="give its class")
    if not isinstance(cast(object, key), Key):
        raise InvalidOption(f"{key!r} is not a key", operation="controls", remedy='give db.key("…")')
    return ControlsView(ControlsModel(kind, key, checked_fps(fps), kernel_loop()))
