"""What the driver declares is what it does, no more and no less."""

from __future__ import annotations

import uuid
import xmlrpc.client

import pytest

from dom0.shoal_dom0 import driver
from dom0.tests.host import Host

# What xapi knows; it drops any other.
KNOWN_CAPABILITIES = set(
    """SR_CREATE SR_DELETE SR_ATTACH SR_DETACH SR_SCAN SR_PROBE SR_UPDATE SR_SUPPORTS_LOCAL_CACHING SR_METADATA SR_TRIM
    SR_MULTIPATH SR_CACHING SR_STATS VDI_CREATE VDI_DELETE VDI_ATTACH VDI_DETACH VDI_MIRROR VDI_MIRROR_IN VDI_RESIZE
    VDI_RESIZE_ONLINE VDI_CLONE VDI_SNAPSHOT VDI_ACTIVATE VDI_ACTIVATE_READONLY VDI_DEACTIVATE VDI_UPDATE VDI_INTRODUCE
    VDI_GENERATE_CONFIG VDI_ATTACH_OFFLINE VDI_RESET_ON_BOOT VDI_CONFIG_CBT VDI_COMPOSE LARGE_VDI THIN_PROVISIONING
    VDI_READ_CACHING VDI_REVERT""".split()
)
# Every command that xapi or SM's own tools may ask of a driver.
KNOWN_COMMANDS = set(
    """sr_create sr_delete sr_attach sr_detach sr_scan sr_probe sr_update sr_content_type vdi_create vdi_introduce
    vdi_update vdi_delete vdi_attach vdi_detach vdi_activate vdi_deactivate vdi_snapshot vdi_clone vdi_resize
    vdi_resize_online vdi_revert vdi_compose vdi_epoch_begin vdi_epoch_end vdi_generate_config vdi_enable_cbt
    vdi_disable_cbt vdi_data_destroy vdi_list_changed_blocks vdi_attach_from_config vdi_detach_from_config
    vdi_mirror""".split()
)


def test_xapi_knows_all_that_is_declared(lone_host: Host) -> None:
    declared = lone_host.call("sr_get_driver_info")["capabilities"]
    assert sorted(declared) == sorted(driver.CAPABILITIES)
    assert {name.partition("/")[0] for name in declared} <= KNOWN_CAPABILITIES


def test_each_command_belongs_to_a_declared_capability() -> None:
    promised = {command for commands in driver.CAPABILITIES.values() for command in commands}
    served = [command for commands in driver.MODULES.values() for command in commands]
    assert sorted(promised) == sorted(served)
    assert promised <= KNOWN_COMMANDS


@pytest.mark.parametrize("command", sorted(KNOWN_COMMANDS | {"__class__", "sr_get_driver_infos", "run"}))
def test_what_is_declared_is_what_is_done(lone_host: Host, command: str) -> None:
    """A command that is there fails for want of something; one that is not says so (38), and xapi may fall back."""
    declared = {name for names in driver.CAPABILITIES.values() for name in names}
    lone_host.device_config.clear()
    code = None
    try:
        lone_host.call(command, None if command.startswith("sr_") else str(uuid.uuid4()), args=("true",))
    except xmlrpc.client.Fault as fault:
        code = fault.faultCode
    assert (code == 38) == (command not in declared)
