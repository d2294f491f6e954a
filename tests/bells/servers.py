"""Real servers that carry bells, on this machine. Each can be killed and started again at the same address."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from rxmps3 import bells
from rxmps3.bells import Bell
from tests.cli.commands import environment
from tests.servers import HOST, Moto, free_ports

__all__ = ["TOKEN", "HttpServer", "NatsServer", "RedisServer", "Server", "SqsQueue"]

TOKEN = "a-secret-of-this-test"


class Server:
    """A process that listens at a port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def bell(self, secret: str = TOKEN) -> Bell:
        """A bell over this server."""
        raise NotImplementedError

    def url(self, secret: str = TOKEN) -> str:
        """Its URL, secret and all."""
        raise NotImplementedError

    def start(self) -> None:
        with (self.directory / f"log-{self.port}").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.directory, env=environment(RXMPS3_BELL_TOKEN=TOKEN)
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as one:
                if one.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError((self.directory / f"log-{self.port}").read_text())

    def kill(self) -> None:
        """End it as a power failure would."""
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals) -> int | None:
        """End it by a signal; returns the exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(how)
        return process.wait(20)

    def log(self) -> str:
        """What it has said."""
        return (self.directory / f"log-{self.port}").read_text()


class NatsServer(Server):
    def command(self) -> list[str]:
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        return [str(binary), "--addr", HOST, "--port", str(self.port), "--auth", TOKEN]

    def bell(self, secret: str = TOKEN) -> Bell:
        return bells.nats(self.url(secret), name="news")

    def url(self, secret: str = TOKEN) -> str:
        return f"nats://{secret}@{HOST}:{self.port}"


class RedisServer(Server):
    def command(self) -> list[str]:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("this test needs Redis: apt-get install redis-server")
        options = {"bind": HOST, "port": str(self.port), "requirepass": TOKEN, "save": "", "appendonly": "no"}
        return [binary, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def bell(self, secret: str = TOKEN) -> Bell:
        return bells.redis(self.url(secret), name="news")

    def url(self, secret: str = TOKEN) -> str:
        return f"redis://:{secret}@{HOST}:{self.port}"


class HttpServer(Server):
    def command(self) -> list[str]:
        return [sys.executable, "-m", "rxmps3", "bell", "--port", str(self.port)]

    def bell(self, secret: str = TOKEN) -> Bell:
        return bells.http(f"http://{HOST}:{self.port}", token=secret, name="news")

    def url(self, secret: str = TOKEN) -> str:
        return f"http://{secret}@{HOST}:{self.port}"

    def page(self) -> str:
        """What its one page says."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/", timeout=20) as answer:
            return answer.read().decode()

    def post(self, path: str, *, token: str = TOKEN) -> int:
        """The status that it answers to a ring."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", b"", headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code


class SqsQueue:
    """A queue of moto's that is told of what is stored in a bucket of its own.

    Args:
        moto: has the bucket.
        queues: another server of the same process, which shares all state: one that waits for messages holds up nobody.
        by_sns: by way of an SNS topic.
    """

    def __init__(self, moto: Moto, queues: ThreadedMotoServer, *, by_sns: bool = False) -> None:
        import boto3

        host, port = queues.get_host_and_port()
        self.options: dict[str, Any] = moto.options()
        self.bell_options: dict[str, Any] = {**self.options, "endpoint_url": f"http://{host}:{port}"}
        name = f"bell-{os.urandom(4).hex()}"
        self.bucket = name
        with (
            closing(boto3.client("s3", **self.options)) as s3,
            closing(boto3.client("sqs", **self.options)) as sqs,
            closing(boto3.client("sns", **self.options)) as sns,
        ):
            s3.create_bucket(Bucket=name)
            if by_sns:
                self.address: str = sns.create_topic(Name=name)["TopicArn"]
                told = {"TopicConfigurations": [{"TopicArn": self.address, "Events": ["s3:ObjectCreated:*"]}]}
            else:
                self.address = sqs.create_queue(QueueName=name)["QueueUrl"]
                asked = sqs.get_queue_attributes(QueueUrl=self.address, AttributeNames=["QueueArn"])
                arn = asked["Attributes"]["QueueArn"]
                told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
            s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=told)

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/app"

    def bell(self) -> Bell:
        return bells.sqs(self.address, **self.bell_options)

    def queues(self) -> list[str]:
        """The URLs of all queues there are."""
        import boto3

        with closing(boto3.client("sqs", **self.options)) as sqs:
            return sqs.list_queues().get("QueueUrls", [])
