"""Conversion between Python types and JSON values: none for `Any`, pydantic's TypeAdapter for everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, Generic, Protocol, TypeVar, Union, cast, get_args, get_origin

from rxmps3.errors import Error, InvalidOption, InvalidValue, Unsupported
from rxmps3.model import jsontext, valuetext

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")
_MASK = "**********"
"""What pydantic's JSON has for a ``SecretStr`` or ``SecretBytes``, however it is displayed."""


class Codec(Protocol[T]):
    """Converts values of one type to JSON values and back. Both raise `InvalidValue` if a value does not fit."""

    def dump(self, value: T) -> Any: ...

    def load(self, value: Any) -> T: ...

    def again(self, text: str) -> str:
        """The JSON text after loading a JSON text and dumping it again. Raises `InvalidValue` if it does not fit."""
        ...

    def same(self, left: str, right: str) -> bool:
        """Whether two different dumped JSON texts represent equal values."""
        ...


class _Untyped:
    def dump(self, value: Any) -> Any:
        return value

    def load(self, value: Any) -> Any:
        return value

    def again(self, text: str) -> str:
        return text

    def same(self, left: str, right: str) -> bool:
        return False


class _Bytes(_Untyped):
    """The codec of ``bytes``, of ``Blob``, and of these or None."""

    def __init__(self, what: str, *, or_none: bool) -> None:
        self._what = what
        self._or_none = or_none

    def dump(self, value: Any) -> Any:
        return self.load(value)

    def load(self, value: Any) -> Any:
        if value is None and self._or_none:
            return None
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise InvalidValue(f"does not fit its type: not bytes: {value!r:.80}", object=self._what)
        return cast("Any", value)

    def again(self, text: str) -> str:
        return valuetext.encode(self.load(valuetext.decode(text, self._what)))


class _Typed(Generic[T]):
    """Validates with pydantic (the extra ``typed``) by its rules for JSON: strict types accept JSON's representations.

    Any exception of the type's validators or serializers means that the value does not fit.
    """

    def __init__(self, type: Any, what: str) -> None:
        try:
            from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter
        except ImportError:
            raise Unsupported(
                "types need pydantic, which is not installed",
                object=what,
                remedy="pip install 'rxmps3[typed]'",
            ) from None
        self._what = what
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(type)
            _ = self._adapter.core_schema["type"]  # raises if a name in it is not defined
        except Exception as error:  # not only pydantic's own: a dict, for one, is taken for a schema
            known = isinstance(error, (PydanticUserError, PydanticUndefinedAnnotation))
            reason = str(error).partition("\n")[0] if known else "it is none"
            raise InvalidOption(f"{type!r} is not a type that pydantic can check: {reason}", object=what) from None

    def dump(self, value: T) -> Any:
        """The JSON value that `load` accepts; an object modified after its creation is validated again."""
        try:
            checked = self._adapter.validate_python(value)
            dumped = self._adapter.dump_python(checked, mode="json", by_alias=True, round_trip=True, warnings=False)
            text = jsontext.encode(dumped, self._what)
            if "*" in text or self._has_serializers:
                self._refuse_masks(checked, dumped)
            self._adapter.validate_json(text)
        except Error:
            raise
        except Exception as error:
            raise InvalidValue(_told(error), operation="put", object=self._what) from None
        return dumped

    def _refuse_masks(self, checked: Any, dumped: Any) -> None:
        """Raise `InvalidValue` if what pydantic dumped has the mask of a secret in the secret's place."""
        plain = self._adapter.dump_python(checked, mode="python", by_alias=True, round_trip=True, warnings=False)
        where = _masked(plain, dumped)
        if where is not None:
            raise InvalidValue(
                f"a secret would be stored as its mask: {'.'.join(map(str, where)) or 'the value itself'}",
                operation="put",
                object=self._what,
                remedy="leave it out with Field(exclude=True) and a default, or tell its text with a field_serializer",
            )

    def load(self, value: Any) -> T:
        if isinstance(value, bytes):
            raise InvalidValue("does not fit its type: the key holds bytes", object=self._what)
        text = jsontext.encode(value, self._what)
        try:
            return self._adapter.validate_json(text)
        except Exception as error:
            raise InvalidValue(_told(error), object=self._what) from None

    def again(self, text: str) -> str:
        return jsontext.encode(self.dump(self.load(valuetext.decode(text, self._what))), self._what)

    @cached_property
    def _has_serializers(self) -> bool:
        return _mentions(self._adapter.core_schema, lambda schema: "serialization" in schema)

    @cached_property
    def _has_sets(self) -> bool:
        return _mentions(self._adapter.core_schema, lambda schema: schema.get("type") in ("set", "frozenset"))

    def same(self, left: str, right: str) -> bool:
        """Whether they differ only in the order of sets, which is arbitrary and varies between processes."""
        if len(left) != len(right) or not self._has_sets:
            return False
        one, other = valuetext.decode(left), valuetext.decode(right)
        try:
            return _without_order(one) == _without_order(other) and bool(self.load(one) == self.load(other))
        except Exception:
            return False  # they cannot be compared


def _masked(plain: Any, dumped: Any, where: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
    """Where a value dumped as JSON has the mask of a secret, seen beside the same value dumped as Python objects; None
    if nowhere."""
    if hasattr(plain, "get_secret_value"):
        return where if dumped and dumped in (str(plain), _MASK) and dumped != plain.get_secret_value() else None
    if isinstance(plain, dict) and isinstance(dumped, dict):
        here, there = cast("dict[Any, Any]", plain), cast("dict[str, Any]", dumped)
        if (found := _masked([*here], [*there], where)) is not None:
            return found
        pairs = zip(there, here.values(), there.values(), strict=False)
    elif isinstance(plain, (list, tuple, set, frozenset, deque)) and isinstance(dumped, list):
        several, texts = cast("Iterable[Any]", plain), cast("list[Any]", dumped)
        pairs = zip(range(len(texts)), several, texts, strict=False)
    else:
        return None
    found_in = (_masked(one, text, (*where, name)) for name, one, text in pairs)
    return next((found for found in found_in if found is not None), None)


def _mentions(schema: Any, what: Callable[[dict[Any, Any]], bool]) -> bool:
    """Whether a pydantic schema, or one within it, is of some kind."""
    if isinstance(schema, dict):
        members = cast("dict[Any, Any]", schema)
        return what(members) or any(_mentions(member, what) for member in members.values())
    return isinstance(schema, (list, tuple)) and any(_mentions(part, what) for part in cast("list[Any]", schema))


def _without_order(value: Any) -> str:
    """The text of a JSON value with all arrays sorted."""
    if isinstance(value, list):
        return f"[{','.join(sorted(map(_without_order, cast('list[Any]', value))))}]"
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return f"{{{','.join(f'{jsontext.encode(key)}:{_without_order(value)}' for key, value in sorted(members))}}}"
    return jsontext.encode(value)


def _told(error: Exception) -> str:
    """A one-line description of a validation error."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        parts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors()]
        return f"does not fit its type: {'; '.join(parts)}"
    reason = str(error).partition("\n")[0]
    return f"does not fit its type: {type(error).__name__}: {reason}".removesuffix(": ")


def codec_for(type: Any, what: str) -> Codec[Any]:
    """The codec of a type.

    Raises:
        Unsupported: pydantic is needed and not installed.
        InvalidOption: pydantic cannot validate this type.
    """
    members: tuple[Any, ...] = get_args(type) if get_origin(type) in (Union, UnionType) else (type,)
    some = [member for member in members if member is not NoneType]
    if some and all(member is bytes or member is valuetext.Blob for member in some):
        return _Bytes(what, or_none=len(some) < len(members))
    return cast("Codec[Any]", _Untyped() if type is Any or type is object else _Typed[Any](type, what))
