"""Addresses: which of them are of this machine.

Belongs here: that question. Does not: hiding secrets in them (``snapshot.redaction``).
Source: RFC 6890 (loopback); docs/registries.md, "a key only over HTTPS or to this machine".
"""

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_this_machine(url: str) -> bool:
    """Whether a URL names this machine, so that what is sent there does not leave it.

    >>> is_this_machine("http://localhost:8080"), is_this_machine("http://127.0.0.1.example.org")
    (True, False)
    """
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
