"""An arbiter behind any OpenAI-compatible endpoint: llama.cpp, Ollama, vLLM and others.

Belongs here: the request, typed failures.
Does not: HTTP itself (``http_exchange``), taking the code out of the answer (``chat_answers``),
checking what was proposed (``proposals``).
Source: the chat completions API, `POST /v1/chat/completions`; planner-synthesis, "v0.3".
"""

import json
from typing import Any
from urllib.parse import urlsplit

import msgspec

from planner_synthesis.addresses import is_this_machine
from planner_synthesis.arbiter import ArbiterContext, ArbiterFailed, Proposal
from planner_synthesis.chat_answers import code_of
from planner_synthesis.exchange_failures import ExchangeFailed
from planner_synthesis.snapshot.redaction import redact


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
        """Refuse what is no address or no time, and a key that would be sent in the clear.

        Raises:
            ValueError: the URL is not HTTP, the timeout is not within an hour, or a key is given
                and the URL is neither HTTPS nor local.
        """
        if not 0 < self.timeout_s <= 3600:
            raise ValueError("a timeout is more than 0 and at most 3600 seconds")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an arbiter's URL starts with http:// or https:// and names a host")
        if self.api_key and parts.scheme == "http" and not is_this_machine(self.url):
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
        from planner_synthesis.http_exchange import exchange

        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        body = json.dumps(chat_request(context, model=self.model, max_tokens=self.max_tokens))
        try:
            body_of_answer = exchange(
                "POST",
                chat_address(self.url),
                headers=headers,
                body=body.encode("utf-8", "replace"),
                timeout_s=self.timeout_s,
                max_bytes=self.max_bytes,
            )
        except ExchangeFailed as failure:
            raise ArbiterFailed(failure.reason, str(failure)) from None
        return Proposal(rtfs=code_of(body_of_answer), by=redact(self.model))


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
