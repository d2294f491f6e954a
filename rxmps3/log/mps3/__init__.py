"""The mps3 protocol for one manifest."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlsplit

from rxmps3.errors import Corrupt, Unsupported
from rxmps3.log.mps3.collecting import Mps3Collector
from rxmps3.log.mps3.log import Mps3Log
from rxmps3.log.mps3.names import parse_stamp
from rxmps3.log.mps3.placing import Mps3Placing
from rxmps3.log.mps3.probe import ensure_ordered_listing
from rxmps3.log.protocol import Context, Kit
from rxmps3.storage.base import Found, Storage

__all__ = ["is_there", "open_kit", "probe"]

TOUCHED = b'""'
"""The body of the manifest's own object."""
_MOST_TOUCHED = 1024


def open_kit(context: Context) -> Kit:
    """The mps3 log of a manifest.

    Raises:
        Unsupported: the storage lists in no particular order, so the newest operation would not come first.
    """
    if urlsplit(context.storage.url).netloc.endswith("--x-s3"):
        raise Unsupported(
            "a directory bucket lists in no order, and the mps3 log needs an ordered listing",
            operation="open",
            object=context.storage.url,
            remedy="use protocol='sequenced'",
        )
    log = Mps3Log(context)
    placing = Mps3Placing(context.manifest, context.storage.name_limit, context.clock, versioning=context.versioning)
    return Kit(
        "mps3",
        log,
        placing,
        Mps3Collector(context, log),
        suspect=log.suspect,
        probe=partial(ensure_ordered_listing, context.storage, context.clock),
    )


probe = ensure_ordered_listing


async def is_there(storage: Storage, manifest: str) -> bool:
    """Whether the manifest's own object or one of its operations exists."""
    try:
        touch = await storage.get(manifest, limit=_MOST_TOUCHED)
    except Corrupt:
        touch = None  # too large for a manifest object: it belongs to something else
    if isinstance(touch, Found) and touch.body.strip() == TOUCHED:
        return True
    prefix = f"{manifest}@"
    page = await storage.list(prefix, limit=10)
    return any(parse_stamp(one.name[len(prefix) :]) is not None for one in page.objects)
