"""What ranking a registry and a whole synthesis cost: `python -m tests.bench.synthesis`.

CPU time of `rank_candidates` and of `generate_planner_generic`, nothing kept from an earlier call;
the median and the slowest of several runs. Registries: keys from a small vocabulary, keys that are
all different, the same with namespaces, cards that describe typed inputs, as MCP servers do, cards
that are all a perfect match; and, since ties are what costs, cards that are all of one tier and take
the same inputs, and the same with an optional input of its own each.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

from planner_synthesis.generate import generate_planner_generic
from planner_synthesis.scoring import rank_candidates
from planner_synthesis.types import (
    CapabilityCard,
    ExtractedSkill,
    InputSpec,
    InteractionTurn,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    RuntimeContext,
)

WORDS = (
    "repository criteria destination dates budget query limit labels message email user title url"
    " path branch commit author body state sort page count start end language country amount"
    " currency account name phone address topic source target format size color weight owner"
).split()
SCHEMA = ParamSchema(
    params=(
        ParamSpec(key="github_repository"), ParamSpec(key="criteria"),
        ParamSpec(key="limit", type="int"), ParamSpec(key="language", required=False),
    )
)  # fmt: skip
TURNS = (
    InteractionTurn(turn_index=0, prompt="What GitHub repository should I monitor for issues?"),
    InteractionTurn(turn_index=1, prompt="What criteria should trigger automatic triage?"),
    InteractionTurn(turn_index=2, prompt="How many issues at most?"),
)
VERBS = ("get", "list", "create", "send", "search", "update")
KINDS = ("vocabulary", "distinct", "namespaced", "typed", "perfect", "alike", "alike+")
TIERS = ("T0", "T1", "T2", "")


def registry(kind: str, n: int, seed: int) -> tuple[CapabilityCard, ...]:
    """``n`` cards; a registry of the same kind and seed is the same."""
    rng = random.Random(seed)
    return tuple(_card(kind, i, rng) for i in range(n))


def _card(kind: str, i: int, rng: random.Random) -> CapabilityCard:
    keys = rng.sample(WORDS, rng.randint(1, 6))
    if kind == "distinct":
        keys = [f"{key}_{i}_{j}" for j, key in enumerate(keys)]
    if kind == "namespaced":
        keys = [f"ns.{i}/{key}_{i}_{j}" for j, key in enumerate(keys)]
    if kind in ("alike", "alike+"):
        told = (
            InputSpec(key="repository"),
            InputSpec(key="filter"),
            InputSpec(key="n", type="int"),
        )
        own = (InputSpec(key=f"option_{i}", required=False),) if kind == "alike+" else ()
        return CapabilityCard(
            id=f"alike.{rng.choice(VERBS)}.{i}", inputs=told + own, trust_tier="T1"
        )
    if kind == "perfect":
        keys = ["github_repository", "criteria", "limit"]
    inputs: tuple[InputSpec, ...] = ()
    if kind == "typed":
        inputs = tuple(
            InputSpec(key=key, type=rng.choice(("string", "int", "bool")), required=j < 2)
            for j, key in enumerate(keys)
        )
    return CapabilityCard(
        id=f"{kind}.{rng.choice(VERBS)}_{rng.choice(WORDS)}.{i}", expects_context_keys=tuple(keys), inputs=inputs,
        trust_tier=rng.choice(TIERS), local=rng.random() < 0.5,
    )  # fmt: skip


def context_of(cards: tuple[CapabilityCard, ...], *, is_controlled: bool) -> PlannerGenContext:
    """The same request over these cards."""
    allowed = tuple(card.id for card in cards) if is_controlled else ()
    level = "controlled" if is_controlled else "full"
    return PlannerGenContext(
        schema=SCHEMA, history=TURNS, skills=(ExtractedSkill(skill="issue-triage"),), registry_caps=cards,
        security=RuntimeContext(level=level, allowed_capabilities=allowed),  # type: ignore[arg-type]
    )  # fmt: skip


def measure_ms(run: Callable[[], object], n_runs: int) -> tuple[float, float]:
    """Median and slowest CPU time, in milliseconds."""
    spent = []
    for _ in range(n_runs):
        start = time.process_time_ns()
        run()
        spent.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(spent), max(spent)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n-runs", type=int, default=9)
    arguments = parser.parse_args()
    print(f"CPU ms, median and slowest of {arguments.n_runs} runs")
    print(f"{'cards':>7} {'registry':<11}{'level':<11}{'ranking':>17}{'synthesis':>17}")
    for n in (10_000, 100_000):
        for kind in KINDS:
            cards = registry(kind, n, seed=1)
            for is_controlled in (False, True):
                context = context_of(cards, is_controlled=is_controlled)
                rank = measure_ms(partial(rank_candidates, context), arguments.n_runs)
                whole = measure_ms(partial(generate_planner_generic, context), arguments.n_runs)
                level = "controlled" if is_controlled else "full"
                times = "".join(f"{ms:8.1f}{slowest:9.1f}" for ms, slowest in (rank, whole))
                print(f"{n:>7} {kind:<11}{level:<11}{times}")


if __name__ == "__main__":
    main()
