"""The options of a storage given by a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

__all__ = ["StorageOptions"]


class StorageOptions(TypedDict, total=False):
    """The options of S3, with boto3's names and meanings; other URLs take none of them."""

    endpoint_url: str | None
    region_name: str | None
    profile_name: str | None
    aws_access_key_id: str | None
    aws_secret_access_key: str | None
    aws_session_token: str | None
    verify: bool | str | None
    use_ssl: bool | None
    config: Any
    session: Any
    headers: Mapping[str, str] | None
    ExpectedBucketOwner: str | None
    RequestPayer: str | None
    ServerSideEncryption: str | None
    SSEKMSKeyId: str | None
    SSECustomerKey: str | bytes | None
    SSECustomerAlgorithm: str | None
