"""Values as text: JSON as `rxmps3.model.jsontext` writes it, and bytes. Pure.

Whatever compares, keeps or passes on a value does so by its text. The text of bytes begins with a control character,
which no JSON text does, and the content type; then each byte is one character. The text of a file that is to be
uploaded begins with another one: it says where the file is, not what is in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from rxmps3.errors import Corrupt, InvalidValue
from rxmps3.model import jsontext

__all__ = [
    "ANY_BYTES",
    "Blob",
    "FileRef",
    "body_of",
    "check_content_type",
    "decode",
    "encode",
    "file_of",
    "media_of",
    "size_of",
    "text_of_body",
]

ANY_BYTES = "application/octet-stream"
"""The content type of bytes without another one."""
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_MARK = "\1"
_FILE_MARK = "\2"
_MARKS = (_MARK, _FILE_MARK)
_ENCODING = "latin-1"
_MOST_TYPE_CHARACTERS = 200


class Blob(bytes):
    """Bytes with a content type. That is how bytes are read; any bytes can be put.

    Args:
        data: the bytes.
        content_type: their media type.
    """

    content_type: str

    def __new__(cls, data: bytes | bytearray | memoryview = b"", content_type: str = ANY_BYTES) -> Blob:
        """Make one.

        Raises:
            InvalidValue: the content type is empty, longer than 200 characters, or not printable ASCII.
        """
        blob = super().__new__(cls, data)
        blob.content_type = check_content_type(content_type)
        return blob

    def __repr__(self) -> str:
        return f"<Blob of {len(self):,} bytes, {self.content_type}>"

    __str__ = __repr__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """For notebooks: an image is shown."""
        shown: dict[str, Any] = {"text/plain": repr(self)}
        if self.content_type in _IMAGES:
            shown[self.content_type] = bytes(self)
        return shown

    def __reduce__(self) -> tuple[Any, ...]:
        return Blob, (bytes(self), self.content_type)


@dataclass(frozen=True)
class FileRef:
    """A file whose content is to become a value.

    Attributes:
        path: where it is, absolute.
        size: its bytes when it was put.
        modified: when it was last modified then, in nanoseconds since 1970.
        content_type: its media type.
    """

    path: str
    size: int
    modified: int
    content_type: str


_JSON = frozenset({dict, list, str, int, float, bool, type(None)})
"""The types of most values."""
_OTHER_THAN_JSON = (FileRef, bytes, bytearray, memoryview)


def check_content_type(content_type: object) -> str:
    """Return a content type that can be recorded. Raises `InvalidValue` as `Blob`."""
    if (
        not isinstance(content_type, str)
        or not 0 < len(content_type) <= _MOST_TYPE_CHARACTERS
        or not (content_type.isascii() and content_type.isprintable())
    ):
        raise InvalidValue(
            f"a content type is 1 to {_MOST_TYPE_CHARACTERS} printable ASCII characters, not {content_type!r:.80}",
            remedy=f"such as {ANY_BYTES!r}",
        )
    return content_type


def encode(value: Any, what: str = "value") -> str:
    """The text of a value: bytes, or what JSON can express. Bytes within JSON are refused.

    Raises:
        InvalidValue: as `rxmps3.model.jsontext.encode`.
    """
    if value.__class__ in _JSON or not isinstance(value, _OTHER_THAN_JSON):
        return jsontext.encode(value, what)
    if isinstance(value, FileRef):
        return _FILE_MARK + jsontext.encode(asdict(value), what)
    media = value.content_type if isinstance(value, Blob) else ANY_BYTES
    return text_of_body(bytes(cast("bytes | bytearray | memoryview", value)), media)


def decode(text: str, what: str = "value") -> Any:
    """The value of a text, a new one at every call. Raises `Corrupt` as `rxmps3.model.jsontext.decode`."""
    if not text.startswith(_MARKS):
        return jsontext.decode(text, what)
    media = media_of(text)
    return file_of(text) or Blob(body_of(text), media or ANY_BYTES)


def file_of(text: str) -> FileRef | None:
    """The file that a text stands for; None if it is a value's."""
    return FileRef(**jsontext.decode(text[1:], "file to be uploaded")) if text.startswith(_FILE_MARK) else None


def media_of(text: str) -> str | None:
    """The content type of bytes; None for JSON."""
    if not text.startswith(_MARKS):
        return None
    file = file_of(text)
    if file is not None:
        return file.content_type
    return text[1 : text.index("\n")]


def body_of(text: str) -> bytes:
    """The bytes that a value is stored as."""
    return text[text.index("\n") + 1 :].encode(_ENCODING) if text.startswith(_MARK) else text.encode()


def size_of(text: str) -> int:
    """How many bytes a value is stored as."""
    if not text.startswith(_MARKS):
        return len(text) if text.isascii() else len(text.encode())
    file = file_of(text)
    if file is not None:
        return file.size
    return len(text) - text.index("\n") - 1


def text_of_body(body: bytes, media: str | None) -> str:
    """The text of a value that is stored as these bytes.

    Raises:
        Corrupt: it is JSON (``media`` is None), and they are not UTF-8.
    """
    if media is not None:
        return f"{_MARK}{media}\n{body.decode(_ENCODING)}"
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Corrupt(f"not UTF-8: {error.reason} at byte {error.start}") from None
