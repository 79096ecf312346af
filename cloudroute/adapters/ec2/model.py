"""EC2's service model without the operations that we never call.

botocore keeps all 830 operations of EC2 with their 4,400 shapes in memory: 30 MB, more than a cluster of 5,000 nodes.
Only the operations that we call are kept, with the shapes that they need.
"""

from __future__ import annotations

from typing import Any

import boto3
import botocore.session
from botocore.loaders import JSONFileLoader, Loader

OPERATIONS = (
    "CreateRoute",
    "DeleteRoute",
    "DescribeInstances",
    "DescribeManagedPrefixLists",
    "DescribeRouteTables",
    "DescribeSubnets",
    "ModifyNetworkInterfaceAttribute",
    "ReplaceRoute",
)


def lean_session() -> boto3.Session:
    """Return a session that boto3 makes from the environment, whose EC2 clients know only OPERATIONS."""
    core = botocore.session.get_session()
    path = core.get_config_variable("data_path")  # as botocore reads AWS_DATA_PATH
    extra = path.split(":") if path else None
    core.register_component("data_loader", Loader(extra_search_paths=extra, file_loader=_LeanFiles()))
    return boto3.Session(botocore_session=core)


class _LeanFiles(JSONFileLoader):
    def load_file(self, file_path: str) -> Any:
        model = super().load_file(file_path)
        if model and model.get("metadata", {}).get("serviceId") == "EC2" and "operations" in model:
            _prune(model)
        return model


def _prune(model: dict[str, Any]) -> None:
    """Drop, in place, operations that we don't call and shapes that no kept operation reaches."""
    model["operations"] = {name: model["operations"][name] for name in OPERATIONS}
    shapes = model["shapes"]
    kept: dict[str, Any] = {}
    wanted = _references(model["operations"])
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = shapes[name]
            wanted |= _references(shapes[name])
    model["shapes"] = kept


def _references(part: Any) -> set[str]:
    """Names of the shapes that a part of the model refers to."""
    if isinstance(part, list):
        return set().union(*map(_references, part))
    if not isinstance(part, dict):
        return set()
    own = {part["shape"]} if isinstance(part.get("shape"), str) else set()
    return own.union(*map(_references, part.values()))
