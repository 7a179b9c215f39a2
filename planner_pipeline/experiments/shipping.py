"""May the recurrent model ship? The rule's answer, wherever outcomes were measured.

Belongs here: finding the verdict of the last trial study, and holding to it. Does not: the rule
(``trial_report``).
Spec: section 7.2 ("allowed only if it beats baselines on outcome-based metrics").
"""

from pathlib import Path
from typing import Final

import msgspec

from planner_pipeline.experiments.ablation_table import Shipping

NO_OUTCOMES: Final = (
    "No. It may only ship if it beats every baseline on outcomes, and this workspace holds none: "
    "`cyntra-planner evaluate --trials FILE` measures them on replayed attempts."
)


class MayNotShipError(ValueError):
    """The declared rule keeps a model from being shipped."""


class _Said(msgspec.Struct):
    shipping: Shipping


def hold_to_the_rule(arch: str, out: Path) -> None:
    """Refuse to ship a recurrent model that did not beat every baseline on outcomes.

    Raises:
        MayNotShipError: with the verdict.
    """
    verdict = shipping_of(out)
    if arch == "recurrent" and not verdict.may_ship:
        raise MayNotShipError(
            f"no bundle of a recurrent model: {verdict.words} It can be trained and evaluated."
        )


def shipping_of(out: Path) -> Shipping:
    """What the trial study below ``out`` said; no, where there is none that can be read."""
    try:
        data = (out / "trials" / "report.json").read_bytes()
        return msgspec.json.decode(data, type=_Said).shipping
    except (OSError, msgspec.DecodeError):
        return Shipping(may_ship=False, words=NO_OUTCOMES)
