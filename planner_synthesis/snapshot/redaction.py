"""Secrets: what counts as one, and how it is kept out of a card.

Belongs here: names and shapes of secrets, collecting them from a document, taking them out of
text. Does not: reading registries (``ccos``, ``mcp``, ``a2a``, ``files``).
Source: rtfs.md 2.3: providers carry `auth_token`, and a marketplace listing is a clone with it.

Two rules. What stands under a secret's name, in a URL's userinfo or in its query, is a secret
whatever it looks like, and is taken out wherever else in the document it stands. What looks like a
secret is one whatever it stands under.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

REDACTED: Final = "[redacted]"
MIN_TEXT_CHARS: Final = 4  # shorter values of secrets are not looked for: they are everywhere
MAX_ROUNDS: Final = 8  # of redacting one text until nothing changes
MIN_NAME_CHARS: Final = 8  # below this a name may hold such a value by chance

_SECRET_NAME = re.compile(
    r"auth[-_]?(token|key|header)|^auth$|authori[sz]ation|api[-_]?key|access[-_]?key|"
    r"private[-_]?key|signing[-_]?key|secret|passw(or)?d|passphrase|(^|[-_./])pwd$|credential|cookie|bearer|"
    r"(^|[-_./])token$|(access|refresh|id|session|api|bot|bearer)[-_]?token|^sig(nature)?$|^jwt$",
    re.IGNORECASE,
)
_SECRET_SHAPE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
    r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{12,}"
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{12,})"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[A-Za-z0-9_-]{20,}"
    r"|\bhf_[A-Za-z0-9]{16,}|\bnpm_[A-Za-z0-9]{16,}|\bya29\.[A-Za-z0-9_-]{8,}",
    re.DOTALL,
)
_HEADERS = re.compile(r"headers$", re.IGNORECASE)  # the name of what holds headers of a request
_ASSIGNED = re.compile(
    r"(?P<name>(?:(?<![A-Za-z0-9])(?:authorization|(?:api|access)[-_ ]?key"
    r"|(?:(?:auth|access|api|refresh)[-_ ]?)?token|credentials?|pwd|secret)"
    r"|password|passwd|(?<=[a-z0-9])(?-i:Pwd|Secret|Token))\b['\"]?\s*(?:=|:|\bis\b(?=\s+\S*\d))\s*)"
    r"(?P<value>(?:(?:bearer|basic|token)\s+)?(?!\[redacted)['\"]?[^\s'\",;)\]}]{4,})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(?P<name>bearer|basic)\s+(?P<value>[A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s\"'<>\\]+")
_LONG = re.compile(r"[A-Za-z0-9+/_=-]{24,}")


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is a secret, e.g. ``auth_token``, ``X-Api-Key``."""
    return _SECRET_NAME.search(name.strip().lstrip(":")) is not None


def looks_secret(text: str) -> bool:
    """Whether a text holds something of a secret's shape; ids and keys may not."""
    return _SECRET_SHAPE.search(text) is not None or any(
        _is_random(match.group()) for match in _LONG.finditer(text)
    )


def _is_random(word: str) -> bool:
    """A long word that mixes cases and digits as keys do; a UUID or a plain hash does not."""
    return (
        re.search(r"[a-z]", word) is not None
        and re.search(r"[A-Z]", word) is not None
        and len(re.findall(r"[0-9]", word)) >= 3
    )


def clean_url(url: str) -> str:
    """A URL by which a source may be named: scheme, host, port and path, nothing else.

    >>> clean_url("https://joe:pw@example.org:8443/mcp?key=1#x")
    'https://example.org:8443/mcp'
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL that cannot be read"
    path = "/".join(REDACTED if looks_secret(part) else part for part in parts.path.split("/"))
    return f"{parts.scheme}://{parts.hostname or ''}{port}{path}"


def _secrets_of_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        pairs = [*parse_qsl(parts.query), *parse_qsl(parts.fragment)]
    except ValueError:
        yield url
        return
    for value in (parts.username, parts.password, *(value for _, value in pairs)):
        if value:
            yield value
            yield unquote(value)


def secrets_in(document: Any, *, is_secret: bool = False) -> frozenset[str]:
    """Every value of a JSON document that is a secret by where it stands, as text.

    Args:
        document: What ``json`` gives: dicts, lists and scalars, any depth.
        is_secret: The document itself stands under a secret's name.
    """
    found: set[str] = set()
    stack: list[tuple[Any, bool]] = [(document, is_secret)]
    while stack:
        node, secret = stack.pop()
        if isinstance(node, Mapping):
            stack += [(value, secret or _holds_secrets(str(key))) for key, value in node.items()]
        elif isinstance(node, list | tuple):
            stack += [(item, secret) for item in node]
        elif isinstance(node, str):
            found.update(_secrets_of_text(node, is_secret=secret))
        elif secret and isinstance(node, int | float) and not isinstance(node, bool):
            found.add(str(node))
    return frozenset(found - {""})


def _holds_secrets(name: str) -> bool:
    """Whether all that stands under this name is secret: any header may be one."""
    return is_secret_name(name) or _HEADERS.search(name.strip()) is not None


def _secrets_of_text(text: str, *, is_secret: bool) -> Iterator[str]:
    if is_secret:
        yield text
        for part in re.split(r"[\s;]+", text):  # of a cookie, ``name=value``
            yield part
            yield part.partition("=")[2].strip("\"'")
    for url in _URL.findall(text):
        yield from _secrets_of_url(url)
    for match in _ASSIGNED.finditer(text):
        yield from match.group("value").strip("'\"").split()
    for match in _BEARER.finditer(text):
        yield match.group("value")


class KnownSecrets:
    """Values known to be secrets, found in a text in time linear in the text.

    They are looked up by their first four characters, so that ten thousand tokens of a registry
    cost no more than one.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(value for value in values if len(value) >= MIN_TEXT_CHARS)
        self._by_start: dict[str, list[str]] = {}
        for value in sorted(self.values, key=lambda text: (-len(text), text)):
            self._by_start.setdefault(value[:MIN_TEXT_CHARS], []).append(value)

    def find(self, text: str, *, min_chars: int = MIN_TEXT_CHARS) -> Iterator[tuple[int, int]]:
        """Where secrets stand: start and end, the longest at each place, without overlaps."""
        at = 0 if self.values else len(text)
        while at <= len(text) - MIN_TEXT_CHARS:
            starts = self._by_start.get(text[at : at + MIN_TEXT_CHARS], ())
            value = next((one for one in starts if text.startswith(one, at)), "")
            if value and len(value) >= min_chars:
                yield at, at + len(value)
                at += len(value)
            else:
                at += 1


NO_SECRETS: Final = KnownSecrets()


def redact(text: str, *, known: KnownSecrets = NO_SECRETS) -> str:
    """A text without secrets: known values, secret shapes, assignments, parts of URLs.

    What is taken out may bring together what then looks like a secret, so it is done until nothing
    changes: redacting twice is redacting once.

    >>> redact("call with token=abcdef, see https://u:p@h/x?k=1")
    'call with token=[redacted], see https://h/x'
    """
    for _ in range(MAX_ROUNDS):
        before, text = text, _redacted_once(text, known)
        if text == before:
            return text
    return REDACTED


def _redacted_once(text: str, known: KnownSecrets) -> str:
    parts, last = [], 0
    for start, end in known.find(text):
        parts += [text[last:start], REDACTED]
        last = end
    text = "".join((*parts, text[last:]))
    text = _URL.sub(lambda match: clean_url(match.group()), text)
    text = _SECRET_SHAPE.sub(REDACTED, text)
    text = _ASSIGNED.sub(lambda match: match.group("name") + REDACTED, text)
    text = _BEARER.sub(lambda match: f"{match.group('name')} {REDACTED}", text)
    return _LONG.sub(lambda match: REDACTED if _is_random(match.group()) else match.group(), text)


def holds_secret(name: str, *, known: KnownSecrets = NO_SECRETS) -> bool:
    """Whether an id or key, which cannot be changed, holds a secret."""
    return looks_secret(name) or any(True for _ in known.find(name, min_chars=MIN_NAME_CHARS))
