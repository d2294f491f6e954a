"""An S3 server of a few lines, for `ScriptedServer`: it can be as odd as servers are."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from tests.storage.scripted import Answer, Asked, refusal

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeS3:
    """One bucket by path, or by host name with ``by_host``.

    Attributes:
        in_order: False lists in an order of chance, which pages of one listing share.
        after: what becomes of ``start-after``.
        hides: names that a listing leaves out.
        dated: whether answers have a Date.
        refuse: answers a request instead, unless it returns None.
        page: the most names on a page.
    """

    in_order: bool = True
    after: Literal["kept", "ignored", "refused"] = "kept"
    hides: Callable[[str], bool] = lambda name: False
    dated: bool = True
    refuse: Callable[[Asked], Answer | None] = lambda asked: None
    page: int = 1000
    by_host: bool = False
    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    stored: dict[str, datetime] = field(default_factory=dict[str, datetime])
    seed: int = 1

    def __call__(self, asked: Asked) -> Answer:
        answer = self.refuse(asked) or self._answer(asked)
        date = format_datetime(datetime.now(UTC), usegmt=True) if self.dated else ""
        return Answer(answer.status, answer.body, {"Date": date, **answer.headers})

    def _answer(self, asked: Asked) -> Answer:
        path, _, query = asked.path.partition("?")
        name = unquote(path[1:] if self.by_host else path[1:].partition("/")[2])
        asks = dict(parse_qsl(query, keep_blank_values=True))
        if not name:
            if "session" in asks:
                return self._session()
            return self._list(asks)
        body = self.objects.get(name)
        match asked.method:
            case "PUT":
                absent, wanted = asked.headers.get("if-none-match"), asked.headers.get("if-match")
                if (absent and body is not None) or (wanted and (body is None or etag(body) != wanted)):
                    return refusal(412, "PreconditionFailed")
                self.objects[name] = asked.body
                self.stored[name] = datetime.now(UTC)
                return Answer(200, b"", {"ETag": etag(asked.body)})
            case "GET" if body is None:
                return refusal(404, "NoSuchKey")
            case "GET" if asked.headers.get("if-none-match") == etag(body or b""):
                return Answer(304)
            case "GET":
                return Answer(200, body or b"", {"ETag": etag(body or b""), "Last-Modified": self._stored(name)})
            case "DELETE":
                self.objects.pop(name, None)
                return Answer(204, headers={"Content-Length": ""})
            case method:
                raise AssertionError(method)

    def _list(self, asks: dict[str, str]) -> Answer:
        start = asks.get("start-after", "")
        if start and self.after == "refused":
            return refusal(501, "NotImplemented")
        names = sorted(
            name for name in self.objects if name.startswith(asks.get("prefix", "")) and not self.hides(name)
        )
        if start and self.after == "kept":
            names = [name for name in names if name > start]
        if not self.in_order:
            random.Random(self.seed).shuffle(names)
        begin = int(asks.get("continuation-token", "0"))
        end = begin + min(self.page, int(asks.get("max-keys", "1000")))
        more = end < len(names)
        lines = "".join(
            f"<Contents><Key>{escape(quote(name))}</Key><Size>{len(self.objects[name])}</Size>"
            f"<ETag>{escape(etag(self.objects[name]))}</ETag>"
            f"<LastModified>{self.stored.get(name, EPOCH):%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for name in names[begin:end]
        )
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        page = (
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{lines}</ListBucketResult>"
        )
        return Answer(200, page.encode(), {"Content-Type": "application/xml"})

    def _stored(self, name: str) -> str:
        """As a header has it."""
        return format_datetime(self.stored.get(name, EPOCH), usegmt=True)

    def _session(self) -> Answer:
        return Answer(
            200,
            b"<CreateSessionResult><Credentials><AccessKeyId>s</AccessKeyId><SecretAccessKey>x</SecretAccessKey>"
            b"<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
            b"</CreateSessionResult>",
            {"Content-Type": "application/xml"},
        )


def etag(body: bytes) -> str:
    """As of S3."""
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'
