"""Watches a host's machine over QEMU's monitor: whether it is reset, or ends, by whatever cause.

Must not know what a toolstack or a storage VM is.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

from lab import host as hosts
from lab.topology import Host

CONNECT_TIMEOUT_S = 5.0
TRY_AGAIN_S = 1.0

log = logging.getLogger(__name__)


def watch(host: Host, *, on_reset: Callable[[], None], on_end: Callable[[], None]) -> None:
    """In a thread. Of these one is called, once: when the machine boots anew, or when it is off."""
    threading.Thread(target=_watch, args=(host, on_reset, on_end), name="machine", daemon=True).start()


def _watch(host: Host, on_reset: Callable[[], None], on_end: Callable[[], None]) -> None:
    while hosts.running(host) is not None:
        try:
            for event in events(host):
                if event == "RESET":
                    on_reset()
                    return
        except OSError as error:
            log.warning("%s: its monitor broke off: %s", host.name, error)
        time.sleep(TRY_AGAIN_S)
    on_end()


def events(host: Host) -> Iterator[str]:
    """Names of what happens to the machine from now on, until its monitor closes. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.settimeout(CONNECT_TIMEOUT_S)
        wire.connect(str(hosts.monitor_socket(host)))
        wire.sendall(b'{"execute": "qmp_capabilities"}\n')  # without it the monitor says nothing
        wire.settimeout(None)
        with wire.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                if "event" in said:
                    yield str(said["event"])
