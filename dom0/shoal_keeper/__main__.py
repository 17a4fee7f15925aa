"""The keeper of this host: `python3 -IS /opt/shoal/dom0/shoal_keeper/__main__.py`, run by shoal-keeper.service."""

import os
import signal
import sys
import time

# -I keeps Python from looking beside this file for modules, -S from looking anywhere else for packages.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_keeper.loop import Keeper  # noqa: E402

REPEAT_S = 600.0  # after so long the same sentence is said again


class Speaker:
    """Sentences for syslog, by way of standard output: each when it changes, or again after a while."""

    def __init__(self):
        self._last = ("", 0.0)

    def say(self, sentence, is_bad_news):
        # What a service said may be in it, and must not end the keeper: print refuses half a surrogate pair.
        sentence = " ".join(sentence.split())[:2000].encode("ascii", "backslashreplace").decode()
        now = time.monotonic()
        if sentence == self._last[0] and now - self._last[1] < REPEAT_S:
            return
        self._last = (sentence, now)
        print("<%d>%s" % (4 if is_bad_news else 6, sentence), flush=True)


def main():
    def end(*_):
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    keeper = Keeper(Speaker().say, Speaker().say)
    try:
        while True:
            time.sleep(keeper.run_round())
    finally:
        keeper.end()


if __name__ == "__main__":
    main()
