"""Every test of behaviour runs on both faces of a database, from one text: see `tests.behaviour.facades`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.behaviour.facades import FACES, on_face
from tests.conftest import PLACES, Place, new_place, skip_where_not_meant

BESIDE = "-blocking"
IN_MEMORY = pytest.param(f"memory{BESIDE}")
ON_A_SERVER = pytest.param(f"seaweedfs{BESIDE}", marks=[pytest.mark.seaweedfs])
CHEAP_ON_A_SERVER = ("test_database", "test_handles", "test_receipts")
"""What is in the other modules costs more time there than it says about the face."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both faces; tests in places run in each on the async one, and in some of them on the blocking one, too."""
    faces = FACES[:1] if metafunc.definition.get_closest_marker("async_only") is not None else FACES
    if "place" not in metafunc.fixturenames:
        metafunc.parametrize("_face", faces, indirect=True)
        return
    cheap = metafunc.module.__name__.rpartition(".")[2] in CHEAP_ON_A_SERVER
    beside = [IN_MEMORY, *([ON_A_SERVER] if cheap else [])] if "blocking" in faces else []
    metafunc.parametrize("place", [*PLACES, *beside], indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place."""
    place = new_place(request.param.removesuffix(BESIDE), request)
    skip_where_not_meant(request.node, place)
    return place


@pytest.fixture(autouse=True)
def _face(request: pytest.FixtureRequest) -> Iterator[None]:
    """The face under test: a parameter, or told by the place."""
    face = getattr(request, "param", None)
    if face is None:
        face = "blocking" if request.node.callspec.params["place"].endswith(BESIDE) else "async"
    with on_face(face):
        yield
