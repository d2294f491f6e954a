"""Fixtures: places that several processes can share, and programs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Place, new_place
from tests.processes.programs import Program

SHARED_PLACES = [
    "file",
    "moto",
    pytest.param("seaweedfs", marks=pytest.mark.seaweedfs),
]
_PLAYERS = 4


@pytest.fixture(params=SHARED_PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place of each kind that several processes can use."""
    return new_place(request.param, request)


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Starts programs, which end with the test at the latest."""
    programs: list[Program] = []

    def start_one(script: str, *arguments: str, environment: dict[str, str] | None = None) -> Program:
        programs.append(Program(script, *arguments, environment=environment))
        return programs[-1]

    yield start_one
    for program in programs:
        program.discard()


@pytest.fixture(scope="session")
def _warm_players() -> Iterator[list[Program]]:
    """Players that tests use one after the other: an interpreter with everything imported takes its time to start."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        program.discard()


@pytest.fixture
def players(_warm_players: list[Program]) -> Iterator[list[Program]]:
    """Four processes that do what they are told; see ``scripts/player.py``. Not to be killed."""
    _warm_players.extend(Program("player.py") for _ in range(_PLAYERS - len(_warm_players)))
    yield _warm_players
    for program in list(_warm_players):
        if program.unanswered:  # the test ended early
            program.discard()
            _warm_players.remove(program)
        else:
            program.ask("close_all")
