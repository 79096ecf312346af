"""A webhook in a pod refuses what it is asked, names itself, and ends with its stdin."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from cloudroute.probe.webhook import PORT
from tests.packets.webhook import certificate


def test_it_refuses_an_object_in_its_own_name(tmp_path: Path) -> None:
    cert = certificate("127.0.0.1", tmp_path / "pem")
    key = (tmp_path / "pem").read_text().removeprefix(cert)
    command = [sys.executable, "-m", "cloudroute.probe", "webhook"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({"cert": cert, "key": key, "name": "pod on n1"}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"serving": True}
        review = json.dumps({"request": {"uid": "u1", "object": {}}}).encode()
        asked = Request(f"https://127.0.0.1:{PORT}/", data=review)
        with urlopen(asked, timeout=5, context=ssl.create_default_context(cadata=cert)) as answer:
            said = json.loads(answer.read())["response"]
        assert said == {"uid": "u1", "allowed": False, "status": {"message": "refused by pod on n1"}}
        process.stdin.close()
        assert process.wait(5) == 0
