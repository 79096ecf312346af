"""A report without what is nobody else's business: account ids, keys, and names of the outside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_IPV4_ENDPOINT = r"eks\.amazonaws\.com(?:\.cn)?"
_DUAL_STACK_ENDPOINT = r"eks-cluster\.[a-z0-9-]+\.api\.(?:aws|amazonwebservices\.com\.cn)"
"""How the names of an EKS cluster's endpoints end (EKS user guide, "Cluster API server endpoint")."""
_SECRETS = (
    (re.compile(r"(?<![0-9a-z])\d{12}(?![0-9a-z])", re.IGNORECASE), "account"),
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b"), "key"),
    (re.compile(rf"\b(?:[a-z0-9-]+\.)+(?:{_IPV4_ENDPOINT}|{_DUAL_STACK_ENDPOINT})\b", re.IGNORECASE), "endpoint"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "token"),
)
"""Account ids, access key ids, EKS endpoints (their first part is the cluster's id), JSON web tokens."""


def masked(value: object) -> object:
    """Return JSON values with each secret replaced by its kind and a number: equal ones keep the same.

    >>> masked({"arn": "arn:aws:iam::123456789012:role/x", "owner": "123456789012", "mac": "0a1b"})
    {'arn': 'arn:aws:iam::<account-1>:role/x', 'owner': '<account-1>', 'mac': '0a1b'}
    """
    names: dict[str, str] = {}
    return _masked(value, names)


def _masked(value: object, names: dict[str, str]) -> object:
    if isinstance(value, str):
        for pattern, kind in _SECRETS:
            value = pattern.sub(lambda found, kind=kind: _name(found[0], kind, names), value)  # type: ignore[misc]
        return value
    if isinstance(value, Mapping):
        return {_masked(key, names): _masked(one, names) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [_masked(one, names) for one in value]
    return value


def _name(secret: str, kind: str, names: dict[str, str]) -> str:
    number = sum(1 for name in names.values() if name.startswith(f"<{kind}-")) + 1
    return names.setdefault(secret, f"<{kind}-{number}>")
