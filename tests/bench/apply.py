"""`make bench`: how long `apply` takes, beside the same Ceph cluster made by hand. Prints JSON; asserts nothing.

Both in one lab and one run, since these figures only mean something as a ratio: the hosts are up and idle, the storage
VMs are made once by the by-hand script's own fixture (their making is not in its figure) and once by `shoal apply`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import storage_vm
from lab.command import run
from lab.topology import Lab, locate
from tests.lab import storage_vms

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SPEC = ROOT / "examples" / "lab.yaml"
WITH_LVM = ROOT / "examples" / "lab-lvm.yaml"  # the same pool with a second SR, which the data path is compared with
BY_HAND = ROOT / "tests" / "bench" / "by_hand.sh"
os.environ.setdefault("SHOAL_LAB_DIR", "/var/lib/shoal-lab-bench")


def main() -> int:
    lab_cli("down", "--purge")
    try:
        lab_cli("up")
        lab = locate()
        say("the cluster by hand")
        by_hand = measure_by_hand(lab)
        say("shoal apply")
        apply = shoal("apply", "--yes", "--json")
        say("shoal apply again")
        again = shoal("apply", "--yes", "--json")
        say("an SR of type lvm beside it")
        with_lvm = shoal("apply", "--yes", "--json", spec=WITH_LVM)
        say("the data path")
        data_path = measure_data_path()
    finally:
        lab_cli("down", "--purge")
    by_hand_s = sum(by_hand.values())
    print(
        json.dumps(
            {
                "by_hand_s": round(by_hand_s, 1),
                "by_hand_stages_s": by_hand,
                "apply_s": apply["wall_s"],
                "apply_stages_s": stages_of(apply["answer"]),
                "apply_exit_code": apply["code"],
                "no_op_apply_s": again["wall_s"],
                "no_op_exit_code": again["code"],
                "ratio_apply_to_by_hand": round(apply["wall_s"] / by_hand_s, 2),
                "lvm_sr_exit_code": with_lvm["code"],
                "data_path": data_path,
                "aims": {"ratio_apply_to_by_hand": 1.0, "no_op_apply_s": 10},
            },
            indent=2,
        )
    )
    return 0


def measure_by_hand(lab: Lab) -> dict[str, float]:
    """Seconds by stage. The storage VMs are gone afterwards, and the range of the disks that they wrote is blank."""
    key = storage_vms.make_key(lab)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: storage_vm.start(lab, host, storage_vms.describe(lab, host, key)), lab.hosts))
            list(pool.map(lambda host: storage_vms.wait_until_up(lab, host, key), lab.hosts))
        addresses = [host.storage_vm_address for host in lab.hosts]
        done = run([BY_HAND, key, *addresses], namespace=lab.namespace, timeout_s=1800)
    finally:
        for host in lab.hosts:
            storage_vm.kill_all(lab, host)
    for host in lab.hosts:
        blank(host.disk)
    stages: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return stages


def blank(disk: Path) -> None:
    """A hole where the OSD was, so that `apply` finds the free space as it would on a new disk."""
    argv = ["fallocate", "--punch-hole", "--offset", storage_vms.DATA_OFFSET_BYTES, "--length", storage_vms.DATA_BYTES]
    run([*(str(word) for word in argv), disk], timeout_s=120)


def stages_of(answer: dict[str, Any]) -> dict[str, float]:
    """Seconds by kind of action, its earliest start to its latest end where the answer has both."""
    stages = answer.get("stages", {})
    return {str(name): round(float(seconds), 1) for name, seconds in stages.items()}


def shoal(verb: str, *words: str, spec: Path = SPEC) -> dict[str, Any]:
    began = time.monotonic()
    done = subprocess.run(
        [BIN / "shoal-lab", "exec", "--", BIN / "shoal", verb, "-f", spec, *words],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stderr[-3000:])
    answer = json.loads(done.stdout) if done.stdout.strip() else {}
    return {"wall_s": round(time.monotonic() - began, 1), "code": done.returncode, "answer": answer}


def measure_data_path() -> Any:
    """In the pool that was just applied. Trouble there does not cost the other figures, and is said."""
    argv = [sys.executable, "-m", "tests.bench.datapath"]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=3600, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": f"exit code {done.returncode}, see above"}


def lab_cli(*words: str) -> None:
    subprocess.run([BIN / "shoal-lab", *words], stdout=sys.stderr, check=True, timeout=1800)


def say(what: str) -> None:
    print(f"[bench] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
