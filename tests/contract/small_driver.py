#!/usr/bin/env python3
"""A whole SM driver in a page: a folder is the SR, a file a VDI. It calls back into XenAPI as real drivers do.

Every request is appended to `requests.jsonl` beside it, so that tests see what a driver gets to see.
"""

import json
import sys
import uuid
from pathlib import Path
from urllib.request import Request, urlopen
from xmlrpc.client import Fault, dumps, loads

ROOT = Path(sys.argv[0]).resolve().parents[3]
LOG = ROOT / "requests.jsonl"
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
        "VDI_UPDATE",
    ],
    "configuration": [{"key": "path", "description": "the folder"}],
}  # fmt: skip


def call(session, method, *parameters):
    port = (ROOT / "local-port").read_text()
    body = json.dumps({"jsonrpc": "2.0", "method": method, "params": [session, *parameters], "id": 1})
    answer = json.load(urlopen(Request(f"http://127.0.0.1:{port}/jsonrpc", body.encode())))
    if "error" in answer:
        raise Fault(202, json.dumps(answer["error"]))
    return answer["result"]


def introduce(request, own, size):
    name, description = request["args"][1:3] if request["args"] else ("", "")
    call(
        request["session_ref"], "VDI.db_introduce", own, name, description, request["sr_ref"], "user", False, False, {},
        own, {}, {}, True, str(size), str(size), "OpaqueRef:NULL", False, "19700101T00:00:00Z", "OpaqueRef:NULL", False,
    )  # fmt: skip


def answer(request):
    command, session = request["command"], request.get("session_ref")
    folder = Path(request["device_config"].get("path", "/nowhere"))
    if command == "sr_get_driver_info":
        return INFO
    if command == "sr_probe":
        return "<?xml version='1.0'?><SRlist/>"
    if not folder.is_dir():
        raise Fault(47, f"{folder} is not there")
    file = folder / request.get("vdi_location", "none")
    if command == "vdi_create":
        own, size = str(uuid.uuid4()), int(request["args"][0])
        with (folder / own).open("wb") as new:
            new.truncate(size)
        introduce(request, own, size)
        return {"uuid": own, "location": own}
    if command == "vdi_resize":
        with file.open("r+b") as image:
            image.truncate(int(request["args"][0]))
        call(session, "VDI.set_virtual_size", request["vdi_ref"], request["args"][0])
        return {"uuid": request["vdi_uuid"], "location": request["vdi_location"]}
    if command == "vdi_delete":
        file.unlink()
        call(session, "VDI.db_forget", request["vdi_ref"])
    if command == "vdi_attach":
        return {
            "params": str(file), "params_nbd": "", "o_direct": True, "o_direct_reason": "", "xenstore_data": {}
        }  # fmt: skip
    if command in ("sr_update", "sr_scan"):
        sizes = sum(image.stat().st_size for image in folder.iterdir())
        call(session, "SR.set_virtual_allocation", request["sr_ref"], str(sizes))
    return None


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
