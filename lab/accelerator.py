"""Finds out how this machine can run the hosts: KVM where Xen really boots under it within seconds, else emulation.

The verdict is kept in the cache until the machine's kernel, QEMU or the image changes.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

from lab.command import CommandError, run
from lab.images.cache import key

QEMU = "qemu-system-x86_64"
KVM_PATIENCE_S = 15.0
# Nehalem: under `-cpu max` a PV dom0's kernel crashes in Xen. A bounded translation cache: its default is 1 GiB.
EMULATION = ("-accel", "tcg,thread=multi,tb-size=192", "-cpu", "Nehalem")
KVM = ("-accel", "kvm", "-cpu", "host")
SIGN_OF_LIFE = "Linux version"  # of dom0's kernel: Xen has booted by then


def arguments(image: Path, cache: Path) -> tuple[str, ...]:
    """QEMU's accelerator and CPU arguments."""
    kept = cache / "accelerator.json"
    about = key([platform.release(), run([QEMU, "--version"], timeout_s=10).stdout, image.name])
    try:
        known = json.loads(kept.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    if known.get("about") != about:
        known = {"about": about, **_try_kvm(image)}
        new = kept.with_name(f"{kept.name}.tmp.{os.getpid()}")
        new.write_text(json.dumps(known))
        new.replace(kept)
    return KVM if known["kvm"] else EMULATION


def _try_kvm(image: Path) -> dict[str, object]:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return {"kvm": False, "why": "no /dev/kvm"}
    argv = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", *KVM, "-m", "768"]
    argv += ["-kernel", str(image / "xen"), "-append", "dom0_mem=480M com1=115200,8n1 console=com1"]
    argv += ["-initrd", f"{image / 'vmlinux'} console=hvc0 panic=1,{image / 'initrd.img'}", "-serial", "stdio"]
    began = time.monotonic()
    try:
        # With no disk it never ends by itself: `timeout` ends it, and what it said by then is the answer.
        said = run(["timeout", f"{KVM_PATIENCE_S:g}", *argv], timeout_s=KVM_PATIENCE_S + 10, check=False)
    except CommandError as error:
        return {"kvm": False, "why": str(error)}
    alive = SIGN_OF_LIFE in said.stdout
    return {"kvm": alive, "why": (said.stderr or said.stdout)[-300:], "seconds": round(time.monotonic() - began, 1)}
