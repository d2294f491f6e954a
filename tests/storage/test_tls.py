"""Certificates are checked, behind a proxy too."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from botocore.config import Config

from rxmps3.errors import Unavailable
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, open_storage
from tests.storage.scripted import Answer, ScriptedServer
from tests.storage.sessions import SESSIONS, session_of

FOUND = Answer(200, b"body", {"ETag": '"etag"'})


class Proxy:
    """Tunnels what is asked for with CONNECT to one port, whatever host was asked for."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked: list[str] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.partition("\r\n")[0])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._pumps.add(asyncio.ensure_future(_pump(source, sink)))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while part := await source.read(65536):
            sink.write(part)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()


@asynccontextmanager
async def a_tls_server(ca: trustme.CA, *names: str) -> AsyncIterator[ScriptedServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*names).configure_cert(context)
    async with ScriptedServer(FOUND, tls=context) as server:
        yield server


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(ca: trustme.CA, tmp_path: Path) -> str:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def through(proxy: Proxy | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if proxy is not None:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)


def options_of(server: ScriptedServer, host: str, how: str, verify: object) -> dict[str, Any]:
    """Options, given in one of the ways in which a client can be configured."""
    options = {**server.options, "endpoint_url": f"https://{host}:{server.port}", "verify": verify}
    if how in SESSIONS:
        names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
        options["session"] = session_of(how, **{name: options.pop(name) for name in names})
    elif how == "config":
        options["config"] = Config(read_timeout=5)
    return options


async def read(options: dict[str, Any]) -> Found:
    storage = open_storage("s3://bucket", clock=SystemClock(), **options)
    try:
        answer = await storage.get("a")
    finally:
        await storage.close()
    assert isinstance(answer, Found)
    return answer


WAYS = pytest.mark.parametrize("how", ["options", "config", *SESSIONS])
ROADS = pytest.mark.parametrize("proxied", [True, False], ids=["proxy", "direct"])


@WAYS
@ROADS
async def test_a_server_of_an_unknown_ca_is_not_read(
    ca: trustme.CA, how: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_tls_server(ca, "localhost") as server, Proxy(server.port) as proxy:
        through(proxy if proxied else None, monkeypatch)
        for verify in (None, True):
            with pytest.raises(Unavailable, match=r"(?i)certificate.*check endpoint_url, verify"):
                await read(options_of(server, "localhost", how, verify))
        assert not server.asked
        assert bool(proxy.asked) is proxied


@WAYS
@ROADS
async def test_a_known_ca_is_enough(
    ca: trustme.CA, bundle: str, how: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_tls_server(ca, "localhost") as server, Proxy(server.port) as proxy:
        through(proxy if proxied else None, monkeypatch)
        assert (await read(options_of(server, "localhost", how, bundle))).body == b"body"
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
        assert (await read(options_of(server, "localhost", how, None))).body == b"body"
        assert len(server.asked) == 2
        assert bool(proxy.asked) is proxied


@ROADS
async def test_a_certificate_of_another_host_is_not_believed(
    ca: trustme.CA, bundle: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_tls_server(ca, "elsewhere.example.com") as server, Proxy(server.port) as proxy:
        through(proxy if proxied else None, monkeypatch)
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await read(options_of(server, "localhost", "options", bundle))
        assert not server.asked


@ROADS
async def test_who_turns_verification_off_gets_none(
    ca: trustme.CA, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_tls_server(ca, "elsewhere.example.com") as server, Proxy(server.port) as proxy:
        through(proxy if proxied else None, monkeypatch)
        assert (await read(options_of(server, "localhost", "options", False))).body == b"body"


async def test_a_role_is_not_asked_for_at_a_forged_server(
    ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What credentials are fetched with is checked like what they are used for."""
    (tmp_path / "config").write_text(
        "[profile role]\nrole_arn=arn:aws:iam::123456789012:role/one\nsource_profile=source\nregion=eu-central-1\n"
        "[profile source]\naws_access_key_id=key\naws_secret_access_key=secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    names = ("sts.amazonaws.com", "sts.eu-central-1.amazonaws.com")
    async with a_tls_server(ca, *names) as server, Proxy(server.port) as proxy:
        through(proxy, monkeypatch)
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await read({"profile_name": "role", "endpoint_url": "https://s3.example.com"})
        assert proxy.asked
        assert "sts" in proxy.asked[0]
        assert not server.asked
