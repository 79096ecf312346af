"""Bugs at the edges, as in `mutations`: each patches one function of cloudroute, and the storm must find it."""

from __future__ import annotations

from collections.abc import Callable

EDGE_MUTATIONS: tuple[Callable[[], None], ...] = ()
EDGE_FOUND_BY: dict[str, int] = {}
"""As `mutations.FOUND_BY`."""
