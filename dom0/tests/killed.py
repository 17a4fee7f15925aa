"""A host whose driver can be killed at a step, and all that a call can have changed, as values to compare."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from dom0.shoal_dom0 import records
from dom0.tests.ceph_kernel import Agent, CephKernel
from dom0.tests.host import PYTHON, Host
from dom0.tests.toolstack import FIELDS
from tests.ceph.service import Service

LAUNCH_KILLED = Path(__file__).with_name("launch_killed.py")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"20\d{6}T\d\d:\d\d:\d\dZ|\b1\d{9}\.\d+")
SIZE = re.compile(r"<Size>[0-9]+")
IMAGE_ID = re.compile(r"\b[0-9a-f]{12,14}\b")
BLANK = records._BLANK
SETTLE_TIMEOUT_S = 100.0  # a sweep that Ceph has not answered in time is made again after a minute
SETTLE_PAUSE_S = 0.2
CHILD_TIMEOUT_S = 20.0


class Killed(Exception):
    """The driver died at this step."""


class KillableHost(Host):
    """`step` is where the next calls are killed; 0: nowhere."""

    step = 0

    def run(self, request: str | bytes) -> subprocess.CompletedProcess[bytes]:
        if not self.step:
            return super().run(request)
        reader, writer = os.pipe()
        argv = [PYTHON, "-IS", str(LAUNCH_KILLED), str(self.step), str(self.folder), request]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=60, check=False, pass_fds=(writer,))
        finally:
            os.close(writer)
            # What the kernel still does for a killed driver ends before anything else begins.
            ended = select.select([reader], [], [], CHILD_TIMEOUT_S)[0]
            os.close(reader)
        assert ended, "a child of the driver did not end"
        if done.returncode == -signal.SIGKILL:
            raise Killed((self.folder / "steps").read_text().splitlines()[self.step - 1])
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        return done


class World:
    """One host, the pool behind it, and the disks that a scenario has prepared, by a label each."""

    def __init__(self, folder: Path, service: Service, agent: Agent) -> None:
        self.service = service
        self.agent = agent
        kernel = lambda where: CephKernel(where, agent)  # noqa: E731
        self.host = KillableHost(folder, service.files, [service.endpoint], kernel=kernel)
        self.host.device_config["fsid"] = service.cluster.fsid
        self.labels: dict[str, str] = {self.host.sr: "the SR"}

    def stop(self) -> None:
        self.reset()
        self.ask("DELETE", "owner", {"sr": self.host.sr})
        self.host.stop()

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The volume service's answer, past the driver."""
        status, answer = self.service.ask(method, f"pools/rbd/{path}", body)
        assert status in (200, 404), (method, path, answer)
        return answer

    def reset(self) -> None:
        """No disk, no record, no map, no link; the pool is this SR's."""
        self.host.step = 0
        for number in list(self.host.kernel.tokens):
            self.host.kernel.write("remove_single_major", number)
        for path in sorted((self.host.folder / "links").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self.remove_all()
        self.host.toolstack.vdis.clear()
        self.host.toolstack.sr["virtual_allocation"] = "0"
        self.host.kernel.lines.clear()
        self.labels = {self.host.sr: "the SR"}
        self.ask("PUT", "owner", {"sr": self.host.sr})

    def remove_all(self) -> None:
        listing = self.ask("GET", "volumes")
        for snapshot in listing["snapshots"]:
            self.ask("DELETE", f"snapshots/{snapshot['location']}")
        for volume in listing["volumes"]:
            self.ask("DELETE", f"volumes/{volume['id']}")

    def disk(self, label: str = "disk", size_bytes: int = 1 << 30) -> str:
        """As the driver would have made it, without a call of it."""
        made = str(uuid.uuid4())
        self.labels[made] = label
        record = {**BLANK, "uuid": made, "location": made, "size_bytes": size_bytes, "name_label": label}
        volume = {"size_bytes": size_bytes, "metadata": records.as_metadata(record)}
        self.ask("PUT", f"volumes/{made}", volume)
        values = {**record, "SR": "OpaqueRef:sr", "virtual_size": str(size_bytes), "physical_utilisation": "0"}
        constants = {"sharable": False, "other_config": {}, "xenstore_data": {}, "managed": True}
        self.host.toolstack.call_VDI_db_introduce(*({**values, **constants}[field] for field in FIELDS))
        return made

    def snapshot(self, label: str, disk: str) -> dict[str, str]:
        """Its uuid and location."""
        made: dict[str, str] = self.host.call("vdi_snapshot", disk, driver_params={})
        self.labels[made["uuid"]] = label
        return made

    def on(self, made: dict[str, str], command: str, **keys: Any) -> Any:
        """A call about a snapshot; its record may have gone with the killed one."""
        return self.host.call(command, made["uuid"], vdi_location=made["location"], **keys)

    def then_scanned(self, answer: Any) -> Any:
        """For calls that give what they make a uuid of their own: what a killed one has made is found by a scan."""
        self.host.step = 0
        self.host.call("sr_scan")
        return answer

    def settled(self) -> dict[str, Any]:
        """The state once what runs in the background has come to rest: nothing waits in the trash, nothing changes."""
        end, before = time.monotonic() + SETTLE_TIMEOUT_S, {"trash": "not looked at"}
        while time.monotonic() < end:
            now = self.state()
            if now == before and not now["trash"]:
                return now
            before = now
            time.sleep(SETTLE_PAUSE_S)
        return before

    def becomes(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The state, as soon as it is the wanted one, or after a while what it is instead."""
        end = time.monotonic() + SETTLE_TIMEOUT_S
        while (now := self.state()) != wanted and time.monotonic() < end:
            time.sleep(SETTLE_PAUSE_S)
        return now

    def state(self) -> dict[str, Any]:
        """All that there is, with labels instead of uuids; what has no label is new, and counts once however often."""
        dump = self.agent.dump()
        records = self.host.toolstack.vdis.values()
        links = self.host.folder / "links"
        return {
            "owner": self._named(self.ask("GET", "owner")),
            "images": self._once([self._image(image) for image in dump["images"]]),
            "records": self._once([self._record(record) for record in records]),
            "unrecorded": sum(image["name"].startswith("vdi-") for image in dump["images"]) - len(self._disks()),
            "trash": len(dump["trash"]),
            "orphans": self._once(dump["orphans"]),
            "maps": self._once(self.host.kernel.mapped()),
            "links": sorted(self._named(str(path.relative_to(links))) for path in links.rglob("*") if path.is_symlink()),
        }

    def _disks(self) -> list[dict[str, Any]]:
        return [record for record in self.host.toolstack.vdis.values() if not record["is_a_snapshot"]]

    def _image(self, image: dict[str, Any]) -> dict[str, Any]:
        shown = {key: image[key] for key in ("name", "size_bytes", "parent")}
        return {**shown, "snaps": self._once(image["snaps"]), "metadata": self._once(list(image["metadata"].items()))}

    def _record(self, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "snapshot_of": self._of(record["snapshot_of"])}

    def _of(self, ref: str) -> str:
        known = self.host.toolstack.vdis.get(ref)
        return str(known["uuid"]) if known else "nothing"

    def _once(self, values: list[Any]) -> list[str]:
        return sorted({self._named(value) for value in values})

    def _named(self, value: Any) -> str:
        text = UUID.sub(lambda found: self.labels.get(found.group(), "new"), json.dumps(value, sort_keys=True))
        return IMAGE_ID.sub("an image", TIME.sub("then", text))

    def answer(self, value: Any) -> str:
        """How large the pool is, which sr_probe says, changes with what Ceph has counted meanwhile."""
        return SIZE.sub("<Size>", self._named(value))

    def leaks(self) -> dict[str, Any]:
        """What remains in Ceph when everything has been removed and swept: nothing, after a moment."""
        dump = self.agent.dump()
        return {key: dump[key] for key in ("images", "trash", "orphans") if dump[key]}
