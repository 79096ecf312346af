"""Every code of AWS, every way to get no answer."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from cloudroute.adapters.ec2.errors import translate
from cloudroute.errors import ApiError, Forbidden, LimitExceeded, LostRace, Refused, Throttled, Unreachable

NO_ROUTE = "There is no route defined for '10.1.0.0/24' in the route table. Use CreateRoute instead."


def answered(code: str, status: int = 400, message: str = "words", operation: str = "CreateRoute") -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestLimitExceeded", 503, Throttled),
        ("Throttling", 400, Throttled),
        ("ThrottlingException", 400, Throttled),
        ("ThrottledException", 400, Throttled),
        ("RequestThrottled", 400, Throttled),
        ("RequestThrottledException", 400, Throttled),
        ("TooManyRequestsException", 429, Throttled),
        ("BandwidthLimitExceeded", 400, Throttled),
        ("EC2ThrottledException", 400, Throttled),
        ("SlowDown", 503, Throttled),
        ("NeverHeardOf", 429, Throttled),
        ("RouteLimitExceeded", 400, LimitExceeded),
        ("ResourceCountLimitExceeded", 400, LimitExceeded),
        ("RouteAlreadyExists", 400, LostRace),
        ("InvalidRoute.NotFound", 400, LostRace),
        ("InvalidRouteTableID.NotFound", 400, LostRace),
        ("InvalidNetworkInterfaceID.NotFound", 400, LostRace),
        ("InvalidInstanceID.NotFound", 400, LostRace),
        ("InvalidVpcID.NotFound", 400, LostRace),
        ("IncorrectState", 400, LostRace),
        ("IncorrectInstanceState", 400, LostRace),
        ("InvalidNextToken", 400, LostRace),
        ("InvalidPaginationToken", 400, LostRace),
        ("NoSuchResourceException", 400, LostRace),
        ("InternalError", 500, Unreachable),
        ("InternalFailure", 500, Unreachable),
        ("Unavailable", 503, Unreachable),
        ("ServiceUnavailable", 503, Unreachable),
        ("502", 502, Unreachable),
        ("RequestTimeout", 400, Unreachable),
        ("RequestTimeoutException", 400, Unreachable),
        ("PriorRequestNotComplete", 400, Unreachable),
        ("NeverHeardOf", 504, Unreachable),
        ("UnauthorizedOperation", 403, Forbidden),
        ("AccessDeniedException", 400, Forbidden),
        ("AccessDenied", 403, Forbidden),
        ("AuthFailure", 401, Forbidden),
        ("ExpiredToken", 400, Forbidden),
        ("ExpiredTokenException", 400, Forbidden),
        ("RequestExpired", 400, Forbidden),
        ("InvalidClientTokenId", 403, Forbidden),
        ("InvalidIdentityToken", 400, Forbidden),
        ("UnrecognizedClientException", 400, Forbidden),
        ("SignatureDoesNotMatch", 403, Forbidden),
        ("IncompleteSignature", 400, Forbidden),
        ("MissingAuthenticationToken", 403, Forbidden),
        ("OptInRequired", 403, Refused),
        ("InvalidParameterValue", 400, Refused),
        ("InvalidInstanceID", 400, Refused),
        ("OperationNotPermitted", 400, Refused),
        ("NeverHeardOf", 400, Refused),
    ],
)
def test_a_code_says_what_to_do_next(code: str, status: int, kind: type[ApiError]) -> None:
    """Known codes are judged by their name, unknown ones by their status."""
    error = translate("CreateRoute", "rtb-1 10.1.0.0/24", answered(code, status))
    assert type(error) is kind
    assert (error.action, error.resource, error.code) == ("CreateRoute", "rtb-1 10.1.0.0/24", code)
    assert str(error).startswith(f"CreateRoute rtb-1 10.1.0.0/24: {code}: words")


@pytest.mark.parametrize(
    "cause",
    [
        boto.ReadTimeoutError(endpoint_url="https://ec2"),
        boto.ConnectTimeoutError(endpoint_url="https://ec2"),
        boto.EndpointConnectionError(endpoint_url="https://ec2"),
        boto.ConnectionClosedError(endpoint_url="https://ec2"),
        boto.ProxyConnectionError(proxy_url="http://proxy"),
        boto.SSLError(endpoint_url="https://ec2", error=OSError("self-signed")),
        boto.HTTPClientError(error="broken"),
        boto.ResponseStreamingError(error="broken"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        ResponseParserError("a login page"),
        boto.CredentialRetrievalError(provider="container-role", error_msg="agent restarts"),
        boto.MetadataRetrievalError(error_msg="agent restarts"),
    ],
)
def test_without_an_answer_nothing_is_known(cause: Exception) -> None:
    """A timeout or a broken connection may come right by itself, and a write may have been done."""
    error = translate("CreateRoute", "rtb-1", cause)
    assert type(error) is Unreachable
    assert error.code == ""
    assert str(cause).rstrip(".") in error.message


@pytest.mark.parametrize(
    "cause",
    [
        boto.NoCredentialsError(),
        boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        boto.TokenRetrievalError(provider="sso", error_msg="expired"),
        boto.UnauthorizedSSOTokenError(),
        answered("ExpiredToken"),
        answered("AuthFailure", 401),
        answered("AccessDenied", 403, "Not authorized", operation="AssumeRoleWithWebIdentity"),
    ],
)
def test_bad_credentials_tell_how_to_get_good_ones(cause: Exception) -> None:
    """Missing and expired credentials name the three ways to have them on EC2."""
    error = translate("DescribeRouteTables", "vpc-1", cause)
    assert type(error) is Forbidden
    for way in ("Pod Identity", "IRSA", "role for the instance", "hop limit of 2"):
        assert way in str(error)


def test_a_role_that_may_not_be_assumed_is_named_by_the_call_that_failed() -> None:
    """The refusal of STS is not taken for one of EC2."""
    cause = answered("AccessDenied", 403, "Not authorized", operation="AssumeRoleWithWebIdentity")
    assert "AssumeRoleWithWebIdentity: Not authorized" in str(translate("CreateRoute", "rtb-1", cause))


def test_a_refusal_names_the_permission_and_drops_what_nobody_can_read() -> None:
    """UnauthorizedOperation says which action is missing on what, without AWS's encoded kilobyte."""
    said = "You are not authorized to perform this operation. Encoded authorization failure message: " + "x" * 1000
    error = translate("CreateRoute", "rtb-1 10.1.0.0/24", answered("UnauthorizedOperation", 403, said))
    assert str(error) == (
        "CreateRoute rtb-1 10.1.0.0/24: UnauthorizedOperation: You are not authorized to perform this operation."
        " Allow ec2:CreateRoute on it in the controller's IAM policy"
    )
    quota = translate("GetServiceQuota", "L-93826ACB", answered("AccessDeniedException", operation="GetServiceQuota"))
    assert "Allow servicequotas:GetServiceQuota" in str(quota)


def test_replacing_a_missing_route_is_a_lost_race() -> None:
    """ReplaceRoute answers InvalidParameterValue for a route that is gone: the words tell it from a bad parameter."""
    gone = answered("InvalidParameterValue", message=NO_ROUTE, operation="ReplaceRoute")
    assert type(translate("ReplaceRoute", "rtb-1", gone)) is LostRace
    bad = answered("InvalidParameterValue", message="bad CIDR", operation="ReplaceRoute")
    assert type(translate("ReplaceRoute", "rtb-1", bad)) is Refused


def test_anything_else_in_boto3_is_refused() -> None:
    """A request that boto3 itself can't make will not get better by repetition."""
    assert type(translate("CreateRoute", "rtb-1", boto.ParamValidationError(report="bad"))) is Refused


def test_an_answer_without_the_usual_parts_is_still_an_error() -> None:
    """An error body that has neither code nor message nor status is taken for a refusal."""
    assert type(translate("CreateRoute", "rtb-1", ClientError({}, "CreateRoute"))) is Refused
