"""Values computed from earlier values: merge patches, and merges by a schema. Pure.

A derivation is itself a value: it can be stored on disk, and applied again when its input has changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

from rxmps3.errors import InvalidOption, InvalidValue
from rxmps3.model import jsontext
from rxmps3.model.merge_patch import merge
from rxmps3.model.valuetext import media_of

__all__ = [
    "Derivation",
    "MergePatch",
    "SchemaMerge",
    "check_schema",
    "decode_derivation",
    "encode_derivation",
    "schema_text",
]


@dataclass(frozen=True)
class MergePatch:
    """A JSON merge patch (RFC 7386). ``text`` is its canonical JSON text."""

    text: str

    def apply(self, before: str | None, what: str = "") -> str:
        """Apply it to a value, given as text or None; returns the text of the result. ``what`` is named in errors.

        Raises:
            InvalidValue: the value is bytes.
        """
        target = None if before is None else _json(before, "patch", what)
        return jsontext.encode(merge(target, jsontext.decode(self.text)))


@dataclass(frozen=True)
class SchemaMerge:
    """A merge by a JSON Schema, whose ``mergeStrategy`` keywords choose how each part is merged.

    The strategies are those of the package jsonmerge; where the schema names none, parts merge by RFC 7386.

    Attributes:
        text: canonical JSON text of the value merged in.
        schema: canonical JSON text of the schema.
    """

    text: str
    schema: str

    def apply(self, before: str | None, what: str = "") -> str | None:
        """Apply it to a value, given as text or None; returns the text of the result, or None for no value. ``what`` is
        named in errors.

        Raises:
            InvalidValue: the strategies cannot merge these two values, or the present one is bytes.
            InvalidOption: the schema is invalid, or refers to other documents.
        """
        base, head = None if before is None else _json(before, "merge", what), jsontext.decode(self.text)
        schema = jsontext.decode(self.schema)
        check_schema(schema)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # jsonmerge uses a part of jsonschema that is to go
            used = _jsonmerge()
            try:
                merger = used.merger(schema, strategies={"objectMerge": used.objects})
                merger.validator.resolver.resolve_remote = _refuse_remote  # an id makes other documents of parts, too
                merged = merger.merge(base, head)
            except used.failures as error:
                if isinstance(error.__cause__, InvalidOption):
                    raise error.__cause__ from None
                raise InvalidValue(f"cannot be merged: {error}", operation="merge", object=what) from error
        discarded = before is None and merged is None and head is not None
        return None if discarded else jsontext.encode(merged)


def _json(text: str, operation: str, what: str) -> Any:
    """The JSON value of a text. Raises `InvalidValue` if it is one of bytes."""
    media = media_of(text)
    if media is not None:
        raise InvalidValue(
            f"it holds bytes ({media}), and only JSON can be changed in part",
            operation=operation,
            object=what,
            remedy="put a new value",
        )
    return jsontext.decode(text)


Derivation = MergePatch | SchemaMerge


def encode_derivation(derivation: Derivation) -> dict[str, str]:
    """Encode as a JSON value."""
    if isinstance(derivation, MergePatch):
        return {"patch": derivation.text}
    return {"merge": derivation.text, "schema": derivation.schema}


def decode_derivation(members: Mapping[str, Any]) -> Derivation:
    """Decode from a JSON value. Raises KeyError."""
    if "patch" in members:
        return MergePatch(str(members["patch"]))
    return SchemaMerge(str(members["merge"]), str(members["schema"]))


def schema_text(schema: object) -> str:
    """The canonical text of a schema; None is the empty schema. Raises `InvalidOption` if it is not a JSON object."""
    if schema is not None and not isinstance(schema, Mapping):
        raise InvalidOption(f"a schema is a JSON object, not {schema!r:.80}", operation="merge")
    try:
        members = {} if schema is None else dict(cast("Mapping[str, Any]", schema))
        return jsontext.encode(members, "schema")
    except InvalidValue as error:
        raise InvalidOption(f"a schema is a JSON object: {error.what}", operation="merge") from error


def check_schema(schema: Any) -> None:
    """Raise `InvalidOption` if the schema refers to other documents, which jsonmerge would fetch."""
    if not isinstance(schema, Mapping):
        raise InvalidOption("a schema is a JSON object", operation="merge")
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            members = cast("Mapping[str, Any]", part)
            target = members.get("$ref")
            if isinstance(target, str) and not target.startswith("#"):
                _refuse_remote(target)
            waiting.extend(members.values())
        elif isinstance(part, list):
            waiting.extend(cast("list[Any]", part))


def _refuse_remote(target: str) -> Any:
    raise InvalidOption(f"a schema may refer only to itself, not to {target!r:.200}", operation="merge")


class _MergePatchObjects:
    """The object strategy of RFC 7386: null deletes, and a non-object base counts as an empty object."""

    def __init__(self, jsonmerge_objects: Any, json_value: Any) -> None:
        self._objects = jsonmerge_objects
        self._value = json_value

    def merge(self, walk: Any, base: Any, head: Any, schema: Any, **options: Any) -> Any:
        """As `jsonmerge.strategies.Strategy.merge`."""
        if not walk.is_type(base, "object"):
            base = self._value(undef=True, ref=base.ref)
        if not walk.is_type(head, "object"):
            return self._objects.merge(walk, base, head, schema, **options)
        kept = self._value({name: part for name, part in head.val.items() if part is not None}, head.ref)
        merged = self._objects.merge(walk, base, kept, schema, **options)
        for name, part in head.val.items():
            if part is None:
                merged.val.pop(name, None)
        return merged


class _JsonMerge(NamedTuple):
    """The names used from jsonmerge."""

    merger: Any
    objects: _MergePatchObjects
    failures: tuple[type[Exception], ...]


@cache
def _jsonmerge() -> _JsonMerge:
    """Import jsonmerge at first use."""
    from jsonmerge import Merger
    from jsonmerge.exceptions import JSONMergeError
    from jsonmerge.jsonvalue import JSONValue
    from jsonmerge.strategies import ObjectMerge
    from jsonschema.exceptions import RefResolutionError

    wrong_schema = (TypeError, AttributeError, KeyError, ValueError, AssertionError, RecursionError)
    failures = (JSONMergeError, RefResolutionError, *wrong_schema)
    return _JsonMerge(Merger, _MergePatchObjects(ObjectMerge(), JSONValue), failures)
