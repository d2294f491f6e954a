"""Between Python types and JSON values: nothing for `Any`, pydantic's TypeAdapter for everything else."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, cast

from rxmps3 import jsontext
from rxmps3.errors import InvalidOption, InvalidValue, Unsupported

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns values of one type into JSON values and back. Both raise `InvalidValue` for what does not fit."""

    def dump(self, value: T) -> Any: ...

    def load(self, value: Any) -> T: ...


class _Untyped:
    def dump(self, value: Any) -> Any:
        return value

    def load(self, value: Any) -> Any:
        return value


class _Typed(Generic[T]):
    """Validates with pydantic (the extra ``typed``), whose rules for JSON hold: strict types take what JSON has."""

    def __init__(self, type: Any, what: str) -> None:
        try:
            from pydantic import PydanticUserError, TypeAdapter, ValidationError
        except ImportError:
            raise Unsupported(
                "types are checked by pydantic, which is not installed",
                object=what,
                remedy="pip install 'rxmps3[typed]'",
            ) from None
        self._what = what
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(type)
        except PydanticUserError as error:
            reason = str(error).partition("\n")[0]
            raise InvalidOption(f"{type!r} is no type that pydantic can check: {reason}", object=what) from None
        self._error = ValidationError

    def dump(self, value: T) -> Any:
        """The JSON value, which is what `load` takes: an object that was changed after it was made is checked, too."""
        try:
            checked = self._adapter.validate_python(value)
            dumped = self._adapter.dump_python(checked, mode="json", by_alias=True, round_trip=True, warnings=False)
            self._adapter.validate_json(jsontext.encode(dumped, self._what))
        except self._error as error:
            raise InvalidValue(_told(error), operation="put", object=self._what) from None
        return dumped

    def load(self, value: Any) -> T:
        try:
            return self._adapter.validate_json(jsontext.encode(value, self._what))
        except self._error as error:
            raise InvalidValue(_told(error), object=self._what) from None


def _told(error: Any) -> str:
    """A validation error in one line."""
    parts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors()]
    return f"does not fit its type: {'; '.join(parts)}"


def codec_for(type: Any, what: str) -> Codec[Any]:
    """The codec of a type.

    Raises:
        Unsupported: it needs pydantic and that is not installed.
        InvalidOption: pydantic cannot check such a type.
    """
    return cast("Codec[Any]", _Untyped() if type is Any or type is object else _Typed[Any](type, what))
