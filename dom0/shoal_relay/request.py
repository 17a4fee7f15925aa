"""What the driver asks of the relay: a line of JSON, then the body. Checked here, trusted elsewhere. No I/O."""

import collections
import json

from shoal_dom0 import names
from shoal_dom0.relay import BODY_MAX_BYTES, HEAD_MAX_BYTES

METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE")

# `until` is a moment of this host's monotonic clock: the same for whoever asks and for the relay.
Request = collections.namedtuple("Request", "endpoint method target until body")


class Incoming:
    """A request that arrives in pieces."""

    def __init__(self):
        self._data = b""
        self._head = None

    def feed(self, part):
        """The Request, once it is complete; before that None. Raises ValueError for what is none."""
        self._data += part
        if self._head is None:
            line, newline, rest = self._data.partition(b"\n")
            if len(line) > HEAD_MAX_BYTES:
                raise ValueError("the head is too long")
            if not newline:
                return None
            self._head, self._data = _read_head(line), rest
        if len(self._data) > self._head["length"]:
            raise ValueError("something follows the body")
        if len(self._data) < self._head["length"]:
            return None
        head = self._head
        return Request(head["endpoint"], head["method"], head["target"], float(head["until"]), self._data)


def _read_head(line):
    try:
        head = json.loads(line.decode())
    except RecursionError:
        raise ValueError("the head is nested too deeply")
    if not isinstance(head, dict):
        raise ValueError("the head is no JSON object")
    if not isinstance(head.get("endpoint"), str) or not names.is_endpoint(head["endpoint"]):
        raise ValueError("endpoint: not address:port")
    if head.get("method") not in METHODS:
        raise ValueError("method: not one of %s" % ", ".join(METHODS))
    target = head.get("target")
    # Nothing but its words may get into the request line that is made of it.
    if not isinstance(target, str) or not target.startswith("/v1/") or not all("!" <= char <= "~" for char in target):
        raise ValueError("target: not a path of the volume service")
    if not _is_number(head.get("until"), (int, float)) or not 0 <= head["until"] < float("inf"):
        raise ValueError("until: not a moment")
    if not _is_number(head.get("length"), int) or not 0 <= head["length"] <= BODY_MAX_BYTES:
        raise ValueError("length: not 0 to %d" % BODY_MAX_BYTES)
    return head


def _is_number(value, kinds):
    return isinstance(value, kinds) and not isinstance(value, bool)
