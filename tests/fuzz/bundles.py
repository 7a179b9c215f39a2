"""Damaged bundles by the thousand: none may serve silently wrong.

Belongs here: the run and its table. Does not: the damages (``tests.unit.runtime.bundle_cases``).
Run: ``python -m tests.fuzz.bundles --n 10000``; exit code 1 when one of them opened, a refusal had
no reason, or anything was raised but a refusal. A short run is in the suite.

Three bundles in turn: one that imitates, one of outcomes, and a signed one. The third is opened with
its key, which has to refuse also what was resealed; of the other two, what was resealed is refused
for what it does: its operators, its form, its golden cases. A signature that is written otherwise
and still verifies, beside files of which not a bit is changed, is harmless and counted as that.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from planner_runtime import Planner, Trust, verify_bundle
from planner_runtime.bundle import SIGNATURE
from tests.outcome_bundles import write_outcome_bundle
from tests.unit.runtime.bundle_cases import (
    QUESTIONS,
    Damage,
    as_protocol_1,
    damaged,
    reseal,
    write_imitation_bundle,
)


class Tally(msgspec.Struct):
    """What came of the damages. Not frozen: it is filled as they are tried."""

    refused: Counter[tuple[str, str]]
    escaped: list[str]
    n: int = 0
    n_harmless: int = 0


def _signed(folder: Path) -> Trust | None:
    """Sign a bundle with a new key; None where ``cryptography`` is not installed."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        return None
    from tests.unit.runtime.test_bundle_signature import pem_of, sign

    key = ec.generate_private_key(ec.SECP256R1())
    sign(folder, key)
    public = folder.parent / "key.pem"
    public.write_bytes(pem_of(key.public_key()))
    return Trust(public_key=public)


def _open(folder: Path, trust: Trust) -> str | None:
    """The reason code of a refusal; None: it opened."""
    faults = verify_bundle(folder, trust=trust)
    if not all(fault.reason and fault.file for fault in faults):
        raise ValueError(f"a refusal without a reason: {faults}")
    return faults[0].reason if faults else None


def _serves(folder: Path, trust: Trust) -> bool:
    planner = Planner.open(folder, trust=trust)
    answers = [planner.plan(question, now_ms=0) for question in QUESTIONS[:2]]
    return planner.bundle is not None or not all(a.abstain_to_default for a in answers)


def try_damages(
    shipped: Path, place: Path, n: int, *, seed: int, trust: Trust, tally: Tally
) -> None:
    """``n`` damages of one bundle, each opened as a kernel would."""
    for damage, folder in damaged(shipped, place, n, seed=seed):
        tally.n += 1
        try:
            reason = _open(folder, trust)
            serves = _serves(folder, trust)
        except Exception as error:  # the very thing that must not happen
            tally.escaped.append(f"{damage}: {type(error).__name__}: {error}")
            continue
        if reason is None and serves and _is_harmless(shipped, folder):
            tally.n_harmless += 1
        elif reason is None or serves:
            tally.escaped.append(f"{damage}: it serves")
        else:
            tally.refused[_kind(damage), reason] += 1


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != SIGNATURE}


def _is_harmless(shipped: Path, folder: Path) -> bool:
    """Whether nothing but the signature's own file differs from what was shipped and signed."""
    return (folder / SIGNATURE).is_file() and _contents(folder) == _contents(shipped)


def _kind(damage: Damage) -> str:
    detail = f" {damage.detail}" if damage.kind == "resealed hostile model" else ""
    return damage.kind + detail


def run(n: int, *, seed: int, folder: Path) -> Tally:
    """``n`` damaged bundles, a third of each kind."""
    write_imitation_bundle(folder / "imitation")
    write_outcome_bundle(folder / "outcome")
    write_imitation_bundle(folder / "signed")
    reseal(folder / "signed", as_protocol_1)
    trust = _signed(folder / "signed")
    kinds: list[tuple[str, Trust]] = [("imitation", Trust()), ("outcome", Trust())]
    if trust is not None:
        kinds.append(("signed", trust))
    tally = Tally(Counter(), [])
    for number, (name, wanted) in enumerate(kinds):
        assert _open(folder / name, wanted) is None, "the undamaged bundle does not open"
        share = n * (number + 1) // len(kinds) - n * number // len(kinds)
        place = folder / "damaged"
        try_damages(folder / name, place, share, seed=seed + number, trust=wanted, tally=tally)
    return tally


def print_table(tally: Tally, say: Callable[[str], Any] = print) -> None:
    """One line for each kind of damage: how often, and what it was refused for."""
    by_kind: dict[str, Counter[str]] = {}
    for (kind, reason), count in tally.refused.items():
        by_kind.setdefault(kind, Counter())[reason] += count
    say(f"{'damage':44} {'n':>6}  refused for")
    for kind in sorted(by_kind):
        reasons = ", ".join(f"{name} {count}" for name, count in by_kind[kind].most_common())
        say(f"{kind:44} {sum(by_kind[kind].values()):6}  {reasons}")


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="damaged bundles: none may serve")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started, cpu = time.monotonic(), time.process_time()
    # damages are copies of small folders by the thousand: in memory where the machine allows it
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        tally = run(arguments.n, seed=arguments.seed, folder=Path(folder))
    print_table(tally)
    for line in tally.escaped[:20]:
        print(f"ESCAPED {line}")
    reasons = {reason for _, reason in tally.refused}
    print(
        f"fuzz bundles: {tally.n} damaged, {sum(tally.refused.values())} refused with "
        f"{len(reasons)} reason codes, {tally.n_harmless} harmless, {len(tally.escaped)} escaped, "
        f"{time.monotonic() - started:.0f} s wall, {time.process_time() - cpu:.0f} s CPU, "
        f"seed {arguments.seed}"
    )
    n_refused = sum(tally.refused.values())
    return 1 if tally.escaped or n_refused + tally.n_harmless != arguments.n else 0


if __name__ == "__main__":
    sys.exit(main())
