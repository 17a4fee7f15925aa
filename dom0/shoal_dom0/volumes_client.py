"""Asks the volume services: this host's own first, then the others, each half of the time that is left.

Every call may be repeated anywhere, so one that is cut off is simply made again at the next service. What comes back is
either a value or an SRError that says what was tried.
"""

import json
import socket
import ssl

from . import log, wire
from .errors import NoSpace, SRError, SRExists, SRNotEmpty, VDIExists, VDIInUse, VDIMissing, VDISize

FOLDER = "/etc/shoal/volumes/"
CONNECT_TIMEOUT_S = 3.0

# The service's codes that are a final answer; all others mean: ask the next service.
_FINAL = {
    "not_found": VDIMissing,
    "exists": VDIExists,
    "in_use": VDIInUse,
    "no_space": NoSpace,
    "shrink": VDISize,
    "owned": SRExists,
    "not_empty": SRNotEmpty,
    "bad_request": SRError,
    "forbidden": SRError,
    "no_such_path": SRError,
    "no_such_method": SRError,
}


class Refused(Exception):
    """A final answer of a service that is an error."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Volumes:
    """The volume services of one SR. `unavailable` is the error class for "none answered"."""

    def __init__(self, settings, endpoints, deadline, unavailable):
        self._settings = settings
        self._endpoints = endpoints
        self._deadline = deadline
        self._unavailable = unavailable
        self._context = None

    def pool(self):
        return self._ask("GET", "", None)

    def volumes(self):
        return self._ask("GET", "/volumes", None)

    def create(self, uuid, size_bytes, metadata):
        return self._ask("PUT", "/volumes/" + uuid, {"size_bytes": size_bytes, "metadata": metadata})

    def stat(self, location):
        return self._ask("GET", _path(location), None)

    def remove(self, uuid):
        return self._ask("DELETE", "/volumes/" + uuid, None)

    def resize(self, uuid, size_bytes):
        return self._ask("POST", "/volumes/%s/resize" % uuid, {"size_bytes": size_bytes})

    def describe(self, uuid, metadata):
        return self._ask("PATCH", "/volumes/%s/metadata" % uuid, metadata)

    def holders(self, location):
        return self._ask("GET", _path(location) + "/holders", None)

    def claim(self, sr):
        return self._ask("PUT", "/owner", {"sr": sr})

    def release(self, sr):
        return self._ask("DELETE", "/owner", {"sr": sr})

    def _ask(self, method, path, body):
        settings = self._settings
        target = "/v1/pools/" + settings.pool + path
        if settings.namespace:
            target += "?namespace=" + settings.namespace
        data = b"" if body is None else json.dumps(body).encode()
        failures = []
        for number, endpoint in enumerate(self._endpoints):
            share = self._deadline.share(len(self._endpoints) - number)
            try:
                return self._exchange(endpoint, method, target, data, share)
            except Refused as refusal:
                raise self._final(refusal, path)
            except (OSError, ValueError) as error:
                failures.append("%s (%s)" % (endpoint, _describe(error)))
                log.error("volume service %s %s: %s" % (method, target, failures[-1]))
        raise self._unavailable(
            "no volume service could answer: %s. The monitors of this SR are %s. See that the storage VMs run and reach"
            " Ceph: shoal status" % ("; ".join(failures), ", ".join(settings.monitors))
        )

    def _final(self, refusal, path):
        if refusal.code == "not_found" and not path.startswith(("/volumes/", "/snapshots/")):
            return self._unavailable("pool %s: %s" % (self._settings.pool, refusal))
        return _FINAL[refusal.code](str(refusal))

    def _exchange(self, endpoint, method, target, data, deadline):
        host, _, port = endpoint.rpartition(":")
        host = host.strip("[]")
        connect_s = min(CONNECT_TIMEOUT_S, deadline.remaining())
        plain = socket.create_connection((host, int(port)), connect_s)
        try:
            plain.settimeout(deadline.remaining())
            with self._tls().wrap_socket(plain, server_hostname=host) as connection:
                status, answer = wire.exchange(connection, method, target, data, deadline)
        finally:
            plain.close()
        value = json.loads(answer.decode())
        if not isinstance(value, dict):
            raise ValueError("the answer is no JSON object")
        if status == 200:
            return value
        error = value.get("error")
        error = error if isinstance(error, dict) else {}
        if error.get("code") in _FINAL:
            raise Refused(error["code"], str(error.get("message")))
        raise ValueError("%d: %s" % (status, error.get("message", "no reason given")))

    def _tls(self):
        if self._context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
            try:
                context.load_verify_locations(FOLDER + "ca.pem")
                context.load_cert_chain(FOLDER + "client.pem", FOLDER + "client.key")
            except OSError as error:
                raise SRError("the certificates in %s cannot be read (%s): shoal apply" % (FOLDER, error.strerror))
            self._context = context
        return self._context


def _path(location):
    return ("/snapshots/" if "@" in location else "/volumes/") + location


def _describe(error):
    if isinstance(error, socket.timeout):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
