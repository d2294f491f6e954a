"""Whether a manifest in the mps3 format is still the one that was read: it may have been deleted, or put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rxmps3.errors import Corrupt, Gone, Replaced
from rxmps3.log.mps3 import operation as codec
from rxmps3.log.mps3.known import Known, ListedOperation, version_in
from rxmps3.log.mps3.names import Stamp
from rxmps3.log.mps3.operation import MAX_OPERATION_BYTES, WINDOW, File, Operation
from rxmps3.storage.base import Found, Storage

__all__ = ["Checks"]

_VALUES_ASKED_FOR = 3
"""How many values are asked for when only they can tell whether the bucket was emptied."""


class Checks:
    """Compares what a look has found with what was known before it.

    Args:
        storage: where the manifest is.
        manifest: its name.
        known: what was read before.
    """

    def __init__(self, storage: Storage, manifest: str, known: Known) -> None:
        self.rests_on: Stamp | None = None
        """The newest operation before an own one that no look has followed yet."""
        self._storage = storage
        self._manifest = manifest
        self._known = known
        self._left_values: set[str] = set()

    async def check(self, listed: Sequence[ListedOperation], names: set[str], window: Sequence[Operation]) -> None:
        """Check a look before what it found is taken over.

        Args:
            listed: the operations that it takes.
            names: all operations that were listed, whether they count or not.
            window: the operations themselves.

        Raises:
            Gone: there are no operations any more.
            Replaced: the manifest is another one than was read.
        """
        await self._check_successor(listed)
        await self._check_vanished(listed)
        await self._check_values(listed, names, window)
        self._check_existence(window)

    async def _check_successor(self, listed: Sequence[ListedOperation]) -> None:
        """Check that the newest known operation is listed, unless it may have been collected.

        Only operations older than the window are collected, oldest first.

        Raises:
            Replaced: it is gone all the same.
        """
        known = self._known.newest
        if known is None or not listed:
            return
        stamps = [one.stamp for one in listed]
        if known in stamps or (stamps[0].time - known.time > WINDOW and stamps[-1].time > known.time):
            return
        answer = await self._storage.get(f"{self._manifest}@{known.text}", limit=MAX_OPERATION_BYTES)
        if not isinstance(answer, Found):
            raise Replaced(
                f"operation {known.text!r}, the newest that was read, is gone: the bucket was put back to an earlier "
                "copy, or the manifest made anew",
                object=f"manifest {self._manifest!r}",
                remedy="close the database and open it anew; nothing is written to it from here",
            )

    async def _check_vanished(self, listed: Sequence[ListedOperation]) -> None:
        """Check that the operations that are gone have left their values.

        A client that deletes an operation which seems to have come too late leaves them; a bucket that was put back to
        an earlier copy has neither.

        Raises:
            Replaced: a value is gone, too.
        """
        self._left_values &= self._known.seen.keys()
        vanished = {one.stamp.text for one in listed if one.vanished} - self._left_values
        for operation in self._known.window:
            if operation.stamp.text not in vanished:
                continue
            for name, file in operation.update.items():
                content = None if file is None else self._known.content_of(name, file)
                if content is None:
                    continue
                answer = await self._storage.get(content.name, version=content.version)
                if not isinstance(answer, Found):
                    raise Replaced(
                        f"operation {operation.stamp.text!r} is gone, and so is its value {content.name!r}: the bucket "
                        "was put back to an earlier copy",
                        object=f"manifest {self._manifest!r}",
                        remedy="close the database and open it anew; nothing is written to it from here",
                    )
            self._left_values.add(operation.stamp.text)

    async def _check_values(
        self, listed: Sequence[ListedOperation], names: set[str], window: Sequence[Operation]
    ) -> None:
        """Check that the state was not brought into an emptied bucket without its values.

        Each operation has the whole state. So one that arrives after a bucket was emptied looks like one before which
        everything was collected; only what it names tells, since no value is collected that the newest state names.

        Raises:
            Replaced: the operation that an own one followed, or the newest one that was known, is not there any more,
                and nothing of some values that the state had before and still has.
        """
        base, known = self.rests_on, self._known.newest
        doubted = [stamp for stamp in (base, known) if stamp is not None and stamp.text not in names]
        if listed and self._known.opened and doubted:
            files = codec.resolve(self._known.standing(window))
            own: Mapping[str, File | None] = self._known.window[0].update if base is not None else {}
            kept = [
                (name, file)
                for name, file in self._known.files.items()
                if name not in own and version_in(files, name) == file["version"]
            ]
            if kept and not await self._is_one_there(kept[-_VALUES_ASKED_FOR:]):
                raise Replaced(
                    f"operation {doubted[0].text!r} is gone, and so are values that are named since, such as that of "
                    f"{kept[-1][0]!r}, {kept[-1][1]['version']}: the bucket was emptied, and what a client wrote just "
                    "then has brought the state back without its values",
                    object=f"manifest {self._manifest!r}",
                    remedy="open it anew; restore the bucket, or put the keys again whose values are gone",
                )
        self.rests_on = None

    def _check_existence(self, window: Sequence[Operation]) -> None:
        if not window and self._known.window:
            raise Gone(
                "deleted: all its operations are gone",
                object=f"manifest {self._manifest!r}",
                remedy="close the database and open it anew, or restore the bucket",
            )

    async def _is_one_there(self, files: Sequence[tuple[str, File]]) -> bool:
        """Whether one of these values is there, as far as its key is one of this database."""
        asked = 0
        for name, file in files:
            content = self._known.content_of(name, file)
            if content is None:
                continue
            asked += 1
            try:
                answer = await self._storage.get(content.name, version=content.version, limit=MAX_OPERATION_BYTES)
            except Corrupt:
                return True  # larger than that, or damaged
            if isinstance(answer, Found):
                return True
        return not asked
