"""Who holds a disk for writing, and whether that owner lives. Nothing is ever taken here from one that may be alive.

The taking itself is the kernel's: it finds that the owner watches no more, has Ceph blocklist it, and only then breaks
its lock.
"""

import _socket  # see xapi
import time

from . import datapath, log
from .errors import VDIUnavailable

UPTIME = "/proc/uptime"
WATCH_TIMEOUT_S = 30
JUST_STARTED_S = 90  # where the watch's own OSD went down with this host, its 30 s begin anew with the next one
LOOK_EVERY_S = 1.0
LEFT_FOR_MAP_S = 10.0
_PROTOCOLS = ("v1:", "v2:", "any:")


def owners(holders):
    """The ids of the clients that own the image's lock."""
    return {_client(lock) for lock in holders["locks"]}


def wait_until_free(call, holders):
    """Refuse a disk that a living client holds. A lock without a living owner is no obstacle to the kernel.

    One exception waits instead: this host has just started and the owner seems to be itself before that. Waiting is
    safe where taking would not be: behind NAT, or beside another program here, an owner with our address may live.
    """
    while True:
        living = [lock for lock in holders["locks"] if lock["alive"]]
        if not living:
            return
        before = all(_may_be_our_past(call, lock) for lock in living)
        if not before or call.deadline.remaining() < LEFT_FOR_MAP_S:
            raise VDIUnavailable(_refusal(call, living))
        log.info("%s: held by what this host was before it started, for some seconds yet" % call.vdi_uuid)
        time.sleep(LOOK_EVERY_S)
        holders = call.volumes.holders(call.location)


def _refusal(call, living):
    reason = (
        "disk %s is in use for writing by the host at %s. Shut down or migrate the VM there; if that host has died,"
        " the disk is free %d s after its last sign of life"
    )
    return reason % (call.vdi_uuid, ", ".join(sorted(_host(lock) for lock in living)), WATCH_TIMEOUT_S)


def _may_be_our_past(call, lock):
    """A client from before this start is dead and stops counting as alive soon: later on, it must be another."""
    if _uptime_s() > JUST_STARTED_S or _client(lock) in datapath.clients():
        return False
    return _host(lock) in {_own_address(endpoint) for endpoint in call.settings.monitors}


def _uptime_s():
    with open(UPTIME) as file:
        return float(file.read().split()[0])


def _own_address(endpoint):
    """This host's address on the way to a monitor. Nothing is sent."""
    host, _, port = endpoint.rpartition(":")
    family = _socket.AF_INET6 if host.startswith("[") else _socket.AF_INET
    probe = _socket.socket(family, _socket.SOCK_DGRAM)
    try:
        probe.connect((host.strip("[]"), int(port)))
        return probe.getsockname()[0]
    except OSError:
        return None  # no way there
    finally:
        probe.close()


def _client(lock):
    return lock["client"].replace("client.", "")


def _host(lock):
    """The host's address of a lock's owner: that is address:port/nonce, with the protocol before it or without."""
    address = lock["address"]
    for protocol in _PROTOCOLS:
        if address.startswith(protocol):
            address = address[len(protocol) :]
            break
    return address.split("/")[0].rpartition(":")[0].strip("[]")
