"""A stream of any length, of which the beginning and the end are kept.

Belongs here: what is kept. Does not: reading it from anywhere.
"""


class CappedOutput:
    """The first quarter and the last three quarters of what may be kept.

    The beginning tells what was run, the end how it went; the middle of a flood tells least.
    """

    def __init__(self, keep_bytes: int) -> None:
        self._most_head = keep_bytes // 4
        self._most_tail = keep_bytes - self._most_head
        self._head, self._tail = bytearray(), bytearray()
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        room = self._most_head - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        excess = len(self._tail) - self._most_tail
        if excess > 0:
            del self._tail[:excess]
            self.dropped += excess

    def kept(self) -> bytes:
        """What is kept, with a line in between that says how much is missing.

        >>> output = CappedOutput(8)
        >>> output.feed(b"0123456789")
        >>> output.kept()
        b'01\\n... 2 bytes dropped ...\\n456789'
        """
        missing = b"\n... %d bytes dropped ...\n" % self.dropped if self.dropped else b""
        return bytes(self._head) + missing + bytes(self._tail)
