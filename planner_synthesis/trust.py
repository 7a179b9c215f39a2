"""How far a candidate is trusted: its tier, what feedback says, whether it is local.

Belongs here: tiers, the Beta posterior, its bounds and floor, the trust part of a score.
Does not: the other parts (``scoring``), keeping records (``agent_registry``).
Spec: planner-synthesis, "trust_bias (0.20): local + trusted preferred" and "Feedback loop";
ADR 0022. Tier values are upstream's factors (rtfs.md 2.4).

All values are whole numbers of 1e-9, rounded down.
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final

from planner_synthesis.config import TrustRule
from planner_synthesis.types import PlannerPreferences, TrackRecord

UNIT: Final = 10**9
TIERS: Final[Mapping[str, Fraction]] = {
    "t0": Fraction(60, 100), "t1": Fraction(85, 100), "t2": Fraction(1),
}  # fmt: skip
_NAMES: Final[Mapping[str, str]] = {
    "sandbox": "t0", "untrusted": "t0", "trusted": "t1", "privileged": "t2",
}  # fmt: skip


def tier_value(trust_tier: str) -> Fraction:
    """What a tier is worth, in [0, 1]; a tier that nobody knows is worth 0.

    >>> tier_value("T1Trusted"), tier_value("trusted"), tier_value("friendly")
    (Fraction(17, 20), Fraction(17, 20), Fraction(0, 1))
    """
    words = re.findall(r"t[012](?![0-9])|[a-z]+", trust_tier.lower())
    found = {_NAMES.get(word, word) for word in words}
    tiers = found & TIERS.keys()
    if len(tiers) != 1 or found - tiers:
        return Fraction(0)
    return TIERS[tiers.pop()]


def posterior_trust(trust_tier: str, record: TrackRecord | None, rule: TrustRule) -> Fraction:
    """The tier's value after feedback: the mean of a Beta posterior, within bounds.

    The prior is worth ``prior_strength`` outcomes at the tier's value. Successes raise it by
    ``max_shift`` at most, failures lower it to ``floor`` at most; a tier below the floor stays.
    """
    tier = tier_value(trust_tier)
    if record is None or record.n_success + record.n_failure == 0:
        return tier
    n = record.n_success + record.n_failure
    mean = (tier * rule.prior_strength + record.n_success) / (rule.prior_strength + n)
    shift, floor = Fraction(rule.max_shift, 1000), Fraction(rule.floor, 1000)
    low, high = min(tier, floor), min(tier + shift, Fraction(1))
    return min(max(mean, low), high)


def trust_units(trust: Fraction, *, is_local: bool, preferences: PlannerPreferences) -> int:
    """The trust part of a score: trust and locality, as far as they are preferred, in 1e-9."""
    n = preferences.prefer_trusted + preferences.prefer_local
    if n == 0:
        return 0
    preferred = trust * preferences.prefer_trusted + (is_local and preferences.prefer_local)
    return int(preferred * UNIT / n)


def records_by_id(records: Iterable[TrackRecord]) -> dict[str, TrackRecord]:
    """One record an id: several are added."""
    found: dict[str, TrackRecord] = {}
    for record in records:
        known = found.get(record.id, TrackRecord(id=record.id))
        found[record.id] = TrackRecord(
            id=record.id,
            n_success=known.n_success + record.n_success,
            n_failure=known.n_failure + record.n_failure,
        )
    return found


def trust_sentence(trust_tier: str, record: TrackRecord | None, rule: TrustRule) -> str | None:
    """What feedback did to a candidate's trust, for a reader; None when there is no feedback."""
    if record is None or record.n_success + record.n_failure == 0:
        return None
    before, after = tier_value(trust_tier), posterior_trust(trust_tier, record, rule)
    return (
        f"trust {float(before):.3f} -> {float(after):.3f}"
        f" after {record.n_success} successes and {record.n_failure} failures"
    )
