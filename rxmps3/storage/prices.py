"""What requests and transfer cost, by provider. Pure.

Only what each request adds is here: no stored bytes, minimum charges, free allowances, volume discounts or taxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from rxmps3.errors import InvalidOption
from rxmps3.storage.metered import Usage

__all__ = ["FREE", "PRICES", "Prices", "checked_prices", "prices_at"]


@dataclass(frozen=True)
class Prices:
    """The prices of a storage.

    Attributes:
        name: of the provider and storage class.
        put, list, get, delete: money per 1,000 requests of that class; ``put`` includes COPY and POST.
        up, down: money per GB (10⁹ bytes) sent to and received from the storage.
        currency: of the money.
        source: where these prices are from, and when they were read there.

    Raises:
        InvalidOption: a price is not a number from 0 on, or the name or currency is not text.
    """

    name: str
    put: float = 0.0
    list: float = 0.0
    get: float = 0.0
    delete: float = 0.0
    up: float = 0.0
    down: float = 0.0
    currency: str = "USD"
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("put", "list", "get", "delete", "up", "down"):
            price: object = getattr(self, name)
            if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < float("inf"):
                raise InvalidOption(f"{name} is a price, a number from 0 on, not {price!r:.80}", operation="Prices")
        for name in ("name", "currency"):
            if not isinstance(getattr(self, name), str):
                raise InvalidOption(f"{name} is text, not {getattr(self, name)!r:.80}", operation="Prices")

    def of(self, usage: Usage) -> float:
        """What this usage costs."""
        requests = usage.puts * self.put + usage.lists * self.list + usage.gets * self.get + usage.deletes * self.delete
        return requests / 1e3 + (usage.bytes_up * self.up + usage.bytes_down * self.down) / 1e9


FREE: Final = Prices("free")

_EGRESS_APART: Final = "; without egress, which the contract limits instead of charging for"

PRICES: Final[dict[str, Prices]] = {
    "aws": Prices(
        "AWS S3 Standard, us-east-1",
        put=0.005,
        list=0.005,
        get=0.0004,
        down=0.09,
        source="https://aws.amazon.com/s3/pricing/, 2026-11-29; data to the internet, first 10 TB a month",
    ),
    "aws-express": Prices(
        "AWS S3 Express One Zone, us-east-1",
        put=0.00113,
        list=0.00113,
        get=0.00003,
        up=0.0032 * 1e9 / 2**30,
        down=0.0006 * 1e9 / 2**30 + 0.09,
        source="https://aws.amazon.com/s3/faqs/, 2026-11-29; data to the internet as with S3 Standard",
    ),
    "r2": Prices(
        "Cloudflare R2 Standard",
        put=0.0045,
        list=0.0045,
        get=0.00036,
        source="https://developers.cloudflare.com/r2/pricing/, 2026-11-29",
    ),
    "b2": Prices(
        "Backblaze B2",
        list=0.004,
        get=0.0004,
        down=0.01,
        source="https://www.backblaze.com/b2/b2-transactions-price.html, 2026-11-29",
    ),
    "gcs": Prices(
        "Google Cloud Storage Standard, one region",
        put=0.005,
        list=0.005,
        get=0.0004,
        down=0.12,
        source="https://cloud.google.com/storage/pricing-examples, 2026-11-29",
    ),
    "tigris": Prices(
        "Tigris Standard",
        put=0.005,
        list=0.005,
        get=0.0005,
        source="https://www.tigrisdata.com/pricing/ as quoted in api-evangelist/tigris-data, 2026-11-29",
    ),
    "wasabi": Prices("Wasabi", source="https://wasabi.com/pricing/faq, 2026-11-29" + _EGRESS_APART),
    "free": FREE,
}
"""By the name that ``prices=`` takes. A date is when a stored copy of the page was read."""

_BY_HOST: Final = {
    ".amazonaws.com": "aws",
    ".r2.cloudflarestorage.com": "r2",
    ".backblazeb2.com": "b2",
    "storage.googleapis.com": "gcs",
    ".storage.dev": "tigris",
    ".tigris.dev": "tigris",
    ".wasabisys.com": "wasabi",
}


def prices_at(url: str) -> Prices:
    """The prices at a storage's URL; those of AWS S3 Standard if the place is unknown or has none, as memory."""
    parts = urlsplit(url)
    if parts.netloc.endswith("--x-s3"):
        return PRICES["aws-express"]
    endpoint = next(iter(parse_qs(parts.query).get("endpoint_url", ())), "")
    host = f".{urlsplit(endpoint).hostname or ''}"
    return PRICES[next((name for end, name in _BY_HOST.items() if host.endswith(end)), "aws")]


def checked_prices(prices: Prices | str | None) -> Prices | None:
    """The prices that an option names. Raises `InvalidOption` if there are none of that name."""
    if prices is None or isinstance(prices, Prices):
        return prices
    if not isinstance(prices, str) or prices not in PRICES:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"there are no prices {prices!r}",
            operation="connect",
            remedy=f"one of {', '.join(PRICES)}, or rxmps3.Prices(…)",
        )
    return PRICES[prices]
