"""The mapping interface shared by a blocking database and a blocking view of its past."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any

from rxmps3.blocking.key_list import KeyList
from rxmps3.model.missing import MISSING
from rxmps3.runtime.no_pickle import BoundToProcess

__all__ = ["KeyMapping"]


class KeyMapping(BoundToProcess, Mapping[str, Any]):
    """A mapping over `get`, `get_prefix` and `keys`; compared by identity."""

    @abstractmethod
    def get(self, key: str, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value of a key; ``default`` if it is missing, or cannot be a key."""

    @abstractmethod
    def get_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None, timeout: float | None = None
    ) -> Mapping[str, Any]:
        """The values of the keys under a prefix at one moment."""

    @abstractmethod
    def keys(self, prefix: str = "") -> KeyList:  # pyright: ignore[reportIncompatibleMethodOverride]  # as on the async face
        """The keys under a prefix, sorted by code point; also a set. No I/O."""

    def items(self) -> ItemsView[str, Any]:
        """All keys and values at one moment."""
        return self.get_prefix().items()

    def values(self) -> ValuesView[Any]:
        """All values at one moment, in the order of their keys."""
        return self.get_prefix().values()

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, MISSING)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __eq__(self, other: object) -> bool:
        """Identity: comparing the contents would read both databases."""
        return self is other

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]  # a Mapping has none
        return id(self)
