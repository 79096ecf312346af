"""Images as containerd keeps them: imported once, and shared by the nodes of a lab."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from cloudroute.lab.hosts.kubelet_config import DISABLED_PLUGINS
from cloudroute.lab.hosts.netns import execute
from cloudroute.lab.waiting import wait_for

_CRI = "io.containerd.grpc.v1.cri"
_START_SECONDS, _IMPORT_SECONDS = 20.0, 120.0


class ImageStore:
    """Archives of images, and in `folder`, on the file system of the nodes, what containerd has made of them."""

    def __init__(self, folder: Path, archives: Iterable[Path]) -> None:
        self._folder = folder.resolve()
        self._archives = [path.resolve() for path in archives]

    def fill(self, root: Path, snapshotter: str) -> None:
        """Make `root`, a folder for containerd's --root, hold the images. Raises CloudrouteError.

        They are imported by the first node. Others get hard links: nothing changes an image's files, and our own image
        takes five seconds of a core to take apart.
        """
        if root.exists():
            return
        store = self._folder / snapshotter
        if not store.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder) as work:
                _import(Path(work, "root"), self._archives, snapshotter)
                Path(work, "root").rename(store)
        root.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-al", str(store), str(root)], check=True)  # noqa: S603, S607 - our own paths; coreutils
        for database in root.glob("*/*.db"):  # each containerd writes its own
            own = database.with_suffix(".own")
            shutil.copy(database, own)
            own.replace(database)


def _import(root: Path, images: Sequence[Path], snapshotter: str) -> None:
    """Import into `root`, by a containerd that runs for that only."""
    with tempfile.TemporaryDirectory(dir="/run") as run:  # the path of a socket has at most 107 bytes
        configuration, log, address = (Path(run, name) for name in ("containerd.toml", "log", "sock"))
        configuration.write_text(f"version = 2\ndisabled_plugins = {[*DISABLED_PLUGINS, _CRI]}\n")
        folders = [f"--root={root}", f"--state={run}/state", f"--address={address}"]
        ctr = ["ctr", f"--address={address}", "--namespace=k8s.io"]
        # Mounts of its namespace end with it.
        command = ["unshare", "--mount", "containerd", f"--config={configuration}", *folders]
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:  # noqa: S603
            try:
                wait_for(
                    lambda: "Server" in execute(*ctr, "version", check=False), "containerd", _START_SECONDS, 0.05,
                    lambda: log.read_text(errors="replace").splitlines()[-20:],
                )  # fmt: skip
                for image in images:
                    execute(
                        *ctr, "images", "import", f"--snapshotter={snapshotter}", str(image), timeout=_IMPORT_SECONDS
                    )
            finally:
                process.terminate()
