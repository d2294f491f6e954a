"""The rows of a mapping as a pandas or Arrow table (the extra ``tables``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, cast

from rxmps3.errors import InvalidValue, Unsupported

__all__ = ["to_arrow", "to_pandas"]

_KEY = "key"
_VALUE = "value"


def to_pandas(rows: Mapping[Any, Any]) -> Any:
    """A ``pandas.DataFrame`` indexed by key, with one column per field if all values have fields, else ``value``."""
    pandas = _package("pandas")
    keys, columns = list(rows), _columns(list(rows.values()))
    return pandas.DataFrame(columns, index=pandas.Index(keys, name=_KEY, tupleize_cols=False))


def to_arrow(rows: Mapping[Any, Any]) -> Any:
    """A ``pyarrow.Table`` with the keys in the column ``key``. Raises `InvalidValue` where Arrow has no type for it."""
    pyarrow = _package("pyarrow")
    columns = _columns(list(rows.values()))
    if _KEY in columns:
        raise InvalidValue(
            "a field has the name of the column for the keys", object=f"field {_KEY!r}", remedy="rename it by map"
        )
    try:
        return pyarrow.table({_KEY: list(rows), **columns})
    except pyarrow.ArrowException as error:
        raise InvalidValue(f"Arrow has no type for a column: {error}", operation="to_arrow") from None


def _columns(values: list[Any]) -> dict[str, list[Any]]:
    """The values by field; None if a row lacks it."""
    records = [_record(value) for value in values]
    if not all(record is not None for record in records):
        return {_VALUE: values}
    names = dict.fromkeys(name for record in records for name in record or ())
    return {name: [(record or {}).get(name) for record in records] for name in names}


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
