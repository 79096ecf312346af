"""Writes to EC2 and to Kubernetes, as the servers count them."""

from __future__ import annotations

import re
import threading
from collections import Counter

import urllib3

from cloudroute.lab.aws import Aws
from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.ports import EC2_WRITES

_OURS = ("noderoutes", "routetables", "nodes", "events", "leases")
_VERBS = ("POST", "PUT", "PATCH", "DELETE", "APPLY")
_LINE = re.compile(r"^apiserver_request_total\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def ec2_writes(aws: Aws) -> Counter[str]:
    """Count the writes that succeeded, by action, without the lab's own."""
    return Counter({action: aws.calls[action, "OK"] for action in EC2_WRITES})


class KubeWrites:
    """Writes by resource ("noderoutes", "noderoutes/status"), over all lives of a real API server."""

    def __init__(self, api: RealKubeApi) -> None:
        self._api = api
        self._http = urllib3.PoolManager(ca_certs=str(api.ca_file), timeout=10, retries=False)
        self._lock = threading.Lock()
        self._before: Counter[str] = Counter()
        """Of its former lives."""

    def total(self) -> Counter[str]:
        """So far. Raises urllib3's errors while the server is away."""
        with self._lock:
            return self._before + self._present()

    def fold(self) -> None:
        """It is about to be stopped, and will count from zero."""
        with self._lock:
            self._before += self._present()

    def _present(self) -> Counter[str]:
        headers = {"Authorization": f"Bearer {self._api.token}"}
        answer = self._http.request("GET", f"{self._api.url}/metrics", headers=headers)
        found: Counter[str] = Counter()
        for labels, value in _LINE.findall(answer.data.decode()):
            of = dict(_LABEL.findall(labels))
            if of["resource"] in _OURS and of["verb"] in _VERBS and of["code"].startswith("2"):
                found[of["resource"] + (of["subresource"] and f"/{of['subresource']}")] += int(float(value))
        return found
