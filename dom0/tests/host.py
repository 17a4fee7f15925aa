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
from time import gmtime, strftime
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
        folder.mkdir(exist_ok=True)
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
        done = self.run(self.request(command, vdi, args=args, **keys))
        return xmlrpc.client.loads(done.stdout, use_builtin_types=True)[0][0]

    def request(self, command: str, vdi: str | None = None, *, args: tuple[str, ...] = (), **keys: Any) -> str:
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
            ref = self.toolstack.vdis.find("uuid", vdi) or "OpaqueRef:gone"
            location = self.toolstack.vdis.get(ref, {}).get("location", vdi)
            request.update(vdi_ref=ref, vdi_location=location, vdi_uuid=vdi, vdi_on_boot="persist")
        request.update(keys)
        return xmlrpc.client.dumps((request,), command)

    def argv(self, request: str | bytes) -> list[str | bytes]:
        return [PYTHON, "-IS", str(LAUNCH), str(self.folder), request]

    def snapshot(self, vdi: str) -> str:
        """As VDI.snapshot: what xapi does around the driver's answer is part of it."""
        return self._copy("vdi_snapshot", vdi, is_a_snapshot=True, snapshot_of=self.toolstack.ref(vdi))

    def clone(self, vdi: str) -> str:
        return self._copy("vdi_clone", vdi, is_a_snapshot=False)

    def destroy_data(self, vdi: str) -> None:
        self.call("vdi_data_destroy", vdi)
        self.toolstack.vdis[self.toolstack.ref(vdi)]["type"] = "cbt_metadata"

    def set_cbt(self, vdi: str, *, enabled: bool) -> None:
        self.call("vdi_enable_cbt" if enabled else "vdi_disable_cbt", vdi)
        self.toolstack.vdis[self.toolstack.ref(vdi)]["cbt_enabled"] = enabled

    def location(self, vdi: str) -> str:
        return str(self.toolstack.vdis[self.toolstack.ref(vdi)]["location"])

    def _copy(self, command: str, vdi: str, *, is_a_snapshot: bool, **fields: Any) -> str:
        original = self.toolstack.vdis[self.toolstack.ref(vdi)]
        answer = self.call(command, vdi, driver_params={})
        made = self.toolstack.vdis[self.toolstack.ref(answer["uuid"])]
        assert answer == {"uuid": made["uuid"], "location": made["location"]}
        names = {name: original[name] for name in ("name_label", "name_description")}
        made.update(names, is_a_snapshot=is_a_snapshot, snapshot_time=strftime("%Y%m%dT%H:%M:%SZ", gmtime()))
        self.call("vdi_update", made["uuid"])
        cbt_enabled = is_a_snapshot and original["cbt_enabled"]
        made.update(fields, type=original["type"], cbt_enabled=cbt_enabled)
        return str(made["uuid"])

    def peak_mib(self, command: str) -> float:
        """The most memory that a call takes. Not what wait4 says, which knows of the time before exec as well."""
        note = self.folder / "peak_kib"
        note.touch()
        self.call(command)
        peak_kib = int(note.read_text())
        note.unlink()
        return peak_kib / 1024

    def run(self, request: str | bytes) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(self.argv(request), capture_output=True, timeout=60, check=False)
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
