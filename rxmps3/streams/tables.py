"""The rows of a mapping as a pandas or Arrow table (the extra ``tables``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, cast

from rxmps3.errors import InvalidValue, Unsupported
from rxmps3.model.missing import MissingType

__all__ = ["to_arrow", "to_pandas"]

_KEY = "key"
_VALUE = "value"


def to_pandas(rows: Mapping[Any, Any]) -> Any:
    """A ``pandas.DataFrame`` indexed by key, with one column per field if all values have fields, else ``value``.

    `MISSING`, as of a left join, is None.
    """
    pandas = _package("pandas")
    keys, columns = list(map(_without_missing, rows)), _columns(list(rows.values()))
    return pandas.DataFrame(columns, index=pandas.Index(keys, name=_KEY, tupleize_cols=False))


def to_arrow(rows: Mapping[Any, Any]) -> Any:
    """A ``pyarrow.Table`` with the keys in the column ``key``; `MISSING`, as of a left join, is null.

    Raises:
        InvalidValue: Arrow has no type for a column.
    """
    pyarrow = _package("pyarrow")
    columns = _columns(list(rows.values()))
    if _KEY in columns:
        raise InvalidValue(
            "a field has the same name as the column of keys", object=f"field {_KEY!r}", remedy="rename it with map"
        )
    columns = {_KEY: list(map(_without_missing, rows)), **columns}
    return pyarrow.table({name: _arrow(pyarrow, name, values) for name, values in columns.items()})


def _arrow(pyarrow: Any, name: Any, values: list[Any]) -> Any:
    try:
        if not isinstance(name, str):
            raise TypeError("the name of a column is text")
        return pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise InvalidValue(
            f"Arrow has no type for it: {error}",
            operation="to_arrow",
            object=f"column {name!r:.80}",
            remedy="make its values alike with map",
        ) from None


def _columns(values: list[Any]) -> dict[str, list[Any]]:
    """The values by field; None if a row lacks it."""
    records = [_record(value) for value in values]
    if not all(record is not None for record in records):
        return {_VALUE: list(map(_without_missing, values))}
    names = dict.fromkeys(name for record in records for name in record or ())
    return {name: [_without_missing((record or {}).get(name)) for record in records] for name in names}


def _without_missing(value: Any) -> Any:
    """The value with None for `MISSING`, also within tuples, which pairs are."""
    if isinstance(value, MissingType):
        return None
    if value.__class__ is tuple:
        return tuple(map(_without_missing, cast("tuple[Any, ...]", value)))
    return value


def _record(value: Any) -> dict[str, Any] | None:
    """The fields of a dict, a dataclass or a model of pydantic's; None if it has none."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    model: Iterable[str] | None = getattr(value.__class__, "model_fields", None)
    return None if model is None else {name: getattr(value, name) for name in model}


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise Unsupported(
            f"{name} is not installed", operation=f"to_{name}", remedy="pip install 'rxmps3[tables]'"
        ) from None
