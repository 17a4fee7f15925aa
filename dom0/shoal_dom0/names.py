"""The forms of uuids, locations, names and addresses. By sets of characters: importing regular expressions takes longer
than the rest of a call.
"""

DIGITS = frozenset("0123456789")
_HEX = DIGITS | frozenset("abcdef")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NAME = DIGITS | _LETTERS | frozenset("_.-")
_IPV4 = DIGITS | frozenset(".")
_IPV6 = _HEX | frozenset("ABCDEF:")


def is_uuid(text):
    """Whether it is one in lower case."""
    if len(text) != 36 or text[8] + text[13] + text[18] + text[23] != "----":
        return False
    return _HEX.issuperset(text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:])


def uuid_of(location):
    """The uuid in a location; "" if it is none.

    A disk's location is its uuid, a snapshot's the id of the image that holds it, "@", and the snapshot's uuid.
    """
    image, at, uuid = location.rpartition("@")
    if at and not (0 < len(image) <= 64 and (DIGITS | _LETTERS).issuperset(image)):
        return ""
    return uuid if is_uuid(uuid) else ""


def is_name(text):
    return 0 < len(text) <= 128 and _NAME.issuperset(text)


def is_endpoint(text):
    """Whether it is an IP address (one of version 6 in brackets) and a port."""
    host, _, port = text.rpartition(":")
    if not 0 < len(port) <= 5 or not DIGITS.issuperset(port) or not 0 < int(port) < 65536:
        return False
    if host[:1] == "[" and host[-1:] == "]":
        return 4 <= len(host) <= 47 and _IPV6.issuperset(host[1:-1])
    return 7 <= len(host) <= 15 and _IPV4.issuperset(host)
