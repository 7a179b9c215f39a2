"""docs/synthesis.md shows what the code really does."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/synthesis.md").read_text()


def test_the_example_prints_what_the_page_says() -> None:
    code, printed = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", PAGE, re.S).groups()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "docs/synthesis.md", "exec"), {})  # our own page
    assert output.getvalue() == printed


def test_every_program_on_the_page_is_emitted() -> None:
    golden = {path.read_text().strip() for path in (ROOT / "tests/golden/synthesis").glob("*.rtfs")}
    shown = [
        line
        for block in re.findall(r"```clojure\n(.*?)```", PAGE, re.S)
        for line in block.splitlines()
    ]
    assert len(shown) == 7
    assert [line for line in shown if line not in golden and "step" not in line] == []
