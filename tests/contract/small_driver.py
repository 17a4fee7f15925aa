#!/usr/bin/env python3
"""A whole SM driver in a page: a folder is the SR, a file a VDI. It calls back into XenAPI as real drivers do.

A snapshot's location is not its uuid: "<uuid>@snap". What is known of a file lies in "<location>.json" beside it. Every
request is appended to `requests.jsonl`, so that tests see what a driver gets to see. `answers-38` in the SR's folder
names commands that it then does not do.
"""

import base64
import json
import shutil
import sys
import uuid
from pathlib import Path
from urllib.request import Request, urlopen
from xmlrpc.client import Fault, dumps, loads

ROOT = Path(sys.argv[0]).resolve().parents[3]
LOG = ROOT / "requests.jsonl"
NULL = "OpaqueRef:NULL"
BLOCK = 65536
INFO = {
    "name": "small",
    "description": "a folder as SR",
    "vendor": "tests",
    "copyright": "",
    "driver_version": "1.0",
    "required_api_version": "1.0",
    "capabilities": [
        "SR_CREATE", "SR_DELETE", "SR_ATTACH", "SR_DETACH", "SR_SCAN", "SR_PROBE", "SR_UPDATE/2",
        "VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH", "VDI_ACTIVATE", "VDI_DEACTIVATE", "VDI_RESIZE",
        "VDI_RESIZE_ONLINE", "VDI_UPDATE", "VDI_INTRODUCE", "VDI_SNAPSHOT", "VDI_CLONE", "VDI_REVERT",
        "VDI_RESET_ON_BOOT/2", "VDI_CONFIG_CBT",
    ],
    "configuration": [{"key": "path", "description": "the folder"}],
}  # fmt: skip


class Sr:
    """One request's view of the folder."""

    def __init__(self, request):
        self.request = request
        self.folder = Path(request["device_config"].get("path", "/nowhere"))
        self.location = request.get("vdi_location", "none")
        self.file = self.folder / self.location

    def call(self, method, *parameters):
        port = (ROOT / "local-port").read_text()
        own = {"jsonrpc": "2.0", "method": method, "params": [self.request["session_ref"], *parameters], "id": 1}
        answer = json.load(urlopen(Request(f"http://127.0.0.1:{port}/jsonrpc", json.dumps(own).encode())))
        if "error" in answer:
            raise Fault(202, json.dumps(answer["error"]))
        return answer["result"]

    def known(self, location):
        file = self.folder / f"{location}.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def keep(self, location, **facts):
        (self.folder / f"{location}.json").write_text(json.dumps({**self.known(location), **facts}))

    def introduce(self, location):
        known, size = self.known(location), str((self.folder / location).stat().st_size)
        of = self.vdi_ref(known["of"]) if known.get("of") else NULL
        read_only, cbt = known.get("read_only", False), known.get("cbt", False)
        self.call(
            "VDI.db_introduce", known["uuid"], known["name"], known["description"], self.request["sr_ref"], "user",
            False, read_only, {}, location, {}, {}, True, size, size, NULL, bool(known.get("of")), known["time"],
            of, cbt,
        )  # fmt: skip
        return {"uuid": known["uuid"], "location": location}

    def vdi_ref(self, own):
        try:
            return self.call("VDI.get_by_uuid", own)
        except Fault:
            return NULL

    def make(self, location, own, name="", description="", of=""):
        facts = {"uuid": own, "name": name, "description": description, "of": of, "time": "19700101T00:00:00Z"}
        self.keep(location, **facts, cbt=self.known(self.location).get("cbt", False))
        return self.introduce(location)

    def scan(self):
        vdis = self.call("VDI.get_all_records").items()
        here = {row["location"]: ref for ref, row in vdis if row["SR"] == self.request["sr_ref"]}
        found = {file.name for file in self.folder.iterdir() if file.with_name(f"{file.name}.json").exists()}
        for location in sorted(found - here.keys(), key=lambda one: "@" in one):  # what snapshots are of comes first
            self.introduce(location)
        for location in here.keys() - found:
            self.call("VDI.db_forget", here[location])
        self.update()

    def update(self):
        sizes = sum(image.stat().st_size for image in self.folder.iterdir())
        self.call("SR.set_virtual_allocation", self.request["sr_ref"], str(sizes))

    def vdi_create(self):
        own, (size, name, description) = str(uuid.uuid4()), self.request["args"][:3]
        with (self.folder / own).open("wb") as new:
            new.truncate(int(size))
        self.keep(own, read_only=self.request["args"][7] == "true")
        return self.make(own, own, name, description)

    def vdi_snapshot(self):
        own = str(uuid.uuid4())
        shutil.copy(self.file, self.folder / f"{own}@snap")
        return self.make(f"{own}@snap", own, of=self.request["vdi_uuid"])

    def vdi_clone(self):
        own = str(uuid.uuid4())
        shutil.copy(self.file, self.folder / own)
        return self.make(own, own)

    def vdi_revert(self):
        target = self.call("VDI.get_location", self.request["args"][0])
        shutil.copy(self.file, self.folder / target)

    def vdi_resize(self):
        with self.file.open("r+b") as image:
            image.truncate(int(self.request["args"][0]))
        self.call("VDI.set_virtual_size", self.request["vdi_ref"], self.request["args"][0])
        return {"uuid": self.request["vdi_uuid"], "location": self.location}

    def vdi_delete(self):
        self.file.unlink()
        self.file.with_name(f"{self.location}.json").unlink()
        self.call("VDI.db_forget", self.request["vdi_ref"])

    def vdi_introduce(self):
        return self.introduce(self.location)

    def vdi_update(self):
        row = self.call("VDI.get_record", self.request["vdi_ref"])
        self.keep(self.location, name=row["name_label"], description=row["name_description"], time=row["snapshot_time"])

    def vdi_attach(self):
        return {
            "params": str(self.file),
            "params_nbd": "",
            "o_direct": True,
            "o_direct_reason": "",
            "xenstore_data": {},
        }

    def vdi_epoch_begin(self):
        base = self.file.with_name(f"{self.location}.base")
        if self.request["vdi_on_boot"] == "reset":
            shutil.copy(*((base, self.file) if base.exists() else (self.file, base)))

    def vdi_enable_cbt(self):
        self.keep(self.location, cbt=True)

    def vdi_disable_cbt(self):
        self.keep(self.location, cbt=False)

    def vdi_data_destroy(self):
        self.file.write_bytes(b"")

    def vdi_list_changed_blocks(self):
        to = self.folder / self.call("VDI.get_location", self.request["args"][0])
        old, new = self.file.read_bytes(), to.read_bytes()
        changed = [old[at : at + BLOCK] != new[at : at + BLOCK] for at in range(0, len(new), BLOCK)]
        bits = "".join(str(int(one)) for one in changed).ljust(-(-len(changed) // 8) * 8, "0")
        return base64.b64encode(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))).decode()


def answer(request):
    command = request["command"]
    if command == "sr_get_driver_info":
        return INFO
    sr = Sr(request)
    if command == "sr_probe":
        return "<?xml version='1.0'?><SRlist/>"
    if not sr.folder.is_dir():
        raise Fault(47, f"{sr.folder} is not there")
    if (sr.folder / "answers-38").exists() and command in (sr.folder / "answers-38").read_text().split():
        raise Fault(38, "not implemented")
    handlers = {"sr_scan": sr.scan, "sr_update": sr.update}
    return handlers.get(command, getattr(sr, command, lambda: None))()


def main():
    (request,), command = loads(sys.argv[1])
    assert command == request["command"]
    with LOG.open("a") as log:
        log.write(json.dumps(request) + "\n")
    try:
        said = dumps((answer(request),), methodresponse=True, allow_none=True)
    except Fault as fault:
        said = dumps(fault, methodresponse=True)
    print(said)


main()
