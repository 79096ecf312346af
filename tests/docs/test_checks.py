"""Each check finds its problem, and accepts a correct page."""

from __future__ import annotations

import textwrap

import pytest

from tests.docs import checks
from tests.docs.checks import Check
from tests.docs.pages import Page


def found(check: Check, text: str, name: str = "docs/sample.md") -> str:
    """Problems that a check finds in a page, as one text."""
    return "\n".join(check(Page(name, textwrap.dedent(text))))


def console(*lines: str) -> str:
    return "\n".join(("```console", *lines, "```", ""))


WRONG = [
    (checks.links, "[a](nowhere.md)", "nowhere.md: no such file"),
    (checks.links, "![a](nowhere.svg)", "nowhere.svg: no such file"),
    (checks.links, "[a](design.md#no-such-part)", "no such heading"),
    (checks.links, "# One\n\n[a](#two)", "#two: no such heading"),
    (checks.links, "[a](http://example.com)", "not https"),
    (checks.links, "[a](../../elsewhere)", "outside of the repository"),
    (checks.blocks, "```yaml\na: [1\n```", "line 2: not yaml"),
    (checks.blocks, "```json\n{'a': 1}\n```", "not json"),
    (checks.blocks, "```python\nif\n```", "not python"),
    (checks.blocks, "```hcl\na = {\n```", "not hcl"),
    (checks.blocks, "```sh\nif true; then\n```", "not sh"),
    (checks.blocks, console("$ for i in 1 2; do echo $i", "1"), "not console"),
    (checks.cloudroute, console("$ cloudroute plans --cluster-cidr 10.0.0.0/8"), "plans --cluster-cidr: no such"),
    (checks.cloudroute, console("$ sudo cloudroute status --rout-limit 5"), "--rout-limit: unknown flag"),
    (checks.cloudroute, console("$ cloudroute plan --cluster-cidr 10.244.0.1/16"), "10.244.0.1/16"),
    (checks.cloudroute, console("$ cloudroute plan"), "--cluster-cidr is missing"),
    (checks.cloudroute, console("$ export CLOUDROUTE_ROUTE_LIMIT=no", "$ cloudroute plan"), "ROUTE_LIMIT=no: "),
    (checks.cloudroute, console("$ true && cloudroute demo --packet | head"), "--packet: unknown flag"),
    (checks.cloudroute, console("$ kubectl exec deploy/x -- cloudroute docter"), "docter: no such command"),
    (checks.cloudroute, console("$ cloudroute path a \\", "    b c --cluster-cidr 10.244.0.0/16"), "expected SRC DST"),
    (checks.cloudroute, "Say `cloudroute statuss --wide`.", "no such command"),
    (checks.cloudroute, "Say `cloudroute status --wide`.", "--wide: unknown flag"),
    (checks.variables, "Set CLOUDROUTE_ROUTE_LIMITS.", "CLOUDROUTE_ROUTE_LIMITS: no setting"),
    (checks.flags, "Set `--route-limits 5`.", "did you mean --route-limit?"),
    (checks.files, "```yaml\ncluster-cidr: [10.244.0.0/16]\nroute_limit: 5\n```", "route_limit: no setting"),
    (checks.files, "```yaml\ncontroller: {replica: 2}\n```", "'replica' was unexpected"),
    (checks.files, "```yaml\nsettings: {cluster-cidr: 10.244.0.0/16}\n```", "is not of type 'array'"),
    (checks.make, console("$ make tests"), "make tests: no such target"),
    (checks.make, "Run `make benches`.", "make benches: no such target"),
    (checks.helm, console("$ helm install x deploy/chart --set settings.cluster-cdir=1"), "cluster-cdir: not in"),
    (checks.helm, console("$ helm upgrade x deploy/chart \\", "    --set agent.port=1,agent.ports=2"), "agent.ports"),
    (checks.metrics, "Watch `cloudroute_route_limits`.", "cloudroute_route_limits: no metric"),
    (checks.metrics, "```promql\nsum(cloudroute_node) > 1\n```", "cloudroute_node: no metric"),
    (checks.paths, "See `cloudroute/core/slot.py`.", "no such file"),
    (checks.paths, "See `tests/nothing*`.", "no such file"),
    (checks.paths, console("$ kubectl apply -f deploy/rbacs/"), "deploy/rbacs/: no such file"),
]  # fmt: skip

RIGHT = [
    (checks.links, "# A & b: `c`\n\n# A & b: `c`\n\n[1](#a--b-c) [2](#a--b-c-1) [3](https://x.org) [4](../deploy/iam)"),
    (checks.links, "[a](design.md#the-life-of-a-node) ![b](packets.svg)"),
    (checks.blocks, console("$ for i in 1 2; do \\", "    echo $i; done", "if this were code: it's wrong", "$ true")),
    (checks.blocks, console("$ cat <<EOF", "> if (", "> EOF", "$ true")),
    (checks.blocks, "```\nany { thing\n```"),
    (checks.cloudroute, console("$ export CLOUDROUTE_CLUSTER_CIDR=10.244.0.0/16", "$ cloudroute plan", "nothing")),
    (checks.cloudroute, console('$ cloudroute agent --node-name "$(hostname)" --cluster-cidr 10.244.0.0/16 2>&1 # a')),
    (checks.cloudroute, console("$ cloudroute plan --config cloudroute.yaml --vpc-id VPC_ID --cluster-cidr $POOL")),
    (checks.cloudroute, console("$ .venv/bin/cloudroute lab exec node-1 -- ip nexthop | grep cr0")),
    (checks.cloudroute, "`cloudroute lab`, `cloudroute status`, `cloudroute path A B` and `cloudroute plan -o json`"),
    (checks.variables, "CLOUDROUTE_ROUTE_LIMIT, CLOUDROUTE_REQUIRE"),
    (checks.flags, "`--route-limit 5`, `--config FILE`, `--configure-cloud-routes=false`, `kubectl get --help`"),
    (checks.files, "```yaml\nsettings: {cluster-cidr: [10.244.0.0/16]}\nagent: {port: 10457}\n```"),
    (checks.files, "```yaml\ncluster-cidr: [10.244.0.0/16]\nroute-limit: auto\n```"),
    (checks.files, "```yaml\nkind: Node\napiVersion: v1\n```"),
    (checks.make, console("$ make check test")),
    (checks.helm, console(r"$ helm install x deploy/chart --set 'settings.cluster-cidr={10.0.0.0/8,fd00::/48}' \ "[:-1],
                          r"    --set controller.serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:x")),
    (checks.helm, console("$ helm install other there/chart --set some.thing=1")),
    (checks.metrics, "`cloudroute_ec2_requests_total`, `cloudroute_agent_sync_seconds_bucket`, `tests/cloudroute_x`"),
    (checks.paths, "`deploy/chart`, `tests/core/test_*`, `./cloudroute/cli.py`, `cloudroute/cloudroute-agent`, `a/b`"),
    (checks.paths, console("$ kubectl exec deploy/cloudroute-controller -- cat /etc/hosts")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "text", "problem"), WRONG)
def test_says_what_is_wrong(check: Check, text: str, problem: str) -> None:
    """A page with a mistake has a problem."""
    assert problem in found(check, text)


@pytest.mark.parametrize(("check", "text"), RIGHT)
def test_lets_pass_what_is_right(check: Check, text: str) -> None:
    """A page without a mistake has no problem."""
    assert found(check, text) == ""


def test_each_check_has_a_page_in_which_it_fails() -> None:
    """Each check has a page in which it fails."""
    assert {check for check, _, _ in WRONG} == set(checks.CHECKS)
