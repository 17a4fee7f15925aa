"""Asks the volume services: this host's own first, then the others, each half of the time that is left.

Every call may be repeated anywhere, so one that is cut off is simply made again at the next service. What comes back is
either a value or an SRError that says what was tried. A disk or snapshot is named by its location.
"""

import _socket  # see xapi

from . import log, plain_json, wire
from .errors import (
    ChangedBlocksFailed,
    NoSpace,
    NotImplementedHere,
    SRError,
    SRExists,
    SRNotEmpty,
    VDIExists,
    VDIInUse,
    VDIMissing,
    VDISize,
)
from .relay import Relay
from .route import Route

# The service's codes that are a final answer; all others mean: ask the next service.
_FINAL = {
    "not_found": VDIMissing,
    "exists": VDIExists,
    "in_use": VDIInUse,
    "no_space": NoSpace,
    "shrink": VDISize,
    "too_deep": NotImplementedHere,  # xapi copies the disk instead
    "no_common_history": ChangedBlocksFailed,
    "too_long": ChangedBlocksFailed,  # the next service would be at it for as long; a full backup reads all blocks
    "owned": SRExists,
    "not_empty": SRNotEmpty,
    "bad_request": SRError,
    "forbidden": SRError,
    "no_such_path": SRError,
    "no_such_method": SRError,
}
# A disk or snapshot with ordinary names takes 350 bytes of a list: 10,000 are 3.5 MB. Of long names there are none in it.
LIST_MAX_BYTES = 16 << 20
# What a call may take that has read a list: of the same size, one made for it unpacks to a hundred times that.
MEMORY_MAX_BYTES = 256 << 20
# Of changed blocks: a bit for each 64 KiB, as base64 a byte for each 384. A disk may have just grown.
_DISK_BYTES_PER_BYTE = 128 * 1024
_SAID_MAX = 500  # characters of what a service says is wrong
_ABOUT_DISKS = ("/volumes/", "/snapshots/", "/changes")


class Refused(Exception):
    """A final answer of a service that is an error."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Volumes:
    """The volume services of one SR. `unavailable` is the error class for "none answered"."""

    def __init__(self, settings, endpoints, deadline, unavailable):
        self._settings = settings
        relay = Relay()
        self._routes = [Route(endpoint, relay) for endpoint in endpoints]
        self._deadline = deadline
        self._unavailable = unavailable

    def pool(self):
        return self._ask("GET", "", None)

    def figures(self):
        """The size and use of the pool that holds the data."""
        return self._ask("GET", "", None, self._settings.data_pool or self._settings.pool)

    def list(self):
        """Of each disk and snapshot what is short. One that lacks a text is marked `shortened`: `stat` has all of it."""
        _bound_memory()
        return self._ask("GET", "/volumes?short=true", None, most_bytes=LIST_MAX_BYTES)

    def create(self, uuid, size_bytes, metadata):
        body = {"size_bytes": size_bytes, "metadata": metadata}
        if self._settings.data_pool:
            body["data_pool"] = self._settings.data_pool
        return self._ask("PUT", "/volumes/" + uuid, body)

    def clone(self, uuid, source, metadata):
        """Its data goes where the source's is."""
        return self._ask("PUT", "/volumes/" + uuid, {"source": source, "metadata": metadata})

    def snapshot(self, volume, uuid, metadata):
        return self._ask("POST", "/volumes/%s/snapshot" % volume, {"snapshot": uuid, "metadata": metadata})

    def revert(self, volume, snapshot):
        return self._ask("POST", "/volumes/%s/revert" % volume, {"snapshot": snapshot})

    def resize(self, volume, size_bytes):
        return self._ask("POST", "/volumes/%s/resize" % volume, {"size_bytes": size_bytes})

    def reset(self, volume):
        return self._ask("POST", "/volumes/%s/reset" % volume, None)

    def drop_reset_point(self, volume):
        return self._ask("DELETE", "/volumes/%s/reset_point" % volume, None)

    def changes(self, snapshot, to, size_bytes):
        most_bytes = wire.ANSWER_MAX_BYTES + size_bytes // _DISK_BYTES_PER_BYTE
        return self._ask("POST", "/changes", {"from": snapshot, "to": to}, most_bytes=most_bytes)

    def stat(self, location):
        return self._ask("GET", _path(location), None)

    def remove(self, location):
        return self._ask("DELETE", _path(location), None)

    def describe(self, location, metadata):
        return self._ask("PATCH", _path(location) + "/metadata", metadata)

    def holders(self, location):
        return self._ask("GET", _path(location) + "/holders", None)

    def claim(self, sr):
        return self._ask("PUT", "/owner", {"sr": sr})

    def release(self, sr):
        return self._ask("DELETE", "/owner", {"sr": sr})

    def _ask(self, method, path, body, pool=None, most_bytes=None):
        settings = self._settings
        target = "/v1/pools/" + (pool or settings.pool) + path
        if settings.namespace:
            target += ("&" if "?" in path else "?") + "namespace=" + settings.namespace
        data = b"" if body is None else plain_json.dumps(body).encode()
        failures = []
        for number, route in enumerate(self._routes):
            share = self._deadline.share(len(self._routes) - number)
            try:
                value = _understand(*route.ask((method, target, data), share, most_bytes))
            except Refused as refusal:
                raise self._final(refusal, path)
            except (OSError, ValueError, RecursionError, MemoryError) as error:
                route.close()
                failures.append("%s (%s)" % (route.endpoint, _describe(error)))
                log.error("volume service %s %s: %s" % (method, target, failures[-1]))
                continue
            self._prefer(route)
            return value
        raise self._unavailable(
            "no volume service could answer: %s. The monitors of this SR are %s. See that the storage VMs run and reach"
            " Ceph: shoal status" % ("; ".join(failures), ", ".join(settings.monitors))
        )

    def _prefer(self, route):
        """The one that answered is asked first from now on: the others' time-outs are not waited for again."""
        self._routes.sort(key=lambda other: other is not route)

    def _final(self, refusal, path):
        if refusal.code == "not_found" and not path.startswith(_ABOUT_DISKS):
            return self._unavailable("pool %s: %s" % (self._settings.pool, refusal))
        return _FINAL[refusal.code](str(refusal))


def _path(location):
    return ("/snapshots/" if "@" in location else "/volumes/") + location


def _understand(status, answer):
    value = plain_json.loads(answer.decode())
    if not isinstance(value, dict):
        raise ValueError("the answer is no JSON object")
    if status == 200:
        return value
    error = value.get("error")
    error = error if isinstance(error, dict) else {}
    code = error.get("code")
    if isinstance(code, str) and code in _FINAL:
        raise Refused(code, str(error.get("message"))[:_SAID_MAX])
    raise ValueError("%d: %s" % (status, str(error.get("message", "no reason given"))[:_SAID_MAX]))


def _bound_memory():
    """Whatever a service sends, dom0 is not short of memory because of this call: it gets a MemoryError instead."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > MEMORY_MAX_BYTES:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX_BYTES, hard))


def _describe(error):
    if isinstance(error, _socket.timeout):
        return "no answer in time"
    if isinstance(error, MemoryError):
        return "its answer takes more than %d MiB of memory" % (MEMORY_MAX_BYTES >> 20)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
