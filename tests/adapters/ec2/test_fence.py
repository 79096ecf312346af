"""The fence on real sockets: the name lookup, the connection and TLS come before its last check."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.errors import LeaseLost
from cloudroute.types import Cidr
from tests.adapters.ec2.kit import FakeFence, Observed
from tests.clock import FakeClock

HOST = "ec2.test"
ROUTE = ("rtb-0123456789abcdef0", Cidr.parse("10.100.1.0/24"))
DONE = b"<DeleteRouteResponse><return>true</return></DeleteRouteResponse>"


class Listener:
    """A server that answers a request per connection with success. `received` is all that was sent, TLS taken off."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.received = b""
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Stop; all that was sent has been received then."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with (
                connection,
                self._context.wrap_socket(connection, server_side=True) if self._context else connection as plain,
            ):
                while data := plain.recv(1 << 16):
                    self.received += data
                    if b"Action=" in data:  # the body, which is sent after the headers
                        plain.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DONE) + DONE)
                        break


@contextmanager
def listening(scheme: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A server under HOST to which all EC2 clients of the environment talk."""
    listener = Listener(_context(folder, monkeypatch) if scheme == "https" else None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{scheme}://{HOST}:{listener.port}")
    try:
        yield listener
    finally:
        listener.close()


def _context(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "ec2.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_lease_that_runs_out_while_the_name_is_looked_up_stops_the_write(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name lookup that outlasts the lease: LeaseLost, and no byte of the request leaves; with the lease all do."""
    fence, slow, look_up = FakeFence(), [True], socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
        if slow:
            fence.held = False
        return look_up("127.0.0.1" if host == HOST else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with listening(scheme, tmp_path, monkeypatch) as listener:
        session = boto3.Session("key", "secret")
        ec2 = Ec2Client(session, "eu-central-1", fence, FakeClock(), 3.0, Observed())
        with pytest.raises(LeaseLost):
            ec2.delete_route(*ROUTE)
        slow.clear()
        fence.held = True
        ec2.delete_route(*ROUTE)
    assert (listener.received.count(b"POST"), listener.received.count(b"Action=DeleteRoute")) == (1, 1)
