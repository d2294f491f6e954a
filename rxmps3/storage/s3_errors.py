"""Translation of errors of S3 servers, the client library and the network into this package's errors. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isnan
from typing import Any

from rxmps3.errors import (
    AccessDenied,
    BucketNotFound,
    Error,
    InvalidKey,
    InvalidOption,
    InvalidValue,
    PreconditionFailed,
    Throttled,
    Unavailable,
    Unsupported,
)

__all__ = ["Refusal", "parse_date", "translate"]

_CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "AuthFailure",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "ExpiredToken",
        "ExpiredTokenException",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidObjectState",
        "InvalidPayer",
        "InvalidSecurity",
        "InvalidToken",
        "NotSignedUp",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "Unauthorized",
        "UnauthorizedAccess",
    }
)
_UNKNOWN_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "Unauthorized",
    }
)
_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
_DAMAGED = frozenset(
    {"BadDigest", "ContentSHA256Mismatch", "IncompleteBody", "InvalidDigest", "XAmzContentSHA256Mismatch"}
)
_THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_TEMPORARY = frozenset(
    {"ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable"}
)
_REGION = frozenset(
    {"IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect", "IncorrectEndpoint"}
)
_NO_OBJECT = frozenset({"NoSuchKey", "NoSuchVersion"})

_MEND_CREDENTIALS = "check the credentials and what they allow on this bucket and prefix"
_MEND_ENDPOINT = "check the network, region_name and endpoint_url"

_ACCESS_ERRORS = frozenset(
    {
        "ConfigNotFound",
        "CredentialRetrievalError",
        "InvalidConfigError",
        "MetadataRetrievalError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RefreshWithMFAUnsupportedError",
        "SSOError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnknownCredentialError",
    }
)
_CONNECTION_ERRORS = frozenset({"HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseParserError"})
_OPTION_ERRORS = frozenset({"BaseEndpointResolverError", "EndpointProviderError", "ParamValidationError", "ValueError"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error response: HTTP status, S3's error code and message, and the server's date."""

    status: int
    code: str
    message: str
    date: datetime | None
    retry_after: float | None

    @classmethod
    def of(cls, error: BaseException) -> Refusal | None:
        """The server's error response; None if the error is not a response."""
        answer: Mapping[str, Any] | None = getattr(error, "response", None)
        if not isinstance(answer, dict):
            return None
        said: Mapping[str, Any] = answer.get("Error") or {}
        metadata: Mapping[str, Any] = answer.get("ResponseMetadata") or {}
        headers: Mapping[str, str] = metadata.get("HTTPHeaders") or {}
        date = parse_date(headers.get("date"))
        return cls(
            int(metadata.get("HTTPStatusCode") or 0),
            str(said.get("Code") or ""),
            str(said.get("Message") or ""),
            date,
            _retry_after(headers.get("retry-after"), date),
        )

    @property
    def words(self) -> str:
        """What the server says."""
        return f"{self.status} {self.code}" + (f" ({self.message})" if self.message else "")

    @property
    def is_of_credentials(self) -> bool:
        """Whether the server does not accept these credentials (any more); others may work."""
        return self.code in _UNKNOWN_CREDENTIALS or self.status == 401

    @property
    def wants_checksum(self) -> bool:
        """Whether a put is refused because it lacks a checksum, as with Object Lock."""
        said = self.message.lower()
        return self.status == 400 and ("content-md5" in said or "checksum" in said) and self.code not in _DAMAGED

    @property
    def is_unexplained(self) -> bool:
        """Whether a request is refused as bad and the code does not tell whose fault that is."""
        return self.status == 400 and type(_of_refusal(self, "", "", "")) is Error

    @property
    def means_missing(self) -> bool:
        """Whether there is no such object; a 404 without S3's error code proves nothing."""
        return self.code in _NO_OBJECT or (self.status == 405 and self.code == "MethodNotAllowed")


def translate(error: BaseException, *, operation: str, where: str, bucket: str) -> Error:
    """Translate an error from botocore, aiohttp or the operating system.

    Args:
        error: what was caught.
        operation: the storage operation.
        where: the object, for the message.
        bucket: the bucket and its endpoint, for the message.
    """
    if isinstance(error, Error):
        return error
    refusal = Refusal.of(error)
    if refusal is not None:
        return _of_refusal(refusal, operation, where, bucket)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    what = str(error).strip() or type(error).__name__
    if kinds & _ACCESS_ERRORS:
        return AccessDenied(what, operation=operation, object=where, remedy=f"give credentials for {bucket}")
    if "SSLError" in kinds:
        return Unavailable(
            what, operation=operation, object=where, remedy="check endpoint_url, verify and the certificates"
        )
    if isinstance(error, TimeoutError):
        return Unavailable("no answer in time", operation=operation, object=where, remedy=_MEND_ENDPOINT)
    # aiohttp's errors are OSErrors or named Client…; botocore wraps most of them
    if kinds & _CONNECTION_ERRORS or isinstance(error, OSError) or "ClientError" in kinds:
        return Unavailable(what, operation=operation, object=where, remedy=_MEND_ENDPOINT)
    if kinds & _OPTION_ERRORS:
        return InvalidOption(what, operation=operation, object=where, remedy="check the options of S3")
    return Error(what, operation=operation, object=where)


def _of_refusal(refusal: Refusal, operation: str, where: str, bucket: str) -> Error:
    status, code = refusal.status, refusal.code
    what = refusal.words

    def make(kind: Callable[..., Error], remedy: str = "") -> Error:
        return kind(what, operation=operation, object=where, remedy=remedy)

    def temporary(kind: type[Unavailable], remedy: str = "") -> Error:
        return kind(
            what,
            operation=operation,
            object=where,
            remedy=remedy,
            date=refusal.date,
            retry_after=refusal.retry_after,
        )

    if status == 412 or code == "PreconditionFailed":
        return PreconditionFailed(what, operation=operation, object=where, date=refusal.date)
    if code == "NoSuchBucket":
        return make(BucketNotFound, f"create {bucket}, or check its name, region_name and endpoint_url")
    if code == "InvalidBucketName":
        return make(BucketNotFound, f"check the name of {bucket}")
    if code in _THROTTLING or status == 429:
        return temporary(Throttled)
    if code in _CLOCK:
        return make(AccessDenied, "set this machine's clock: the server compares it with its own")
    if code in _REGION or status in (301, 307):
        return make(AccessDenied, f"give the region_name of {bucket}")
    if code in _CREDENTIALS or status in (401, 403):
        return make(AccessDenied, f"{_MEND_CREDENTIALS} ({bucket})")
    if code in _DAMAGED:
        return temporary(Unavailable, "it is sent again")
    if code in ("EntityTooLarge", "MaxMessageLengthExceeded") or status == 413:
        return make(InvalidValue, "the server takes no object of this size")
    if code == "KeyTooLongError" or status == 414:
        return make(InvalidKey)
    if code in ("NotImplemented", "UnsupportedHeader") or status in (405, 501) or _names_header(refusal):
        return make(Unsupported, f"this server lacks what {operation} needs; {bucket}")
    if code in _TEMPORARY or status in (408, 409, 425) or status >= 500:
        return temporary(Unavailable)
    if code in _NO_OBJECT and operation.startswith("list"):  # the endpoint has a bucket in its path
        return make(BucketNotFound, f"check the name of {bucket}, region_name and endpoint_url")
    if code in _NO_OBJECT:  # of a put: If-Match on what does not exist
        return PreconditionFailed("it does not exist", operation=operation, object=where, date=refusal.date)
    if status == 404:
        return temporary(Unavailable, f"no S3 server signs an answer like this: {_MEND_ENDPOINT}")
    if status == 400 and _is_odd(where):
        return make(InvalidKey, "the server takes no object of this name")
    if status == 400:
        return make(Error, f"settings or policies of {bucket} may ask for options or headers that were not given")
    return make(Error)


def _is_odd(where: str) -> bool:
    """Whether an object's name has empty segments, ``.``, ``..`` or control characters, which some servers refuse."""
    segments = where.partition("://")[2].partition("?")[0].split("/")[1:]
    return any(segment in ("", ".", "..") for segment in segments) or any(ord(sign) < 32 for sign in where)


def _names_header(refusal: Refusal) -> bool:
    """Whether the server says that it does not support a header; other 400 responses may have other causes."""
    return refusal.status == 400 and "unsupported header" in refusal.message.lower()


def parse_date(text: str | None) -> datetime | None:
    """The moment in an HTTP date, None if there is none."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _retry_after(text: str | None, date: datetime | None) -> float | None:
    """The seconds to wait from Retry-After, given as a number or as a time on the server's clock."""
    if not text:
        return None
    try:
        seconds = float(text)
        return None if isnan(seconds) else max(0.0, seconds)
    except ValueError:
        until = parse_date(text)
        return max(0.0, (until - date).total_seconds()) if until and date else None
