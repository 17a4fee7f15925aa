"""Runs tap-ctl and reads what it prints. Each run is bounded in time; output that is not understood is an error.

What the commands are for is in `tapdisk`.
"""

import errno
import os
import time

from . import log
from .errors import SRError, VDIUnavailable

TAP_CTL = "/usr/sbin/tap-ctl"
TIMEOUT_S = 10.0
RETRY_S = 0.2
RETRIES = 10

# A tapdisk that ends while it is being asked shows as one of these; so does SM's own work beside ours.
_PASSING = {"list": (errno.EPROTO, errno.ENOENT), "spawn": (errno.EPERM,)}
_HEAD = r"(?:pid=([0-9]{1,9}))?(?:(?:^|(?<=[0-9]) )minor=([0-9]{1,9}))?(?: state=(0(?:x[0-9a-f]{1,8})?))?\Z"


class Row:
    """`pid` is None for a number without a process, `minor` for a process without a disk; `args` is its image, type:path."""

    def __init__(self, pid, minor, state, args):
        self.pid = pid
        self.minor = minor
        self.state = state
        self.args = args


class Failed(SRError):
    """A command of tap-ctl has ended with an error number."""

    code = 46  # VDIUnavailable

    def __init__(self, verb, number, words):
        super().__init__("tap-ctl %s: %s%s" % (verb, os.strerror(number), " (%s)" % words if words else ""))
        self.number = number


def available():
    return os.access(TAP_CTL, os.X_OK)


def rows(deadline):
    """Every tapdisk of this host and what it serves."""
    return [_row(line) for line in run("list", [], deadline).splitlines()]


def run(verb, options, deadline, environment=None):
    """What the command prints. A time-out kills tap-ctl, not the tapdisk that it talks to."""
    for attempt in range(RETRIES):
        try:
            return _run(verb, options, deadline, environment)
        except Failed as failure:
            if failure.number not in _PASSING.get(verb, ()) or attempt == RETRIES - 1 or deadline.passed():
                raise
            time.sleep(RETRY_S)


def _run(verb, options, deadline, environment):
    from . import child  # where there is no tap-ctl, nothing is run

    argv = [TAP_CTL, verb] + [str(option) for option in options]
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    variables.update(environment or {})
    timeout_s = min(TIMEOUT_S, deadline.remaining())
    try:
        status, output, words = child.run(argv, timeout_s, variables)
    except TimeoutError:
        raise VDIUnavailable("tap-ctl %s did not end within %.0f s" % (verb, timeout_s))
    except OSError as error:
        raise SRError("%s cannot be run: %s" % (TAP_CTL, error.strerror))
    if verb != "list":
        log.info("tap-ctl %s: %d" % (" ".join(argv[1:]), status))
    if status:
        raise Failed(verb, _number(status), _text(words).strip().replace("\n", "; ")[:200])
    return _text(output)


def _number(status):
    """Some of its functions return error numbers as negative ones, of which an exit status keeps the low byte."""
    if status < 0:
        return errno.EINTR  # ended by a signal
    return status if status < 134 else 256 - status


def _text(data):
    return data.decode("utf-8", "replace")


def _row(line):
    import re  # where there is no tap-ctl, nothing of it is read

    head, has_args, args = line.partition(" args=")
    match = re.match(_HEAD, head)
    if not match or not head or (has_args and ":" not in args):
        raise SRError("tap-ctl list printed what is not understood: %r" % line[:80])
    pid, minor, state = match.groups()
    return Row(_whole(pid), _whole(minor), int(state or "0", 16), args)


def _whole(text):
    return int(text) if text is not None else None
