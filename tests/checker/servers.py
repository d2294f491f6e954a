"""The servers of a run, each a process of its own, and a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import tests.servers
from tests.checker.raw import Bucket, Folder, Objects

SERVERS = ("seaweedfs", "ministack", "file")


class Server(Protocol):
    """Something that a run uses; enter it to start it."""

    endpoint_url: str | None

    def place(self, name: str, protocol: str) -> str:
        """The URL of a fresh database."""
        ...

    def options(self, endpoint_url: str | None) -> dict[str, Any]:
        """Options of a client that reaches it there."""
        ...

    def objects(self, url: str) -> Objects:
        """What lies there, read past everything."""
        ...

    def __enter__(self) -> Server: ...

    def __exit__(self, *_: object) -> None: ...


class _S3:
    endpoint_url: str | None

    def place(self, name: str, protocol: str) -> str:
        bucket = tests.servers.VERSIONED_BUCKET if protocol == "versioned" else tests.servers.SHARED_BUCKET
        return f"s3://{bucket}/{name}"

    def options(self, endpoint_url: str | None) -> dict[str, Any]:
        return {"endpoint_url": endpoint_url, **tests.servers.ADMIN.options}

    def objects(self, url: str) -> Objects:
        return Bucket(self.options(self.endpoint_url), url)


class SeaweedFS(_S3):
    """See `tests.servers.SeaweedFS`."""

    def __enter__(self) -> SeaweedFS:
        self._server = tests.servers.SeaweedFS()
        self._server.start()
        self.endpoint_url = self._server.endpoint_url
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


class Ministack(_S3):
    """A second server that shares nothing with the first: https://pypi.org/project/ministack/. It asks for another
    botocore than the tests, so it has an environment of its own.

    Args:
        command: the installed program.
    """

    def __init__(self, command: str) -> None:
        self._command = command

    def __enter__(self) -> Ministack:
        with socket.socket() as free:
            free.bind((tests.servers.HOST, 0))
            port = free.getsockname()[1]
        self.endpoint_url = f"http://{tests.servers.HOST}:{port}"
        self._directory = Path(tempfile.mkdtemp(prefix="ministack-"))
        environment = {
            **os.environ,
            "BIND_HOST": tests.servers.HOST,
            "GATEWAY_PORT": str(port),
            "SERVICES": "s3",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self._directory / "data"),
            "STATE_DIR": str(self._directory / "state"),
            "LOG_LEVEL": "WARNING",
        }
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._command], env=environment, stdout=log, stderr=log, cwd=self._directory, start_new_session=True
            )
        self._wait(port)
        for bucket, versioning in ((tests.servers.SHARED_BUCKET, False), (tests.servers.VERSIONED_BUCKET, True)):
            tests.servers.create_bucket(self.options(self.endpoint_url), bucket, versioning=versioning)
        return self

    def _wait(self, port: int) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection((tests.servers.HOST, port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        log = (self._directory / "log").read_text(errors="replace")[-2000:]
        self.__exit__()
        raise RuntimeError(f"ministack did not start:\n{log}")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


class Files:
    """A folder; there is no network between it and its clients."""

    endpoint_url = None

    def place(self, name: str, protocol: str) -> str:
        return f"file:{self._directory / name}"

    def options(self, endpoint_url: str | None) -> dict[str, Any]:
        return {}

    def objects(self, url: str) -> Objects:
        return Folder(Path(url.removeprefix("file:")))

    def __enter__(self) -> Files:
        self._directory = Path(tempfile.mkdtemp(prefix="checker-"))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def server_of(name: str, ministack: str | None = None) -> Server:
    """A server by its name.

    Args:
        name: one of `SERVERS`.
        ministack: the installed program, if it is not on the PATH.
    """
    if name == "seaweedfs":
        return SeaweedFS()
    if name == "file":
        return Files()
    command = ministack or shutil.which("ministack")
    if command is None:
        sys.exit(
            "there is no ministack on the PATH: python -m venv DIR && DIR/bin/pip install ministack, "
            "and name it: --ministack DIR/bin/ministack"
        )
    return Ministack(command)
