"""JSON by the C functions under the standard library's module, without that module.

It brings regular expressions along, for its messages and for indentation, and importing those takes longer than the rest
of a call.
"""

from _json import encode_basestring_ascii, make_encoder, make_scanner

_BLANKS = " \t\n\r"
_DIGITS_MAX = 40  # the time that Python takes for a number grows with the square of its length


class _Reading:
    """How `make_scanner` is told what to make of what it finds."""

    strict = True
    object_pairs_hook = None
    parse_float = float

    @staticmethod
    def parse_int(digits):
        if len(digits) > _DIGITS_MAX:
            raise ValueError("a number of %d digits" % len(digits))
        return int(digits)

    def __init__(self, object_hook):
        self.object_hook = object_hook

    @staticmethod
    def parse_constant(name):
        raise ValueError("%s is no JSON" % name)


def loads(text, object_hook=None):
    """The value of a text. `object_hook` makes something else of each object as soon as it is read."""
    text = text.strip(_BLANKS)
    try:
        value, end = make_scanner(_Reading(object_hook))(text, 0)
    except StopIteration:
        raise ValueError("the text is no JSON")
    if end != len(text):
        raise ValueError("something follows the JSON")
    return value


def dumps(value):
    encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def _refuse(value):
    raise TypeError("%s is nothing that JSON has" % type(value).__name__)
