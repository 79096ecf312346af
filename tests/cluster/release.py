"""cloudroute as a user has it: installed by Helm from the chart, looked at and cleaned up from a laptop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from cloudroute.lab.kube import Object
from cloudroute.lab.replica import clean_environment
from tests.cluster.fleet import CNI_BIN_DIR, CNI_CONF_DIR, Fleet
from tests.cluster.traces import take
from tests.deploy.conftest import CHART, Run

SPACE = "cloudroute"
SECRET = "aws"
COMMAND_SECONDS = 300.0


class Release:
    """The chart's release `cloudroute`; `folder` is for files of the user, `settings` are more of the controller's."""

    def __init__(
        self, fleet: Fleet, helm: Run, kubectl: str, folder: Path, settings: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        self._fleet, self._helm, self._kubectl, self._folder = fleet, helm, kubectl, folder
        self._settings = settings
        self._credentials = fleet.account.assume(fleet.applied["role_arns"]["instance-profile"])
        self._kubeconfig = fleet.kube.kubeconfig(folder / "kubeconfig")
        self.before = take(fleet, self.kubectl)
        """Traces in EC2, Kubernetes and kernels before cloudroute was installed."""

    def prepare(self) -> None:
        """The namespace with its label, and in it the role's credentials: the lab has no instance metadata."""
        labels = {"pod-security.kubernetes.io/enforce": "privileged"}
        kube = self._fleet.kube
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": labels}})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": SPACE}}
        kube.create({**secret, "stringData": self._credentials})
        (self._folder / "values.yaml").write_text(yaml.safe_dump(self._values()))

    def _values(self) -> dict[str, Any]:
        applied = self._fleet.applied
        secrets = [
            {"name": name.upper(), "valueFrom": {"secretKeyRef": {"name": SECRET, "key": name}}}
            for name in self._credentials
        ]
        return {
            "settings": {"cluster-name": applied["cluster_name"], "cluster-cidr": applied["cluster_cidrs"]},
            "image": {"pullPolicy": "Never"},
            "controller": {
                "settings": {"region": applied["region"], **self._settings},
                "env": [{"name": "AWS_ENDPOINT_URL", "value": self._fleet.aws_url}, *secrets],
            },
            "agent": {
                "settings": {"cni-conf-dir": str(CNI_CONF_DIR)},
                "cniBinDir": str(CNI_BIN_DIR),
            },
        }

    # --- helm -------------------------------------------------------------------------------------

    def helm(self, *words: str) -> str:
        """Run a command of Helm that must succeed, and return what it said."""
        done = self._helm(*words, "--namespace", SPACE, kubeconfig=self._kubeconfig)
        assert done.returncode == 0, f"helm {' '.join(words)}: {done.stdout}{done.stderr}\n{self._fleet.diagnosis()}"
        return done.stdout

    def install(self) -> None:
        self.helm("install", "cloudroute", str(CHART), "--values", str(self._folder / "values.yaml"))

    def upgrade(self, *settings: str) -> None:
        """Change values, as NAME=VALUE, and keep the others."""
        words = [word for setting in settings for word in ("--set", setting)]
        self.helm("upgrade", "cloudroute", str(CHART), "--reuse-values", *words)

    # --- kubectl and cloudroute, from a laptop ----------------------------------------------------

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run a command of kubectl that must succeed, and return what it said."""
        return self._run([self._kubectl, *words], stdin)

    def cloudroute(
        self, *words: str, codes: Collection[int] = (0,), program: Sequence[str] = ("-m", "cloudroute")
    ) -> str:
        """Run a command of cloudroute, and return what it said. It has to end with one of `codes`."""
        return self._run([sys.executable, *program, *words], codes=codes)

    def environment(self) -> dict[str, str]:
        """Variables with which a laptop's kubectl and cloudroute find the cluster and the account."""
        applied = self._fleet.applied
        return {
            **{name.upper(): value for name, value in self._credentials.items()},
            "AWS_ENDPOINT_URL": self._fleet.account.url,
            "AWS_CONFIG_FILE": os.devnull,
            **dict.fromkeys(("KUBECONFIG", "CLOUDROUTE_KUBECONFIG"), str(self._kubeconfig)),
            "CLOUDROUTE_CLUSTER_NAME": applied["cluster_name"],
            "CLOUDROUTE_CLUSTER_CIDR": ",".join(applied["cluster_cidrs"]),
            "CLOUDROUTE_REGION": applied["region"],
            "CLOUDROUTE_NAMESPACE": SPACE,
            **{f"CLOUDROUTE_{name.replace('-', '_').upper()}": str(value) for name, value in self._settings.items()},
        }

    def _run(self, command: list[str], stdin: str = "", codes: Collection[int] = (0,)) -> str:
        done = subprocess.run(
            command,
            env={**clean_environment(), **self.environment()},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode in codes, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    # --- what runs --------------------------------------------------------------------------------

    def pods(self, component: str) -> list[Object]:
        """The pods of "controller" or "agent" that are not on their way out."""
        return [
            pod
            for pod in self._fleet.kube.list("pods", SPACE)
            if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") == component
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def leader(self) -> str:
        """The name of the pod that leads, "" while nobody does: a pod on the node's network has the node's hostname."""
        holders = {lease["spec"].get("holderIdentity") or "" for lease in self._fleet.kube.list("leases", SPACE)}
        for pod in self.pods("controller"):
            if any(holder.startswith(f"{pod['spec'].get('nodeName')}_") for holder in holders):
                return str(pod["metadata"]["name"])
        return ""

    def agents_have_ended(self) -> bool:
        """Whether each agent has been told to clean up, and did."""
        agents = [pod for pod in self.pods("agent") if "--cleanup" in pod["spec"]["containers"][0]["args"]]
        statuses = [status for pod in agents for status in pod["status"].get("containerStatuses", ())]
        ends = [state["terminated"]["exitCode"] for state in map(_last_state, statuses) if "terminated" in state]
        return ends == [0] * len(self._fleet.hosts)

    def rolled(self) -> bool:
        """Whether all pods of both are of the newest template, and ready."""
        deployment = self._fleet.kube.get("deployments", "cloudroute-controller", SPACE)
        agents = self._fleet.kube.get("daemonsets", "cloudroute-agent", SPACE)
        wanted = deployment["spec"]["replicas"]
        return (
            _seen(deployment)
            and _seen(agents)
            and deployment["status"].get("updatedReplicas") == deployment["status"].get("readyReplicas") == wanted
            and deployment["status"].get("replicas") == wanted
            and agents["status"].get("updatedNumberScheduled") == agents["status"].get("numberReady")
            and agents["status"].get("numberReady") == len(self._fleet.hosts)
        )


def _last_state(status: Object) -> Object:
    """The state of a container; while it waits to be started again, the one before."""
    return dict(status["state"] if "terminated" in status["state"] else status.get("lastState", {}))


def _seen(item: Object) -> bool:
    return bool(item["status"].get("observedGeneration") == item["metadata"]["generation"])
