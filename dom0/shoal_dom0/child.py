"""Runs a program, and waits for it for so long and no longer, whatever it has left behind or hangs in.

subprocess.run does not keep its time-out: having killed the program it waits for the end of its output, which a child of
the program's may keep open, and for the end of one that hangs in the kernel.
"""

import os
import signal
import subprocess

KILLED_S = 1.0  # for the end of what was killed


def run(argv, timeout_s, variables=None):
    """(exit status, output, complaints). TimeoutError if it does not end in time: it and its children are killed then."""
    pipe = subprocess.PIPE
    # A session of its own: a signal to its group reaches its children, and not us.
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=variables, start_new_session=True
    )
    try:
        output, complaints = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(child)
        raise TimeoutError("it did not end within %.0f s" % timeout_s)
    return child.returncode, output, complaints


def _end(child):
    """What it still says is not read. One stuck in the kernel is left to init."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all have ended meanwhile
    child.stdout.close()
    child.stderr.close()
    try:
        child.wait(KILLED_S)
    except subprocess.TimeoutExpired:
        pass
