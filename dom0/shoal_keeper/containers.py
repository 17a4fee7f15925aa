"""The container keys of this host's storage VM, by which XenCenter shows Ceph's containers.

Read from the container service there, compared with what the VM's other_config has, written where they differ.
"""

import os
import re

from shoal_dom0 import plain_json, settings
from shoal_dom0.connection import Connection
from shoal_dom0.deadline import Deadline
from shoal_dom0.errors import SRError
from shoal_dom0.xmlrpc import escape

from .toolstack import Refused

PORT = 7444
EVERY_S = 30.0  # an exchange costs a busy dom0 a handshake
PATIENCE_S = 120.0  # what was last known is shown so long; then nothing is
ASK_TIMEOUT_S = 6.0
KEY_MAX_BYTES = 64 * 1024
ANSWER_MAX_BYTES = 1 << 20
DEPTH_MAX = 8
PLUGIN = "/etc/xapi.d/plugins/xscontainer"
OWN_PLUGIN = "/opt/shoal/dom0/container_plugin.py"
MONITOR = "xscontainer-monitor"
LIVE = ("docker_info", "docker_ps", "docker_version")
_ELEMENT = re.compile(r"(?!xml)[A-Za-z_][A-Za-z0-9_.-]*\Z", re.IGNORECASE)


class Silent(Exception):
    """The container service gave no answer, or none that can be used; the text says what it did instead."""


class Containers:
    def __init__(self, toolstack):
        self._call = toolstack.call
        self._next_at = 0.0
        self._known_at = 0.0
        self._told = ""

    def update(self, seen):
        """Now and then: look, and write what differs. Says what was done, and what is wrong when that changes."""
        vm = seen.storage_vm
        resting = seen.pool.apply_at_work or seen.host.told_to_rest
        if vm is None or not vm.is_complete or resting or seen.uptime_s < self._next_at:
            return []
        self._next_at = seen.uptime_s + EVERY_S
        if is_foreign():
            return self._tell("leaves the container keys to the xscontainer plugin that is not Shoal's")
        endpoint = own_endpoint()
        if endpoint is None:
            return []
        wanted, trouble = {}, ""
        if vm.power_state == "Running" and vm.resident_on == seen.host.ref:
            try:
                wanted = look(endpoint)
            except Silent as error:
                trouble = "cannot see the containers of %s: %s" % (vm.name, error)
        if not trouble:
            self._known_at = seen.uptime_s
        elif seen.uptime_s - self._known_at < PATIENCE_S:
            return self._tell(trouble)
        changed = write(self._call, vm.ref, wanted)
        said = ["writes %s of %s" % (", ".join(changed), vm.name)] if changed else []
        return said + self._tell(trouble)

    def _tell(self, sentence):
        before, self._told = self._told, sentence
        return [sentence] if sentence and sentence != before else []


def is_foreign():
    """Whether this host has a container plugin of somebody else's, XenServer's own pack for one."""
    return os.path.lexists(PLUGIN) and os.path.realpath(PLUGIN) != os.path.realpath(OWN_PLUGIN)


def own_endpoint():
    """The container service of this host's storage VM; None as long as `shoal apply` has not named its neighbour."""
    service = settings.own_service()
    return "%s:%d" % (service.rpartition(":")[0], PORT) if isinstance(service, str) else None


def look(endpoint):
    """The keys as they should be."""
    return read(ask(endpoint, "GET", "/v1/containers", ASK_TIMEOUT_S))


def ask(endpoint, method, target, timeout_s):
    connection = Connection(endpoint, most_bytes=ANSWER_MAX_BYTES)
    try:
        status, body = connection.ask(method, target, b"", Deadline(timeout_s))
        value = plain_json.loads(body.decode())
    except (OSError, ValueError, RecursionError, SRError) as error:
        raise Silent("%s: %s" % (endpoint, getattr(error, "strerror", None) or str(error) or type(error).__name__))
    finally:
        connection.close()
    if status == 200 and isinstance(value, dict):
        return value
    error = value.get("error") if isinstance(value, dict) else None
    raise Silent(str(error.get("message")) if isinstance(error, dict) else "HTTP status %d" % status)


def read(answer):
    """The keys' values of an answer of the container service."""
    entries = answer.get("docker_ps")
    rest = [key for key in LIVE if key != "docker_ps"]
    if not isinstance(entries, list) or not all(isinstance(answer.get(key), dict) for key in rest):
        raise Silent("its answer is not that of a container service")
    try:
        keys = {key: write_xml(key, answer[key]) for key in rest}
        keys["docker_ps"] = write_xml("docker_ps", [{"entry": entry} for entry in entries])
    except ValueError as error:
        raise Silent("its answer cannot be written as XML: %s" % error)
    for key, value in keys.items():
        if len(value.encode("utf-8")) > KEY_MAX_BYTES:
            raise Silent("its %s is too long for the pool's database" % key)
    keys[MONITOR] = "True"
    return keys


def write(call, vm, wanted):
    """Make the VM's keys so; one that is not wanted goes, but for the monitor's. The names of those that differed."""
    try:
        there = call("VM.get_other_config", vm)
        changed = [key for key in LIVE + (MONITOR,) if there.get(key) != wanted.get(key)]
        changed = [key for key in changed if key != MONITOR or key in wanted]
        for key in changed:
            call("VM.remove_from_other_config", vm, key)
            if key in wanted:
                call("VM.add_to_other_config", vm, key, wanted[key])
        return changed
    except Refused as error:
        # The VM has gone, or the plugin has written the same in between: the next look sees what there is.
        if error.failure[0] not in ("HANDLE_INVALID", "MAP_DUPLICATE_KEY"):
            raise
        return []


def write_xml(name, value):
    """As XenServer's own monitor writes values: an element for each key, <item> for each member of a list."""
    return '<?xml version="1.0" ?>' + _element(name, value, 0)


def _element(name, value, depth):
    if depth > DEPTH_MAX:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        inner = "".join(_element(str(key), item, depth + 1) for key, item in value.items())
    elif isinstance(value, list):
        inner = "".join(_element("item", item, depth + 1) for item in value)
    else:
        inner = escape(str(value))
    tag, attribute = name, ""
    if not _ELEMENT.match(name):
        tag, attribute = "SPECIAL_XS_ENCODED_ELEMENT", ' name="%s"' % escape(name).replace('"', "&quot;")
    return "<%s%s>%s</%s>" % (tag, attribute, inner, tag) if inner else "<%s%s/>" % (tag, attribute)
