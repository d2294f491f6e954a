"""Every test of behaviour runs on both faces of a database, from one text: see `tests.behaviour.facades`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.behaviour.facades import FACES, on_face
from tests.conftest import PLACES, Place, new_place, skip_where_not_meant

BESIDE = "-blocking"
BLOCKING_PLACES = [
    pytest.param(f"memory{BESIDE}"),
    pytest.param(f"seaweedfs{BESIDE}", marks=[pytest.mark.seaweedfs]),
]


@pytest.fixture(params=[*PLACES, *BLOCKING_PLACES])
def place(request: pytest.FixtureRequest) -> Place:
    """Each place on the async face, and some of them on the blocking one, too."""
    place = new_place(request.param.removesuffix(BESIDE), request)
    skip_where_not_meant(request.node, place)
    return place


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests without a place run on both faces, but for those that speak of one alone."""
    if "place" not in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("async_only") is not None
        metafunc.parametrize("_face", FACES[:1] if alone else FACES, indirect=True)


@pytest.fixture(autouse=True)
def _face(request: pytest.FixtureRequest) -> Iterator[None]:
    face = getattr(request, "param", None)
    if face is None:
        face = "blocking" if request.node.callspec.params["place"].endswith(BESIDE) else "async"
    only = request.node.get_closest_marker("async_only")
    if only is not None and face == "blocking":
        pytest.skip(f"the async face alone: {only.args[0]}")
    with on_face(face):
        yield
