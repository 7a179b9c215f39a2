"""Keywords of an issue's text: cheap, deterministic, the same in the kernel and the pipeline.

Belongs here: extraction. Does not: hashing keywords to tokens (``tokenizer``).
Spec: section 5.2 ("keyword overlap"), formats 7.4 (at most 16).
"""

import re
from collections import Counter
from typing import Final

MAX_KEYWORDS: Final = 16
# what the kernel appends to a description after a failed gate: a later attempt's knowledge
REPAIR_MARKER: Final = "<!-- DEV_KERNEL_AUTOGEN_REPAIR -->"

_WORD = re.compile(r"[a-z][a-z0-9_]{2,31}")
_STOP_WORDS: Final = frozenset(
    """about above after again all also and any are because been before being below between both
    but can could did does doing down during each few for from further had has have having here how
    into its itself just more most not now off once only other our out over own same she should
    some such than that the their them then there these they this those through too under until
    upon use used using very was were what when where which while who whom why will with would you
    your""".split()
)


def without_repair_block(text: str) -> str:
    """``text`` without what stands between autogen repair markers. Source: formats 1.3.

    >>> without_repair_block(f"keep {REPAIR_MARKER}fix the gate{REPAIR_MARKER}this")
    'keep this'
    """
    return "".join(text.split(REPAIR_MARKER)[::2])


def extract_keywords(text: str, limit: int = MAX_KEYWORDS) -> tuple[str, ...]:
    """The most frequent words of ``text``, ties in alphabetical order, then sorted.

    >>> extract_keywords("Fix the parser: parser drops the last token", limit=2)
    ('drops', 'parser')
    """
    words = (word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS)
    ranked = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    return tuple(sorted(word for word, _ in ranked[:limit]))
