"""TLS connections to the volume services, kept for the next request. Made anew when the certificates have changed."""

import os
import threading
import time

from shoal_dom0 import connection
from shoal_dom0.deadline import Deadline
from shoal_dom0.errors import SRError
from shoal_dom0.relay import BODY_MAX_BYTES

FILES = ("ca.pem", "client.pem", "client.key")
IDLE_MAX = 4  # a service has 64 connections for all hosts
IDLE_S = 45.0  # it closes one that has said nothing for 60 s
ASK_MAX_S = 60.0


class Gone(Exception):
    """Whoever asked does not wait any more."""


class Upstream:
    """Any number of threads may ask. The lock is held for looking at the list only."""

    def __init__(self):
        self._lock = threading.Lock()
        self._idle = []  # (connection, made with which files, since when), the last used one last
        self._files = None
        self._context = None

    def ask(self, request, has_gone):
        """(HTTP status, body). Raises OSError, ValueError or SRError for what the service did, Gone for what the caller did.

        It is asked once. Whoever waits repeats what failed; what nobody waits for must not be done any more.
        """
        deadline = Deadline(min(request.until - time.monotonic(), ASK_MAX_S))
        files, context = self._read_files()
        kept = self._take(request.endpoint, files)
        is_new = kept is None
        if is_new:
            kept = connection.Connection(request.endpoint, most_bytes=BODY_MAX_BYTES, context=context)
        try:
            if not is_new and request.method != "GET":
                kept.see_alive(deadline)
            kept.open(deadline)
            if deadline.passed() or has_gone():
                raise Gone()
            answer = kept.exchange(request.method, request.target, request.body, deadline)
        except Gone:
            kept.close()
            raise
        except BaseException:
            kept.close()
            self._close_all(request.endpoint)
            raise
        self._keep(kept, files)
        return answer

    def close_idle(self):
        """Those that nobody has used for a while, before the service does it."""
        now = time.monotonic()
        with self._lock:
            old = [entry for entry in self._idle if now - entry[2] > IDLE_S]
            self._idle = [entry for entry in self._idle if now - entry[2] <= IDLE_S]
        for kept, _, _ in old:
            kept.close()

    def _read_files(self):
        """Which files there are, and the TLS context with them."""
        folder = connection.FOLDER
        try:
            files = tuple(_stamp(folder + name) for name in FILES)
        except OSError as error:
            raise SRError("the certificates in %s cannot be read (%s)" % (folder, error.strerror))
        with self._lock:
            if files == self._files:
                return files, self._context
        context = connection.make_context(folder)
        with self._lock:
            self._files, self._context = files, context
        return files, context

    def _take(self, endpoint, files):
        """One that is open; those that are of no use any more are closed on the way."""
        while True:
            with self._lock:
                found = [entry for entry in self._idle if entry[0].endpoint == endpoint]
                if not found:
                    return None
                self._idle.remove(found[-1])
            kept, made_with, _ = found[-1]
            if made_with == files and not kept.has_ended():
                return kept
            kept.close()

    def _close_all(self, endpoint):
        """The others to a service that has just failed are as dead."""
        with self._lock:
            gone = [entry for entry in self._idle if entry[0].endpoint == endpoint]
            self._idle = [entry for entry in self._idle if entry[0].endpoint != endpoint]
        for entry in gone:
            entry[0].close()

    def _keep(self, kept, files):
        if kept.has_ended():
            kept.close()
            return
        with self._lock:
            self._idle.append((kept, files, time.monotonic()))
            old, self._idle = self._idle[:-IDLE_MAX], self._idle[-IDLE_MAX:]
        for entry in old:
            entry[0].close()


def _stamp(path):
    found = os.stat(path)
    return found.st_mtime_ns, found.st_ino, found.st_size
