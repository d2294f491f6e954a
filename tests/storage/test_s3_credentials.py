"""Credentials that change, end, hang or are missing while a database is open."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import AioSession

import rxmps3
from rxmps3.database import connect as connecting
from rxmps3.errors import AccessDenied, Closed, InvalidOption, Unavailable
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, open_storage, s3_credentials
from rxmps3.storage import s3_client as client
from tests.behaviour.helpers import eventually
from tests.mutating import Mutant
from tests.servers import ADMIN, SHARED_BUCKET, SeaweedFS
from tests.storage.scripted import Answer, Asked, ScriptedServer, refusal
from tests.storage.sessions import SESSIONS
from tests.storage.test_s3 import FOUND, opened


def knowing(*key_ids: str, code: str = "InvalidAccessKeyId", status: int = 403) -> Callable[[Asked], Answer]:
    """Answers whoever signs with one of these."""

    def answer(asked: Asked) -> Answer:
        who = asked.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        return FOUND if who in key_ids else refusal(status, code)

    return answer


def ids_of(server: ScriptedServer) -> list[str]:
    return [one.headers["authorization"].partition("Credential=")[2].partition("/")[0] for one in server.asked]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def keep(files: Path, key_id: str, secret: str = "x") -> None:
    (files / "credentials").write_text(f"[default]\naws_access_key_id={key_id}\naws_secret_access_key={secret}\n")


def program(files: Path, source: str) -> None:
    """Lets credentials come from a program."""
    (files / "program.py").write_text(source)
    (files / "config").write_text(f"[default]\ncredential_process={sys.executable} {files / 'program.py'}\n")


def server_options(server: ScriptedServer) -> dict[str, Any]:
    return {"endpoint_url": server.options["endpoint_url"], "region_name": "eu-central-1"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ExpiredToken"),
        (403, "InvalidAccessKeyId"),
        (400, "InvalidToken"),
        (403, "SignatureDoesNotMatch"),
        (401, "Unauthorized"),
    ],
)
async def test_a_renewed_file_is_used_once_the_old_keys_are_refused(files: Path, status: int, code: str) -> None:
    keep(files, "old")
    async with ScriptedServer(knowing("old")) as server, opened("s3://bucket", **server_options(server)) as storage:
        await storage.get("a")
        server.script = [knowing("new", status=status, code=code)]
        keep(files, "new")
        assert isinstance(await storage.get("a"), Found)
        assert isinstance(await storage.get("a"), Found)
        assert ids_of(server) == ["old", "old", "new", "new"]


async def test_a_policy_asks_nobody_for_others(files: Path) -> None:
    keep(files, "old")
    async with (
        ScriptedServer(knowing(code="AccessDenied")) as server,
        opened("s3://bucket", **server_options(server)) as storage,
    ):
        for _ in range(2):
            with pytest.raises(AccessDenied):
                await storage.get("a")
            keep(files, "new")
        assert ids_of(server) == ["old", "old"]


async def test_keys_that_were_given_are_never_changed(files: Path) -> None:
    keep(files, "other")
    async with (
        ScriptedServer(knowing()) as server,
        opened("s3://bucket", **server.options) as storage,
    ):
        with pytest.raises(AccessDenied):
            await storage.get("a")
        assert ids_of(server) == ["key"]


async def test_a_source_is_asked_with_back_off(files: Path) -> None:
    program(
        files,
        "import json, pathlib\n"
        f"log = pathlib.Path({str(files / 'log')!r})\n"
        "log.open('a').write('x')\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'old', 'SecretAccessKey': 'x'}))\n",
    )
    async with ScriptedServer(knowing()) as server, opened("s3://bucket", **server_options(server)) as storage:
        for _ in range(20):
            with pytest.raises(AccessDenied):
                await storage.get("a")
        assert len(server.asked) == 20
        assert len((files / "log").read_text()) <= 3


async def test_a_source_that_hangs_is_named_and_its_program_ended(files: Path, mutant: Mutant) -> None:
    mutant.replace(client._PATIENCE, 0.5, within=client)
    program(
        files,
        f"import os, pathlib, time\npathlib.Path({str(files / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n",
    )
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        began = time.monotonic()
        with pytest.raises(AccessDenied, match=r"no credentials came from custom-process within 0\.5 s"):
            await storage.get("a")
        assert time.monotonic() - began < 10
        assert not server.asked
        with pytest.raises(ProcessLookupError):
            os.kill(int((files / "pid").read_text()), 0)


@pytest.mark.parametrize(
    "output", ["hello", "[]", "{}", '{"Version": 1}', '{"Version": 1, "AccessKeyId": "a"}', '{"Version": 9}']
)
async def test_a_program_that_prints_no_credentials_is_named(files: Path, output: str) -> None:
    program(files, f"print({output!r})\n")
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        with pytest.raises(AccessDenied, match="custom-process"):
            await storage.get("a")
        assert not server.asked


async def test_a_token_file_that_is_missing_is_named(files: Path) -> None:
    (files / "config").write_text(
        "[default]\nrole_arn=arn:aws:iam::123456789012:role/x\nweb_identity_token_file=/no/token\n"
    )
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        with pytest.raises(AccessDenied, match=r"assume-role-with-web-identity.*/no/token"):
            await storage.get("a")
        assert not server.asked


async def test_closing_ends_who_waits_for_a_source_that_hangs(files: Path) -> None:
    program(files, "import time\ntime.sleep(600)\n")
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        task = asyncio.ensure_future(storage.get("a"))
        await asyncio.sleep(0.3)
        await storage.close()
        with pytest.raises(Closed):
            await asyncio.wait_for(task, 5)


async def test_a_source_that_wants_to_ask_somebody_is_refused(files: Path) -> None:
    (files / "config").write_text(
        "[default]\nrole_arn=arn:aws:iam::123456789012:role/one\nsource_profile=source\n"
        "mfa_serial=arn:aws:iam::123456789012:mfa/ann\nregion=eu-central-1\n"
        "[profile source]\naws_access_key_id=key\naws_secret_access_key=secret\n"
    )
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        with pytest.raises(AccessDenied, match="mfa/ann"):
            await storage.get("a")
        assert not server.asked


SHORT = """
import datetime, json, pathlib, time
log = pathlib.Path({log!r})
number = len(log.read_text()) if log.exists() else 0
log.open("a").write("x")
if number:
    time.sleep({pause})
    if {fails}:
        raise SystemExit("the vault is sealed")
ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds={first} if not number else 3600)
print(json.dumps({{"Version": 1, "AccessKeyId": f"key{{number}}", "SecretAccessKey": "x", "SessionToken": "t",
    "Expiration": ends.isoformat()}}))
"""


async def test_a_refresh_comes_ahead_and_holds_up_nobody(files: Path, mutant: Mutant) -> None:
    mutant.replace(s3_credentials._NOT_SOONER, 0.0, within=s3_credentials)
    program(files, SHORT.format(log=str(files / "log"), pause=1.0, first=300, fails=False))
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        await storage.get("a")
        longest = 0.0
        while ids_of(server)[-1] == "key0":
            began = time.monotonic()
            await storage.get("a")
            longest = max(longest, time.monotonic() - began)
        assert longest < 0.7
        assert ids_of(server)[-1] == "key1"


async def test_credentials_that_have_ended_are_fetched_before_the_next_request(files: Path) -> None:
    program(files, SHORT.format(log=str(files / "log"), pause=0, first=-1, fails=False))
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        await storage.get("a")
        await storage.get("a")
        assert ids_of(server) == ["key0", "key1"]


async def test_a_refresh_that_fails_is_one_line_and_not_for_each_request(
    files: Path, mutant: Mutant, caplog: pytest.LogCaptureFixture
) -> None:
    mutant.replace(s3_credentials._NOT_SOONER, 0.0, within=s3_credentials)
    program(files, SHORT.format(log=str(files / "log"), pause=0, first=300, fails=True))
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        await storage.get("a")
        with caplog.at_level(logging.WARNING):
            for _ in range(50):
                await storage.get("a")
            await eventually(lambda: caplog.messages)
            for _ in range(50):
                await storage.get("a")
        told = [one for one in caplog.records if one.name.startswith(("rxmps3", "botocore", "aiobotocore"))]
        assert 1 <= len(told) <= 2
        assert "the vault is sealed" in told[0].getMessage()
        assert not any(one.exc_info for one in told)
        assert set(ids_of(server)) == {"key0"}


async def test_a_role_that_is_asked_for_in_vain_leaves_no_traceback(
    files: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedServer(refusal(403, "AccessDenied")) as sts, ScriptedServer(FOUND) as server:
        (files / "config").write_text(
            "[default]\nrole_arn=arn:aws:iam::123456789012:role/one\nsource_profile=source\nservices=mine\n"
            f"region=eu-central-1\n[services mine]\nsts =\n  endpoint_url={sts.options['endpoint_url']}\n"
            "[profile source]\naws_access_key_id=key\naws_secret_access_key=secret\n"
        )
        async with opened("s3://bucket", **server_options(server)) as storage:
            with caplog.at_level(logging.WARNING):
                for _ in range(10):
                    with pytest.raises(AccessDenied):
                        await storage.get("a")
            assert 1 <= len(sts.asked) <= 3
            assert not server.asked
            assert not [one for one in caplog.records if one.exc_info]


@pytest.mark.parametrize("library", SESSIONS)
async def test_a_session_that_reads_a_file_goes_on_with_the_new_one(library: str, files: Path) -> None:
    keep(files, "old")
    if library == "aioboto3":
        import aioboto3

        session: Any = aioboto3.Session()
    else:
        from aiobotocore.session import AioSession

        session = AioSession()
    async with (
        ScriptedServer(knowing("old")) as server,
        opened("s3://bucket", session=session, **server_options(server)) as storage,
    ):
        await storage.get("a")
        keep(files, "new")
        server.script = [knowing("new")]
        await storage.get("a")
        assert ids_of(server) == ["old", "old", "new"]


@pytest.mark.seaweedfs
async def test_a_database_goes_on_when_the_file_is_renewed(seaweedfs: SeaweedFS, files: Path) -> None:
    keep(files, "gone", "away")
    url, endpoint = f"s3://{SHARED_BUCKET}/renewed", seaweedfs.endpoint_url
    options: dict[str, Any] = {"endpoint_url": endpoint, "region_name": "us-east-1", "local": files / "local"}
    async with rxmps3.connect(url, online=False, **options) as db:
        await db.put("a", 1).stored
    async with asyncio.timeout(40):
        db = await rxmps3.connect(url, poll=0.2, **options)
    try:
        receipt = db.put("b", 2)
        await eventually(lambda: isinstance(db.status.value.last_error, AccessDenied))
        keep(files, ADMIN.access_key, ADMIN.secret_key)
        await receipt
        assert db.status.value.last_error is None
    finally:
        await db.close()


# What makes no sense is said before anything is sent


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"aws_access_key_id": "key\n"}, "aws_access_key_id begins or ends with white space"),
        ({"aws_secret_access_key": "secret\r\n"}, "aws_secret_access_key begins or ends with white space"),
        ({"aws_session_token": " token"}, "aws_session_token begins or ends with white space"),
        ({"region_name": "eu-central-1\n"}, "region_name begins or ends with white space"),
        ({"endpoint_url": "http://127.0.0.1:1\n"}, "endpoint_url begins or ends with white space"),
        ({"endpoint_url": ""}, "endpoint_url is empty"),
        ({"verify": "/no/such/file.pem"}, "no certificates at '/no/such/file.pem'"),
        ({"verify": "/"}, "no certificates at '/'"),
        ({"verify": 5}, "verify is True, False or a file"),
        ({"config": {}}, "config is a botocore Config"),
        ({"headers": {"x-a": 5}}, "header x-a has a value that is not"),
        ({"headers": {"x-a": "b\r\nx-c: d"}}, "header x-a has a value that is not"),
        ({"headers": {"x a": "b"}}, "'x a' is not the name of a header"),
        ({"SSECustomerKey": "short"}, "SSECustomerKey is a key of 32 bytes"),
        ({"SSECustomerKey": 5}, "SSECustomerKey is a key of 32 bytes"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], what: str) -> None:
    given = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", **options}
    with pytest.raises(InvalidOption, match=what) as caught:
        open_storage("s3://bucket", clock=SystemClock(), **given)
    assert "secret\r" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1\n", "the endpoint"),
        ("AWS_DEFAULT_REGION", "eu-central-1\n", "region"),
        ("AWS_CA_BUNDLE", "/no/such/file.pem", "no certificates at '/no/such/file.pem'"),
    ],
)
def test_an_environment_that_makes_no_sense(name: str, value: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidOption, match=what):
        open_storage("s3://bucket", clock=SystemClock())


async def test_keys_of_the_environment_with_a_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret\n")
    async with ScriptedServer(FOUND) as server, opened("s3://bucket", **server_options(server)) as storage:
        with pytest.raises(InvalidOption, match="the secret from env begins or ends with white space") as caught:
            await storage.get("a")
        assert "very-secret" not in str(caught.value)
        assert not server.asked


@pytest.mark.parametrize("library", ["boto3", "botocore"])
def test_a_session_that_waits_is_refused(library: str) -> None:
    import boto3
    from botocore.session import Session

    session = boto3.Session() if library == "boto3" else Session()
    with pytest.raises(InvalidOption, match=rf"not a {library} Session.*aioboto3\.Session"):
        open_storage("s3://bucket", clock=SystemClock(), session=session)


async def test_an_open_ends_though_a_source_of_credentials_takes_no_notice(mutant: Mutant) -> None:
    """It hangs, and goes on hanging when it is told to stop."""
    mutant.replace(connecting._PATIENCE_TO_LOAD, 1.0, within=connecting)
    over = asyncio.Event()
    session: Any = AioSession

    class Stubborn(session):
        async def get_credentials(self) -> Any:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    asyncio.current_task().uncancel()  # type: ignore[union-attr]

    async with ScriptedServer(FOUND) as server:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer came within 1 s.*what gives the credentials"):
            await rxmps3.connect("s3://bucket", session=Stubborn(), shared=False, **server_options(server))
        assert time.monotonic() - began < 8
        assert not server.asked
    over.set()
    await asyncio.sleep(0.05)


@pytest.mark.heavy
async def test_an_open_at_a_server_that_never_answers_ends_after_half_a_minute() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await rxmps3.connect("s3://bucket", endpoint_url=f"http://127.0.0.1:{port}", **ADMIN.options, shared=False)
    assert 15 < time.monotonic() - began < 36
    silent.close()
