"""Enough of AWS's evaluation of policies to hold a client to them.

An explicit deny wins, then an allow, else it is denied. A get of a missing object needs ``s3:ListBucket`` to be
answered with 404. Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rxmps3.errors import AccessDenied
from rxmps3.storage import Matches, Missing, Storage
from rxmps3.testing import Request, StorageWrapper

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """One request: its action, its resource, and the condition keys that it has."""

    action: str
    resource: str
    keys: Mapping[str, str] = field(default_factory=dict[str, str])


def matches(pattern: str, text: str) -> bool:
    """``*`` stands for any characters and ``?`` for one, slashes included; ``${*}``, ``${?}`` and ``${$}`` for a sign.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    signs = re.findall(r"\$\{.*?\}|.", pattern, re.DOTALL)
    assert all(len(sign) == 1 or sign in ("${*}", "${?}", "${$}") for sign in signs), "a variable"
    parts = (".*" if sign == "*" else "." if sign == "?" else re.escape(sign[2:-1] or sign) for sign in signs)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _holds(operator: str, key: str, wanted: Any, keys: Mapping[str, str]) -> bool:
    match operator:
        case "Null":
            return (key not in keys) == (wanted == "true")
        case "Bool":
            return keys.get(key) == wanted
        case "StringLike":
            return key in keys and any(matches(one, keys[key]) for one in _list(wanted))
        case "StringLikeIfExists":
            return key not in keys or any(matches(one, keys[key]) for one in _list(wanted))
        case other:
            raise AssertionError(f"an operator that this does not know: {other}")


def applies(statement: Mapping[str, Any], ask: Ask) -> bool:
    return (
        ask.action in _list(statement["Action"])
        and any(matches(one, ask.resource) for one in _list(statement["Resource"]))
        and all(
            _holds(operator, key, wanted, ask.keys)
            for operator, block in statement.get("Condition", {}).items()
            for key, wanted in block.items()
        )
    )


def is_allowed(ask: Ask, identity: Mapping[str, Any], bucket: Mapping[str, Any]) -> bool:
    """Whether these two policies together allow a request."""
    statements = [*identity["Statement"], *bucket["Statement"]]
    found = {statement["Effect"] for statement in statements if applies(statement, ask)}
    return found == {"Allow"}


_ACTIONS = {
    "get": "s3:GetObject",
    "put": "s3:PutObject",
    "delete": "s3:DeleteObject",
    "list": "s3:ListBucket",
    "list_versions": "s3:ListBucketVersions",
}


class GuardedStorage(StorageWrapper):
    """Refuses what the policies of a role do not allow, and keeps what it refused."""

    def __init__(
        self, inner: Storage, bucket: str, prefix: str, identity: Mapping[str, Any], guard: Mapping[str, Any]
    ) -> None:
        super().__init__(inner)
        self._bucket = f"arn:aws:s3:::{bucket}"
        self._prefix = prefix
        self._identity = identity
        self._guard = guard
        self.refused: list[Ask] = []
        self.allowed: list[Ask] = []

    def _check(self, ask: Ask) -> None:
        if not is_allowed(ask, self._identity, self._guard):
            self.refused.append(ask)
            raise AccessDenied(f"{ask.action} on {ask.resource}", operation=ask.action)
        self.allowed.append(ask)

    def _ask(self, request: Request, *, version: bool) -> Ask:
        action, name = _ACTIONS[request.verb], self._prefix + request.name
        if request.verb in ("list", "list_versions"):
            return Ask(action, self._bucket, {"s3:prefix": name})
        keys: dict[str, str] = {}
        if request.verb == "put":
            keys["s3:ObjectCreationOperation"] = "true"
            if isinstance(request.when, Matches):
                keys["s3:if-match"] = request.when.etag
            elif request.when is not None:
                keys["s3:if-none-match"] = "*"
        return Ask(action + ("Version" if version else ""), f"{self._bucket}/{name}", keys)

    async def get(self, name: str, *, version: str | None = None, **options: Any) -> Any:
        self._check(self._ask(Request("get", name), version=version is not None))
        answer = await self.inner.get(name, version=version, **options)
        if isinstance(answer, Missing):
            self._check(Ask("s3:ListBucket", self._bucket))
        return answer

    async def delete(self, name: str, *, version: str | None = None) -> None:
        self._check(self._ask(Request("delete", name), version=version is not None))
        await self.inner.delete(name, version=version)

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        self._check(self._ask(request, version=False))
        return await proceed()
