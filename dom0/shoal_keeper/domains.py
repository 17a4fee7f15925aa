"""The VMs that run on this host, as Xen says it, and their end. No toolstack is asked: on a member that is cut off it
answers nothing, and of a VM that the pool has elsewhere it would stop the other one.
"""

import os
import re

from shoal_dom0 import child

RBD_DEVICES = "/sys/bus/rbd/devices"
BACKENDS = "/local/domain/0/backend"
NOT_THERE = "xs_directory (%s): No such file or directory" % BACKENDS
LOOK_TIMEOUT_S = 20.0
DESTROY_TIMEOUT_S = 60.0
# What xapi gives the disk's backend for its device: a path that ends in the VDI's uuid (blkback, and tapdisk with a block
# device), or where tapdisk has a socket only, nbd:unix:/run/blktap-control/nbd/SR/VDI:exportname=VDI.
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DISK = re.compile(r'/(?:vbd3?|qdisk)/(\d+)/\d+/params = "(?:[^"]*/)?(%s)(?::exportname=[^"]*)?"' % _UUID)


class XenSilent(Exception):
    """Xen's tools gave no answer."""


def on_shoal():
    """uuid → domain id of the VMs that run here with a disk that is mapped from Ceph."""
    mapped = _mapped_volumes()
    if not mapped:
        return {}
    try:
        listed = _run(["xenstore-ls", "-f", BACKENDS])
    except XenSilent as error:
        if NOT_THERE not in str(error):
            raise
        return {}  # no VM has any disk, or any network, from here
    with_disk = {domain for domain, volume in _DISK.findall(listed) if volume in mapped}
    return {uuid: domain for uuid, domain in _domains() if domain in with_disk}


def destroy(domain):
    """At once, as `xl` does it; the toolstack notices. Idempotent."""
    try:
        _run(["xl", "destroy", domain], DESTROY_TIMEOUT_S)
    except XenSilent:
        # It is fussy about what it takes down after the domain has ended.
        if domain in [row[1] for row in _domains()]:
            raise


def _domains():
    """uuid and domain id of each."""
    rows = [line.split() for line in _run(["xl", "vm-list"]).splitlines()[1:]]
    return [row[:2] for row in rows if len(row) >= 2]


def _mapped_volumes():
    """Volumes that this host's kernel has mapped."""
    found = set()
    try:
        numbers = os.listdir(RBD_DEVICES)
    except FileNotFoundError:
        return found
    for number in numbers:
        try:
            with open(os.path.join(RBD_DEVICES, number, "name")) as file:
                name = file.read().strip()
        except OSError:
            continue  # just unmapped
        if name.startswith("vdi-"):
            found.add(name[len("vdi-") :])
    return found


def _run(argv, timeout_s=LOOK_TIMEOUT_S):
    try:
        status, output, complaints = child.run(argv, timeout_s)
    except OSError as error:  # it took too long, too
        raise XenSilent("%s: %s" % (argv[0], error))
    if status:
        raise XenSilent("%s: %s" % (" ".join(argv), complaints.decode(errors="replace").strip()[:300]))
    return output.decode(errors="replace")
