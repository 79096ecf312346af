"""A missing CRD is reported at start, with the command that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudroute.adapters.kube import crds
from cloudroute.errors import CloudrouteError, Refused
from tests.adapters.kube.conftest import Script
from tests.adapters.kube.test_events import FakeClock

BOTH = {"resources": [{"name": "noderoutes"}, {"name": "noderoutes/status"}, {"name": "routetables"}]}


def test_both_kinds_served_is_fine(script: Script, tmp_path: Path) -> None:
    """With both kinds served the check makes one request and succeeds."""
    script.then(200, BOTH)
    crds.check(script.transport(tmp_path), FakeClock())
    assert [asked.path for asked in script.asked] == ["/apis/cloudroute.io/v1alpha1"]


def test_a_missing_kind_is_named_with_the_remedy(script: Script, tmp_path: Path) -> None:
    """The error names what is missing and the command that installs it."""
    script.then(200, {"resources": [{"name": "noderoutes"}]})
    with pytest.raises(CloudrouteError, match=r"routetables.*`cloudroute crd \| kubectl apply -f -`") as caught:
        crds.check(script.transport(tmp_path), FakeClock())
    assert "noderoutes" not in str(caught.value)


def test_a_missing_group_is_both_kinds_missing(script: Script, tmp_path: Path) -> None:
    """404 for the group means that both kinds are missing."""
    script.then(404, {"message": "not found"})
    with pytest.raises(CloudrouteError, match=r"noderoutes.* and routetables"):
        crds.check(script.transport(tmp_path), FakeClock())


def test_crds_that_were_just_applied_are_waited_for(script: Script, tmp_path: Path) -> None:
    """The check waits for CRDs that were just applied: the group is served a moment later."""
    script.then(404, {}).then(200, {"resources": []}).then(200, BOTH)
    crds.check(script.transport(tmp_path), FakeClock())
    assert len(script.asked) == 3


def test_a_refusal_is_not_mistaken_for_a_missing_crd(script: Script, tmp_path: Path) -> None:
    """Refused credentials are reported as such, not as a missing CRD."""
    script.then(401, {"message": "Unauthorized"})
    with pytest.raises(Refused):
        crds.check(script.transport(tmp_path), FakeClock())
