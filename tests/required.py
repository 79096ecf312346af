"""Components that a developer's machine may lack: a test that needs one skips, or fails where it is required.

CLOUDROUTE_REQUIRE names them, separated by commas: apiserver, kubectl, ...
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(component: str, what_to_do: str) -> NoReturn:
    """End the test: `component` is not there, and `what_to_do` says in one line how to get it."""
    message = f"{component} is missing: {what_to_do}"
    if component in os.environ.get("CLOUDROUTE_REQUIRE", "").split(","):
        pytest.fail(f"{message} (CLOUDROUTE_REQUIRE demands it)", pytrace=False)
    pytest.skip(message)
