"""What an SR is told by its device_config, and this host by /etc/shoal/host.json. Checked here, trusted elsewhere."""

from . import names
from .errors import ConfigMissing, InvalidArgument

HOST_FILE = "/etc/shoal/host.json"

KEYS = (
    ("monitors", "Addresses of all Ceph monitors (v1), with ports, separated by commas"),
    ("pool", "Ceph pool that holds the disks"),
    ("user", "Ceph user of the hosts, without 'client.'"),
    ("password_secret", "XenAPI secret with that user's key (given as 'password')"),
    ("volumes", "Addresses of all volume services, with ports, separated by commas"),
    ("namespace", "RBD namespace in the pool (optional)"),
    ("data_pool", "Ceph pool for the disks' data, if not the same as 'pool' (optional)"),
    ("fsid", "Id of the Ceph cluster, checked at every attach (optional)"),
)


class Settings:
    """One SR's device_config. Required keys are monitors, pool, user, password_secret and volumes."""

    def __init__(self, config):
        self.monitors = _endpoints(config, "monitors")
        self.volumes = _endpoints(config, "volumes")
        self.pool = _name(config, "pool")
        self.user = _name(config, "user")
        self.namespace = _name(config, "namespace") if config.get("namespace") else ""
        self.data_pool = _name(config, "data_pool") if config.get("data_pool") else ""
        self.fsid = _uuid(config, "fsid") if config.get("fsid") else ""
        if "password_secret" not in config and "password" in config:
            raise ConfigMissing("password_secret is missing; xapi makes it of 'password', no other way is accepted")
        self.password_secret = _uuid(config, "password_secret")

    def asking(self, monitors):
        """The same, with these monitors alone."""
        other = Settings.__new__(Settings)  # the module copy takes longer to import than a call
        other.__dict__.update(self.__dict__, monitors=monitors)
        return other


def own_first(endpoints):
    """The volume services in the order to try them: the one on this host before the others."""
    own = own_service()
    return sorted(endpoints, key=lambda endpoint: endpoint != own)


def own_service():
    """The volume service on this host, None if none is known."""
    from . import plain_json

    try:
        with open(HOST_FILE) as file:
            return plain_json.loads(file.read()).get("volume_service")
    except (OSError, ValueError, AttributeError):
        return None  # only the order depends on it


def own_address():
    """The address of this host's storage VM, where its volume service and its monitor are; None if none is known."""
    service = own_service()
    return service.rpartition(":")[0] if isinstance(service, str) else None


def _required(config, key):
    value = config.get(key)
    if not value or not isinstance(value, str):
        raise ConfigMissing("device_config has no %s" % key)
    return value


def _endpoints(config, key):
    found = [part.strip() for part in _required(config, key).split(",")]
    for endpoint in found:
        if not names.is_endpoint(endpoint):
            raise InvalidArgument("device_config %s: not a list of address:port: %r" % (key, endpoint[:60]))
    return found


def _name(config, key):
    value = _required(config, key)
    if not names.is_name(value):
        raise InvalidArgument("device_config %s: letters, digits, '.', '_' and '-' only" % key)
    return value


def _uuid(config, key):
    value = _required(config, key)
    if not names.is_uuid(value):
        raise InvalidArgument("device_config %s: not a uuid" % key)
    return value
