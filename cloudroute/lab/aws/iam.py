"""Authorization: identity policies, evaluated with their resources and conditions.

moto stores users, roles, groups and policies but does not evaluate `Resource` and `Condition`. This module does, for
the EC2 actions that cloudroute needs. Sources: "Policy evaluation logic" and "IAM JSON policy elements: Condition
operators" of the IAM user guide, "Actions, resources, and condition keys for Amazon EC2" of the service authorization
reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moto.iam.access_control import CreateAccessKeyFailure, IAMPolicy, create_access_key

from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.lab.aws.world import World

_ROUTES = frozenset({"CreateRoute", "ReplaceRoute", "DeleteRoute"})
_ENI_ATTRIBUTES = ("SourceDestCheck", "Description", "Attachment", "SecurityGroupId")
_ALWAYS_ALLOWED = frozenset({"sts:GetCallerIdentity"})


@dataclass(frozen=True, slots=True)
class _Question:
    """One authorization check: `action` on `resource`, given the condition `keys`."""

    action: str
    resource: str
    keys: Mapping[str, tuple[str, ...]]


def authorize(world: World, request: Request) -> None:
    """Raise AwsError unless the policies of the request's principal allow it."""
    question = _question(world, request)
    if question.action in _ALWAYS_ALLOWED:
        return
    principal, statements = _principal(world, request)
    concerned = [statement for statement in statements if _concerns(statement, question)]
    if any(statement["Effect"] == "Deny" for statement in concerned):
        raise _refusal(request, principal, question, "with an explicit deny in an identity-based policy")
    if not concerned:
        because = f"because no identity-based policy allows the {question.action} action"
        raise _refusal(request, principal, question, because)


def _refusal(request: Request, principal: str, question: _Question, because: str) -> AwsError:
    """Build the error, worded as in "Troubleshooting access denied error messages"."""
    on = f" on resource: {question.resource}" if question.resource != "*" else ""
    what = f"User: {principal} is not authorized to perform: {question.action}{on} {because}"
    if request.service == "ec2":
        return AwsError("UnauthorizedOperation", f"You are not authorized to perform this operation. {what}")
    if request.service == "servicequotas":
        return AwsError("AccessDeniedException", what)
    return AwsError("AccessDenied", what)


# --- principals ---------------------------------------------------------------------------------


def _principal(world: World, request: Request) -> tuple[str, list[Mapping[str, Any]]]:
    headers = {name: value for name in ("X-Amz-Security-Token",) if (value := request.headers.get(name))}
    try:
        key = create_access_key(world.backend.account, "aws", request.access_key, headers)
    except CreateAccessKeyFailure:
        code = "AuthFailure" if request.service == "ec2" else "InvalidClientTokenId"
        message = "AWS was not able to validate the provided access credentials"
        raise AwsError(code, message, 401 if code == "AuthFailure" else 403) from None
    statements: list[Mapping[str, Any]] = []
    for policy in key.collect_policies():
        document = IAMPolicy(policy)._policy_json
        statements += _listed(document["Statement"])
    return str(key.arn), statements


# --- actions and resources ----------------------------------------------------------------------


def _question(world: World, request: Request) -> _Question:
    action = f"{request.service}:{request.action}"
    if request.service == "servicequotas":
        quota = f"{request.get('ServiceCode')}/{request.get('QuotaCode')}"
        return _Question(action, f"arn:aws:servicequotas:{world.backend.region}:{world.backend.account}:{quota}", {})
    if request.service != "ec2" or request.action.startswith("Describe"):
        return _Question(action, "*", {})
    if request.action in _ROUTES:
        return _about_table(world, request, action)
    if request.action == "ModifyNetworkInterfaceAttribute":
        return _about_interface(world, request, action)
    return _Question(action, "*", {})


def _arn(world: World, kind: str, id_: str) -> str:
    return f"arn:aws:ec2:{world.backend.region}:{world.backend.account}:{kind}/{id_}"


def _tags(world: World, id_: str) -> dict[str, tuple[str, ...]]:
    tags = world.ec2.tags.get(id_, {})
    return {
        f"{prefix}/{key}": (value,) for key, value in tags.items() for prefix in ("aws:ResourceTag", "ec2:ResourceTag")
    }


def _about_table(world: World, request: Request, action: str) -> _Question:
    table_id = request.get("RouteTableId")
    keys = {**_tags(world, table_id), "ec2:RouteTableID": (table_id,), "ec2:Region": (world.backend.region,)}
    table = world.ec2.route_tables.get(table_id)
    if table is not None:
        keys["ec2:Vpc"] = (_arn(world, "vpc", table.vpc_id),)
    return _Question(action, _arn(world, "route-table", table_id), keys)


def _about_interface(world: World, request: Request, action: str) -> _Question:
    eni_id = request.get("NetworkInterfaceId")
    keys = {**_tags(world, eni_id), "ec2:Region": (world.backend.region,)}
    changed = tuple(name for name in _ENI_ATTRIBUTES if any(p.startswith(name) for p in request.params))
    if changed:
        keys["ec2:Attribute"] = changed
    eni = world.ec2.enis.get(eni_id)
    if eni is not None:
        keys["ec2:Vpc"] = (_arn(world, "vpc", eni.subnet.vpc_id),)
        keys["ec2:Subnet"] = (_arn(world, "subnet", eni.subnet.id),)
    return _Question(action, _arn(world, "network-interface", eni_id), keys)


# --- statements ---------------------------------------------------------------------------------


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _like(pattern: str, value: str) -> bool:
    """Match a pattern with `*` and `?`, as IAM does."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL) is not None


def _matches(statement: Mapping[str, Any], element: str, value: str, *, any_case: bool = False) -> bool:
    fold = str.lower if any_case else str
    if f"Not{element}" in statement:
        return not any(_like(fold(pattern), fold(value)) for pattern in _listed(statement[f"Not{element}"]))
    return any(_like(fold(pattern), fold(value)) for pattern in _listed(statement.get(element, ())))


def _concerns(statement: Mapping[str, Any], question: _Question) -> bool:
    return (
        _matches(statement, "Action", question.action, any_case=True)
        and _matches(statement, "Resource", question.resource)
        and all(_holds(*condition, question.keys) for condition in _conditions(statement))
    )


def _conditions(statement: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            yield operator, key, [json.dumps(v) if isinstance(v, bool) else str(v) for v in _listed(values)]


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
}


def _holds(operator: str, key: str, wanted: list[str], keys: Mapping[str, tuple[str, ...]]) -> bool:
    """Evaluate one condition. A key that the request lacks fails it, unless it is negated or ends in IfExists."""
    name = operator.removesuffix("IfExists")
    present = next((values for known, values in keys.items() if known.lower() == key.lower()), None)
    if name == "Null":
        return (present is None) == (wanted[0].lower() == "true")
    quantifier, _, plain = name.rpartition(":")
    positive = plain.replace("Not", "", 1)
    compare = _OPERATORS.get(positive)
    if compare is None:
        raise AwsError("InternalError", f"This lab can't evaluate the condition operator {operator}")
    if present is None:
        return positive != plain or operator != name or quantifier == "ForAllValues"
    hits = [any(compare(want, value) for want in wanted) for value in present]
    truths = [hit != (positive != plain) for hit in hits]
    return any(truths) if quantifier == "ForAnyValue" else all(truths)
