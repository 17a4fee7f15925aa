"""A read-only look at a dom0: disks, kernel, Shoal's kit, the toolstack's whitelist, clock. Prints one JSON object.

Sent over SSH to `python3 - REQUEST`, never installed. Python 3.6, standard library only, and hardly a child process:
what /sys, /proc and the disks themselves say is read directly. REQUEST is a JSON object: `kit` (files and folders
that make up the kit), `keeper` (path of its unit), `passthrough` (folder of links), `tools` (programs that Shoal needs),
`lvm` (folders of LVM's configuration), `maps` (`settings`, `key`: files; `units`: what is enabled for them to count).

A part that fails is missing from the answer and its reason stands in `errors`: nothing unread looks like nothing there.
"""

import json
import os
import struct
import sys
import time
import zlib

try:
    from _sha256 import sha256  # hashlib would load OpenSSL, which an emulated dom0 feels
except ImportError:
    from hashlib import sha256

STARTED = time.time()
HEAD_BYTES = 1 << 20
TAIL_BYTES = 128 << 10
CHILD_TIMEOUT_S = 20
NO_DISKS = ("loop", "ram", "zram", "sr", "fd", "dm-", "md", "rbd", "nbd", "td")
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd")  # version 2, and systemd's own of version 1
PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def read(path, default=None):
    """A file's text without the end of its last line; `default` (if any) when there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace").rstrip("\n")
    except (FileNotFoundError, NotADirectoryError):
        if default is None:
            raise
        return default


def entries(folder):
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def disks():
    mounts, swaps, links = find_mounts(), find_swaps(), find_links()
    found = []
    for name in entries("/sys/block"):
        if name.startswith(NO_DISKS) or int(read("/sys/block/%s/size" % name)) == 0:
            continue
        names = links.get("/dev/" + name, [])
        try:
            found.append(disk(name, mounts, swaps, names))
        except OSError as error:
            found.append(unreadable(name, names, error))  # one broken disk must not hide the others
    return found


def unreadable(name, links, error):
    size, why = int(read("/sys/block/%s/size" % name)) * 512, "unreadable: %s" % error
    nothing = {"table": None, "in_use": None, "partitions": [], "usable": None, "taken": []}
    return dict(nothing, device="/dev/" + name, links=links, size_bytes=size, sector_bytes=512, contents=why)


def disk(name, mounts, swaps, links):
    folder, device = "/sys/block/" + name, "/dev/" + name
    sector = int(read(folder + "/queue/logical_block_size"))
    size = int(read(folder + "/size")) * 512
    with open(device, "rb", buffering=0) as file:
        gpt = read_gpt(file, sector)
        parts = [
            partition(part, folder, mounts, swaps, gpt, sector)
            for part in entries(folder)
            if os.path.exists("%s/%s/partition" % (folder, part))
        ]
        answer = {
            "device": device,
            "links": links,
            "size_bytes": size,
            "sector_bytes": sector,
            "table": "gpt" if gpt else None,
            "contents": None,
            "in_use": use(folder, device, mounts, swaps),
            "partitions": sorted(parts + untold(parts, gpt, sector), key=lambda part: part["number"]),
            "usable": [gpt["first"] * sector, (gpt["last"] + 1) * sector] if gpt else None,
            # The table's own list: a partition that the kernel was not told of is no free space.
            "taken": [[entry["first"] * sector, (entry["last"] + 1) * sector] for entry in gpt["parts"].values()]
            if gpt
            else [],
        }
        if not gpt and not is_blank(file, size):
            answer["table"], answer["contents"] = probe_contents(device)
    return answer


def partition(name, parent, mounts, swaps, gpt, sector):
    folder, device = "%s/%s" % (parent, name), "/dev/" + name
    number, size = int(read(folder + "/partition")), int(read(folder + "/size")) * 512
    start = int(read(folder + "/start")) * 512
    entry = gpt["parts"].get(number, {}) if gpt else {}
    if entry and entry["first"] * sector != start:
        entry = {}  # the kernel still has an older table
    return {
        "number": number,
        "device": device,
        "start_bytes": start,
        "size_bytes": size,
        "name": entry.get("name", ""),
        "uuid": entry.get("uuid", ""),
        "contents": contents(folder, device, size, mounts, swaps),
        "in_use": use(folder, device, mounts, swaps),
    }


def untold(parts, gpt, sector):
    """Partitions of the table that the kernel was not told of: they have no device."""
    known = {part["number"] for part in parts}
    return [
        {
            "number": number,
            "device": "",
            "start_bytes": entry["first"] * sector,
            "size_bytes": (entry["last"] + 1 - entry["first"]) * sector,
            "name": entry["name"],
            "uuid": entry["uuid"],
            "contents": None,
            "in_use": None,
        }
        for number, entry in (gpt["parts"].items() if gpt else ())
        if number not in known
    ]


def contents(folder, device, size, mounts, swaps):
    mounted = mounts.get(read(folder + "/dev"))
    if mounted:
        return mounted[1]
    if device in swaps:
        return "swap"
    if size < 1 << 12:
        return "extended"  # an extended DOS partition shows as 1 KiB
    with open(device, "rb", buffering=0) as file:
        if is_blank(file, size):
            return None
        file.seek(0)
        if file.read(22) == b"bluestore block device":
            return "ceph_bluestore"
    table, signature = probe_contents(device)
    return signature or table


def use(folder, device, mounts, swaps):
    mounted = mounts.get(read(folder + "/dev"))
    if mounted:
        return "mounted on " + mounted[0]
    if device in swaps:
        return "used as swap"
    holders = entries(folder + "/holders")
    return "held by " + ", ".join(holders) if holders else None


def is_blank(file, size):
    """Whether the places where signatures stand are all zero."""
    for offset, length in ((0, HEAD_BYTES), (max(0, size - TAIL_BYTES), TAIL_BYTES)):
        file.seek(offset)
        data = file.read(min(length, size))
        if data.count(0) != len(data):
            return False
    return True


def probe_contents(device):
    """(partition table, signature) as blkid says; two signatures at once are a signature, too."""
    import subprocess  # slow to import, and seldom needed

    try:
        done = subprocess.run(
            ["blkid", "-p", "-o", "udev", device],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=CHILD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise OSError("blkid %s took longer than %d s" % (device, CHILD_TIMEOUT_S))
    if done.returncode == 2:
        return None, None
    if done.returncode == 8:
        return None, "several signatures"
    if done.returncode != 0:
        raise OSError("blkid %s: %s" % (device, done.stderr.decode("utf-8", "replace").strip()[-200:]))
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return found.get("ID_PART_TABLE_TYPE"), found.get("ID_FS_TYPE")


def read_gpt(file, sector):
    """The GPT with sound checksums, or None."""
    file.seek(sector)
    header = file.read(sector)
    if header[:8] != b"EFI PART":
        return None
    length, checksum = struct.unpack_from("<II", header, 12)
    if not 92 <= length <= sector:
        return None
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) & 0xFFFFFFFF != checksum:
        return None
    first, last = struct.unpack_from("<QQ", header, 40)
    place, count, size, checksum = struct.unpack_from("<QIII", header, 72)
    if count > 4096 or size % 128 or not 128 <= size <= 4096:
        return None
    file.seek(place * sector)
    table = file.read(-(-count * size // sector) * sector)[: count * size]
    if zlib.crc32(table) & 0xFFFFFFFF != checksum:
        return None
    parts = {}
    for index in range(count):
        entry = table[index * size : (index + 1) * size]
        if entry[:16] != bytes(16):
            begin, end = struct.unpack_from("<QQ", entry, 32)
            name = entry[56:128].decode("utf-16-le", "replace").split("\0")[0]
            parts[index + 1] = {"first": begin, "last": end, "name": name, "uuid": guid(entry[16:32])}
    return {"first": first, "last": last, "parts": parts}


def guid(raw):
    """GPT's mixed byte order, as text in lower case."""
    return "%08x-%04x-%04x-%s-%s" % (struct.unpack_from("<IHH", raw) + (raw[8:10].hex(), raw[10:16].hex()))


def find_mounts():
    """"major:minor" → (place, type of file system); the first mount of each device."""
    found = {}
    for line in read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words = left.split()
        found.setdefault(words[2], (words[4], right.split()[0]))
    return found


def find_swaps():
    return {os.path.realpath(line.split()[0]) for line in read("/proc/swaps", "").splitlines()[1:] if line.strip()}


def find_links():
    """Kernel name → stable names."""
    found = {}
    for folder in ("/dev/disk/by-id", "/dev/disk/by-path"):
        for name in entries(folder):
            link = "%s/%s" % (folder, name)
            found.setdefault(os.path.realpath(link), []).append(link)
    return found


def kit(places, keeper):
    """Digest over the kit's files, as shoal.kit.shipped makes it; what belongs to this host beside it."""
    lines = []
    for place in places:
        if os.path.isdir(place):
            for folder, _, names in os.walk(place):
                lines += [hashed("%s/%s" % (folder, name)) for name in names if name.endswith(".py")]
        elif os.path.exists(place):
            lines.append(hashed(place))
    host = json.loads(read("/etc/shoal/host.json", "{}"))
    folder = "/etc/shoal/volumes"
    return {
        "digest": sha256("".join(sorted(lines)).encode()).hexdigest() if lines else "",
        "has_client_certificate": all(os.path.exists("%s/client.%s" % (folder, end)) for end in ("pem", "key")),
        "client_certificate": text_of(folder + "/client.pem"),
        "certificate_authority": digest(folder + "/ca.pem") if os.path.exists(folder + "/ca.pem") else "",
        "volume_service": str(host.get("volume_service", "")),
        "keeper_runs": runs(keeper),
    }


def runs(unit):
    """Whether a unit is enabled, and its control group there: systemd removes that of a service that has ended."""
    folder, name = unit.rsplit("/", 1)
    is_enabled = os.path.islink("%s/multi-user.target.wants/%s" % (folder, name))
    return is_enabled and any(os.path.isdir("%s/system.slice/%s" % (tree, name)) for tree in CGROUPS)


def hashed(path):
    return "%s  %s\n" % (digest(path), path)


def digest(path):
    with open(path, "rb") as file:
        return sha256(file.read()).hexdigest()


def sm_plugins():
    """As xapi reads it at its start: /etc/xapi.conf, then xapi.conf.d in order; the last one wins."""
    value = ""
    folder = "/etc/xapi.conf.d"
    for path in ["/etc/xapi.conf"] + ["%s/%s" % (folder, name) for name in entries(folder)]:
        if os.path.isdir(path):
            continue
        for line in read(path, "").splitlines():
            key, is_setting, text = line.partition("=")
            if is_setting and key.strip() == "sm-plugins":
                value = text
    return value.split("#")[0].split()


def has_rbd():
    if os.path.isdir("/sys/bus/rbd"):
        return True
    folder = "/lib/modules/" + os.uname().release
    names = read(folder + "/modules.dep", "") + read(folder + "/modules.builtin", "")
    return "/rbd.ko" in names


def passthrough(folder):
    return {name: os.readlink("%s/%s" % (folder, name)) for name in entries(folder) if os.path.islink(folder + "/" + name)}


def lvm(folders):
    """lvm.conf is a thousand lines of comments: only the others are told."""
    found = []
    for folder in folders:
        lines = [line.strip() for line in read(folder + "/lvm.conf", "").splitlines()]
        main = "\n".join(line for line in lines if line and not line.startswith("#"))
        found.append({"folder": folder, "main": main, "local": text_of(folder + "/lvmlocal.conf")})
    return found


def text_of(path):
    """A file's text to the last character, "" when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def maps(request):
    try:
        known = json.loads(read(request["settings"], "{}"))
    except ValueError:
        known = {}  # a file that is damaged is written anew
    wants = "/etc/systemd/system/multi-user.target.wants/"
    return {
        "fsid": str(known.get("fsid", "")),
        "user": str(known.get("user", "")),
        "monitors": [str(monitor) for monitor in known.get("monitors", [])],
        "images": [str(image) for image in known.get("images", [])],
        "has_key": os.path.exists(request["key"]),
        "is_enabled": all(os.path.lexists(wants + unit) for unit in request["units"]),
        "mapped": mapped(),
    }


def mapped():
    """Images that an SR lies on, "pool/name" to device; only those whose link leads there."""
    found, folder = {}, "/sys/bus/rbd/devices"
    for number in entries(folder):
        name = read("%s/%s/name" % (folder, number), "")
        if name.startswith("lvm-"):
            image, device = "%s/%s" % (read("%s/%s/pool" % (folder, number), ""), name), "/dev/rbd" + number
            if os.path.realpath("/dev/rbd/" + image) == device:
                found[image] = device
    return found


def missing(tools):
    return [tool for tool in tools if not any(os.access("%s/%s" % (folder, tool), os.X_OK) for folder in PATH)]


def look(request):
    parts = {
        "disks": disks,
        "kit": lambda: kit(request["kit"], request["keeper"]),
        "sm_plugins": sm_plugins,
        "has_rbd": has_rbd,
        "passthrough_links": lambda: passthrough(request["passthrough"]),
        "missing_tools": lambda: missing(request["tools"]),
        "kernel": lambda: os.uname().release,
        "lvm": lambda: lvm(request["lvm"]),
        "maps": lambda: maps(request["maps"]),
    }
    answer, errors = {}, {}
    for name, part in parts.items():
        try:
            answer[name] = part()
        except Exception as error:  # whatever it is, it is told
            errors[name] = "%s: %s" % (type(error).__name__, error)
    answer["errors"] = errors
    answer["clock"] = [STARTED, time.time()]
    return answer


if __name__ == "__main__":
    json.dump(look(json.loads(sys.argv[1])), sys.stdout)
