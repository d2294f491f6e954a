"""A bell that a bucket rings itself: its event notifications, by way of Amazon SQS."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_plus

from rxmps3.bells.lines import Line, LineBell, Tell, new_id
from rxmps3.bells.protocol import Rung, topic_of
from rxmps3.errors import AccessDenied, InvalidOption, Throttled
from rxmps3.runtime.clock import spawn

__all__ = ["Notice", "SqsBell", "notices_of"]

_WAIT = 20
"""Seconds that one request waits for messages, the most that SQS takes."""
_ENTRY = re.compile(r"(?P<folder>.+)/[^/]+/log/(?P<seq>[0-9]{20})")
_REFUSALS = ("AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSecurity")


@dataclass(frozen=True)
class Notice:
    """An object was stored.

    Attributes:
        bucket: the bucket's name.
        name: the object's, with the database's prefix.
    """

    bucket: str
    name: str

    def topics(self) -> Iterator[tuple[str, Rung]]:
        """The topics of the manifests that the object may be a version of, and what to send to them."""
        entry = _ENTRY.fullmatch(self.name)
        rung = Rung(str(int(entry["seq"]))) if entry else Rung()
        parts = (entry["folder"] if entry else self.name.partition("@")[0]).split("/")
        for at in range(len(parts)):
            prefix = "".join(f"{part}/" for part in parts[:at])
            yield topic_of(f"s3://{self.bucket}/{prefix}", unquote("/".join(parts[at:]))), rung


def notices_of(body: str) -> list[Notice] | None:
    """The notices in a message; None if it is not a notification of a bucket.

    It may have come from S3 itself, through SNS, or through EventBridge.
    """
    try:
        message: Any = json.loads(body)
        if "TopicArn" in message:
            message = json.loads(message["Message"])
        if message.get("Event") == "s3:TestEvent":
            return []
        if "detail" in message:
            detail: Any = message["detail"]
            return [Notice(detail["bucket"]["name"], detail["object"]["key"])]
        return [
            Notice(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
            for record in message["Records"]
            if str(record.get("eventName", "")).removeprefix("s3:").startswith("ObjectCreated:")
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


@dataclass(frozen=True)
class SqsBell(LineBell):
    """See `rxmps3.bells.sqs`."""

    address: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://", "arn:")) or (
            self.address.startswith("arn:") and self.address.split(":")[2:3] != ["sns"]
        ):
            raise InvalidOption(
                f"{self.address!r} is neither the URL of a queue nor the ARN of an SNS topic", operation="connect"
            )

    @property
    def place(self) -> str:
        return self.address

    def _new_line(self) -> Line:
        return _SqsLine(self)


class _SqsLine(Line):
    """Receives for all topics at once, since a queue gives each message to one receiver only."""

    def __init__(self, bell: SqsBell) -> None:
        self._bell = bell
        self._tells: dict[str, list[Tell]] = {}
        self._receiving: asyncio.Task[None] | None = None

    async def listen(self, topic: str, tell: Tell) -> None:
        tells = self._tells.setdefault(topic, [])
        tells.append(tell)
        if self._receiving is None or self._receiving.done():
            self._receiving = spawn(self._receive(), f"rxmps3 receives from {self._bell.place}")
        else:
            tell(Rung())
        try:
            await asyncio.shield(self._receiving)
        finally:
            tells.remove(tell)
            if not tells:
                self._tells.pop(topic, None)

    async def ring(self, topic: str) -> None:
        """The bucket rings."""

    async def close(self) -> None:
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.cancel()
            await asyncio.wait([receiving])

    async def _receive(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                client = await self._client(stack, "sqs")
                queue = self._bell.address
                if queue.startswith("arn:"):
                    queue = await self._own_queue(stack, client)
                wait = 0
                while True:
                    answer = await client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
                    messages: list[Any] = answer.get("Messages", [])
                    if wait == 0:
                        self._tell_all(Rung())
                    self._tell_of([str(message["Body"]) for message in messages])
                    if messages:
                        entries = [
                            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                            for number, message in enumerate(messages)
                        ]
                        await client.delete_message_batch(QueueUrl=queue, Entries=entries)
                    wait = _WAIT
            except Exception as error:
                raise self._translated(error) from error

    async def _client(self, stack: AsyncExitStack, service: str) -> Any:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import AioSession

        session: Any = AioSession()
        options = dict(self._bell.options)
        if profile := options.pop("profile_name", None):
            session.set_config_variable("profile", profile)
        if "region_name" not in options and (region := _region_of(self._bell.address)):
            options["region_name"] = region
        config: Any = AioConfig(
            connect_timeout=5, read_timeout=_WAIT + 10, retries={"total_max_attempts": 1, "mode": "standard"}
        )
        return await stack.enter_async_context(session.create_client(service, config=config, **options))

    async def _own_queue(self, stack: AsyncExitStack, client: Any) -> str:
        """A queue for this line alone, subscribed to the topic, and removed in the end."""
        topic = self._bell.address
        name = f"rxmps3-bell-{new_id()}"
        queue: str = (await client.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "60"}))[
            "QueueUrl"
        ]
        stack.push_async_callback(client.delete_queue, QueueUrl=queue)
        attributes = await client.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "sns.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
                }
            ],
        }
        await client.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
        sns = await self._client(stack, "sns")
        subscribed = await sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
        stack.push_async_callback(sns.unsubscribe, SubscriptionArn=subscribed["SubscriptionArn"])
        return queue

    def _tell_of(self, bodies: list[str]) -> None:
        for body in bodies:
            notices = notices_of(body)
            if notices is None or (notices and self._bell.name):
                self._tell_all(Rung())
                continue
            for notice in notices:
                for topic, rung in notice.topics():
                    for tell in list(self._tells.get(topic, ())):
                        tell(rung)

    def _tell_all(self, rung: Rung) -> None:
        for tells in list(self._tells.values()):
            for tell in list(tells):
                tell(rung)

    def _translated(self, error: Exception) -> Exception:
        answer: Any = getattr(error, "response", None) or {}
        code, where = str(answer.get("Error", {}).get("Code", "")), str(self._bell)
        if code.startswith(_REFUSALS) or type(error).__name__ in ("NoCredentialsError", "ProfileNotFound"):
            return AccessDenied(f"refused with these credentials ({code or error})", operation="listen", object=where)
        if "Throttl" in code or code == "OverLimit":
            return Throttled(code, operation="listen", object=where)
        return error


def _region_of(address: str) -> str:
    """The region in the address of one of Amazon's queues or topics; empty if there is none."""
    if address.startswith("arn:"):
        return address.split(":")[3]
    found = re.match(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.", address)
    return found[1] if found else ""
