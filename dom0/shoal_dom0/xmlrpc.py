"""XML-RPC as xapi speaks it to drivers: the call in argv[1], the answer on stdout. No I/O here.

Its own reader and writer because the standard library's brings an HTTP client along, which takes longer to import than
a whole call takes.
"""

import pyexpat as expat

from .errors import BadRequest

_DEPTH_MAX = 32
_SCALARS = {
    "string": str,
    "int": int,
    "i4": int,
    "i8": int,
    "double": float,
    "boolean": lambda text: text.strip() == "1",
    "dateTime.iso8601": str,
    "base64": str,
}


def read_call(text):
    """(method, params) of a methodCall."""
    reader = _Reader()
    try:
        reader.parse(text.encode("utf-8"))
    except (expat.ExpatError, ValueError, IndexError, KeyError, TypeError) as error:
        raise BadRequest("the request is not an XML-RPC call: %s" % error)
    if reader.method is None:
        raise BadRequest("the request is not an XML-RPC call: it has no methodName")
    return reader.method, reader.params


class _Reader:
    """Builds values from expat's events. `containers` are the open structs and arrays, `value` the last one closed."""

    def __init__(self):
        self.method = None
        self.params = []
        self._containers = []
        self._names = []
        self._text = []
        self._value = None
        self._typed = False

    def parse(self, data):
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.Parse(data, True)

    def _refuse_doctype(self, *_):
        raise ValueError("a document type is not allowed")

    def _start(self, tag, _):
        del self._text[:]
        if tag == "value":
            self._typed = False
        elif tag in ("struct", "array"):
            if len(self._containers) >= _DEPTH_MAX:
                raise ValueError("nested too deeply")
            self._containers.append({} if tag == "struct" else [])

    def _end(self, tag):
        text = "".join(self._text)
        if tag in _SCALARS:
            self._value, self._typed = _SCALARS[tag](text), True
        elif tag == "nil":
            self._value, self._typed = None, True
        elif tag in ("struct", "array"):
            self._value, self._typed = self._containers.pop(), True
        elif tag == "value":
            self._end_value(text)
        elif tag == "name":
            self._names.append(text)
        elif tag == "member":
            self._containers[-1][self._names.pop()] = self._value
        elif tag == "param":
            self.params.append(self._value)
        elif tag == "methodName":
            self.method = text.strip()
        del self._text[:]

    def _end_value(self, text):
        if not self._typed:
            self._value, self._typed = text, True
        if self._containers and isinstance(self._containers[-1], list):
            self._containers[-1].append(self._value)


def write_answer(value):
    body = "<params><param>%s</param></params>" % _encode(value)
    return "<?xml version='1.0'?>\n<methodResponse>%s</methodResponse>\n" % body


def write_fault(code, reason):
    body = "<fault>%s</fault>" % _encode({"faultCode": code, "faultString": reason})
    return "<?xml version='1.0'?>\n<methodResponse>%s</methodResponse>\n" % body


def _encode(value):
    if value is None:
        inner = "<nil/>"
    elif isinstance(value, bool):
        inner = "<boolean>%d</boolean>" % value
    elif isinstance(value, int):
        inner = "<int>%d</int>" % value
    elif isinstance(value, dict):
        members = ("<member><name>%s</name>%s</member>" % (escape(k), _encode(v)) for k, v in value.items())
        inner = "<struct>%s</struct>" % "".join(members)
    elif isinstance(value, (list, tuple)):
        inner = "<array><data>%s</data></array>" % "".join(map(_encode, value))
    else:
        inner = "<string>%s</string>" % escape(value)
    return "<value>%s</value>" % inner


def escape(text):
    """Text for XML: what XML cannot hold at all becomes a question mark."""
    if not text.isprintable():  # a list of changed blocks has millions of characters and is
        text = "".join(c if _allowed(ord(c)) else "?" for c in text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _allowed(code):
    return code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or code > 0xFFFF
