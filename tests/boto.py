"""Client classes of boto3 are made once for a process, not for each client: EC2's has 700 methods."""

from __future__ import annotations

from typing import Any

from botocore.client import ClientCreator

_made: dict[int, tuple[Any, type]] = {}
"""By the identity of a service model as its loader keeps it: the model, so that it stays, and the class."""


def share_client_classes() -> None:
    """Have botocore make each class once."""
    creator: Any = ClientCreator
    make = creator._create_client_class

    def shared(self: Any, service_name: str, service_model: Any) -> type:
        model = service_model._service_description
        if id(model) not in _made:
            _made[id(model)] = model, make(self, service_name, service_model)
        return _made[id(model)][1]

    creator._create_client_class = shared
