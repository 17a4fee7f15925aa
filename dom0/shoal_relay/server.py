"""The relay's socket: one thread for each caller, so many at most. Says a sign of life while a service takes its time."""

import json
import os
import select
import socket
import struct
import threading
import time

from shoal_dom0.errors import SRError
from shoal_dom0.relay import SIGN

from .request import Incoming
from .upstream import Gone, Upstream

CALLERS_MAX = 16
SIGN_EVERY_S = 0.5
IDLE_LOOK_S = 10.0
REQUEST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
STACK_BYTES = 512 * 1024


class Caller:
    """A driver's call that has connected. Signs of life come from another thread than the answer, and never after it."""

    def __init__(self, connection):
        self._connection = connection
        self._lock = threading.Lock()
        self._is_answered = False

    def give_sign(self):
        with self._lock:
            if not self._is_answered and select.select([], [self._connection], [], 0)[1]:
                self._connection.send(SIGN)

    def read(self):
        """Its request. Raises ValueError if it sends another thing, or nothing."""
        incoming, end = Incoming(), time.monotonic() + REQUEST_TIMEOUT_S
        while True:
            self._connection.settimeout(max(0.01, end - time.monotonic()))
            part = self._connection.recv(1 << 16)
            if not part:
                raise ValueError("cut off")
            request = incoming.feed(part)
            if request is not None:
                return request

    def has_gone(self):
        """Whether it has hung up: it has nothing more to say, so nothing else can be read."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def answer(self, head, body):
        with self._lock:
            self._is_answered = True
        self._connection.settimeout(ANSWER_TIMEOUT_S)
        self._connection.sendall(json.dumps(dict(head, length=len(body))).encode() + b"\n" + body)

    def close(self):
        with self._lock:
            self._is_answered = True
            self._connection.close()


class Server:
    """`say` is for what a person should know; what a service did, the driver itself says."""

    def __init__(self, path, say):
        self._say = say
        self._upstream = Upstream()
        self._callers = set()
        self._lock = threading.Lock()
        self._listener = listen(path)

    def run(self):
        threading.stack_size(STACK_BYTES)
        sign_at = 0.0
        while True:
            with self._lock:
                callers = list(self._callers)
            wait_s = max(0.0, sign_at - time.monotonic()) if callers else IDLE_LOOK_S
            if select.select([self._listener], [], [], wait_s)[0]:
                self._admit()
            if time.monotonic() >= sign_at:
                sign_at = time.monotonic() + SIGN_EVERY_S
                self._give_signs(callers)
                self._upstream.close_idle()

    def _admit(self):
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            self._say("cannot take a call: %s" % error.strerror)
            time.sleep(SIGN_EVERY_S)  # no file descriptor is left, or no memory: it will not be better at once
            return
        with self._lock:
            is_welcome = len(self._callers) < CALLERS_MAX and _user_of(connection) == os.geteuid()
            caller = Caller(connection)
            if is_welcome:
                self._callers.add(caller)
        try:
            if is_welcome:
                caller.give_sign()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()
                return
        except (OSError, RuntimeError) as error:  # it has gone, or no thread is left
            self._say("cannot serve a call: %s" % error)
        self._dismiss(caller)

    def _give_signs(self, callers):
        for caller in callers:
            try:
                caller.give_sign()
            except (OSError, ValueError):
                pass  # it has gone; its own thread will see

    def _serve(self, caller):
        try:
            caller.answer(*self._ask(caller.read(), caller))
        except (OSError, ValueError) as error:
            self._say("a call was not served: %s" % (getattr(error, "strerror", None) or error))
        finally:
            self._dismiss(caller)

    def _ask(self, request, caller):
        """Head and body of the answer."""
        try:
            status, body = self._upstream.ask(request, caller.has_gone)
            return {"status": status}, body
        except (socket.timeout, TimeoutError, Gone):
            return {"in_time": False}, b""
        except (OSError, ValueError, SRError):
            return {"in_time": True}, b""  # the driver asks by itself now, and says what is wrong

    def _dismiss(self, caller):
        with self._lock:
            self._callers.discard(caller)
        caller.close()


def listen(path):
    """Root's alone: by the folder, by the socket's mode, and by a look at each caller."""
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(CALLERS_MAX)
    return listener


def _user_of(connection):
    """The user id of whoever connected, by the kernel."""
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return user
