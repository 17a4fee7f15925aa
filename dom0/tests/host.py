"""A host to run the driver on: its folders, its toolstack, its kernel. Calls are made as xapi makes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dom0.tests.kernel import Kernel
from dom0.tests.toolstack import SESSION, Toolstack

LAUNCH = Path(__file__).with_name("launch.py")
KEY = "AQD-the-secret-key-of-the-hosts=="
PYTHON = os.environ.get("SHOAL_DOM0_PYTHON", sys.executable)


class Host:
    def __init__(
        self,
        folder: Path,
        client_files: Path | None,
        volumes: list[str],
        *,
        kernel: Callable[[Path], Kernel] = Kernel,
        toolstack: Toolstack | None = None,
    ) -> None:
        """`toolstack`: the pool's, where several hosts share one."""
        self.folder = folder
        self.sr = str(uuid.uuid4())
        self.secret = str(uuid.uuid4())
        if toolstack is not None:
            (folder / "xapi").symlink_to(toolstack.path)
        self.toolstack = toolstack or Toolstack(folder / "xapi")
        self.toolstack.secrets[self.secret] = KEY
        self.kernel = kernel(folder)
        self.device_config = {
            "monitors": "127.0.0.1:6789,127.0.0.2:6789",
            "pool": "rbd",
            "user": "shoal-xen",
            "password_secret": self.secret,
            "volumes": ",".join(volumes),
            "SRmaster": "true",
        }
        (folder / "host.json").write_text(json.dumps({"volume_service": volumes[-1]}))
        if client_files is not None:
            shutil.copytree(client_files, folder / "volumes")

    def stop(self) -> None:
        self.toolstack.stop()
        self.kernel.stop()

    def call(self, command: str, vdi: str | None = None, *, args: tuple[str, ...] = (), **keys: Any) -> Any:
        """The driver's answer; a fault is raised as xmlrpc.client.Fault."""
        request: dict[str, Any] = {
            "host_ref": "OpaqueRef:host",
            "command": command,
            "args": list(args),
            "device_config": self.device_config,
            "session_ref": SESSION,
            "sr_ref": "OpaqueRef:sr",
            "sr_uuid": self.sr,
        }
        if vdi is not None:
            refs = [ref for ref, record in self.toolstack.vdis.items() if record["uuid"] == vdi]
            request.update(vdi_ref=refs[0] if refs else "OpaqueRef:gone", vdi_location=vdi, vdi_uuid=vdi)
        request.update(keys)
        done = self.run(xmlrpc.client.dumps((request,), command))
        return xmlrpc.client.loads(done.stdout, use_builtin_types=True)[0][0]

    def run(self, request: str | bytes) -> subprocess.CompletedProcess[bytes]:
        argv = [PYTHON, "-IS", str(LAUNCH), str(self.folder), request]
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b"", done.stderr
        return done

    def create(self, size_bytes: int = 1 << 30, name: str = "disk", **keys: Any) -> str:
        arguments = (
            str(size_bytes),
            name,
            "made by a test",
            "OpaqueRef:NULL",
            "false",
            "19700101T00:00:00Z",
            "",
            "false",
        )
        answer = self.call("vdi_create", args=arguments, vdi_sm_config={}, vdi_type="user", **keys)
        assert answer["uuid"] == answer["location"]
        return str(answer["uuid"])
