"""The law of the past: whatever was written, by whomever, every earlier state can be had, and agrees with a witness."""

from __future__ import annotations

import asyncio
import json
from fractions import Fraction
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from reactivex import Subject

import rxmps3
from rxmps3 import MISSING, Database
from rxmps3.model import jsontext
from rxmps3.model.state import State, fold
from rxmps3.storage import MemoryStorage

Call = tuple[int, dict[str, Any], bool, int]
KEYS = ("a", "b", "c", "d/1", "d/2")
VALUES = st.sampled_from([0, 1, 1.0, True, None, "", "text", [1], {"x": 1}, "L" * 5000, MISSING])
CALLS = st.lists(
    st.tuples(
        st.integers(0, 1),  # which client
        st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3),
        st.booleans(),  # wait for the commit
        st.integers(0, 9),  # 0: compact
    ),
    min_size=1,
    max_size=25,
)
PARTS = st.fractions(0, 1, max_denominator=24)
"""Of the log, whose length depends on which writes share an entry."""


def on(storage: MemoryStorage) -> rxmps3.Connecting:
    return rxmps3.connect(storage, shared=False, poll=Subject())


def text(value: Any) -> str:
    return "missing" if value is MISSING else jsontext.encode(value)


async def values_of(db: Database, state: State) -> dict[str, Any]:
    return {key: json.loads(text) for key, text in sorted((await db.read_texts(state)).items())}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return {key: text(value) for key, value in one.items()} == {key: text(value) for key, value in other.items()}


@given(CALLS, PARTS, PARTS)
def test_the_past_agrees_with_a_witness(calls: list[Call], one: Fraction, other: Fraction) -> None:
    asyncio.run(check(calls, one, other))


async def check(calls: list[Call], one: Fraction, other: Fraction) -> None:
    storage = MemoryStorage()
    async with on(storage) as ana, on(storage) as bob, on(storage) as witness:
        states, versions = [State()], []

        def see(version: Any) -> None:
            versions.append(version)
            states.append(fold(states[-1], version))

        witness.versions.subscribe(see)
        await ana.put("a", "first")
        await witness.refresh()
        for who, values, wait, compact in calls:
            db = (ana, bob)[who]
            receipt = db.put_all(values)
            if wait:
                await receipt
            if not compact:
                await db.compact()
        for db in (ana, bob):
            await asyncio.gather(*db.pending.value)
        for db in (ana, bob, witness):
            await db.refresh()
        end = len(versions)
        assert witness.states.value.confirmed.version == str(end)
        pasts = [await bob.at(seq) for seq in range(end + 1)]
        whole = [await values_of(witness, state) for state in states]
        for past, state, values in zip(pasts, states, whole, strict=True):
            assert dict(past.entries) == dict(state.entries)
            assert same(await past.get_prefix(), values)
        for key in KEYS:
            # each write that counted, one by one
            expected: list[tuple[str, str, str]] = []
            folded = State()
            for version in versions:
                for write in version.writes:
                    held = key in folded
                    alone = rxmps3.ManifestVersion(version.id, version.writer, version.by, version.time, (write,))
                    folded = fold(folded, alone)
                    if key in write.update and (held or key in folded):
                        told = "missing"
                        if key in folded:
                            told = (await witness.read_texts({key: folded[key]}))[key]
                        expected.append((told, write.id.version, version.id))
            found = await bob.history(key)
            assert [(text(then.value), then.version, then.id) for then in found] == expected
        a, b = round(one * end), round(other * end)
        changed = {**whole[a], **{key: between.after for key, between in (await bob.diff(a, b)).items()}}
        assert same({key: value for key, value in changed.items() if value is not MISSING}, whole[b])
        for key, between in (await bob.diff(a, b)).items():
            assert text(between.before) == text(whole[a].get(key, MISSING))
        replayed = dict(whole[min(a, b)])
        for change in chain.from_iterable(await bob.replay(min(a, b), max(a, b), speed=None)):
            assert text(replayed.get(change.key, MISSING)) == text(change.before) != text(change.after)
            replayed[change.key] = change.after
        assert same({key: value for key, value in replayed.items() if value is not MISSING}, whole[max(a, b)])
        version = await ana.restore(a, "d/")
        await bob.refresh()
        expected_now = {key: value for key, value in whole[end].items() if not key.startswith("d/")}
        expected_now |= {key: value for key, value in whole[a].items() if key.startswith("d/")}
        assert same(await bob.get_prefix(), expected_now)
        assert bool(version) == (not same(expected_now, whole[end]))
        await ana.restore(a)
        await bob.refresh()
        assert same(await bob.get_prefix(), whole[a])
