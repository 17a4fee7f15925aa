"""The few XenAPI calls that the driver makes, over xapi's local socket with the session it was given.

JSON-RPC, since reading thousands of records as XML takes seconds. The session is a credential: it is in no message.
"""

import _socket  # `socket` adds names to it, and takes as long to import as all else here

from . import plain_json, wire
from .errors import SRError

SOCKET = "/var/lib/xcp/xapi"
NULL = "OpaqueRef:NULL"
ANSWER_MAX_BYTES = 256 << 20  # records of thousands of disks, 1.5 KB each; xapi is trusted


class XenAPIError(SRError):
    """What xapi answered instead of a value; `failure` is its list of strings."""

    def __init__(self, call, failure):
        super().__init__("xapi refused %s: %s" % (call, ", ".join(failure)))
        self.failure = failure


class Xapi:
    def __init__(self, session, deadline):
        self._session = session
        self._deadline = deadline

    def call(self, method, *params, slim=None):
        """What xapi answers. `slim` is made of each object as soon as it is read: whole records may fill the memory."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [self._session] + list(params)}
        try:
            answer = plain_json.loads(self._post(plain_json.dumps(request).encode()), slim)
        except (OSError, ValueError) as error:
            raise SRError("xapi did not answer %s: %s" % (method, type(error).__name__))
        if not isinstance(answer, dict):
            raise SRError("xapi's answer to %s is no JSON-RPC" % method)
        if answer.get("error"):
            raise XenAPIError(method, _failure(answer["error"]))
        return answer.get("result")

    def _post(self, body):
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(self._deadline.remaining())
            connection.connect(SOCKET)
            request = ("POST", "/jsonrpc", body)
            status, answer, _ = wire.exchange(connection, "1.0", request, self._deadline, ANSWER_MAX_BYTES)
        finally:
            connection.close()
        if status != 200:
            raise ValueError("HTTP status %d" % status)
        return answer.decode()


def _failure(error):
    if isinstance(error, dict):
        return [str(error.get("message"))] + [str(part) for part in error.get("data") or []]
    return [str(part) for part in error] if isinstance(error, list) else [str(error)]


def is_gone(error):
    """Whether xapi says that there is no such record."""
    return error.failure[0] in ("HANDLE_INVALID", "UUID_INVALID")


def ignore_gone(call, *arguments):
    """Make a call on a record that may have gone meanwhile, which is then as well."""
    try:
        call(*arguments)
    except XenAPIError as error:
        if not is_gone(error):
            raise
