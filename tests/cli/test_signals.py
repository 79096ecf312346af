"""Signals that end the commands that serve."""

from __future__ import annotations

import subprocess
import sys

import pytest

WORST_MOMENT = """
import os, signal, threading
from cloudroute.commands.serving import stop_on_signal

stop = threading.Event()
stop_on_signal(stop)
with stop._cond:  # as `wait` does before it waits
    os.kill(os.getpid(), signal.{name})
    print("handled")
print(stop.wait(10))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_as_the_main_thread_begins_to_wait_ends_it_all_the_same(name: str) -> None:
    """The handler must not wait for a lock that its own thread holds."""
    line = [sys.executable, "-c", WORST_MOMENT.format(name=name)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.split() == ["handled", "True"]
