"""A host's SM drivers: which there are, which the whitelist lets in, and how one is run. The host's side.

Executables lie in dom0, `/opt/xensource/sm/XxxSR`; the types `ext` and `udev` are built in (see there).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from xmlrpc.client import Fault, dumps, loads

from lab.command import Completed
from lab.xapi.dom0 import Dom0

log = logging.getLogger(__name__)

SM_DIR = "/opt/xensource/sm"
CONFIGURATION = "/etc/xapi.conf"
DISCOVERY_TIMEOUT_S = 60.0
# On one host there is one attach, detach or probe at a time, of whatever driver: one that hangs blocks all.
SERIAL = frozenset({"sr_attach", "sr_detach", "sr_probe"})


class BuiltIn(Protocol):
    """An SR type that the lab plays itself."""

    info: dict[str, Any]

    def answer(self, command: str, request: dict[str, Any]) -> Any:
        """The driver's answer; raises xmlrpc.client.Fault as a driver would."""


@dataclass(slots=True)
class Drivers:
    """The drivers of one host. Looked for once, when its toolstack starts, as xapi does."""

    dom0: Dom0
    built_in: Mapping[str, BuiltIn]
    paths: dict[str, str]
    serial: threading.Lock
    _found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def discover(self) -> dict[str, dict[str, Any]]:
        """What each admitted driver says of itself, by SR type. One that does not answer is left out."""
        if not self._found:
            self._found = self._look()
        return self._found

    def _look(self) -> dict[str, dict[str, Any]]:
        admitted = self._whitelist()
        found = {type_: {**own.info, "driver_filename": ""} for type_, own in self.built_in.items()}
        self.paths.clear()
        listing = self.dom0.run(
            ["find", "-L", SM_DIR, "-maxdepth", "1", "-type", "f", "-name", "*SR", "-executable", "-printf", "%p\n"],
            timeout_s=DISCOVERY_TIMEOUT_S,
        )
        for path in sorted(listing.stdout.split()):
            type_ = path.rpartition("/")[2].removesuffix("SR").lower()
            if type_ not in admitted and "*" not in admitted:
                continue
            try:
                found[type_] = {**self._describe(path), "driver_filename": path}
                self.paths[type_] = path
            except (ValueError, TypeError, KeyError, OSError) as error:
                log.warning("rejecting SM plugin %s: %s", path, error)
        return {type_: info for type_, info in found.items() if type_ in admitted or "*" in admitted}

    def run(self, sr_type: str, request: str) -> dict[str, Any]:
        """Run a driver with a request, xapi's way: one argument, nothing on standard input."""
        own = self.built_in.get(sr_type)
        parameters, command = loads(request)
        if command not in SERIAL:
            return self._run(sr_type, own, str(command), request, parameters)
        with self.serial:
            return self._run(sr_type, own, str(command), request, parameters)

    def _run(self, sr_type: str, own: BuiltIn | None, command: str, request: str, parameters: Any) -> dict[str, Any]:
        if own is not None:
            return _answered(own, command, parameters[0])
        path = self.paths.get(sr_type)
        if path is None:
            return {"code": 127, "stdout": "", "stderr": f"no driver for SR type {sr_type} on this host"}
        done = self.dom0.run([path, request], timeout_s=3600.0)
        return {"code": done.code, "stdout": done.stdout, "stderr": done.stderr}

    def _describe(self, path: str) -> dict[str, Any]:
        request = {"host_ref": "", "command": "sr_get_driver_info", "args": [], "device_config": {}}
        done = self.dom0.run([path, dumps((request,), "sr_get_driver_info")], timeout_s=DISCOVERY_TIMEOUT_S)
        if done.code != 0:
            raise ValueError(f"exit code {done.code}: {done.stderr}")
        answer, _ = loads(done.stdout)
        info: Any = answer[0]
        for name in ("name", "description", "vendor", "copyright", "driver_version", "required_api_version"):
            if not isinstance(info[name], str):
                raise TypeError(f"{name} is no string")
        return dict(info)

    def _whitelist(self) -> frozenset[str]:
        """sm-plugins: each file's line replaces the one before, files in sorted order after the main one."""
        files = self._read(["find", f"{CONFIGURATION}.d", "-maxdepth", "1", "-type", "f", "-printf", "%p\n"])
        text = self._read(["cat", CONFIGURATION, *sorted(files.stdout.split())]).stdout
        admitted = ""
        for line in text.splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "sm-plugins":
                admitted = value
        return frozenset(admitted.lower().split())

    def _read(self, argv: list[str]) -> Completed:
        return self.dom0.run(argv, timeout_s=DISCOVERY_TIMEOUT_S)


def _answered(own: BuiltIn, command: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = own.answer(command, request)
        text = dumps((answer,), methodresponse=True, allow_none=True)
    except Fault as fault:
        text = dumps(fault, methodresponse=True)
    return {"code": 0, "stdout": text, "stderr": ""}
