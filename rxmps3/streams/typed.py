"""Between Python types and JSON values: nothing for `Any`, pydantic's TypeAdapter for everything else."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, cast

from rxmps3.errors import InvalidValue, Unsupported

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
    """Validates with pydantic (the extra ``typed``)."""

    def __init__(self, type: Any, what: str) -> None:
        try:
            from pydantic import TypeAdapter, ValidationError
        except ImportError:
            raise Unsupported(
                "types are checked by pydantic, which is not installed",
                object=what,
                remedy="pip install 'rxmps3[typed]'",
            ) from None
        self._what = what
        self._adapter: TypeAdapter[T] = TypeAdapter(type)
        self._error = ValidationError

    def dump(self, value: T) -> Any:
        try:
            return self._adapter.dump_python(self._adapter.validate_python(value), mode="json")
        except self._error as error:
            raise InvalidValue(_told(error), operation="put", object=self._what) from None

    def load(self, value: Any) -> T:
        try:
            return self._adapter.validate_python(value)
        except self._error as error:
            raise InvalidValue(_told(error), object=self._what) from None


def _told(error: Any) -> str:
    """A validation error in one line."""
    parts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors()]
    return f"does not fit its type: {'; '.join(parts)}"


def codec_for(type: Any, what: str) -> Codec[Any]:
    """The codec of a type. Raises `Unsupported` if it needs pydantic and that is not installed."""
    return cast("Codec[Any]", _Untyped() if type is Any or type is object else _Typed[Any](type, what))
