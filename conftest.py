"""Fixtures that more than one folder of tests uses, and what holds for every test process."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.ceph.fixtures"]

# Programs of the tests that start with `env python3` get this interpreter, not a version manager's shim, whose start
# takes ten times the processor time.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

# A busy machine is no reason to fail: no time limit for an example, none for making one.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
