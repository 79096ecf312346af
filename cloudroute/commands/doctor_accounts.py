"""What the chart's accounts may do in Kubernetes, asked in their names (SubjectAccessReview).

To ask for others takes a right of its own, which administrators have and the controller has not. Imported by the
command when it runs: it loads the Kubernetes client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudroute.adapters.kube.review import Review
from cloudroute.core.doctor.facts import Permission

_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def refused(review: Review, namespace: str, account: str, wanted: Iterable[Permission]) -> Sequence[Permission]:
    """Those of the permissions that a ServiceAccount lacks, whether or not it is there. Raises errors.ApiError."""
    who = {
        "user": f"system:serviceaccount:{namespace}:{account}",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
    }
    return [permission for permission in wanted if not _allowed(review, {**who, **_attributes(permission)})]


def _attributes(permission: Permission) -> dict[str, object]:
    plural, _, subresource = permission.resource.partition("/")
    return {
        "resourceAttributes": {
            "verb": permission.verb,
            "group": permission.group,
            "resource": plural,
            "subresource": subresource,
            "namespace": permission.namespace,
            "name": permission.name,
        }
    }


def _allowed(review: Review, spec: dict[str, object]) -> bool:
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    answer = review.request("POST", _REVIEWS, body={**kind, "spec": spec})
    return (answer.get("status") or {}).get("allowed") is True
