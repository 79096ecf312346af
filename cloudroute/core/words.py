"""Untrusted text, escaped for a terminal, a log line and an Event.

Untrusted is all text that cloudroute did not write itself: an agent's message, an answer of AWS or Kubernetes, names
and annotations, a kernel's or a plugin's error, a flag's value. It passes `one_line` where it leaves the process
(`commands/output.py`, `telemetry/logs.py`, `adapters/kube/events.py`), so that no code inside has to escape it. JSON
and YAML escape by themselves, and keep the text exact.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    """Escape each character that ends a line, controls a terminal, reverses the direction of text or is invisible.

    These are Unicode's control, format, surrogate, private and unassigned characters, and all separators but the
    space. The escape is Python's own; no character is dropped.

    >>> one_line("said=a\\rb\\x1b[2J"), one_line("Zürich 東京 ✓")
    ('said=a\\\\rb\\\\x1b[2J', 'Zürich 東京 ✓')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
