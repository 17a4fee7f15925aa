"""Runs the driver as RBDSR does, with its fixed paths moved below a folder: `driver_launch.py FOLDER REQUEST`.

The tests' own launcher imports every module to move its paths, which costs more than many a call. Here a module is
changed when the driver imports it, if it does. Python 3.6, and no import that the driver does not make anyway.
"""

# ruff: noqa: PTH100, PTH118, PTH120

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "dom0"))
FOLDER = sys.argv.pop(1)


def below(*names):
    return "/".join((FOLDER, *names))


def write_to_kernel(path, data):
    """As a write to sysfs: returns when the kernel has done it, or fails with its error number."""
    import _socket

    kernel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    kernel.connect(below("kernel"))
    kernel.sendall(path.rpartition("/")[2].encode() + b"\n" + data)
    kernel.shutdown(_socket.SHUT_WR)
    code = int(kernel.recv(16))
    kernel.close()
    if code:
        raise OSError(code, os.strerror(code))


MOVED = {
    "xapi": {"SOCKET": below("xapi")},
    "settings": {"HOST_FILE": below("host.json")},
    "connection": {"FOLDER": below("volumes", "")},
    "relay": {"SOCKET": below("relay")},
    "locking": {"FOLDER": FOLDER},
    "datapath": {
        "BUS": below("bus"),
        "BLOCK": below("block"),
        "DEVICES": below("dev"),
        "LINKS": below("links"),
        "_write": write_to_kernel,
    },
    "tapctl": {"TAP_CTL": below("tap", "tap-ctl")},
    "tapdisk": {
        "CONTROL": below("tap", "run"),
        "BLKTAP_MODULE": below("tap", "blktap"),
        "BLKTAP_DEVICES": below("tap", "blktap"),
    },
}


class Moving:
    """A loader that changes its module's constants once they are there."""

    def __init__(self, loader, values):
        self._loader = loader
        self._values = values

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        missing = [name for name in self._values if not hasattr(module, name)]
        assert not missing, f"{module.__name__} has no {missing}"
        vars(module).update(self._values)


class Finder:
    def find_spec(self, name, path=None, target=None):
        package, _, module = name.rpartition(".")
        if package != "shoal_dom0" or module not in MOVED:
            return None
        spec = sys.meta_path[-1].find_spec(name, path, target)
        spec.loader = Moving(spec.loader, MOVED[module])
        return spec


sys.meta_path.insert(0, Finder())

from shoal_dom0.protocol import main  # noqa: E402

sys.exit(main(sys.argv))
