"""An arbiter behind any OpenAI-compatible endpoint: llama.cpp, Ollama, vLLM and others.

Belongs here: the request, taking the code out of the answer, typed failures.
Does not: HTTP itself (``http_exchange``), checking what was proposed (``arbiter``).
Source: the chat completions API, `POST /v1/chat/completions`; planner-synthesis, "v0.3".
"""

import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from planner_synthesis.arbiter import ArbiterContext, ArbiterFailed, Proposal
from planner_synthesis.snapshot.redaction import redact

MAX_CODE_CHARS: Final = 64 * 1024
_FENCE: Final = re.compile(r"```[A-Za-z0-9_+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)


class HttpArbiter(msgspec.Struct, frozen=True, kw_only=True):
    """Asks one model behind one endpoint.

    Attributes:
        url: Base URL, e.g. ``http://127.0.0.1:8080`` or ``.../v1``, or the whole address.
        model: Name of the model, as the endpoint knows it.
        api_key: Sent as a bearer token; never told.
        timeout_s: For the whole exchange.
        max_bytes: Of the answer.
        max_tokens: That the model may write.
    """

    url: str
    model: str
    api_key: str = ""
    timeout_s: float = 60.0
    max_bytes: int = 1024 * 1024
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        """Refuse what is no address, and a key that would be sent in the clear.

        Raises:
            ValueError: the URL is not HTTP, or a key is given and it is neither HTTPS nor local.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an arbiter's URL starts with http:// or https:// and names a host")
        is_local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if self.api_key and parts.scheme == "http" and not is_local:
            raise ValueError("a key is only sent over https, or to this machine")

    def __repr__(self) -> str:
        """The model alone; the URL and the key may be secret."""
        return f"HttpArbiter({self.model!r})"

    def propose(self, context: ArbiterContext, /) -> Proposal:
        """Ask the model once, at temperature 0.

        Raises:
            ArbiterFailed: see its reasons; in time, whatever the endpoint does.
            MissingExtra: the extra ``arbiter`` (httpx) is not installed.
        """
        from planner_synthesis.http_exchange import ExchangeFailed, exchange

        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        body = json.dumps(chat_request(context, model=self.model, max_tokens=self.max_tokens))
        try:
            answer = exchange(
                "POST",
                chat_address(self.url),
                headers=headers,
                body=body.encode("utf-8", "replace"),
                timeout_s=self.timeout_s,
                max_bytes=self.max_bytes,
            )
        except ExchangeFailed as failure:
            raise ArbiterFailed(failure.reason, str(failure)) from None
        return Proposal(rtfs=code_of(answer.body), by=redact(self.model))


def chat_address(url: str) -> str:
    """The endpoint of a base URL.

    >>> chat_address("http://h:1"), chat_address("http://h/v1/")
    ('http://h:1/v1/chat/completions', 'http://h/v1/chat/completions')
    """
    base = url.rstrip("/")
    if base.endswith("/chat/completions"):
        return base
    return base + ("/chat/completions" if base.endswith("/v1") else "/v1/chat/completions")


def chat_request(context: ArbiterContext, *, model: str, max_tokens: int) -> dict[str, Any]:
    """The body of a request: the rules as instructions, everything else as one JSON document."""
    data = json.loads(msgspec.json.encode(context))
    rules = "\n".join(f"- {rule}" for rule in data.pop("rules"))
    return {
        "model": model,
        "temperature": 0,
        "max_tokens": max_tokens,
        "stream": False,
        "messages": [
            {"role": "system", "content": f"You write RTFS planners.\n{rules}"},
            {"role": "user", "content": json.dumps(data, ensure_ascii=False, sort_keys=True)},
        ],
    }


def code_of(body: bytes) -> str:
    """The code in an answer: the one fenced block, or the whole message.

    Raises:
        ArbiterFailed: the body is no chat completion, or holds no code or several blocks.
    """
    try:
        document = json.loads(body)
        content = document["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise ArbiterFailed("bad answer", "it is no chat completion") from None
    if isinstance(content, list):
        parts = [one.get("text", "") if isinstance(one, dict) else "" for one in content]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise ArbiterFailed("bad answer", "its message has no text")
    content = _without_thoughts(content)
    blocks = _FENCE.findall(content)
    if len(blocks) > 1:
        raise ArbiterFailed("no code", "it holds more than one block of code")
    code = (blocks[0] if blocks else content).strip()
    if "(" not in code:
        raise ArbiterFailed("no code", "it holds no code")
    if len(code) > MAX_CODE_CHARS:
        raise ArbiterFailed("too large", f"its code is longer than {MAX_CODE_CHARS} characters")
    return code


def _without_thoughts(text: str) -> str:
    """A message after what a reasoning model thought aloud; thoughts are not proposals."""
    return text.rpartition("</think>")[2] if text.lstrip().startswith("<think>") else text
