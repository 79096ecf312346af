"""Mutations of the program in verify's pods."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_PROBE = "cloudroute/probe"

PROBE = (
    Mutation(
        "A packet larger than the path's MTU is refused by the kernel's memory of it, and the path is tried once.",
        f"{_PROBE}/serve.py",
        "PROBE = 3",
        "PROBE = 2",
        ("tests/probe/test_echo.py::test_a_packet_larger_than_the_path_is_refused_by_the_router_each_time",),
    ),
    Mutation(
        "Two echoes answer each other for ever.",
        f"{_PROBE}/serve.py",
        "if len(data) < SHORTEST or data[ID_BYTES]:",
        "if len(data) < SHORTEST:",
        ("tests/probe/test_serve.py::test_malformed_questions_get_no_answer",),
    ),
    Mutation(
        "A host with two addresses answers from the first, and the question counts as lost.",
        f"{_PROBE}/serve.py",
        "told[8:12] * 2",
        "bytes(8)",
        ("tests/probe/test_echo.py::test_the_address_that_was_asked_answers",),
    ),
    Mutation(
        "A host that a router reports as unreachable counts as silent.",
        f"{_PROBE}/sockets.py",
        "opened.setsockopt(OPTIONS[family].level, _RECEIVE_ERRORS[family], 1)",
        "pass",
        ("tests/probe/test_echo.py::test_failures_have_codes",),
    ),
    Mutation(
        "A packet that arrives twice makes up for a lost one.",
        f"{_PROBE}/stream.py",
        "if number in self._answered:",
        "if number < 0:",
        ("tests/probe/test_stream.py::test_a_second_answer_to_a_packet_is_a_duplicate",),
    ),
    Mutation(
        "With one DNS server away, no name is found.",
        f"{_PROBE}/dns.py",
        "        except OSError:\n            if server == servers[-1]:\n                raise\n            continue",
        "        except OSError:\n            raise",
        ("tests/probe/test_names.py::test_the_next_server_is_asked_when_one_is_away",),
    ),
)
