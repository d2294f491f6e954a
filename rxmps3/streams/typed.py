"""Between Python types and JSON values: nothing for `Any`, pydantic's TypeAdapter for everything else."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, cast

from rxmps3.errors import Error, InvalidOption, InvalidValue, Unsupported
from rxmps3.model import jsontext

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns values of one type into JSON values and back. Both raise `InvalidValue` for what does not fit."""

    def dump(self, value: T) -> Any: ...

    def load(self, value: Any) -> T: ...

    def again(self, text: str) -> str:
        """The JSON text that the value of one is dumped to. Raises `InvalidValue` if it does not fit."""
        ...

    def same(self, left: str, right: str) -> bool:
        """Whether two different dumped JSON texts are of one value."""
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


class _Typed(Generic[T]):
    """Validates with pydantic (the extra ``typed``), whose rules for JSON hold: strict types take what JSON has.

    Whatever a validator or serializer of the type raises says that the value does not fit.
    """

    def __init__(self, type: Any, what: str) -> None:
        try:
            from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter
        except ImportError:
            raise Unsupported(
                "types are checked by pydantic, which is not installed",
                object=what,
                remedy="pip install 'rxmps3[typed]'",
            ) from None
        self._what = what
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(type)
            _ = self._adapter.core_schema["type"]  # raises if a name in it is not defined
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            reason = str(error).partition("\n")[0]
            raise InvalidOption(f"{type!r} is no type that pydantic can check: {reason}", object=what) from None

    def dump(self, value: T) -> Any:
        """The JSON value, which is what `load` takes: an object that was changed after it was made is checked, too."""
        try:
            checked = self._adapter.validate_python(value)
            dumped = self._adapter.dump_python(checked, mode="json", by_alias=True, round_trip=True, warnings=False)
            self._adapter.validate_json(jsontext.encode(dumped, self._what))
        except Error:
            raise
        except Exception as error:
            raise InvalidValue(_told(error), operation="put", object=self._what) from None
        return dumped

    def load(self, value: Any) -> T:
        text = jsontext.encode(value, self._what)
        try:
            return self._adapter.validate_json(text)
        except Exception as error:
            raise InvalidValue(_told(error), object=self._what) from None

    def again(self, text: str) -> str:
        return jsontext.encode(self.dump(self.load(jsontext.decode(text, self._what))), self._what)

    @cached_property
    def _has_sets(self) -> bool:
        return _mentions_sets(self._adapter.core_schema)

    def same(self, left: str, right: str) -> bool:
        """Whether they differ by the order of sets alone, which is nobody's choice and differs between processes."""
        if len(left) != len(right) or not self._has_sets:
            return False
        one, other = jsontext.decode(left), jsontext.decode(right)
        try:
            return _without_order(one) == _without_order(other) and bool(self.load(one) == self.load(other))
        except Exception:
            return False  # they cannot be compared


def _mentions_sets(schema: Any) -> bool:
    """Whether sets are among the types of a schema of pydantic's."""
    if isinstance(schema, dict):
        members = cast("dict[Any, Any]", schema)
        return members.get("type") in ("set", "frozenset") or any(map(_mentions_sets, members.values()))
    return isinstance(schema, (list, tuple)) and any(map(_mentions_sets, cast("list[Any]", schema)))


def _without_order(value: Any) -> str:
    """The text of a JSON value with all arrays sorted."""
    if isinstance(value, list):
        return f"[{','.join(sorted(map(_without_order, cast('list[Any]', value))))}]"
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return f"{{{','.join(f'{jsontext.encode(key)}:{_without_order(value)}' for key, value in sorted(members))}}}"
    return jsontext.encode(value)


def _told(error: Exception) -> str:
    """What does not fit, in one line."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        parts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors()]
        return f"does not fit its type: {'; '.join(parts)}"
    reason = str(error).partition("\n")[0]
    return f"does not fit its type: {type(error).__name__}: {reason}".removesuffix(": ")


def codec_for(type: Any, what: str) -> Codec[Any]:
    """The codec of a type.

    Raises:
        Unsupported: it needs pydantic and that is not installed.
        InvalidOption: pydantic cannot check such a type.
    """
    return cast("Codec[Any]", _Untyped() if type is Any or type is object else _Typed[Any](type, what))
