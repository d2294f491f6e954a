"""Fixtures: a proxy in front of a server, and the programs and places of ``tests/processes``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import Place, new_place
from tests.processes.conftest import start as start
from tests.processes.proxy import Proxy
from tests.servers import SeaweedFS


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[Proxy]:
    """A proxy in front of the shared SeaweedFS."""
    with Proxy(seaweedfs.endpoint_url) as one:
        yield one


@pytest.fixture
def direct(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place on SeaweedFS, reached without a proxy."""
    return new_place("seaweedfs", request)


@pytest.fixture
def through(direct: Place, proxy: Proxy) -> Place:
    """The same place as `direct`, reached through `proxy`."""
    return replace(direct, options={**direct.options, "endpoint_url": proxy.endpoint_url})


@pytest.fixture(params=["file", pytest.param("seaweedfs", marks=pytest.mark.seaweedfs)])
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place, on a directory and on a real S3 server."""
    return new_place(request.param, request)
