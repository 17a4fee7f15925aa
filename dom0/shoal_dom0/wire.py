"""One HTTP request and its answer over a connected socket, within a deadline."""

ANSWER_MAX_BYTES = 256 * 1024  # about one disk: its names take 50 KB at most
HEAD_MAX_BYTES = 64 * 1024


def exchange(connection, version, request, deadline, most_bytes=ANSWER_MAX_BYTES):
    """(status, body, whether the connection can take another request) of the answer, which may be so long.

    `request` is method, target and body (bytes). `version` 1.1 keeps the connection open if the server agrees. A malformed
    or cut-off answer raises ValueError, trouble of the wire OSError. The body is text of many megabytes at times: no copy of it is made on the way.
    """
    method, target, body = request
    head = "%s %s HTTP/%s\r\nHost: shoal\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    connection.settimeout(deadline.remaining())
    connection.sendall((head % (method, target, version, len(body))).encode() + body)
    lines, rest = _read_head(connection, deadline)
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ValueError("the answer is not HTTP")
    fields = dict(line.lower().split(":", 1) for line in lines[1:] if ":" in line)
    if "transfer-encoding" in fields:
        raise ValueError("the answer has no length")
    if "content-length" in fields:
        answer = read_exactly(connection, rest, int(fields["content-length"]), deadline, most_bytes)
    else:
        answer = _read_to_end(connection, rest, deadline, most_bytes)
    stays = words[0] == "HTTP/1.1" and "content-length" in fields and fields.get("connection", "").strip() != "close"
    return int(words[1]), answer, stays


def _read_head(connection, deadline):
    """The lines of the head, and what was read beyond it."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > HEAD_MAX_BYTES:
            raise ValueError("the answer is not HTTP")
        part = _receive(connection, deadline)
        if not part:
            raise ValueError("the answer was cut off")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), rest


def read_exactly(connection, start, length, deadline, most_bytes=ANSWER_MAX_BYTES):
    """A body of so many bytes, of which `start` was read already."""
    if not 0 <= length <= most_bytes:
        raise ValueError("the answer is too long")
    answer = bytearray(length)
    size = min(len(start), length)
    answer[:size] = start[:size]
    with memoryview(answer) as window:
        while size < length:
            _check(deadline)
            connection.settimeout(deadline.remaining())
            got = connection.recv_into(window[size:], min(length - size, 1 << 20))
            if not got:
                raise ValueError("the answer was cut off after %d of %d bytes" % (size, length))
            size += got
    return answer


def _read_to_end(connection, start, deadline, most_bytes):
    answer = bytearray(start)
    while len(answer) <= most_bytes:
        part = _receive(connection, deadline)
        if not part:
            return answer
        answer += part
    raise ValueError("the answer is too long")


def _receive(connection, deadline):
    _check(deadline)
    connection.settimeout(deadline.remaining())
    return connection.recv(1 << 16)


def _check(deadline):
    if deadline.passed():
        raise TimeoutError("no whole answer within %.0f s" % deadline.seconds)
