"""Shared by tests of doctor: a lab, and nothing of the machine's own AWS configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.doctor.lab import DoctorLab, doctor_lab


@pytest.fixture(autouse=True)
def no_aws_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(scope="module")
def shared() -> Iterator[DoctorLab]:
    """A lab that no test changes."""
    with doctor_lab() as healthy:
        yield healthy
