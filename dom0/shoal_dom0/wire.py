"""One HTTP request and its answer over a connected socket, within a deadline. HTTP/1.0: one call, one connection."""

ANSWER_MAX_BYTES = 256 * 1024 * 1024


def exchange(connection, method, target, body, deadline):
    """(status, body) of the answer. A malformed or cut-off one raises ValueError, trouble of the wire OSError."""
    head = "%s %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    connection.settimeout(deadline.remaining())
    connection.sendall((head % (method, target, len(body))).encode() + body)
    head, _, body = _read_all(connection, deadline).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ValueError("the answer is not HTTP")
    length = _content_length(lines[1:])
    if length is not None and len(body) < length:
        raise ValueError("the answer was cut off after %d of %d bytes" % (len(body), length))
    return int(words[1]), body


def _content_length(lines):
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return None


def _read_all(connection, deadline):
    """Up to the end of the connection, or of what Content-Length says: some servers leave the connection open."""
    parts, size, wanted, start = [], 0, None, b""
    while wanted is None or size < wanted:
        if deadline.passed():
            raise TimeoutError("no whole answer within %.0f s" % deadline.seconds)
        connection.settimeout(deadline.remaining())
        part = connection.recv(1 << 18)
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > ANSWER_MAX_BYTES:
            raise ValueError("the answer is too long")
        if wanted is None:
            start += part[: 1 << 16]
            wanted = _whole_length(start)
    return b"".join(parts)


def _whole_length(start):
    """Head and body together, once the head is complete and says so."""
    head, end, _ = start.partition(b"\r\n\r\n")
    length = _content_length(head.decode("latin-1").split("\r\n")) if end else None
    return None if length is None else len(head) + 4 + length
