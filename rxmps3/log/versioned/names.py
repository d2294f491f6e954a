"""Format and parse the object names of a versioned manifest. Pure.

Below the prefix of the database::

    <manifest>                                                   its versions are the log
    <escaped key>                                                its versions are the key's values
    .rxmps3/<manifest>/checkpoint/<count, 20 digits>-<nonce>     the state after so many log versions

The slashes in the manifest's name are escaped too, so that it is one path segment and cannot contain another manifest.

Manifests below the same prefix share the object names of values. That is harmless: a log refers to a value by name
*and* version id, and no two writes share a version.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rxmps3.errors import InvalidKey
from rxmps3.model.names import MAX_NAME_BYTES, RESERVED, Layout, check_key, escape

__all__ = ["VersionedNames", "is_value_name"]

_COUNT_DIGITS = 20


def is_value_name(name: str, key: str) -> bool:
    """Whether an object's name is that of a key's values."""
    return name == escape(key)


@dataclass(frozen=True)
class VersionedNames:
    """The names of one manifest.

    Attributes:
        manifest: its name, any non-empty text.
        key_limit: the longest object name in bytes that the storage takes below its prefix.

    Raises:
        InvalidOption: the manifest's name is not usable.
    """

    manifest: str
    key_limit: int = MAX_NAME_BYTES
    object: str = field(init=False)
    """The manifest object."""
    checkpoints: str = field(init=False)
    """The folder of its checkpoints."""

    def __post_init__(self) -> None:
        folder = Layout(self.manifest, self.key_limit).root  # one segment: no folder within another
        object.__setattr__(self, "object", folder.removesuffix("/"))
        object.__setattr__(self, "checkpoints", f"{RESERVED}/{folder}checkpoint/")

    def check_key(self, key: object) -> str:
        """Return ``key`` if it is valid in this manifest.

        Raises:
            InvalidKey: as `layout.check_key`; or its object would be the manifest's own, or one that this package
                reserves.
        """
        checked = check_key(key, self.key_limit)
        name = escape(checked)
        if name == self.object:
            raise InvalidKey(
                "the object of this name is the manifest itself", object=f"key {key!r:.80}", remedy="choose another"
            )
        if name.startswith(RESERVED):
            raise InvalidKey(
                f"in this protocol no key may begin with {RESERVED!r}",
                object=f"key {key!r:.80}",
                remedy="choose another",
            )
        return checked

    def checkpoint(self, count: int, nonce: str) -> str:
        """The name of a checkpoint of the state after ``count`` versions."""
        return f"{self.checkpoints}{count:0{_COUNT_DIGITS}d}-{nonce}"

    def witness(self, id: str) -> str:
        """The object by which a client tells the time before it collects."""
        return f"{self.checkpoints.removesuffix('checkpoint/')}clock/{id}"

    def count_of(self, name: str) -> int | None:
        """How many versions the checkpoint of this name covers; None if this is not a checkpoint's name."""
        digits, dash, nonce = name.removeprefix(self.checkpoints).partition("-")
        if len(digits) != _COUNT_DIGITS or not (digits.isascii() and digits.isdigit()) or not dash or not nonce:
            return None
        return int(digits) if name == self.checkpoint(int(digits), nonce) else None
