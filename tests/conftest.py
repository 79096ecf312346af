"""Shared by tests of several parts: one real API server for the whole session, and kubectl."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator

import pytest
import structlog

from cloudroute.crds import manifests
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from tests import accounts, lanes
from tests.required import lacking, summary

gc.set_threshold(50_000)
"""Allocations between two searches for reference cycles: with Python's 700, they take a fifth of the CPU seconds of a
process that has imported moto and botocore."""

os.environ.setdefault("GOGC", "400")
"""The same for programs in Go that tests start: they collect when the heap has grown fivefold, not twofold."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """One of several workers steps back; tests/cluster does not."""
    if hasattr(session.config, "workerinput"):
        os.nice(lanes.NICE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which lanes begin; and what speeds tests up that have imported boto3."""
    lanes.sort(items)
    if "boto3" in sys.modules:
        from tests import boto

        boto.share_client_classes()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> lanes.Lanes | None:
    """Give tests to workers: with `--dist loadscope` by lanes, else as xdist does."""
    return lanes.Lanes(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that were skipped, in one line for each reason."""
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())]
    for line in summary(skipped):
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """Undo a test's configuration of logging at its end: it may write to that test's captured stderr."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def real_kube() -> Iterator[RealKubeApi]:
    """A real kube-apiserver with the CRDs, and the controller's account with its permissions."""
    if find_assets() is None:
        lacking("apiserver")
    server = RealKubeApi()
    server.start()
    try:
        for crd in manifests():
            server.create(crd)
        accounts.install(server, accounts.CONTROLLER)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The path of kubectl: built with the API server, or the machine's own."""
    assets = find_assets()
    built = shutil.which("kubectl", path=str(assets)) if assets else None
    found = built or shutil.which("kubectl")
    if found is None:
        lacking("kubectl")
    return found
