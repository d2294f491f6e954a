"""Every storage of this package keeps the contract that it ships."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Storage, open_storage
from rxmps3.storage.metered import MeteredStorage
from rxmps3.storage.patient import PatientStorage
from rxmps3.testing import FaultyStorage, ListingStorage, StorageContract, VersionedStorageContract, resend
from tests.conftest import new_place


class Opened:
    """Opens a fresh place of one kind for each test."""

    kind: str
    versioning = False

    @pytest.fixture
    async def storage(self, request: pytest.FixtureRequest) -> AsyncIterator[Storage]:
        place = new_place(self.kind, request, versioning=self.versioning)
        storage = open_storage(place.url, clock=SystemClock(), **place.options)
        yield storage
        await storage.close()


class TestMemory(Opened, StorageContract):
    kind = "memory"
    many = 1003


class TestVersionedMemory(Opened, VersionedStorageContract):
    kind = "memory"
    versioning = True


class TestDirectory(Opened, StorageContract):
    kind = "file"
    many = 1003


class TestMoto(Opened, StorageContract):
    kind = "moto"
    checks_sha256 = False
    contenders = 5


class TestVersionedMoto(Opened, VersionedStorageContract):
    kind = "moto"
    versioning = True
    checks_sha256 = False
    contenders = 5


@pytest.mark.seaweedfs
class TestSeaweedFS(Opened, StorageContract):
    kind = "seaweedfs"
    lists_in_byte_order = False
    longest_segment = 255


@pytest.mark.seaweedfs
class TestVersionedSeaweedFS(Opened, VersionedStorageContract):
    kind = "seaweedfs"
    versioning = True
    lists_in_byte_order = False
    longest_segment = 246
    contenders = 3  # each loser waits about a second


class TestWrapped(VersionedStorageContract):
    """Wrappers with nothing to do are a storage like the one inside."""

    @pytest.fixture
    async def storage(self) -> AsyncIterator[Storage]:
        clock = SystemClock()
        inner = open_storage("memory:", clock=clock, versioning=True)
        storage = MeteredStorage(PatientStorage(FaultyStorage(inner, resend(verbs=())), clock))
        yield storage
        await storage.close()


class TestUnordered(StorageContract):
    """Pages in no order, such as S3's directory buckets give."""

    lists_in_order = False
    lists_in_byte_order = False
    many = 103

    @pytest.fixture
    async def storage(self) -> AsyncIterator[Storage]:
        clock = SystemClock()
        storage = ListingStorage(open_storage("memory:", clock=clock), clock, in_order=False)
        yield storage
        await storage.close()


class TestLagging(StorageContract):
    """A listing that shows late what was put."""

    listing_lag = 0.02

    @pytest.fixture
    async def storage(self) -> AsyncIterator[Storage]:
        clock = SystemClock()
        storage = ListingStorage(open_storage("memory:", clock=clock), clock, lag=self.listing_lag)
        yield storage
        await storage.close()
