"""The code in a model's answer, whatever usual thing it is wrapped in.

Belongs here: the message of a chat completion, thoughts, fences and prose around one planner.
Does not: HTTP (``arbiter_http``), whether the code is a good planner (``proposals``).
Source: the chat completions API, its answers whole and as `text/event-stream`; docs/registries.md.

Nothing is guessed: where an answer holds two different planners it holds none.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from planner_synthesis.arbiter import ArbiterFailed
from planner_synthesis.rtfs.errors import RtfsSyntaxError
from planner_synthesis.rtfs.reader import read_program

MAX_CODE_CHARS: Final = 64 * 1024

_FENCE: Final = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PLANNER: Final = re.compile(r"\((?:do|let|if|capability)(?=[\s(\[])")
# of a list's text, strings and comments hold none
_PARENTHESES: Final = re.compile(r'[()]|"(?:[^"\\]|\\(?:.|\Z))*(?:"|\Z)|;[^\n]*', re.DOTALL)
_THOUGHT_STARTS: Final = ("<think>", "<thinking>", "<reasoning>", "[THINK]")
# the last is how gpt-oss begins each part; only the last part is an answer
_THOUGHT_ENDS: Final = ("</think>", "</thinking>", "</reasoning>", "[/THINK]", "<|message|>")


def code_of(body: bytes) -> str:
    """The code in an answer: its one planner, in a fence or in prose, or the whole message.

    Raises:
        ArbiterFailed: the body is no chat completion, or holds no code or several planners.
    """
    text, is_cut = _message_of(body)
    text = _without_thoughts(text)
    if "(" not in text:
        raise ArbiterFailed("no code", "it was cut off" if is_cut else "it holds no code")
    code = _planner_in(text)
    if is_cut and not _is_whole(code):
        raise ArbiterFailed("no code", "it was cut off in the middle of its code")
    return code


def _message_of(body: bytes) -> tuple[str, bool]:
    """The text of the first choice, and whether the model was stopped before it had finished."""
    try:
        is_stream = body.lstrip().startswith((b"data:", b"event:", b":"))
        document = _joined_events(body) if is_stream else json.loads(body)
        if isinstance(document, Mapping) and document.get("error") and "choices" not in document:
            raise ArbiterFailed("bad answer", "it answers with an error")
        choice = document["choices"][0]
        message = choice["message"]
        content = message.get("content")
        is_cut = choice.get("finish_reason") == "length"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ArbiterFailed("bad answer", "it is no chat completion") from None
    if isinstance(content, list):
        parts = [one.get("text", "") if isinstance(one, dict) else "" for one in content]
        content = "".join(part for part in parts if isinstance(part, str))
    if isinstance(content, str) and content.strip():
        return content, is_cut
    if message.get("refusal"):
        raise ArbiterFailed("no code", "it refuses")
    if message.get("tool_calls") or message.get("function_call"):
        raise ArbiterFailed("no code", "it asks for tools, and it was given none")
    if is_cut:
        raise ArbiterFailed("no code", "it was cut off before it answered")
    if isinstance(content, str):
        raise ArbiterFailed("no code", "its message is empty")
    raise ArbiterFailed("bad answer", "its message has no text")


def _joined_events(body: bytes) -> Any:
    """Chunks of a stream, which nobody asked for, as the completion that they make."""
    parts: list[str] = []
    message: dict[str, Any] = {}
    finish_reason = None
    for chunk in _events(body):
        if chunk.get("error"):
            return {"error": chunk["error"]}
        for choice in chunk.get("choices", [])[:1]:
            delta = choice.get("delta") or {}
            message |= {name: value for name, value in delta.items() if value}
            parts.append(delta.get("content") or "")
            finish_reason = choice.get("finish_reason") or finish_reason
    message["content"] = "".join(parts)
    return {"choices": [{"message": message, "finish_reason": finish_reason}]}


def _events(body: bytes) -> Iterator[Any]:
    for line in body.decode("utf-8").split("\n"):
        name, _, data = line.partition(":")
        if name == "data" and data.strip() != "[DONE]":
            yield json.loads(data)


def _without_thoughts(text: str) -> str:
    """A message after what a reasoning model thought aloud; thoughts are no proposals.

    The start may be missing, since some endpoints put it into the question.
    """
    end = max((text.rfind(mark) + len(mark) for mark in _THOUGHT_ENDS if mark in text), default=0)
    if not end and text.lstrip().startswith(_THOUGHT_STARTS):
        raise ArbiterFailed("no code", "it thinks and does not answer")
    return text[end:]


def _planner_in(text: str) -> str:
    """The one planner in a text; the text itself where there is none, for the checks to refuse."""
    blocks = [block.strip() for block in _FENCE.findall(text) if "(" in block]
    planners = dict.fromkeys(block for block in blocks if _PLANNER.search(block))
    found = list(planners) or list(dict.fromkeys(blocks))
    if len(found) > 1:
        raise ArbiterFailed("no code", "it holds more than one block of code")
    whole = found[0] if found else text.strip()
    if len(whole) > MAX_CODE_CHARS:
        raise ArbiterFailed("too large", f"its code is longer than {MAX_CODE_CHARS} characters")
    if _is_whole(whole):
        return whole
    forms = _planners_in_prose(whole)
    return forms[0] if len(forms) == 1 else whole


def _is_whole(code: str) -> bool:
    try:
        return len(read_program(code)) == 1
    except RtfsSyntaxError:
        return False


def _planners_in_prose(text: str) -> list[str]:
    """Every whole form that begins as a planner does and stands in no other, not a broken one."""
    forms: list[str] = []
    at = 0
    while (start := _PLANNER.search(text, at)) is not None:
        at = _end_of_list(text, start.start())
        forms.append(text[start.start() : at])
    return [form for form in forms if _is_whole(form)]


def _end_of_list(text: str, start: int) -> int:
    """Where the list that begins here ends; the end of the text where it does not."""
    depth = 0
    for token in _PARENTHESES.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end()
    return len(text)
