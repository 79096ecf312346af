"""`python -m tests.cluster`: six real kubelets with cloudroute, up until Ctrl-C, to try commands on."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.kube.real import find_assets
from tests.cluster.fleet import Size
from tests.cluster.phases import Phases
from tests.cluster.release import Release
from tests.cluster.stage import EVERY_PATH, bring_up, label_gateway, new_fleet
from tests.deploy.conftest import find_helm
from tests.measure.rows import say
from tests.releases import image_meanwhile
from tests.required import lacking
from tests.terraform.conftest import find_terraform

SIZE = Size("cluster", zones=2, nodes_per_zone=3)
ENVIRONMENT = Path("dist/cluster.env")


def main() -> int:
    """0 after Ctrl-C, 1 where a part is missing or the cluster does not come up."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _stand(Path(folder))
    except KeyboardInterrupt:
        return 0
    except (CloudrouteError, pytest.skip.Exception) as error:  # `lacking` ends a test; here it ends the program
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        ENVIRONMENT.unlink(missing_ok=True)
    return 0


def _stand(folder: Path) -> None:
    assets = find_assets(["kubectl"])
    if assets is None:
        lacking("kubectl")
    helm = find_helm(folder / "helm")
    terraform = find_terraform(folder)
    phases = Phases(say)
    with image_meanwhile(folder) as image, new_fleet(SIZE, terraform, image, phases) as fleet:
        label_gateway(fleet)
        release = Release(fleet, helm, str(assets / "kubectl"), folder, EVERY_PATH)
        bring_up(fleet, release, phases)
        programs = f"{Path(sys.executable).parent}:{assets}"
        lines = [f"export {name}={shlex.quote(value)}" for name, value in release.environment().items()]
        ENVIRONMENT.parent.mkdir(exist_ok=True)
        ENVIRONMENT.write_text("\n".join([*lines, f'export PATH={shlex.quote(programs)}:"$PATH"', ""]))
        say(f"up; in another terminal: . {ENVIRONMENT}\nCtrl-C takes it down")
        try:
            signal.pause()
        finally:
            say("taking it down")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
