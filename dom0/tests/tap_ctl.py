"""Answers as /usr/sbin/tap-ctl does: `tap_ctl.py FOLDER VERB OPTIONS`. Its tapdisks are real processes (`tapdisk`).

Options, output and exit codes (an error number) are those of the real one. FOLDER/generation says which of its two ways
it has: "kernel" (numbers are devices of the blktap module) or "files" (numbers are lock files, no device).
FOLDER/trouble.json makes a verb fail, hang, or kill someone: {"open": {"do": "fail", "code": 28, "times": 1}}.
"""

from __future__ import annotations

import errno
import fcntl
import getopt
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OPTIONS = {
    "list": "m:p:t:f:h",
    "allocate": "d:h",
    "free": "m:h",
    "spawn": "h",
    "attach": "p:m:h",
    "detach": "p:m:h",
    "open": "a:RDm:p:e:r2:st:C:Eh",
    "close": "p:m:ft:h",
    "pause": "p:m:h",  # the real one takes -t for an error, in all its releases
    "unpause": "p:m:a:2:c:h",
    "stats": "p:m:h",
}
NEEDED = {
    "free": "m",
    "attach": "pm",
    "detach": "pm",
    "open": "pma",
    "close": "pm",
    "pause": "pm",
    "unpause": "pm",
    "stats": "pm",
}


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code))
        self.code = code


class TapCtl:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.numbers = self.run / "tapdisk"
        self.kernel = (folder / "generation").read_text().strip() == "kernel"

    def list(self, options: dict[str, str]) -> None:
        orphans = {int(path.name.rpartition("-")[2]) for path in self.numbers.iterdir()} if self.kernel else set()
        rows = []
        for path in sorted(self.run.glob("ctl*")):
            try:
                served = self._tell(int(path.name[3:]), "list")["rows"]
            except (OSError, ValueError):
                continue  # a socket that a dead one left
            rows += served or [f"pid={path.name[3:]}"]
            orphans -= {int(row.split("minor=")[1].split()[0]) for row in served}
        for row in [*rows, *(f"minor={number}" for number in sorted(orphans))]:
            if "m" not in options or f"minor={options['m']}" in row.split():
                print(row)

    def allocate(self, _: dict[str, str]) -> None:
        number = next(n for n in range(1024) if not (self.numbers / f"tapdisk-{n}").exists())
        (self.numbers / f"tapdisk-{number}").touch()
        if self.kernel:
            device = self.folder / "blktap" / f"tapdev{number}"
            device.touch()
            print(device)
        else:
            print(self.numbers / f"tapdisk-{number}")

    def free(self, options: dict[str, str]) -> None:
        path = self.numbers / f"tapdisk-{int(options['m'])}"
        if not path.exists():
            raise Refused(errno.ENOENT)
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Refused(errno.EBUSY if self.kernel else errno.EAGAIN) from error
        path.unlink()
        if self.kernel:
            (self.folder / "blktap" / f"tapdev{int(options['m'])}").unlink()

    def spawn(self, _: dict[str, str]) -> None:
        argv = [sys.executable, "-IS", str(Path(__file__).with_name("tapdisk.py")), str(self.folder)]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as started:
            assert started.stdout is not None
            print(started.stdout.readline().rpartition("ctl")[2].strip())

    def attach(self, options: dict[str, str]) -> None:
        self._tell(int(options["p"]), "attach", minor=int(options["m"]))

    def detach(self, options: dict[str, str]) -> None:
        self._tell(int(options["p"]), "detach", minor=int(options["m"]))

    def open(self, options: dict[str, str]) -> None:
        values = {"args": options["a"], "read_only": "R" in options}
        self._tell(int(options["p"]), "open", minor=int(options["m"]), **values)

    def close(self, options: dict[str, str]) -> None:
        self._tell(int(options["p"]), "close", minor=int(options["m"]))

    def pause(self, options: dict[str, str]) -> None:
        self._tell(int(options["p"]), "pause", minor=int(options["m"]))

    def unpause(self, options: dict[str, str]) -> None:
        self._tell(int(options["p"]), "unpause", minor=int(options["m"]), args=options.get("a"))

    def stats(self, options: dict[str, str]) -> None:
        print(json.dumps(self._tell(int(options["p"]), "stats", minor=int(options["m"]))["stats"]))

    def _tell(self, pid: int, kind: str, **values: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.run / f"ctl{pid}"))
            connection.sendall(json.dumps({"type": kind, **values}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
        if answer["error"]:
            raise Refused(answer["error"])
        return answer


def read_options(verb: str, words: list[str]) -> dict[str, str]:
    if verb not in OPTIONS:
        print("usage: tap-ctl COMMAND [OPTIONS]")
        raise SystemExit(0)  # so does the real one
    try:
        found, rest = getopt.getopt(words, OPTIONS[verb])
    except getopt.GetoptError as error:
        print(f"usage: {verb}", file=sys.stderr)
        raise Refused(errno.EINVAL) from error
    options = {name[1:]: value for name, value in found}
    numeric = all(options[name].isdigit() for name in "pm" if name in options)
    if rest or not numeric or set(NEEDED.get(verb, "")) - set(options):
        print(f"usage: {verb}", file=sys.stderr)
        raise Refused(errno.EINVAL)
    return options


def make_trouble(folder: Path, verb: str, when: str) -> None:
    """What the test has asked for, so many times."""
    path = folder / "trouble.json"
    plan = json.loads(path.read_text()) if path.exists() else {}
    trouble = plan.get(verb)
    if not trouble or trouble.get("when", "before") != when or trouble.get("times", 1) < 1:
        return
    trouble["times"] = trouble.get("times", 1) - 1
    path.write_text(json.dumps(plan))
    if trouble["do"] == "fail":
        raise Refused(trouble["code"])
    if trouble["do"] == "hang":
        time.sleep(trouble.get("seconds", 60))
    elif trouble["do"] == "kill-driver":
        os.kill(os.getppid(), signal.SIGKILL)
    elif trouble["do"] == "kill-tapdisk":
        for control in (folder / "run").glob("ctl*"):
            os.kill(int(control.name[3:]), signal.SIGKILL)
    elif trouble["do"] == "print":
        print(trouble["text"])


def main(argv: list[str]) -> int:
    folder, verb, words = Path(argv[1]), argv[2], argv[3:]
    with (folder / "calls").open("a") as log:
        log.write(" ".join([verb, *words]) + "\n")
    try:
        options = read_options(verb, words)
        make_trouble(folder, verb, "before")
        getattr(TapCtl(folder), verb)(options)
        sys.stdout.flush()
        make_trouble(folder, verb, "after")
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return refusal.code
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return error.errno or errno.EIO
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
