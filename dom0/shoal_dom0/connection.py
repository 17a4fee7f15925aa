"""A TLS connection to one volume service, opened at the first request and kept for the next ones of this call.

The handshake is most of what a short call costs.
"""

import select
import socket
import ssl
import sys

from . import wire
from .deadline import Deadline
from .errors import SRError

FOLDER = "/etc/shoal/volumes/"
CONNECT_TIMEOUT_S = 3.0


class Connection:
    """Many requests, one after the other. After any error the caller closes it; the next request opens it anew.

    `folder` has the certificates, if they are others than the driver's; with a `context` they have been read already. An
    answer may be `most_bytes` long, which may be set anew before each request.
    """

    def __init__(self, endpoint, folder=None, most_bytes=wire.ANSWER_MAX_BYTES, context=None):
        self.endpoint = endpoint
        self._folder = folder
        self._context = context
        self.most_bytes = most_bytes
        self._open = None

    def open(self, deadline):
        """Connect, unless it is connected. Raises OSError or ValueError."""
        if self._open is None:
            self._open = self._connect(deadline)

    def ask(self, method, target, data, deadline):
        """(HTTP status, body). Raises OSError or ValueError."""
        if self._open is None:
            self.open(deadline)
            return self.exchange(method, target, data, deadline)
        try:
            if method != "GET":
                self.see_alive(deadline)
                self.open(deadline)
            return self.exchange(method, target, data, deadline)
        except (OSError, ValueError):
            if deadline.passed():
                raise
        # The service may have closed an idle connection, or be a new process. All requests may be repeated.
        self.close()
        return self.ask(method, target, data, deadline)

    def close(self):
        if self._open is not None:
            self._open.close()
            self._open = None

    def has_ended(self):
        """Whether there is none, or the service has closed it: between two requests it has nothing to say."""
        return self._open is None or bool(select.select([self._open], [], [], 0)[0])

    def see_alive(self, deadline):
        """Raises OSError or ValueError if the service stands still. What it was told on an open connection it would do
        when it goes on, long after another service has done it; a handshake shows that it runs, and so does an answer to
        anything.
        """
        self.exchange("GET", "/v1/alive", b"", Deadline(min(CONNECT_TIMEOUT_S, deadline.remaining())))

    def exchange(self, method, target, data, deadline):
        """As `ask`, on the open connection and no other."""
        status, answer, stays = wire.exchange(self._open, "1.1", (method, target, data), deadline, self.most_bytes)
        if not stays:
            self.close()
        return status, answer

    def _connect(self, deadline):
        host, _, port = self.endpoint.rpartition(":")
        host = host.strip("[]")
        # Text is run through the codec for international names, whose import takes longer than the handshake. Python
        # 3.6 needs the text, to compare it with the certificate.
        name = host.encode() if sys.version_info >= (3, 7) else host
        plain = socket.create_connection((host.encode(), int(port)), min(CONNECT_TIMEOUT_S, deadline.remaining()))
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer that is gone acknowledges nothing: told in the time of a connect, not at the deadline's end.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(CONNECT_TIMEOUT_S * 1000))
            plain.settimeout(deadline.remaining())
            context = self._context or make_context(self._folder or FOLDER)
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise


def make_context(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    try:
        context.load_verify_locations(folder + "ca.pem")
        context.load_cert_chain(folder + "client.pem", folder + "client.key")
    except OSError as error:
        raise SRError("the certificates in %s cannot be read (%s): shoal apply" % (folder, error.strerror))
    return context
