"""Reducers: ``(state, item) -> state``, pure, for ``scan`` over the versions of a log or the changes of a view.

::

    db.replay(0).pipe(ops.scan(reducers.merge_patch, {}))            # what db.at shows, at every version
    db.changes("todo/").pipe(ops.scan(reducers.merge_patch, {}))     # what has changed since
    db.versions.pipe(ops.scan(reducers.merge_patch, then.entries))   # keys to entries, from then = await db.at(v) on

An item is a `ManifestVersion`: then the state maps keys to `Entry`, and a write counts once, however often it is in
the log. Or it is a change, something with a ``key`` and an ``after``, or a sequence of changes that belong together:
then the state maps keys to JSON values, and `MISSING` takes a key out.

The state that the database itself keeps is scanned with `merge_patch`. A reducer of your own is any function of the
same form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, cast, overload

from rxmps3.errors import InvalidOption, NotKept, NotLoaded
from rxmps3.model import jsontext, valuetext
from rxmps3.model.derivations import SchemaMerge, check_schema, schema_text
from rxmps3.model.missing import MISSING
from rxmps3.model.state import Entries, Entry, Inline, ManifestVersion, State, fold, new_writes
from rxmps3.streams.events import Reset

__all__ = ["Change", "Item", "json_merge", "merge_patch"]


class Change(Protocol):
    """One key's change, such as a `rxmps3.Change`."""

    @property
    def key(self) -> str:
        """The key."""
        ...

    @property
    def after(self) -> Any:
        """Its value after the change; `MISSING` where it has none."""
        ...


Item: TypeAlias = "ManifestVersion | Reset | Change | Iterable[Change]"


@overload
def merge_patch(state: Mapping[str, Entry], item: ManifestVersion | Reset) -> State: ...
@overload
def merge_patch(state: Mapping[str, Any], item: Change | Iterable[Change]) -> dict[str, Any]: ...
@overload
def merge_patch(state: Mapping[str, Any], item: Item) -> Mapping[str, Any]: ...
def merge_patch(state: Mapping[str, Any], item: Item) -> Mapping[str, Any]:
    """The state after an item, which is taken as a flat merge patch: each key it names is replaced or deleted whole.

    Source: RFC 7386, at depth one. ``state`` is left as it is. With a version it costs as much as the version holds
    if ``state`` is what this returned before; with changes it copies ``state``.

    Raises:
        Corrupt: a version holds a write whose number another write of its writer has taken.
        NotKept: the item is a `Reset` alone, without deltas that bridge it: what lies between is in no item;
            begin again from ``db.at``.
        InvalidOption: the state is not a mapping, or the item is none of those.
    """
    if isinstance(item, ManifestVersion):
        return fold(_entries(state, "merge_patch"), item)
    after = _values(state, "merge_patch")
    for change in _changes(item, "merge_patch"):
        if change.after is MISSING:
            after.pop(change.key, None)
        else:
            after[change.key] = change.after
    return after


def json_merge(schema: Mapping[str, Any] | None = None) -> Callable[[Mapping[str, Any], Item], Mapping[str, Any]]:
    """A reducer that merges values instead of replacing them, as a JSON Schema says.

    Args:
        schema: of the state: its ``properties`` (or ``additionalProperties``, ``patternProperties``) are the keys, and
            each may name a ``mergeStrategy``. Source of the strategies: the package jsonmerge. Where it names none,
            objects are merged as RFC 7386 does it. With changes a key whose value is null holds null.

    Raises:
        InvalidOption: it is no JSON Schema, or sends one to other documents.

    The reducer raises what `merge_patch` does, `InvalidValue` where a strategy cannot merge two values, and `NotLoaded`
    for a version with a value in an object of its own: a reducer reads nothing.
    """
    text = schema_text(schema)
    check_schema(jsontext.decode(text))

    def reducer(state: Mapping[str, Any], item: Item) -> Mapping[str, Any]:
        if isinstance(item, ManifestVersion):
            return _merged_entries(text, _entries(state, "json_merge"), item)
        after = _values(state, "json_merge")
        for change in _changes(item, "json_merge"):
            if change.after is MISSING:
                after.pop(change.key, None)
            else:
                value = _merged(text, change.key, after.get(change.key, MISSING), change.after)
                if value is not MISSING:
                    after[change.key] = value
        return after

    return reducer


def _merged_entries(schema: str, state: State, version: ManifestVersion) -> State:
    merged: dict[str, Entry | None] = {}
    for write in new_writes(state, version):
        for key, entry in write.update.items():
            before = merged[key] if key in merged else state.get(key)
            merged[key] = None if entry is None else _merged_entry(schema, key, before, entry)
    after = fold(state, version)
    return replace(after, entries=after.entries.patched(merged))


def _merged_entry(schema: str, key: str, before: Entry | None, entry: Entry) -> Entry | None:
    value = _merged(schema, key, MISSING if before is None else _value(key, before), _value(key, entry))
    return None if value is MISSING else Entry(entry.version, Inline(valuetext.encode(value)))


def _value(key: str, entry: Entry) -> Any:
    if not isinstance(entry.content, Inline):
        raise NotLoaded(
            "its value is in a separate object, and a reducer reads nothing",
            operation="merge",
            object=f"key {key!r}",
            remedy="scan changes or a replay instead of versions",
        )
    return valuetext.decode(entry.content.text, f"key {key!r}")


def _merged(schema: str, key: str, before: Any, after: Any) -> Any:
    """The value of a key after one is merged into what was there; `MISSING` if there is to be none still."""
    if after is None:
        return None
    base = None if before is MISSING else jsontext.encode({key: before})
    merged = SchemaMerge(jsontext.encode({key: after}), schema).apply(base)
    return MISSING if merged is None else jsontext.decode(merged).get(key, MISSING)


def _entries(state: Mapping[str, Any], operation: str) -> State:
    if isinstance(state, State):
        return state
    if isinstance(state, Entries):
        return State(state)
    entries = _values(state, operation)
    for key, entry in entries.items():
        if not isinstance(entry, Entry):
            raise InvalidOption(
                f"the state that versions change maps keys to entries, not to {entry!r:.80}",
                operation=operation,
                object=f"key {key!r:.80}",
                remedy="begin with {}, or with the entries of db.at(…); or scan changes or a replay",
            )
    return State(Entries.of(entries))


def _values(state: Mapping[str, Any], operation: str) -> dict[str, Any]:
    if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"state is a mapping of keys, not {state!r:.80}", operation=operation, remedy="begin with {}"
        )
    return dict(state)


def _changes(item: Item, operation: str) -> Iterable[Change]:
    if isinstance(item, Reset):
        raise NotKept(
            "the versions up to it are no longer in the log, so they do not come as items",
            operation="scan",
            oldest=item.id,
            object=f"reset to version {item.id}",
            remedy="begin again with the state of db.at there",
        )
    several: tuple[Any, ...] = (item,) if hasattr(item, "key") else _several(item)
    changes = tuple(one for one in several if not isinstance(one, Reset))  # the deltas beside it bridge the gap
    for change in changes:
        if not (hasattr(change, "key") and hasattr(change, "after")):
            raise InvalidOption(
                f"item is neither a version nor a change: {change!r:.80}",
                operation=operation,
                remedy="scan versions, changes or a replay",
            )
    return changes


def _several(item: object) -> tuple[Any, ...]:
    if isinstance(item, str | bytes | Mapping) or not isinstance(item, Iterable):
        return (cast("Any", item),)
    return tuple(cast("Iterable[Any]", item))
