"""AWS error codes, mapped onto `cloudroute.errors` in this one place.

The idea: a code tells what to do next (try again, slow down, read again, ask a person), and the text tells it to a
person. A code that is not listed is classified by its HTTP status, as AWS defines it: 5xx is AWS's fault and passes,
4xx is the request's fault and stays.

Sources: "Error codes for the Amazon EC2 API" (Amazon EC2 Developer Guide); botocore.retries.standard for the codes of
throttling; getmoto/moto pull request 6425 for the answer of AWS when ReplaceRoute finds no route.
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name for its own base class
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    LoginError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from cloudroute.errors import ApiError, Forbidden, LimitExceeded, LostRace, Refused, Throttled, Unreachable

FAILURES: Final = (ClientError, BotoCoreError, ResponseParserError)
"""All exceptions that a call of boto3 raises."""

_THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_LIMIT: Final = frozenset({"RouteLimitExceeded", "ResourceCountLimitExceeded"})
_LOST_RACE: Final = frozenset(
    {
        "IncorrectInstanceState",
        "IncorrectState",
        "InvalidNextToken",  # a page that has expired: read from the first one again
        "InvalidPaginationToken",
        "NoSuchResourceException",  # Service Quotas' NotFound
        "RouteAlreadyExists",
    }
)
_PASSING: Final = frozenset(
    {"IDPCommunicationError", "PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException"}
)
"""Codes with a 4xx status although nothing is wrong with the request [botocore.retries.standard; STS]."""
_BAD_CREDENTIALS: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_FORBIDDEN: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_NO_ROUTE: Final = "There is no route defined for"

_GIVE_CREDENTIALS: Final = (
    ". Give the controller AWS credentials that are valid now: on EKS an IAM role for its service account (Pod"
    " Identity, or IRSA: the annotation eks.amazonaws.com/role-arn), elsewhere a role for the instance, which a pod"
    " reaches only on the host network or with a metadata hop limit of 2. A wrong clock makes valid ones fail, too"
)


def translate(action: str, resource: str, error: Exception) -> ApiError:
    """Return the ApiError for `error`, one of FAILURES, with which the call of `action` for `resource` ended."""
    if isinstance(error, ClientError):
        return _answered(action, resource, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | TokenRetrievalError | SSOError | LoginError):
        return Forbidden(action, resource, "", f"{_sentence(error)}{_GIVE_CREDENTIALS}")
    if isinstance(error, CredentialRetrievalError | MetadataRetrievalError):
        # The source of credentials is configured but did not answer, for example an agent that restarts.
        return Unreachable(action, resource, "", f"{_sentence(error)}{_GIVE_CREDENTIALS}")
    if isinstance(error, HTTPClientError | ConnectionError | IncompleteReadError | ResponseParserError):
        return Unreachable(action, resource, "", f"no answer ({_sentence(error)})")
    return Refused(action, resource, "", _sentence(error))


def is_missing_route(error: LostRace) -> bool:
    """Whether DeleteRoute found nothing to delete."""
    return error.code == "InvalidRoute.NotFound"


def _answered(action: str, resource: str, error: ClientError) -> ApiError:
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    code, message = said.get("Code", str(status)), _readable(said.get("Message", "no text"))
    if error.operation_name != action:  # the call for credentials failed: AssumeRoleWithWebIdentity
        message = f"{error.operation_name}: {message}"
    if code in _BAD_CREDENTIALS or (code in _FORBIDDEN and error.operation_name != action):
        return Forbidden(action, resource, code, f"{message}{_GIVE_CREDENTIALS}")
    if code in _FORBIDDEN:
        return Forbidden(
            action, resource, code, f"{message}. Allow {_permission(action)} on it in the controller's IAM policy"
        )
    return _kind(action, code, message, status)(action, resource, code, message)


def _kind(action: str, code: str, message: str, status: int) -> type[ApiError]:
    if code in _THROTTLED or status == 429:
        return Throttled
    if code in _LIMIT:
        return LimitExceeded
    # Not InvalidRoute.NotFound, which only DeleteRoute answers.
    no_route = action == "ReplaceRoute" and code == "InvalidParameterValue" and _NO_ROUTE in message
    if code in _LOST_RACE or code.endswith(".NotFound") or no_route:
        return LostRace
    return Unreachable if status >= 500 or code in _PASSING else Refused


def _readable(message: str) -> str:
    """Drop the encoded authorization failure, a kilobyte that no reader can use (CloudTrail keeps it)."""
    return message.partition("Encoded authorization failure message")[0].strip().rstrip(".")


def _sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")


def _permission(action: str) -> str:
    return f"{'servicequotas' if action.endswith('ServiceQuota') else 'ec2'}:{action}"
