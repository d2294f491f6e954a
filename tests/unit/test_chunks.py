"""The laws of dividing a state into chunks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from rxmps3 import MISSING, Corrupt
from rxmps3.log import checkpoint_codec, chunks, codec
from rxmps3.log.checkpoint_codec import Checkpoint, ChunkRef
from rxmps3.log.chunks import Base, Run, divide, is_large, starts_chunk, weight_of
from rxmps3.log.codec import CheckpointRef, Head
from rxmps3.model.entries import Cell, ContentObject, Entries, Entry, cell_of
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import Mark, State
from tests.mutating import Mutant

REF = CheckpointRef(7, "inc/checkpoint/00000000000000000007-abc", "0" * 64, 1, "1" * 64)
PACKED = cell_of(Entry("w-1", ContentObject("values/@w-1.0", "0" * 64, 5, offset=3)))
CELLS: st.SearchStrategy[Cell] = st.one_of(
    st.integers(0, 60).map(lambda n: f"w-{n}\n{'1' * n or '0'}"), st.just(PACKED)
)
STATES = st.dictionaries(st.text("abé/", min_size=1, max_size=4), CELLS, max_size=60)
CUT = 60


@pytest.fixture(autouse=True)
def small(mutant: Mutant) -> None:
    mutant.replace(chunks.CUT, CUT, within=chunks)


def map_of(state: dict[str, Cell]) -> SortedMap[Cell]:
    keys = sorted(state)
    return SortedMap.of(keys, [state[key] for key in keys])


def named(parts: list[ChunkRef | Run]) -> tuple[ChunkRef, ...]:
    """The parts as chunks whose names say what they hold."""
    return tuple(
        part if isinstance(part, ChunkRef) else ChunkRef(part.first, repr(list(part.cells.items())), "", 1, part.weight)
        for part in parts
    )


@settings(max_examples=300)
@given(STATES)
def test_a_state_is_the_chunks_that_it_is_divided_into(state: dict[str, Cell]) -> None:
    cells = map_of(state)
    runs = divide(cells, None)
    assert all(isinstance(run, Run) and len(run.cells) for run in runs)
    assert list(SortedMap[Cell].joined(run.cells for run in runs if isinstance(run, Run)).items()) == list(
        cells.items()
    )
    for place, run in enumerate(runs):
        assert isinstance(run, Run)
        assert run.first == run.cells.at(0)[0]
        assert run.weight == sum(weight_of(key, cell) for key, cell in run.cells.items())
        begins = [key for key, cell in run.cells.items() if starts_chunk(key, weight_of(key, cell))]
        assert begins == [run.first] or (place == 0 and begins == [])
    assert is_large(cells) == (sum(run.weight for run in runs) > chunks.LARGE)


@settings(max_examples=500)
@given(STATES, st.dictionaries(st.text("abé/", min_size=1, max_size=4), st.one_of(st.none(), CELLS), max_size=12))
def test_a_changed_state_is_divided_as_if_it_had_never_been_another(
    state: dict[str, Cell], patch: dict[str, Cell | None]
) -> None:
    before = map_of(state)
    changed: dict[str, Any] = {key: MISSING if cell is None else cell for key, cell in patch.items()}
    after = before.update(changed)
    base = Base(REF, before, named(divide(before, None)))
    parts = divide(after, base)
    assert named(parts) == named(divide(after, None))
    touched = {key for key in patch if before.get(key) != after.get(key)}
    rewritten = [part for part in parts if isinstance(part, Run)]
    assert len(rewritten) <= 2 * len(touched)
    assert before.differing(after) == after.differing(before) == sorted(touched)


def test_the_mean_weight_is_about_what_is_asked_for(mutant: Mutant) -> None:
    cells = map_of({f"todo/{n:06}": f"w-1\n{n}" for n in range(20_000)})
    total = sum(weight_of(key, cell) for key, cell in cells.items())
    mutant.replace(chunks.CUT, 2_000, within=chunks)
    number = len(divide(cells, None))
    assert 0.8 < number * 2_000 / total < 1.2


@settings(max_examples=200)
@given(STATES.filter(bool), st.lists(st.text("abé/", max_size=3), min_size=1, max_size=3))
def test_no_chunk_that_some_prefixes_do_not_meet_has_a_key_of_theirs(
    state: dict[str, Cell], prefixes: list[str]
) -> None:
    kept, parts = Prefixes.of(prefixes), named(divide(map_of(state), None))
    ends = [*(part.first for part in parts[1:]), None]
    loaded = [part for part, end in zip(parts, ends, strict=True) if kept.meets(part.first, end)]
    keys = {key for part in loaded for key in state if repr(key) in part.name}
    assert {key for key in state if kept.has(key)} <= keys


@settings(max_examples=100)
@given(STATES.filter(bool))
def test_a_chunk_and_a_checkpoint_in_chunks_are_read_as_they_were_written(state: dict[str, Cell]) -> None:
    cells = map_of(state)
    body = b"".join(checkpoint_codec.chunk_parts(cells))
    assert list(checkpoint_codec.decode_chunk(body, "chunk").items()) == list(cells.items())
    assert b"".join(checkpoint_codec.chunk_parts(checkpoint_codec.decode_chunk(body, "chunk"))) == body
    chunk = ChunkRef(next(iter(cells)), f"{REF.name}.0", "2" * 64, len(body), 9)
    root = Checkpoint("inc", 7, "3" * 64, State(writers=Map(w=Mark(3, "n", None)), version="7"), (chunk,))
    read = checkpoint_codec.decode_state(checkpoint_codec.encode_root(root), "root", in_chunks=True)
    assert (read.chunks, read.state.writers, read.chain, read.seq) == (root.chunks, root.state.writers, root.chain, 7)


def test_the_hash_of_a_state_does_not_depend_on_what_its_chunks_are_called() -> None:
    def root(name: str, sha256: str) -> Checkpoint:
        return Checkpoint("inc", 7, "3" * 64, State(version="7"), (ChunkRef("a", name, sha256, 5, 9),))

    one = checkpoint_codec.digest_of_state(root("inc/checkpoint/00000000000000000001-x.0", "2" * 64))
    assert one == checkpoint_codec.digest_of_state(root("inc/checkpoint/00000000000000000007-y.3", "2" * 64))
    assert one != checkpoint_codec.digest_of_state(root("inc/checkpoint/00000000000000000001-x.0", "4" * 64))


def test_a_checkpoint_is_refused_where_another_kind_is_named() -> None:
    whole = checkpoint_codec.encode_state(State(Entries(map_of({"a": "w-1\n1"})), Map(), "7"), "inc", 7, "3" * 64)
    root = checkpoint_codec.encode_root(
        Checkpoint("inc", 7, "3" * 64, State(version="7"), (ChunkRef("a", f"{REF.name}.0", "2" * 64, 5, 9),))
    )
    with pytest.raises(Corrupt, match="in chunks"):
        checkpoint_codec.decode_state(root, "root")
    with pytest.raises(Corrupt, match="entries of its own"):
        checkpoint_codec.decode_state(whole, "whole", in_chunks=True)
    with pytest.raises(Corrupt, match="not a chunk"):
        checkpoint_codec.decode_chunk(root, "root")
    for old, new in (("-abc.0", "-abc"), ('"first":"a"', '"first":7'), ('"size":5', '"size":-5')):
        with pytest.raises(Corrupt):
            checkpoint_codec.decode_state(root.replace(old.encode(), new.encode()), "root", in_chunks=True)
    with pytest.raises(Corrupt, match="at least one"):
        checkpoint_codec.decode_state(b'{"chunks":[],"format":1,"requires":["chunks"]}', "root", in_chunks=True)


def test_a_head_requires_chunks_only_if_it_names_some() -> None:
    one = CheckpointRef(3, "inc/checkpoint/00000000000000000003-abc", "0" * 64, 1)
    assert b'"requires":[]' in codec.encode_head(Head("inc", "n", one))
    assert b"state" not in codec.encode_head(Head("inc", "n", one))
    for head in (Head("inc", "n", REF), Head("inc", "n", REF, (one,)), Head("inc", "n", one, tags={"t": REF})):
        body = codec.encode_head(head)
        assert b'"chunks"' in body
        assert codec.decode_head(body, "head") == head
    assert not one.contradicts(CheckpointRef(3, "other", "0" * 64, 1))
    assert one.contradicts(CheckpointRef(3, "other", "1" * 64, 1))
    other = CheckpointRef(7, "other", "9" * 64, 1, "1" * 64)
    assert not REF.contradicts(other)
    assert REF.contradicts(CheckpointRef(7, "other", "0" * 64, 1, "2" * 64))
    assert not REF.contradicts(CheckpointRef(7, "other", "8" * 64, 1)), "an older release has made it, in one object"
