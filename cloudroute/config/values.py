"""Parsing of text into values: one reader per kind of setting, the same for flags, environment and file.

A reader takes the text of a setting and returns the value, or raises a ValueError that names the expected form.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from cloudroute.selector import EXPECTED, Selector
from cloudroute.types import Cidr

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """`read` turns text into a value, `show` a value into text; `metavar` stands for the text in --help."""

    read: Callable[[str], T]
    metavar: str
    show: Callable[[object], str] = str


class Address(NamedTuple):
    """An address to listen on. `host` "" means every address of the machine, `port` 0 any free port.

    >>> str(Address("::1", 10256)), str(Address("", 80))
    ('[::1]:10256', ':80')
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def whole(low: int, high: int) -> Reader[int]:
    """A whole number from `low` to `high`, both included.

    >>> whole(1, 1000).read("50")
    50
    >>> whole(1, 1000).read("0")
    Traceback (most recent call last):
    ...
    ValueError: expected a whole number from 1 to 1000
    """

    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return Reader(read, "N")


def whole_of(*numbers: int) -> Reader[int]:
    """One of the whole numbers.

    >>> whole_of(1, 2, 4).read("3")
    Traceback (most recent call last):
    ...
    ValueError: expected 1, 2 or 4
    """
    one_of = choice(*map(str, numbers))
    return Reader(lambda text: int(one_of.read(text)), one_of.metavar)


def seconds(low: float, high: float) -> Reader[float]:
    """A number of seconds, fractions allowed.

    >>> seconds(0, 600).read("2.5")
    2.5
    """

    def read(text: str) -> float:
        if not re.fullmatch(r"-?\d{1,18}(\.\d+)?", text, re.ASCII) or not low <= float(text) <= high:
            raise ValueError(f"expected seconds from {low:g} to {high:g}")
        return float(text)

    return Reader(read, "SECONDS", lambda value: f"{value:g}")


def either(word: str, otherwise: Reader[T]) -> Reader[T | str]:
    """The word itself, or a value of the other reader.

    >>> either("auto", whole(1, 9)).read("x")
    Traceback (most recent call last):
    ...
    ValueError: expected a whole number from 1 to 9, or auto
    """

    def read(text: str) -> T | str:
        if text == word:
            return word
        try:
            return otherwise.read(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}") from None

    return Reader(read, f"{otherwise.metavar}|{word}")


def choice(*words: str) -> Reader[str]:
    """One of the words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected {_or(words)}")
        return text

    return Reader(read, "|".join(words))


def switch(on: str, off: str) -> Reader[bool]:
    """Two words for True and False. true and false are accepted, too: many YAML templates turn on and off into them.

    >>> switch("on", "off").read("off")
    False
    """

    def read(text: str) -> bool:
        if text not in (on, off, "true", "false"):
            raise ValueError(f"expected {_or((on, off))}")
        return text in (on, "true")

    return Reader(read, f"{on}|{off}", lambda value: on if value else off)


def matching(pattern: str, expected: str, metavar: str) -> Reader[str]:
    """Text that matches the regular expression as a whole."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"expected {expected}")
        return text

    return Reader(read, metavar)


def aws_region() -> Reader[str]:
    """The name of an AWS region."""
    return matching(r"[a-z]{2,}(-[a-z]+)+-\d+", "an AWS region like eu-central-1", "REGION")


def cidr() -> Reader[Cidr]:
    """A network of either family, without host bits.

    >>> cidr().read("10.0.4.7/16")
    Traceback (most recent call last):
    ...
    ValueError: has host bits set: expected the network itself, 10.0.0.0/16
    """

    def read(text: str) -> Cidr:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            network = None
        # Python also accepts "10.0.0.0" and "10.0.0.0/255.255.0.0", which are more likely typing errors.
        if network is None or not re.fullmatch(r"[^/]+/\d+", text, re.ASCII):
            raise ValueError("expected a CIDR like 10.244.0.0/16 or fd00:10:244::/48")
        if text.split("/")[0] != str(network.network_address) and _has_host_bits(text):
            raise ValueError(f"has host bits set: expected the network itself, {network}")
        return Cidr.parse(text)

    return Reader(read, "CIDR")


def label_selector() -> Reader[Selector]:
    """A label selector of Kubernetes.

    >>> str(label_selector().read("pool notin (edge)"))
    'pool notin (edge)'
    """

    def read(text: str) -> Selector:
        if not text.strip():
            raise ValueError(EXPECTED)
        return Selector.parse(text)

    return Reader(read, "SELECTOR")


def listen_address() -> Reader[Address]:
    """HOST:PORT, :PORT, or [IPv6]:PORT.

    >>> listen_address().read("[::1]:10256")
    Address(host='::1', port=10256)
    """

    def read(text: str) -> Address:
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]*)):(\d{1,5})", text, re.ASCII)
        if not match or int(match[3]) > 65535:
            raise ValueError("expected HOST:PORT, :PORT or [IPv6]:PORT with a port from 0 to 65535")
        return Address(match[1] or match[2] or "", int(match[3]))

    return Reader(read, "HOST:PORT")


def _has_host_bits(text: str) -> bool:
    try:
        Cidr.parse(text)
    except ValueError:
        return True
    return False


def _or(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"
