"""Several clients at once: does one of them win, and only one?"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from rxmps3.cli.doctor.facts import Races
from rxmps3.cli.doctor.under_test import StorageUnderTest
from rxmps3.errors import PreconditionFailed, Unavailable
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import ABSENT, Found, Matches, Precondition

__all__ = ["creates", "swaps"]

_CONTENDERS = 4
_AT_ONCE = 6
"""How many races, each on its own objects, run together."""


async def _race(place: StorageUnderTest, name: str, when: Precondition) -> tuple[list[bool | None], str, list[str]]:
    """Several puts of one name with one precondition at once.

    Returns:
        What each was told (None: nothing definite), what was kept, and what was wrong.
    """

    async def contend(number: int) -> bool | None:
        try:
            await place.put(name, f'"{number}"'.encode(), when=when)
        except PreconditionFailed:
            return False
        except Unavailable as error:
            if error.date is None:
                raise
            return None
        return True

    told = await all_of(map(contend, range(_CONTENDERS)))
    answer = await place.get(name)
    kept = answer.body.decode(errors="replace").strip('"') if isinstance(answer, Found) else ""
    wrong: list[str] = []
    if told.count(True) > 1:
        wrong.append(f"{told.count(True)} of {_CONTENDERS} concurrent puts were told that theirs succeeded")
    elif True in told and kept != str(told.index(True)):
        wrong.append("one put was told that it succeeded, and another body was kept")
    return told, kept, wrong


async def _run(rounds: int, one: Callable[[int], Coroutine[Any, Any, tuple[bool, list[str]]]]) -> Races:
    """So many rounds, some at a time; each says whether it was unsure and what was wrong."""

    unsure = 0
    wrong: list[str] = []
    for first in range(0, rounds, _AT_ONCE):
        for was_unsure, violations in await all_of(map(one, range(first, min(first + _AT_ONCE, rounds)))):
            unsure += was_unsure
            wrong += violations
    return Races(rounds, _CONTENDERS, unsure, tuple(wrong))


async def creates(place: StorageUnderTest, rounds: int) -> Races:
    async def one(number: int) -> tuple[bool, list[str]]:
        name = f"create-{number}"
        told, kept, wrong = await _race(place, name, ABSENT)
        if not kept:
            if None not in told:
                wrong.append("an object is not readable right after it was created")
            return True, wrong
        try:
            await place.put(name, b'"late"', when=ABSENT)
            wrong.append("a create of what exists was accepted")
        except PreconditionFailed:
            again = await place.get(name)
            if not isinstance(again, Found) or again.body.decode(errors="replace").strip('"') != kept:
                wrong.append("what was created was replaced by another create later")
        return True not in told, wrong

    return await _run(rounds, one)


async def swaps(place: StorageUnderTest, rounds: int) -> Races:
    async def one(number: int) -> tuple[bool, list[str]]:
        name = f"swap-{number}"
        before = await place.put(name, b'"before"')
        told, kept, wrong = await _race(place, name, Matches(before.etag))
        if kept == "before" and None not in told:
            wrong.append("If-Match with the current ETag was refused")
        try:
            await place.put(name, b'"stale"', when=Matches(before.etag))
            wrong.append("If-Match with a stale ETag was accepted")
        except PreconditionFailed:
            pass
        return True not in told, wrong

    return await _run(rounds, one)
