"""The way to one volume service: by the relay while that serves, else over a TLS connection of this call's own."""

from . import wire


class Route:
    def __init__(self, endpoint, relay):
        self.endpoint = endpoint
        self._relay = relay
        self._direct = None

    def ask(self, request, deadline, most_bytes=None):
        """(HTTP status, body) for method, target and body. Raises OSError or ValueError. What may be longer than others
        (`most_bytes`) never takes the relay.
        """
        if self._direct is None:
            answer = None if most_bytes else self._relay.ask(self.endpoint, request, deadline)
            if answer is not None:
                return answer
            from .connection import Connection  # with TLS, which takes longer to import than most calls take

            self._direct = Connection(self.endpoint)
        self._direct.most_bytes = most_bytes or wire.ANSWER_MAX_BYTES
        return self._direct.ask(request[0], request[1], request[2], deadline)

    def close(self):
        """After an error. The next request opens it anew."""
        if self._direct is not None:
            self._direct.close()
