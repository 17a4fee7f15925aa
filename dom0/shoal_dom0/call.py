"""One call of xapi: its request, and what serving it needs, each made when first asked for."""

from . import names
from .deadline import Deadline
from .errors import BadRequest, SRUnavailable, VDIType, VDIUnavailable
from .settings import Settings, own_first

# xapi plugs PBDs one after the other under one lock and waits without end, so SR calls are short. A scan may be long,
# and so may comparing two snapshots of a large disk.
TIMEOUTS_S = {"sr_scan": 45.0, "sr_update": 30.0, "vdi_list_changed_blocks": 120.0}
SR_TIMEOUT_S = 9.0
VDI_TIMEOUT_S = 30.0
_SIZE_DIGITS_MAX = 20


class Call:
    def __init__(self, command, request):
        self.command = command
        self.request = request
        about_sr = command.startswith("sr_")
        self.deadline = Deadline(TIMEOUTS_S.get(command, SR_TIMEOUT_S if about_sr else VDI_TIMEOUT_S))
        self._unavailable = SRUnavailable if about_sr else VDIUnavailable
        self._made = {}

    @property
    def settings(self):
        return self._once("settings", lambda: Settings(self.request.get("device_config") or {}))

    @property
    def volumes(self):
        def make():
            from .volumes_client import Volumes

            return Volumes(self.settings, own_first(self.settings.volumes), self.deadline, self._unavailable)

        return self._once("volumes", make)

    @property
    def xapi(self):
        def make():
            from .xapi import Xapi

            return Xapi(self.text("session_ref"), self.deadline)

        return self._once("xapi", make)

    def lock(self):
        """For a `with`: the SR's lock on this host, whose holder waits for Ceph if it keeps it for long."""
        from . import locking

        return locking.hold(self.sr_uuid, self.deadline, self._not_locked)

    @property
    def sr_uuid(self):
        return self.uuid("sr_uuid")

    @property
    def sr_ref(self):
        return self.text("sr_ref")

    @property
    def location(self):
        """Where the disk or snapshot is: the volume service's name for it, checked."""
        value = self.text("vdi_location")
        if not names.uuid_of(value):
            raise BadRequest("%s: vdi_location is no location of this SR: %r" % (self.command, value[:60]))
        return value

    @property
    def is_snapshot(self):
        return "@" in self.location

    @property
    def vdi_uuid(self):
        """Part of the location: what xapi calls vdi_uuid is a copy of it."""
        return names.uuid_of(self.location)

    @property
    def volume_uuid(self):
        """The uuid of a disk that can be written to."""
        if self.is_snapshot:
            raise VDIType("%s: %s is a snapshot; this works with disks only" % (self.command, self.vdi_uuid))
        return self.vdi_uuid

    @property
    def snapshot_location(self):
        if not self.is_snapshot:
            raise VDIType("%s: %s is no snapshot; this works with snapshots only" % (self.command, self.vdi_uuid))
        return self.location

    @property
    def image(self):
        return "vdi-" + self.volume_uuid

    def text(self, key):
        value = self.request.get(key)
        if not isinstance(value, str) or not value:
            raise BadRequest("%s: the request has no %s" % (self.command, key))
        return value

    def uuid(self, key):
        value = self.text(key)
        if not names.is_uuid(value):
            raise BadRequest("%s: %s is not a uuid: %r" % (self.command, key, value[:60]))
        return value

    def argument(self, number, what):
        arguments = self.request.get("args") or []
        if len(arguments) <= number or not isinstance(arguments[number], str):
            raise BadRequest("%s: the argument %d (%s) is missing" % (self.command, number + 1, what))
        return arguments[number]

    def size(self, number):
        """A size in bytes from the arguments."""
        value = self.argument(number, "size")
        if not 0 < len(value) <= _SIZE_DIGITS_MAX or not names.DIGITS.issuperset(value):
            raise BadRequest("%s: not a size in bytes: %r" % (self.command, value[:40]))
        return int(value)

    def _not_locked(self, reason):
        message = "%s, perhaps because Ceph does not answer it. Volume services: %s; monitors: %s. See shoal status"
        settings = self.settings
        return self._unavailable(message % (reason, ", ".join(settings.volumes), ", ".join(settings.monitors)))

    def _once(self, name, make):
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]
