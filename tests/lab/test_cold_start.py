"""The whole pool loses power, its hosts boot, and one `apply` brings everything back."""

from __future__ import annotations

import pytest

from lab.topology import Lab
from tests.lab.conftest import Run, lab_cli

pytestmark = [pytest.mark.lab, pytest.mark.long]  # test_keeper: the keepers do it alone


def test_apply_brings_a_cold_pool_back(lab: Lab, shoal: Run) -> None:
    lab_cli("up", timeout_s=600)  # other tests leave a host crashed
    made = shoal("apply", "--yes", timeout_s=1200)
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    lab_cli("powercut")
    lab_cli("up", timeout_s=600)
    # At once: toolstacks answer before they have plugged their SRs, and the storage VMs do not run.
    again = shoal("apply", "--yes", timeout_s=600)
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-4000:]
    plan = shoal("plan", "--exit-code", timeout_s=120)
    assert plan.returncode == 0, plan.stdout + plan.stderr
