"""The embedded API over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudroute.lab.kube import KubeApi, KubeServer


@pytest.fixture
def server(kube: KubeApi) -> Iterator[KubeServer]:
    server = kube.serve()
    yield server
    server.close()
