"""Real S3 servers on this machine, for tests."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
_GRPC_OFFSET = 10_000  # SeaweedFS listens there too, for each of its ports


@dataclass(frozen=True)
class Credentials:
    """One identity of a server."""

    access_key: str
    secret_key: str

    @property
    def options(self) -> dict[str, Any]:
        """As options of `rxmps3.connect`."""
        return {
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": "us-east-1",
        }


ADMIN = Credentials("admin", "admin-secret")
"""May do everything, also create buckets by putting into them."""
MEMBER = Credentials("member", "member-secret")
"""May do everything below `MEMBER_PREFIX` of `SHARED_BUCKET`, and nothing elsewhere."""
READER = Credentials("reader", "reader-secret")
"""May get and list in `SHARED_BUCKET`."""
GETTER = Credentials("getter", "getter-secret")
"""May get in `SHARED_BUCKET`, but not list."""

SHARED_BUCKET = "shared"
VERSIONED_BUCKET = "versioned"
MEMBER_PREFIX = "member/"

_IDENTITIES = {
    ADMIN: ["Admin", "Read", "Write", "List", "Tagging"],
    MEMBER: [f"{verb}:{SHARED_BUCKET}/{MEMBER_PREFIX}*" for verb in ("Read", "Write", "List")],
    READER: [f"Read:{SHARED_BUCKET}", f"List:{SHARED_BUCKET}"],
    GETTER: [f"Read:{SHARED_BUCKET}"],
}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, each with its gRPC sibling, below those that outgoing connections are given."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(11_000, 11_000 + _GRPC_OFFSET)
        with socket.socket() as own, socket.socket() as sibling:
            try:
                own.bind((HOST, port))
                sibling.bind((HOST, port + _GRPC_OFFSET))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


class SeaweedFS:
    """One SeaweedFS process with all its parts. It enforces signatures, identities, checksums and preconditions.

    `kill` and `start` again on the same directory is a server crash; what was acknowledged is still there.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="seaweedfs-")) if directory is None else directory
        self._owns_directory = directory is None
        self._ports = dict(zip(("s3", "master", "volume", "filer", "admin"), free_ports(5), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self._ports['s3']}"

    def options(self, credentials: Credentials = ADMIN) -> dict[str, Any]:
        """Options of `rxmps3.connect` for one identity."""
        return {"endpoint_url": self.endpoint_url, **credentials.options}

    def create_bucket(self, bucket: str, *, versioning: bool = False) -> None:
        """Create a bucket. A put by `ADMIN` does that too."""
        create_bucket(self.options(), bucket, versioning=versioning)

    def start(self) -> None:
        """Start, and return when it takes writes. The first start creates `SHARED_BUCKET` and `VERSIONED_BUCKET`."""
        data = self.directory / "data"
        is_new = not data.exists()
        data.mkdir(parents=True, exist_ok=True)
        config = self.directory / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": who.access_key,
                            "credentials": [{"accessKey": who.access_key, "secretKey": who.secret_key}],
                            "actions": actions,
                        }
                        for who, actions in _IDENTITIES.items()
                    ]
                }
            )
        )
        command = [
            str(Path(sysconfig.get_path("scripts")) / "weed"),
            "mini",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            "-master.telemetry=false",
            f"-s3.config={config}",
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *(f"-{part}.port={port}" for part, port in self._ports.items()),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self.directory
            )
        self._wait(60)
        if is_new:
            self.create_bucket(SHARED_BUCKET)
            self.create_bucket(VERSIONED_BUCKET, versioning=True)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if self._answers("s3", "/healthz") and self._answers("master", "/dir/assign"):
                return
            time.sleep(0.05)
        log = (self.directory / "log").read_text(errors="replace")
        self.kill()
        raise RuntimeError(f"SeaweedFS did not start:\n{log[-3000:]}")

    def _answers(self, part: str, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self._ports[part]}{path}", timeout=2) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        for port in self._ports.values():
            for name in Path("/tmp").glob(f"seaweedfs-*-*{port % _GRPC_OFFSET:04d}.sock"):
                if name.stem.rpartition("-")[2] in (str(port), str(port + _GRPC_OFFSET)):
                    name.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and remove its data."""
        self.kill()
        if self._owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _OneAtATime:
    """Serves one request after the other: moto's conditional create is not safe between its threads (of two
    concurrent creates of one name both may succeed), which no real store does."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        with self._lock:
            return list(self._app(environ, start_response))


class Moto:
    """A moto server in a thread of this process. It checks neither signatures nor checksums. A start creates
    `SHARED_BUCKET` and `VERSIONED_BUCKET`.
    """

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)

    @property
    def endpoint_url(self) -> str:
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def options(self, credentials: Credentials = ADMIN) -> dict[str, Any]:
        """Options of `rxmps3.connect`."""
        return {"endpoint_url": self.endpoint_url, **credentials.options}

    def create_bucket(self, bucket: str, *, versioning: bool = False) -> None:
        """Create a bucket, which must not exist."""
        create_bucket(self.options(), bucket, versioning=versioning)

    def __enter__(self) -> Moto:
        self._server.start()
        server: Any = self._server._server
        server.app = _OneAtATime(server.app)
        self.create_bucket(SHARED_BUCKET)
        self.create_bucket(VERSIONED_BUCKET, versioning=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def create_bucket(options: dict[str, Any], bucket: str, *, versioning: bool) -> None:
    """Create a bucket on either server."""
    import boto3

    with closing(boto3.client("s3", **options)) as client:
        client.create_bucket(Bucket=bucket)
        if versioning:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def isolated_aws_environment(home: Path) -> dict[str, str]:
    """``os.environ`` for a test: no credentials, profiles or metadata service of the machine's owner."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        kept["AWS_CA_BUNDLE"] = bundle
    return kept | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(home / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "aws-credentials"),
    }
