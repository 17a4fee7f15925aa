"""The time that one call of xapi may take in all. Every wait inside takes its share of it."""

import time


class Deadline:
    def __init__(self, seconds):
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def remaining(self):
        """Seconds left, never less than a hundredth: a time-out of 0 means something else to sockets."""
        return max(0.01, self.end - time.monotonic())

    def passed(self):
        return time.monotonic() >= self.end

    def sooner(self, by_s):
        """For what may hang: the time after it is for undoing it."""
        return Deadline(max(0.0, self.end - by_s - time.monotonic()))

    def share(self, attempts):
        """For the first of so many attempts: half of what is left, for the last one all.

        Most attempts that fail do so at once; one that is merely slow, on a busy host, should not lose to equal shares.
        """
        return Deadline(self.remaining() / min(2, max(1, attempts)))
