"""Retrieval against ten naive lines: thousands of queries full of ties, on every path of the searches.

The limit between listed and bitmapped terms and the size of a block are lowered, so that a few
hundred runs meet what a hundred thousand would. The search in numpy, which a kernel runs, and the
compiled one, which builds run, must both find the same.
"""

import random
import sys
from collections.abc import Sequence

import msgspec
import polars as pl
import pytest

from planner_pipeline.history import compiled_search, past_runs
from planner_pipeline.history.past_runs import COLUMNS, PastRuns
from planner_pipeline.tables import RUNS, polars_schema
from planner_runtime import similar_runs
from planner_runtime.contracts import ActionExecuted, Outcome, RunSummary, Runtime
from planner_runtime.retrieval import bitmaps, lone_search, search
from planner_runtime.retrieval.bitmaps import TermBitmaps, Terms, number_terms, positions
from planner_runtime.retrieval.shelf import group_number
from planner_runtime.similar_runs import DAY_MS, Query, RunIndex, Searcher, SimilarityWeights
from tests.reference.retrieval import naive_similar_runs

SEARCHERS = {"numpy": search.search, "compiled": compiled_search.search}
ABLATED = {
    "all": SimilarityWeights(),
    "without tags": SimilarityWeights(tags=0),
    "without failures": SimilarityWeights(failures=0),
    "without keywords": SimilarityWeights(keywords=0),
    "without same issue": SimilarityWeights(same_issue=0),
    "without recency": SimilarityWeights(recency=(0, 0, 0, 0, 0)),
    "the older the better": SimilarityWeights(recency=(0, 10, 20, 30, 40_000)),
    "nothing but age": SimilarityWeights(
        tags=1_000,
        failures=1_000,
        keywords=1_000,
        same_issue=100,
        recency=(0, 10, 20, 30_000, 400_000),
    ),
    "one bucket": SimilarityWeights(recency=(7,), recency_days=()),
}


def some(luck: random.Random, letters: str, most: int) -> tuple[str, ...]:
    return tuple(luck.choices(letters, k=luck.randint(0, most)))


def maybe(luck: random.Random, letters: str) -> str | None:
    return luck.choice(letters) if luck.random() < 0.7 else None


def a_history(luck: random.Random, n: int) -> list[RunSummary]:
    """Runs of two domains with few distinct moments, tags and groups: ties everywhere."""
    history = []
    for number in range(n):
        started = luck.randrange(40) * luck.choice((1, DAY_MS // 2, 5 * DAY_MS))
        ended = started + luck.choice((-1, 0, 1, DAY_MS, 9 * DAY_MS))
        history.append(
            RunSummary(
                run_id=f"{luck.randrange(10**6)}-{number}", started_ms=started,
                ended_ms=None if luck.random() < 0.1 else ended,
                job_type="code", domain=luck.choice(("code", "fab_asset")),
                group_id=maybe(luck, "ghijkl"), issue_id=maybe(luck, "123456789"),
                world_id=maybe(luck, "vw"), objective_id=maybe(luck, "op"),
                tags=some(luck, "aaaaabbbbcccdde", 5), keywords=some(luck, "kkkklllmmnopqrs", 8),
                action_executed=ActionExecuted(), runtime=Runtime(),
                outcome=Outcome(status="failed", fail_codes=some(luck, "xxxyyz", 3)),
            )
        )  # fmt: skip
    return history


def a_question(luck: random.Random) -> Query:
    return Query(
        job_type="code", domain=luck.choice(("code", "fab_asset")),
        cutoff_ms=luck.randrange(45) * luck.choice((1, DAY_MS // 2, 5 * DAY_MS)),
        issue_id=maybe(luck, "123456789"), group_id=maybe(luck, "ghijkl"),
        world_id=luck.choice((None, None, "v", "w", "unknown")),
        objective_id=luck.choice((None, None, "o")),
        tags=frozenset(some(luck, "abcdez", 5)), keywords=frozenset(some(luck, "klmnopqrsz", 8)),
        failure_signals=luck.choice((None, None, frozenset("xy"), frozenset())),
    )  # fmt: skip


@pytest.mark.parametrize("searcher", SEARCHERS.values(), ids=SEARCHERS)
@pytest.mark.parametrize("name", ABLATED)
@pytest.mark.parametrize(("least", "block"), [(2, 2), (20, 1), (64, 4096)])
def test_every_path_of_the_search_is_the_naive_loop(
    monkeypatch: pytest.MonkeyPatch, name: str, least: int, block: int, searcher: Searcher
) -> None:
    monkeypatch.setattr(bitmaps, "LEAST_FREQUENT", least)
    monkeypatch.setattr(search, "LEAST_WORDS", block)
    monkeypatch.setattr(search, "BLOCK_WORDS", block)
    monkeypatch.setattr(search, "BAR_WORDS", max(1, block // 2))
    monkeypatch.setattr(search, "BATCH", 7)
    luck = random.Random(f"{name} {least}")
    for n in (3, 90, 700):
        history = a_history(luck, n)
        window = luck.choice((None, 1, 50, n // 2))
        index = RunIndex(history[: n // 2], weights=ABLATED[name], window=window, searcher=searcher)
        questions = [a_question(luck) for _ in range(60)]
        index.similar_runs_of(questions[:5], n=2)
        for run in history[n // 2 :]:
            index.add(run)
        for count in (8, 3):
            found = index.similar_runs_of(questions, n=count)
            for question, runs in zip(questions, found, strict=True):
                expected = naive_similar_runs(
                    history, question, n=count, weights=ABLATED[name], window=window
                )
                assert [run.run_id for run in runs] == expected
                alone = index.similar_runs(question, n=count)
                assert [run.run_id for run in alone] == expected


@pytest.mark.parametrize("searcher", SEARCHERS.values(), ids=SEARCHERS)
def test_many_queries_over_a_long_history_are_the_naive_loop(searcher: Searcher) -> None:
    luck = random.Random(3)
    history = a_history(luck, 2_500)
    for weights in (ABLATED["all"], ABLATED["nothing but age"]):
        index = RunIndex(history, weights=weights, searcher=searcher)
        questions = [a_question(luck) for _ in range(128)]
        found = index.similar_runs_of(questions, n=8)
        for question, runs in zip(questions, found, strict=True):
            expected = naive_similar_runs(history, question, n=8, weights=weights)
            assert [run.run_id for run in runs] == expected


def test_runs_in_the_order_of_their_starts_are_added_to_what_is_there() -> None:
    luck = random.Random(5)
    history = sorted(a_history(luck, 300), key=lambda run: run.run_id, reverse=True)
    history.sort(key=lambda run: run.started_ms)
    index, questions = RunIndex(), [a_question(luck) for _ in range(40)]
    for start in range(0, 300, 25):
        for run in history[start : start + 25]:
            index.add(run)
        for question in questions:
            expected = naive_similar_runs(
                history[: start + 25], question, n=8, weights=SimilarityWeights()
            )
            assert [run.run_id for run in index.similar_runs(question, n=8)] == expected


def test_a_run_added_again_replaces_what_was_known_of_it() -> None:
    luck = random.Random(6)
    history = a_history(luck, 60)
    index = RunIndex(history)
    index.similar_runs(a_question(luck), n=1)
    changed = [
        type(run)(**{f: getattr(run, f) for f in run.__struct_fields__} | {"tags": ("z",)})
        for run in history[::3]
    ]
    for run in changed:
        index.add(run)
    now = {run.run_id: run for run in [*history, *changed]}
    for question in (a_question(luck) for _ in range(50)):
        expected = naive_similar_runs(
            list(now.values()), question, n=8, weights=SimilarityWeights()
        )
        assert [run.run_id for run in index.similar_runs(question, n=8)] == expected
    assert len(index) == 60


@pytest.mark.parametrize(
    "wrong",
    [{"tags": -1}, {"recency": (1, 2)}, {"recency_days": (7, 1, 30, 90)}, {"tags": 1 << 30}],
)
def test_weights_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        SimilarityWeights(**wrong)  # type: ignore[arg-type]


def a_table(history: Sequence[RunSummary]) -> pl.DataFrame:
    """What the run table holds of some runs; a summary is its run's id here."""
    fields = ("run_id", "job_type", "domain", "group_id", "issue_id", "world_id", "objective_id",
              "started_ms", "ended_ms")  # fmt: skip
    rows = [
        {
            **{name: getattr(run, name) for name in fields},
            "group_number": group_number(run.group_id),
            "tags": list(dict.fromkeys(run.tags)),
            "keywords": list(dict.fromkeys(run.keywords)),
            "fail_codes": list(dict.fromkeys(run.outcome.fail_codes)),
            "status": run.outcome.status,
            "summary_json": run.run_id,
        }
        for run in history
    ]
    schema = polars_schema(RUNS)
    return pl.DataFrame(rows, schema={name: schema[name] for name in COLUMNS}, orient="row")


@pytest.mark.parametrize("seed", range(6))
def test_a_history_taken_from_columns_is_asked_as_one_taken_run_by_run(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(bitmaps, "LEAST_FREQUENT", 3)
    luck = random.Random(seed)
    history = a_history(luck, luck.choice((0, 1, 40, 600)))
    window = luck.choice((None, 30))
    weights = SimilarityWeights()
    past = PastRuns(a_table(history), weights=weights, window=window, n_decisions=1)
    index = RunIndex(history, weights=weights, window=window)
    questions = [a_question(luck) for _ in range(80)]
    found = past.similar(questions, n=8)
    for question, places in zip(questions, found, strict=True):
        expected = naive_similar_runs(history, question, n=8, weights=weights, window=window)
        assert [past.summary(place) for place in places] == expected
        assert past.failure_signals(question) == index.failure_signals(question)


@pytest.mark.parametrize("name", ABLATED)
@pytest.mark.parametrize(("least", "few"), [(2, 1), (20, 3), (64, 32)])
def test_one_question_at_a_time_is_the_naive_loop_while_runs_come_and_go(
    monkeypatch: pytest.MonkeyPatch, name: str, least: int, few: int
) -> None:
    monkeypatch.setattr(bitmaps, "LEAST_FREQUENT", least)
    monkeypatch.setattr(lone_search, "FEW_WORDS", few)
    monkeypatch.setattr(lone_search, "WORTH_SCORING", 10 * few)
    monkeypatch.setattr(lone_search, "WORTH_SORTING_OUT", few)
    monkeypatch.setattr(similar_runs, "MOST_FRESH", 8)
    monkeypatch.setattr(similar_runs, "KEPT_FRESH", 3)
    monkeypatch.setattr(similar_runs, "MOST_LATE", 10)
    luck = random.Random(f"{name} {few}")
    for n in (20, 400):
        window = luck.choice((None, None, 1, n // 2))
        index = RunIndex(weights=ABLATED[name], window=window)
        known: dict[str, RunSummary] = {}
        history = a_history(luck, n)
        if luck.random() < 0.5:
            history.sort(key=lambda run: run.started_ms + luck.randrange(DAY_MS))
        index.update(history[: n // 2])
        known.update((run.run_id, run) for run in history[: n // 2])
        for run in history[n // 2 :]:
            gone = luck.sample(sorted(known), 2) if luck.random() < 0.2 else []
            new = [run]
            if luck.random() < 0.3:
                again = luck.choice(sorted(set(known) - set(gone)))
                new.append(msgspec.structs.replace(run, run_id=again))
            index.update(new, removed=gone)
            known = {run_id: one for run_id, one in known.items() if run_id not in gone}
            known.update((one.run_id, one) for one in new)
            if luck.random() < 0.5:
                question = a_question(luck)
                expected = naive_similar_runs(
                    list(known.values()), question, n=5, weights=ABLATED[name], window=window
                )
                assert [run.run_id for run in index.similar_runs(question, n=5)] == expected
        assert len(index) == len(known)


def holders(known: TermBitmaps, term: str) -> set[int]:
    rows, rare = known.look_up([term])
    found = {document for listed in rare for document in listed.tolist()}
    for row in rows:
        words, bits = positions(known.matrix[row])
        found |= set((words * 64 + bits).tolist())
    return found


@pytest.mark.parametrize("seed", range(8))
def test_terms_numbered_by_a_table_are_those_numbered_one_by_one(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(bitmaps, "LEAST_FREQUENT", 4)
    luck = random.Random(seed)
    one_by_one, by_table = TermBitmaps(), TermBitmaps()
    documents: list[tuple[str, ...]] = []
    for _ in range(5):
        batch = [some(luck, "aaabbcdefghijklmno", 6) for _ in range(luck.randrange(60))]
        documents += batch
        one_by_one.extend(number_terms(batch))
        distinct = [list(dict.fromkeys(document)) for document in batch]
        terms: Terms = past_runs._terms(pl.Series(distinct, dtype=pl.List(pl.String)))
        by_table.extend(terms)
    for known in (one_by_one, by_table):
        assert known.sizes.tolist() == [len(set(document)) for document in documents]
        assert known.smallest == min((len(set(d)) for d in documents if d), default=1)
        for term in "abcdefghijklmnoz":
            expected = {n for n, document in enumerate(documents) if term in document}
            assert holders(known, term) == expected


def test_one_term_or_none_is_numbered_as_a_list_of_it() -> None:
    single = past_runs._terms(pl.Series(["a", None, "b", "a"]))
    listed = past_runs._terms(pl.Series([["a"], [], ["b"], ["a"]]))
    assert list(single.names) == list(listed.names) == ["a", "b"]
    assert single.numbers.tolist() == listed.numbers.tolist() == [0, 1, 0]
    assert single.sizes.tolist() == listed.sizes.tolist() == [1, 0, 1, 1]


def test_long_histories_are_searched_in_compiled_code_where_there_is_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert past_runs.searcher_for(1_000) is search.search
    assert past_runs.searcher_for(10**12) is compiled_search.search
    monkeypatch.setitem(sys.modules, "planner_pipeline.history.compiled_search", None)
    monkeypatch.delattr("planner_pipeline.history.compiled_search")
    assert past_runs.searcher_for(10**12) is search.search
