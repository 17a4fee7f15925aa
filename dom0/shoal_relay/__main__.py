"""The relay of this host: `python3 -IS /opt/shoal/dom0/shoal_relay/__main__.py`, run by shoal-relay.service."""

import os
import signal
import sys

# -I keeps Python from looking beside this file for modules, -S from looking anywhere else for packages.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0 import relay  # noqa: E402
from shoal_relay.server import Server  # noqa: E402


def say(sentence):
    """For syslog, by way of standard output."""
    print("<4>%s" % sentence.encode("ascii", "backslashreplace").decode()[:500], flush=True)


def main():
    def end(*_):
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    Server(relay.SOCKET, say).run()


if __name__ == "__main__":
    main()
