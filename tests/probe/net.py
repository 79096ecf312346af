"""Two hosts and a router between them, both families; on the far one runs `serve`.

asker  10.1.0.2  fd01::2  ── MTU 1500 ──  router  ── MTU 1400 ──  far  10.2.0.2  fd02::2
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cloudroute.types import Family
from tests.hosts import Namespace

ASKER: dict[Family, str] = {"ipv4": "10.1.0.2", "ipv6": "fd01::2"}
FAR: dict[Family, str] = {"ipv4": "10.2.0.2", "ipv6": "fd02::2"}
SECOND: dict[Family, str] = {"ipv4": "10.2.0.3", "ipv6": "fd02::3"}
"""Another address of the far host."""
REJECTED: dict[Family, str] = {"ipv4": "10.3.0.2", "ipv6": "fd03::2"}
"""The router answers that there is no such host."""
SILENT: dict[Family, str] = {"ipv4": "10.4.0.2", "ipv6": "fd04::2"}
"""The router drops what is sent there."""
BLACKHOLE: dict[Family, str] = {"ipv4": "10.5.0.2", "ipv6": "fd05::2"}
"""The asker itself drops what is sent there."""

_NO_DAD = "for setting in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >$setting; done"
"""Link-local addresses of neighbour discovery can be used at once."""
_ASKER = f"""{_NO_DAD}
ip addr add 10.1.0.2/24 dev eth0; ip addr add fd01::2/64 dev eth0 nodad; ip link set eth0 mtu 1500 up
ip route add default via 10.1.0.1; ip route add default via fd01::1
ip route add blackhole 10.5.0.0/24; ip route add blackhole fd05::/64
"""
_ROUTER = f"""{_NO_DAD}
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
ip addr add 10.1.0.1/24 dev near; ip addr add fd01::1/64 dev near nodad; ip link set near mtu 1500 up
ip addr add 10.2.0.1/24 dev beyond; ip addr add fd02::1/64 dev beyond nodad; ip link set beyond mtu 1400 up
ip route add unreachable 10.3.0.0/24; ip route add unreachable fd03::/64
ip route add blackhole 10.4.0.0/24; ip route add blackhole fd04::/64
"""
_FAR = f"""{_NO_DAD}
ip addr add 10.2.0.2/24 dev eth0; ip addr add 10.2.0.3/24 dev eth0
ip addr add fd02::2/64 dev eth0 nodad; ip addr add fd02::3/64 dev eth0 nodad; ip link set eth0 mtu 1400 up
ip route add default via 10.2.0.1; ip route add default via fd02::1
"""


class Net:
    """The three namespaces."""

    def __init__(self, asker: Namespace, router: Namespace, far: Namespace) -> None:
        self.asker, self.router, self.far = asker, router, far

    def ask(self, *questions: dict[str, Any], resolv: Path | None = None) -> list[dict[str, Any]]:
        """Ask all at once from the asker, with `resolv` as /etc/resolv.conf; returns the answers in their order."""
        mount = f"mount --bind {resolv} /etc/resolv.conf" if resolv else ""
        lines = ask(self.asker, [{"id": number, **one} for number, one in enumerate(questions)], before=mount)
        answers = {one.pop("id"): one for one in map(json.loads, lines)}
        assert len(lines) == len(answers) == len(questions)
        return [answers[number] for number in range(len(questions))]

    def one(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The answer to one question."""
        return self.ask({"kind": kind, **fields})[0]

    @contextmanager
    def dropping(self, *matches: str) -> Iterator[None]:
        """The router drops packets that match, before it looks at them."""
        rules = "".join(f"add rule inet probe drops {match} drop\n" for match in matches)
        chain = "add chain inet probe drops { type filter hook prerouting priority 0; }"
        self.router.shell(f"nft -f - <<'END'\nadd table inet probe\n{chain}\n{rules}\nEND")
        try:
            yield
        finally:
            self.router.run("nft", "delete", "table", "inet", "probe")


def without_all_capabilities_but(*kept: str) -> list[str]:
    """The words before a command that give it no other capabilities, as a pod's container has none."""
    sets = ",".join(("-all", *(f"+{capability}" for capability in kept)))
    return ["setpriv", f"--bounding-set={sets}", f"--inh-caps={sets}"]


def ask(host: Namespace, questions: list[dict[str, Any]], *kept: str, before: str = "") -> list[str]:
    """The lines that `ask` prints in a namespace, with these capabilities; `before` are commands of a shell."""
    shell = ["ip", "netns", "exec", host.name, "sh", "-ec", f'{before}\nexec "$@"', "sh"]
    done = subprocess.run(
        [*shell, *without_all_capabilities_but(*kept), sys.executable, "-m", "cloudroute.probe", "ask"],
        input=json.dumps(questions) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@contextmanager
def served(host: Namespace, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """`serve` in a namespace, as long as the block lasts: it ends with its stdin."""
    command = [sys.executable, "-m", "cloudroute.probe", "serve", "--until-eof", *flags]
    argv = ["ip", "netns", "exec", host.name, *without_all_capabilities_but(), *command]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline().startswith('{"answering"')
            yield process
        finally:
            process.stdin.close()
            code = process.wait(10)
        assert code == 0


@contextmanager
def net() -> Iterator[Net]:
    """Make the hosts, and serve."""
    with ExitStack() as end:
        asker, router, far = (end.enter_context(Namespace(f"crprobe{name}-")) for name in "arf")
        for name, host in (("near", asker), ("beyond", far)):
            router.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        router.shell(_ROUTER)
        asker.shell(_ASKER)
        far.shell(_FAR)
        end.enter_context(served(far))
        yield Net(asker, router, far)
