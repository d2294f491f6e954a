"""The receipts of a write into several manifests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Mapping

from rxmps3.replica.receipt import Receipt
from rxmps3.runtime.timeouts import checked_timeout

__all__ = ["Receipts"]


class Receipts(Mapping[str, Receipt]):
    """The receipts of one write per manifest, by the manifest's name.

    The writes are independent: one may be committed and another rejected, or committed much later. Awaiting waits for
    all of them and gives their version ids by manifest; it raises the first error once all have ended.
    """

    def __init__(self, receipts: Mapping[str, Receipt], monotonic: Callable[[], float]) -> None:
        self._receipts = dict(receipts)
        self._monotonic = monotonic

    def __getitem__(self, manifest: str) -> Receipt:
        return self._receipts[manifest]

    def __iter__(self) -> Iterator[str]:
        return iter(self._receipts)

    def __len__(self) -> int:
        return len(self._receipts)

    def done(self) -> bool:
        """Whether all of them have ended."""
        return all(receipt.done() for receipt in self._receipts.values())

    def __await__(self) -> Generator[object, None, dict[str, str]]:
        return self._all().__await__()

    async def _all(self) -> dict[str, str]:
        async def one(receipt: Receipt) -> str:
            return await receipt

        results = await asyncio.gather(*map(one, self._receipts.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return {name: receipt.version for name, receipt in self._receipts.items()}

    def wait(self, timeout: float | None = None) -> dict[str, str]:
        """Block until all are committed, on another thread than the event loop's.

        Args:
            timeout: seconds for all of them together; None waits as long as it takes.

        Raises:
            TimeoutError: not within that time.
            InvalidOption: ``timeout`` is no number.
            WrongLoop, Rejected, Closed, NotSent: as `Receipt.wait`.
        """
        timeout = checked_timeout(timeout, "wait")
        deadline = None if timeout is None else self._monotonic() + timeout
        for receipt in self._receipts.values():
            receipt.wait(None if deadline is None else max(0.0, deadline - self._monotonic()))
        return {name: receipt.version for name, receipt in self._receipts.items()}

    def __repr__(self) -> str:
        return f"<Receipts {', '.join(f'{name}: {receipt.stage}' for name, receipt in self._receipts.items())}>"
