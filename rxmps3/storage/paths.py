"""Object names as file paths, both ways; pure.

A name of ``A-Za-z0-9-._~/%@`` is its own path. Anything else is written with ``=``, which no natural name holds:

- ``=XX`` is one byte of UTF-8;
- a component ``=`` is an empty segment (``a//b`` is ``a/=/b``);
- a component that ends in ``=`` goes on in the next one, since file systems take 255 bytes per component.

``.`` and ``..`` are escaped too, so a name never leaves its directory. On a file system that ignores case, capital
letters are escaped as well. Each name has exactly one path; other files are not objects.
"""

from __future__ import annotations

import re

__all__ = ["INTERNAL", "Paths", "goes_on"]

INTERNAL = ".=rxmps3"
"""A component that is the path of no name."""

_LONGEST = 255
_ESCAPE = re.compile("=([0-9A-F]{2})")


class Paths:
    """The two directions, for a file system that tells capital letters from small ones or does not."""

    def __init__(self, *, ignores_case: bool = False) -> None:
        letters = "a-z" if ignores_case else "A-Za-z"
        self._natural = re.compile(rf"[{letters}0-9\-._~%@]{{1,{_LONGEST}}}", re.ASCII)
        self._other = re.compile(rf"[^{letters}0-9\-._~%@]", re.ASCII)

    def components(self, name: str) -> list[str]:
        """The path of a name, as the components below the root."""
        return [component for segment in name.split("/") for component in self._of_segment(segment)]

    def directory(self, prefix: str) -> tuple[list[str], str]:
        """The deepest directory that holds every name of a prefix, and the part of the prefix that it stands for."""
        above, slash, _ = prefix.rpartition("/")
        return (self.components(above), above + slash) if slash else ([], "")

    def segment(self, component: str, begun: tuple[str, ...] = ()) -> str | None:
        """The segment of a name that ends with this component, None if there is none.

        Args:
            component: the last component of the segment.
            begun: the components before it, of a segment that is split.
        """
        if not begun and self._natural.fullmatch(component):
            return component
        text = "".join(one[:-1] for one in begun) + (component if component != "=" else "")
        if not text.isascii():
            return None
        try:
            segment = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1").decode()
        except UnicodeDecodeError:
            return None
        return segment if self._of_segment(segment) == (*begun, component) else None

    def _of_segment(self, segment: str) -> tuple[str, ...]:
        if self._natural.fullmatch(segment) and segment not in (".", ".."):
            return (segment,)
        if not segment:
            return ("=",)
        text = self._other.sub(_escaped, segment)
        components: list[str] = []
        while len(text) > _LONGEST:
            components.append(text[: _LONGEST - 1] + "=")
            text = text[_LONGEST - 1 :]
        return (*components, text.replace(".", "=2E") if text in (".", "..") else text)


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in match[0].encode())


def goes_on(component: str) -> bool:
    """Whether the next component belongs to the same segment."""
    return component.endswith("=") and component != "="
