"""Sessions that a user may bring along, of each library that is installed here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

SESSIONS = [name for name in ("aioboto3", "aiobotocore") if find_spec(name)]


def session_of(library: str, *, aws_access_key_id: str, aws_secret_access_key: str, region_name: str) -> Any:
    """A session of this library with credentials and a region of its own."""
    if library == "aioboto3":
        import aioboto3

        return aioboto3.Session(aws_access_key_id, aws_secret_access_key, region_name=region_name)
    from aiobotocore.session import AioSession

    session: Any = AioSession()
    session.set_credentials(aws_access_key_id, aws_secret_access_key)
    session.set_config_variable("region", region_name)
    return session
