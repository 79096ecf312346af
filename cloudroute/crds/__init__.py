"""The two CustomResourceDefinitions, as files that people can read and `kubectl` can apply."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_FILES = ("noderoutes.yaml", "routetables.yaml")


def text() -> str:
    """Both definitions as one YAML stream."""
    return "---\n".join(files(__name__).joinpath(name).read_text(encoding="utf-8") for name in _FILES)


def manifests() -> list[dict[str, Any]]:
    """Both definitions, NodeRoute first.

    >>> [definition["spec"]["names"]["kind"] for definition in manifests()]
    ['NodeRoute', 'RouteTable']
    """
    return deepcopy(list(_parsed()))


@cache
def _parsed() -> tuple[dict[str, Any], ...]:
    """Parsed once: YAML takes a tenth of a second for them, and a test's cluster begins with them."""
    return tuple(yaml.safe_load_all(text()))
