"""Texts of settings: read exactly, or refused with the expected form."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.config import ControllerSettings, OutputSettings, settings_of
from cloudroute.config.values import cidr, seconds, whole

READERS = {
    setting.field: setting.reader for kind in (ControllerSettings, OutputSettings) for setting in settings_of(kind)
}


@given(st.text(max_size=40), st.sampled_from(sorted(READERS)))
def test_any_text_is_read_or_refused(text: str, field: str) -> None:
    """For any text a reader returns a value or raises ValueError with the expected form."""
    reader = READERS[field]
    try:
        value = reader.read(text)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = "" if reader.read(reader.show(value)) == value else f"{value} is not what its own text means"
    assert not refusal or "expected" in refusal


@given(st.integers(), st.integers(), st.integers())
def test_a_whole_number_is_taken_exactly_within_its_range(number: int, low: int, high: int) -> None:
    """Both bounds of the range are accepted."""
    reader = whole(low, high)
    if low <= number <= high and len(str(abs(number))) <= 18:
        assert reader.read(str(number)) == number
    else:
        with pytest.raises(ValueError, match="expected a whole number"):
            reader.read(str(number))


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_seconds_are_finite_and_in_range(number: float) -> None:
    """nan, inf and values outside the range are refused."""
    text = str(number)
    if 0 <= number <= 600 and "e" not in text:
        assert seconds(0, 600).read(text) == number
    else:
        with pytest.raises(ValueError, match="expected seconds from 0 to 600"):
            seconds(0, 600).read(text)


@given(address=st.integers(0, 2**128 - 1), length=st.integers(0, 128), v6=st.booleans())
def test_a_cidr_is_taken_exactly_without_host_bits(*, address: int, length: int, v6: bool) -> None:
    """A CIDR with host bits is refused, with the network that was probably meant."""
    bits = 128 if v6 else 32
    length = min(length, bits)
    ip = ipaddress.IPv6Address(address) if v6 else ipaddress.IPv4Address(address % 2**32)
    network = ipaddress.ip_network(f"{ip}/{length}", strict=False)
    if int(ip) == int(network.network_address):
        assert str(cidr().read(f"{ip}/{length}")) == str(network)
    else:
        with pytest.raises(ValueError, match="has host bits set") as caught:
            cidr().read(f"{ip}/{length}")
        assert str(network) in str(caught.value)
