"""The client library of the S3 storage: aiobotocore's session, with additions. Only this module imports it.

It is imported when the first S3 storage is made: that takes about half a second.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import botocore
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore import UNSIGNED, handlers
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

from rxmps3.errors import AccessDenied, Error, InvalidOption
from rxmps3.storage.metered import count_request
from rxmps3.storage.s3_credentials import Fetched, LiveCredentials

__all__ = ["S3Client"]

T = TypeVar("T")

_aiohttp_session: Any = AIOHTTPSession
_aio_session: Any = AioSession
_aio_credentials: Any = AioCredentials

_DEFAULT_HEADERS = {
    ".storage.dev": {"X-Tigris-Consistent": "true"},
    ".tigris.dev": {"X-Tigris-Consistent": "true"},
}
"""By the end of the endpoint's host. Tigris is consistent within a region only, unless asked so.
Source: https://www.tigrisdata.com/docs/objects/consistency, read 2026-11-29."""
_PATIENCE = 20.0
"""Seconds for one source of credentials; a request has 30."""
_quiet: ContextVar[bool] = ContextVar("_quiet", default=False)


class S3Client:
    """Opens clients for S3 with one set of options. Endpoint, region and profile are determined when it is created.

    Args:
        session: an `aioboto3.Session` or aiobotocore's own, to take credentials, region and endpoint from.
        profile_name: a profile of the configuration files, if there is no session.
        config: a botocore ``Config`` whose settings override the ones of this class.
        headers: sent and signed with each request.
        options: of botocore's ``create_client``.

    Raises:
        InvalidOption: the session belongs to a synchronous library.
        botocore.exceptions.BotoCoreError, ValueError: endpoint or region cannot be determined.
    """

    def __init__(
        self,
        *,
        session: Any = None,
        profile_name: str | None = None,
        config: Any = None,
        headers: Mapping[str, str] | None = None,
        options: Mapping[str, Any],
    ) -> None:
        self._options = _checked(options)
        self._headers = dict(headers or {})
        for name, value in self._headers.items():
            _check_header(name, value)
        if config is not None and not isinstance(config, Config):
            raise InvalidOption(
                f"the option config is a botocore Config, not {config!r:.80}",
                operation="open",
                remedy="botocore.config.Config(…) with the same settings",
            )
        self._session: Any = _copied(session) if session is not None else _new_session(profile_name)
        given = self._session.get_default_client_config()
        if given is not None:
            config = given if config is None else given.merge(config)
            self._session.set_default_client_config(None)
        self._config = config
        self.endpoint = ""
        """The server's address, without user name and password; empty for Amazon's own, of any region."""
        self.region = ""
        _check_text(self._session.get_config_variable("region") or "", "the region")
        try:
            _finished(self._resolve())
        except ValueError as error:
            _check_text(str(error), "the endpoint")  # botocore's message ends in it
            raise
        host = f".{urlsplit(self.endpoint).hostname or ''}"
        for end, defaults in _DEFAULT_HEADERS.items():
            if host.endswith(end):
                given_names = {name.lower() for name in self._headers}
                self._headers |= {name: value for name, value in defaults.items() if name.lower() not in given_names}
        # keys that were given are what they are
        self.credentials: LiveCredentials | None = None
        if "aws_access_key_id" not in options:
            source = _SessionSource(session) if session is not None else _ChainSource(self._session, self.region)
            self.credentials = LiveCredentials(source.fetch)
            self._session.get_credentials = _Signing(self.credentials).itself

    @property
    def profile(self) -> str:
        """The profile of the configuration files that is in use; empty for the default one."""
        return self._session.get_config_variable("profile") or ""

    async def _resolve(self) -> None:
        """The endpoint that botocore resolves, taken from a client without credentials, with no request."""
        config = self._settings(path_style=False).merge(Config(signature_version=UNSIGNED, defaults_mode="legacy"))
        config.warm_up_loader_caches = False
        async with self._session.create_client("s3", config=config, **self._options) as client:
            endpoint, partition = client.meta.endpoint_url, client.meta.partition
            self.region = client.meta.region_name or ""
        verify = self._options.get("verify")
        if verify is None and endpoint.startswith("https:"):
            verify = self._session.get_config_variable("ca_bundle")
        _check_certificates(verify)
        if "endpoint_url" in self._options or partition != "aws" or not _is_amazon(endpoint):
            self.endpoint = _without_credentials(endpoint)

    @asynccontextmanager
    async def open(self, bucket: str) -> AsyncGenerator[Any]:
        """A client for a bucket; its own retries are off, and names are sent as they are."""
        # other servers rarely have a host name per bucket; an access point always has one
        config = self._settings(path_style=bool(self.endpoint) and not bucket.startswith("arn:"))
        async with self._session.create_client("s3", config=config, **self._options) as client:
            client.meta.events.unregister("before-call.s3", cast(Any, handlers).add_expect_header)
            _forget_names_in_endpoints(client.meta.service_model)
            client.meta.events.register("before-call.s3.HeadBucket", _follow_no_further)
            client.meta.events.register("before-send.s3", _count)
            if self._headers:
                client.meta.events.register("before-call.s3", self._add_headers)
            yield client

    def _add_headers(self, params: dict[str, Any], **_: Any) -> None:
        params["headers"].update(self._headers)

    def _settings(self, *, path_style: bool) -> Any:
        """A configuration that disables what this package does itself or does not need."""
        chosen = self._config
        settings: dict[str, Any] = {"s3": {"addressing_style": "path"}} if path_style else {}
        config: Any = AioConfig(
            connector_args=getattr(chosen, "connector_args", None),
            connect_timeout=5,
            read_timeout=20,
            max_pool_connections=50,
            tcp_keepalive=True,
            retries={"total_max_attempts": 1, "mode": "standard"},
            parameter_validation=False,
            # composing botocore's own takes a tenth of a request's work
            user_agent=f"rxmps3 Botocore/{botocore.__version__}",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            **settings,
        )
        return _checking(config if chosen is None else config.merge(chosen), chosen)


def _count(**_: Any) -> None:
    """Count what is really sent: a redirect or new credentials take another request."""
    count_request()


def _follow_no_further(params: dict[str, Any], **_: Any) -> None:
    """Stop botocore's region lookup from following redirects, which could go on for ever."""
    params["context"].get("s3_redirect", {})["redirected"] = True


class _CheckingSession(_aiohttp_session):
    """Checks the server's certificate and host name always, as `verify` asks, and follows no redirect by itself.

    aiobotocore before 3.9 makes no SSL context for what goes through a proxy, and then aiohttp checks nothing; with
    urllib3 1.x it does not compare host names either. aiohttp would follow a redirect with a signature that is valid
    for the first server only; botocore signs anew.
    """

    def _get_ssl_context(self) -> Any:
        inherited: Any = super()
        context = inherited._get_ssl_context()
        context.check_hostname = True
        return context

    def _setup_proxy_ssl_context(self, proxy_url: str) -> Any:
        inherited: Any = super()
        return inherited._setup_proxy_ssl_context(proxy_url) or self._get_ssl_context()

    async def _get_session(self, proxy_url: str | None) -> Any:
        inherited: Any = super()
        return _NotFollowing(await inherited._get_session(proxy_url))


class _NotFollowing:
    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, method: str, **arguments: Any) -> Any:
        return await self._session.request(method, allow_redirects=False, **arguments)


class _Session(_aio_session):
    """A session whose clients check certificates, including those that fetch credentials."""

    def create_client(self, service_name: str, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        settings: Any = AioConfig()
        settings = _checking(settings if config is None else settings.merge(config), config)
        inherited: Any = super()
        return inherited.create_client(service_name, *args, config=settings, **kwargs)


def _checking(config: Any, chosen: Any) -> Any:
    """The configuration with the HTTP session above, unless the user chose another on purpose."""
    own = getattr(chosen, "http_session_cls", AIOHTTPSession)
    config.http_session_cls = _CheckingSession if own is AIOHTTPSession else own
    return config


def _new_session(profile_name: str | None, of_environment: str | None = None) -> Any:
    """A new session that shares only S3's service description, the slowest part of creating a client."""
    session: Any = _Session()
    session.register_component("data_loader", _loader())
    if profile_name is not None:
        session.set_config_variable("profile", profile_name)
    else:
        # the one of the environment, as of now or as it was
        profile = of_environment or session.get_config_variable("profile")
        session.session_var_map["profile"] = (None, None, profile, None)
    return session


class _Signing(_aio_credentials):
    """Signs each request with the live credentials current at that time."""

    def __init__(self, live: LiveCredentials) -> None:
        inherited: Any = super()
        inherited.__init__("", "", method="rxmps3")
        self._live = live

    async def get_frozen_credentials(self) -> Any:
        return await self._live.frozen()

    async def itself(self) -> Any:
        return self


class _ChainSource:
    """botocore's chain of credential sources, rebuilt each time so that it rereads files and environment.

    Args:
        session: determines the profile.
        region: the region in which a role is requested.
    """

    def __init__(self, session: Any, region: str) -> None:
        named = session.instance_variables().get("profile")
        self._profiles = (named, None if named else session.get_config_variable("profile"))
        self._region = region

    async def fetch(self, refused: bool) -> Fetched:
        """Ask one source after the other; each has `_PATIENCE` seconds.

        Raises:
            AccessDenied: a source took longer, or requires user input.
            botocore.exceptions.BotoCoreError: a source failed, or none has credentials.
        """
        session = _new_session(*self._profiles)
        if self._region:
            session.set_config_variable("region", self._region)
        for provider in session.get_component("credential_provider").providers:
            programs = _Programs(provider)
            if hasattr(provider, "_prompter"):
                provider._prompter = _nobody_to_ask
            try:
                fetched = await _frozen(provider.load(), provider.METHOD, is_new=True)
            finally:
                await programs.end()
            if fetched is not None:
                return fetched
        raise NoCredentialsError


class _SessionSource:
    """A session given by the user: it refreshes its own credentials, and is asked for new ones if a server refuses
    them."""

    def __init__(self, session: Any) -> None:
        self._session = getattr(session, "_session", session)
        self._known: Any = None

    async def fetch(self, refused: bool) -> Fetched:
        """See `_ChainSource.fetch`."""
        if self._known is None:
            self._known = await _within(self._session.get_credentials(), "session")
        elif refused and getattr(self._known, "method", "explicit") != "explicit":
            provider = self._session.get_component("credential_provider")
            self._known = await _within(provider.load_credentials(), "session") or self._known
        fetched = await _frozen(_already(self._known), "session", is_new=False)
        if fetched is None:
            raise NoCredentialsError
        return fetched


async def _already(value: T) -> T:
    return value


async def _frozen(loading: Awaitable[Any], source: str, *, is_new: bool) -> Fetched | None:
    token = _quiet.set(True)
    try:
        credentials = await _within(loading, source)
        if credentials is None:
            return None
        # what was just loaded is not refreshed at once, however soon it ends
        frozen = getattr(credentials, "_frozen_credentials", None) if is_new else None
        frozen = frozen or await _within(credentials.get_frozen_credentials(), source)
    finally:
        _quiet.reset(token)
    for part, value in (("key id", frozen.access_key), ("secret", frozen.secret_key), ("token", frozen.token)):
        if value is not None and value != value.strip():
            raise InvalidOption(
                f"the {part} from {source} begins or ends with white space", remedy="it may contain a line break"
            )

    def ends_within(seconds: float | None) -> bool:
        needed = getattr(credentials, "refresh_needed", None)
        return needed is not None and needed(seconds)

    return Fetched(frozen, ends_within)


async def _within(work: Awaitable[T], source: str) -> T:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await work
    except TimeoutError:
        raise AccessDenied(
            f"no credentials came from {source} within {_PATIENCE:g} s",
            operation="sign",
            remedy="check whether it hangs or waits for input",
        ) from None
    except Error:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError, PermissionError) as error:
        raise AccessDenied(
            f"what {source} gives is not readable as credentials: {type(error).__name__}: {error}",
            operation="sign",
            remedy="check its program or file",
        ) from error


def _nobody_to_ask(prompt: str) -> str:
    raise AccessDenied(
        f"a role requires an MFA code ({prompt.strip().rstrip(':')})",
        operation="sign",
        remedy="fetch the role's credentials beforehand and pass those",
    )


class _Programs:
    """The processes started by a credential source; those still running afterwards are killed."""

    def __init__(self, provider: Any) -> None:
        self._started: list[asyncio.subprocess.Process] = []
        if hasattr(provider, "_popen"):
            self._start = provider._popen
            provider._popen = self._popen

    async def _popen(self, *command: str, **settings: Any) -> asyncio.subprocess.Process:
        process = await self._start(*command, stdin=asyncio.subprocess.DEVNULL, **settings)
        self._started.append(process)
        return process

    async def end(self) -> None:
        """Kill the processes still running."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
                await process.communicate()


class _Quiet(logging.Filter):
    """Suppresses botocore's log messages while credentials are fetched: the caller gets the error instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _quiet.get() or record.levelno < logging.WARNING


for _name in ("botocore.credentials", "aiobotocore.credentials", "botocore.tokens", "aiobotocore.tokens"):
    logging.getLogger(_name).addFilter(_Quiet())


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if isinstance(value, str):
            _check_text(value, f"the option {name}")
            if not value:
                raise InvalidOption(f"the option {name} is empty", operation="open", remedy="give a value, or None")
    return dict(options)


def _check_text(value: str, what: str) -> None:
    if value != value.strip():
        raise InvalidOption(
            f"{what} begins or ends with white space", operation="open", remedy="it may contain a line break"
        )


def _check_header(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise InvalidOption(f"{name!r:.80} is not the name of a header", operation="open", remedy="such as 'x-tenant'")
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidOption(f"the header {name} has a value that is not printable text", operation="open")
    _check_text(value, f"the header {name}")


def _check_certificates(verify: object) -> None:
    if isinstance(verify, (str, Path)) and not Path(verify).is_file():
        raise InvalidOption(
            f"there are no certificates at {str(verify)!r}",
            operation="open",
            remedy="check verify, AWS_CA_BUNDLE and ca_bundle",
        )


def _copied(session: Any) -> Any:
    """A copy that shares everything with the user's session except what is set on it here."""
    inner = getattr(session, "_session", session)
    if not isinstance(inner, AioSession):
        raise InvalidOption(
            f"the option session is an aioboto3.Session or an aiobotocore session, not a {_kind(session)}",
            remedy="a boto3.Session blocks; pass aioboto3.Session(…) with the same arguments, or its options here",
        )
    return copy.copy(inner)


def _kind(session: object) -> str:
    kind = type(session)
    return f"{kind.__module__.partition('.')[0]} {kind.__qualname__}"


@cache
def _loader() -> Any:
    session: Any = AioSession()
    return session.get_component("data_loader")


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise InvalidOption("the session cannot tell its endpoint without waiting", operation="open")


def _forget_names_in_endpoints(service: Any) -> None:
    """Let one endpoint be computed per bucket, not one per object: the name is part of botocore's cache key, though
    no rule reads it, and evaluating the rules is a quarter of a request's work.
    """
    for operation in ("GetObject", "PutObject", "DeleteObject", "ListObjectsV2", "ListObjectVersions"):
        for member in service.operation_model(operation).input_shape.members.values():
            if member.metadata.get("contextParam", {}).get("name") in ("Key", "Prefix"):
                del member.metadata["contextParam"]


def _is_amazon(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"))


def _without_credentials(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
