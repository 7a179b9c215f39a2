"""``docs/results.md`` from the sections that the studies left, one after another.

Belongs here: which sections there are. Does not: their words (each study writes its own).
"""

import sys
from pathlib import Path
from typing import Final

# of the directory of the studies on trials, then of a workspace's output
SECTIONS: Final = (
    "policy_trials/report.md",
    "policy_trials_trees/report.md",
    "off_policy/study.md",
    "study.md",
    "learning_curve.md",
    "bench/learning_curve.md",
)
ABLATIONS: Final = "ablation/results.md"
HEAD: Final = (
    "# Results\n\nWritten by `make results`; do not edit. Each section names its data, n and "
    "intervals. Real trials first; what follows from the simulated sample comes last and says so.\n"
)


def results_page(studies: Path, workspace: Path) -> str:
    """The page; a section that no study left is not in it."""
    found = [studies / name for name in SECTIONS] + [workspace / ABLATIONS]
    texts = [path.read_text(encoding="utf-8").strip() for path in found if path.is_file()]
    return "\n\n".join([HEAD.strip(), *texts]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(results_page(Path(sys.argv[1]), Path(sys.argv[2])))
