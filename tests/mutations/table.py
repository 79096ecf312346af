"""All mutations, by the part of cloudroute that they are in."""

from __future__ import annotations

from tests.mutations.adapters import ADAPTERS
from tests.mutations.agent import AGENT
from tests.mutations.cleanup import CLEANUP
from tests.mutations.cluster import CLUSTER
from tests.mutations.controller import CONTROLLER
from tests.mutations.explain import EXPLAIN
from tests.mutations.mutation import Mutation
from tests.mutations.node import NODE
from tests.mutations.probe import PROBE
from tests.mutations.verify import VERIFY

MUTATIONS: tuple[Mutation, ...] = (
    *CLUSTER,
    *CLEANUP,
    *NODE,
    *EXPLAIN,
    *CONTROLLER,
    *AGENT,
    *ADAPTERS,
    *PROBE,
    *VERIFY,
)
