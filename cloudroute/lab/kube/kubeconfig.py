"""Kubeconfig files for servers of the lab."""

from __future__ import annotations

from pathlib import Path

import yaml


def write_kubeconfig(url: str, token: str, ca_file: Path | None, user: str, path: Path) -> Path:
    """Write a kubeconfig with one context to `path`, and return the path."""
    cluster = {"server": url} | ({"certificate-authority": str(ca_file)} if ca_file else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
