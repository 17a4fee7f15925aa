"""Maps the RBD images that SRs of type `lvm` lie on, for writing, on every host at once.

That no two hosts write to one volume is LVM's and the toolstack's affair, as with any shared LUN: so these maps take no
lock. Links stand where Ceph's own package would make them; its udev rule is not in a stock dom0.
"""

import json
import os
import sys
import time

from . import datapath, locking, monitors
from .deadline import Deadline
from .errors import SRError

SETTINGS = "/etc/shoal/maps.json"
KEY = "/etc/shoal/maps.key"
LINKS = "/dev/rbd"
# How long each verb may take: the toolstack waits for `boot`, a person for `now`.
TIMEOUTS_S = {"boot": 15.0, "retry": 20.0, "now": 60.0, "check": 0.0}
PAUSE_S = 1.0


def main(argv):
    """Exit code 0 when all that shall be mapped is; else a line on stderr for each that is not."""
    verb = argv[1] if len(argv) == 2 else ""
    if verb not in TIMEOUTS_S:
        print("usage: map_images.py %s" % "|".join(TIMEOUTS_S), file=sys.stderr)
        return 2
    try:
        left = run(verb)
    except SRError as error:
        left = [error.reason]
    except (OSError, ValueError) as error:
        left = [str(error)]
    for line in left:
        print(line, file=sys.stderr)
    return 1 if left else 0


def run(verb):
    """What is left to do, a line each."""
    if not os.path.exists(SETTINGS):
        return []
    settings = Settings()
    if verb == "check":
        return [line for image in settings.images for line in check(settings, image)]
    deadline = Deadline(TIMEOUTS_S[verb])
    with locking.hold("maps", deadline):
        left = map_all(settings, deadline)
        while left and verb != "retry" and deadline.remaining() > PAUSE_S:
            time.sleep(PAUSE_S)
            left = map_all(settings, deadline)
    if verb == "retry" and not left:
        from . import plug

        left = plug.plug([link_of(image) for image in settings.images])
    return left


class Settings:
    """What `shoal apply` wrote."""

    def __init__(self):
        with open(SETTINGS) as file:
            told = json.load(file)
        try:
            self.fsid, self.user = str(told["fsid"]), str(told["user"])
            self.monitors, self.images = list(told["monitors"]), list(told["images"])
        except (KeyError, TypeError) as error:
            raise SRError("%s is not as Shoal wrote it (%s): shoal apply" % (SETTINGS, error))

    def key(self):
        with open(KEY) as file:
            return file.read().strip()


def link_of(image):
    return os.path.join(LINKS, image)


def map_all(settings, deadline):
    left = []
    for image in settings.images:
        try:
            map_one(settings, image, deadline)
        except datapath.MapRefused as refusal:
            left.append("the kernel did not map %s: %s" % (image, refusal))
        except SRError as error:
            left.append("%s: %s" % (image, error.reason))
    return left


def map_one(settings, image, deadline):
    """Map it if it is not mapped, and make its link. Safe to repeat."""
    found = find(settings, image)
    if found is None:
        found = add(settings, image, deadline)
    link = link_of(image)
    if not os.path.islink(link) or os.readlink(link) != found.device:
        datapath.make_link(link, found.device)


def check(settings, image):
    """What is wrong with it, at most one line. Changes nothing."""
    try:
        found = find(settings, image)
    except SRError as error:
        return ["%s: %s" % (image, error.reason)]
    if found is None:
        return ["%s is not mapped" % image]
    if os.path.realpath(link_of(image)) != os.path.realpath(found.device):
        return ["%s does not lead to %s" % (link_of(image), found.device)]
    return []


def find(settings, image):
    """The map of an image; one that could not serve an SR is an error."""
    pool, _, name = image.partition("/")
    maps = datapath.find(pool, "", name)
    if not maps:
        return None
    found = maps[0]
    if found.read_only:
        raise SRError("%s is mapped read-only; unmap it first" % found.device)
    fsid = cluster_of(found)
    if fsid and fsid != settings.fsid:
        raise SRError("%s is mapped from another cluster (%s); unmap it first" % (found.device, fsid))
    return found


def cluster_of(found):
    """The id of the cluster that a map belongs to; "" where the kernel does not say."""
    try:
        with open(os.path.join(datapath.BUS, "devices", found.number, "cluster_fsid")) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def add(settings, image, deadline):
    """A new map. `noshare`: it is a Ceph client of its own, which can be fenced by itself."""
    datapath.check_kernel(deadline)
    pool, _, name = image.partition("/")
    options = ["name=" + settings.user, "secret=" + settings.key(), "noshare"]
    options.append("mount_timeout=%d" % datapath.MOUNT_TIMEOUT_S)
    line = " ".join([",".join(monitors.listening(settings.monitors)), ",".join(options), pool, name, "-"])
    code = datapath.add(line, deadline)
    if code is None:
        message = "mapping did not end within %.0f s; Ceph's monitors are %s"
        raise SRError(message % (deadline.seconds, ", ".join(settings.monitors)))
    if code:
        raise datapath.MapRefused(code)
    found = find(settings, image)
    if found is None:
        raise SRError("the kernel mapped it and shows no device for it")
    datapath.wait_for_node(found.device, deadline)
    return found
