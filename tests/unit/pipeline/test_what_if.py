"""What the what-if page says, and what it never says."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from planner_pipeline.evaluation.bootstrap import Interval
from planner_pipeline.evaluation.frontier import (
    Difference,
    FrontierPoint,
    Kind,
    Promise,
    Source,
    WhatIf,
)
from planner_pipeline.release.frontier_chart import Caption, build_chart, nice_ticks, pareto_front
from planner_pipeline.release.what_if import (
    promise_words,
    render_what_if,
    what_if_verdict,
    write_what_if,
)
from planner_runtime.objective import Objective, Weights

HOSTILE = "<script>alert('x')</script>"


class Words(HTMLParser):
    """What a reader sees: texts and titles, without styles and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.texts.append(data)


def words_of(page: str) -> str:
    reader = Words()
    reader.feed(page)
    return re.sub(r"\s+", " ", "".join(reader.texts))


def an_interval(value: float, spread: float = 0.02, n: int = 40) -> Interval:
    return Interval(value=value, low=value - spread, high=value + spread, n=n, n_issues=12)


def a_point(
    name: str, kind: Kind, passed: float, minutes: float, **fields: object
) -> FrontierPoint:
    given = {
        "usd": None,
        "gain": None if kind == "baseline" else an_interval(passed - 0.01 * minutes - 0.3),
        "differs": 0.25,
        **fields,
    }
    return FrontierPoint(
        name=name, kind=kind, pass_rate=an_interval(passed), minutes=an_interval(minutes, 2.0),
        utility=an_interval(passed - 0.01 * minutes), **given,  # type: ignore[arg-type]
    )  # fmt: skip


POINTS = (
    a_point("baseline", "baseline", 0.6, 30.0),
    a_point("serial, 15", "fixed", 0.5, 15.0),
    a_point("vote, 60", "fixed", 0.7, 60.0),
    a_point("best fixed action", "fixed", 0.5, 15.0),
    a_point("imitation", "imitation", 0.58, 29.0),
    a_point("value policy", "value", 0.65, 20.0),
    a_point("oracle", "oracle", 0.8, 18.0),
)


def a_difference(number: int, **fields: object) -> Difference:
    known = {
        "case_id": f"case-{number}", "issue_id": f"issue-{number}", "baseline": "serial, 60",
        "chosen": "serial, 15", "p_pass": 0.62, "p_pass_baseline": 0.55, "minutes": 14.2,
        "minutes_baseline": 33.1, "gain": 0.25, "confidence": 0.93, "why": "saves 18.9 minutes",
        **fields,
    }  # fmt: skip
    return Difference(**known)  # type: ignore[arg-type]


def a_promise(**fields: object) -> Promise:
    known = {
        "threshold": 0.71, "target": 0.1, "failure": 0.1, "n": 180, "n_followed": 74, "n_worse": 3,
        "bound": 0.088, "later_n": 232, "later_followed": 91, "later_worse": 7, "kept": True,
        **fields,
    }  # fmt: skip
    return Promise(**known)  # type: ignore[arg-type]


def a_what_if(
    points: tuple[FrontierPoint, ...] = POINTS, source: Source = "replay", **fields: object
) -> WhatIf:
    known = {
        "objective": msgspec.to_builtins(Objective()), "n_cases": 40, "n_issues": 12,
        "differences": (), "n_differences": 0, **fields,
    }  # fmt: skip
    return WhatIf(source=source, points=points, **known)  # type: ignore[arg-type]


def with_value_gain(
    low: float, high: float, *, over: tuple[float, float] | None = (0.03, 0.07), **fields: object
) -> WhatIf:
    def interval(bounds: tuple[float, float]) -> Interval:
        low, high = bounds
        return Interval(value=(low + high) / 2, low=low, high=high, n=40, n_issues=12)

    told = {
        "gain": interval((low, high)),
        "over_best_fixed": None if over is None else interval(over),
        **fields,
    }
    points = tuple(msgspec.structs.replace(p, **told) if p.kind == "value" else p for p in POINTS)
    return a_what_if(points)


def test_every_point_is_in_the_table_and_in_the_drawing_with_its_intervals() -> None:
    page = render_what_if(a_what_if())
    table = page[page.index('<tbody class="points">') :]
    for row, point in enumerate(POINTS):
        assert f"<strong>{point.name}</strong>" in table
        assert len(re.findall(rf'<g class="point \w+" data-row="{row}">', page)) == 2  # two sizes
    assert "60.0 (58.0 to 62.0)30.0 (28.0 to 32.0)0.300 (0.280 to 0.320)–25.040" in words_of(page)
    assert (
        "65.0 (63.0 to 67.0)20.0 (18.0 to 22.0)0.450 (0.430 to 0.470)+0.150 (+0.130 to +0.170)"
        in (words_of(page))
    )
    assert "value policy, pass rate 65.0 % (63.0 % to 67.0 %), 20.0 agent-minutes" in page


def test_the_best_fixed_action_is_named() -> None:
    assert "<strong>best fixed action</strong>, serial, 15" in render_what_if(a_what_if())


def test_hostile_names_stay_text() -> None:
    points = (*POINTS, a_point(HOSTILE, "fixed", 0.4, 50.0))
    odd = a_difference(1, issue_id=HOSTILE, case_id='"><img src=x>', why=HOSTILE, bound=HOSTILE)
    what_if = a_what_if(points, differences=(odd,), n_differences=1, notes=(HOSTILE,))
    page = render_what_if(what_if)
    reader = Words()
    reader.feed(page)
    assert reader.tags.count("script") == 1  # ours
    assert "img" not in reader.tags
    assert HOSTILE in "".join(reader.texts)


@pytest.mark.parametrize(
    "hole", [None, Interval(value=float("nan"), low=0.0, high=1.0, n=1, n_issues=1)]
)
def test_a_missing_figure_is_said_to_be_missing(hole: Interval | None) -> None:
    bare = FrontierPoint(
        name="bare", kind="fixed", pass_rate=hole, minutes=hole, usd=hole, utility=hole, gain=hole,
        differs=float("nan"),
    )  # fmt: skip
    odd = a_difference(1, minutes=None, minutes_baseline=None, gain=float("nan"))
    page = render_what_if(a_what_if((*POINTS, bare), differences=(odd,), n_differences=1))
    told = words_of(page)
    assert not re.search(r"\b(nan|None|inf|Undefined)\b", told, re.I)
    assert 'data-pass="" data-minutes="" data-usd=""' in page
    assert "Not drawn, since its place is not known: bare." in told
    assert "– → –" in told
    assert "not known" in told


def test_without_points_the_page_still_stands() -> None:
    told = words_of(render_what_if(a_what_if(())))
    assert "There is nothing to draw" in told
    assert "nothing is said of one" in told


def test_the_models_own_estimates_are_called_that_and_measured_outcomes_are_not() -> None:
    estimated = words_of(render_what_if(a_what_if(source="model")))
    assert "The model's own estimates, checked by no outcome." in estimated
    assert "which no outcome has checked, the value policy would do better" in estimated
    for source in ("bench", "replay"):
        assert "own estimates" not in words_of(render_what_if(a_what_if(source=source)))


def test_the_verdict_claims_no_more_than_the_interval() -> None:
    assert what_if_verdict(with_value_gain(0.1, 0.2)) == (
        "The value policy does better than the baseline: utility +0.150 (+0.100 to +0.200) a "
        "decision, n=40 decisions of 12 issues. It does better than the best fixed action, "
        "serial, 15 as well: +0.050 (+0.030 to +0.070) above it, n=40; it was chosen knowing these "
        "outcomes."
    )
    assert "cannot be told apart: utility +0.050" in what_if_verdict(with_value_gain(-0.1, 0.2))
    assert "cannot be told apart" in what_if_verdict(with_value_gain(0.0, 0.2))
    assert "does worse than the baseline" in what_if_verdict(with_value_gain(-0.2, -0.1))
    assert "decides exactly as the baseline" in what_if_verdict(
        with_value_gain(0.0, 0.0, differs=0.0)
    )


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ((0.01, 0.02), "It does better than the best fixed action, serial, 15 as well: +0.015"),
        ((0.0, 0.02), "It cannot be told apart from the best fixed action, serial, 15: +0.010"),
        ((-0.02, 0.01), "It cannot be told apart from the best fixed action, serial, 15: -0.005"),
        ((-0.2, -0.1), "It does worse than the best fixed action, serial, 15: -0.150"),
        (None, "What it gains on the best fixed action is not known."),
    ],
)
def test_beside_the_best_fixed_action_the_paired_difference_alone_decides(
    over: tuple[float, float] | None, said: str
) -> None:
    for gain in ((0.1, 0.2), (-0.2, -0.1)):  # what it gains on the baseline says nothing of it
        assert said in what_if_verdict(with_value_gain(*gain, over=over))


def test_a_policy_that_cannot_be_compared_gets_no_verdict() -> None:
    points = tuple(msgspec.structs.replace(p, gain=None) for p in POINTS)
    assert what_if_verdict(a_what_if(points)).startswith("Nothing can be said of the value policy")


@pytest.mark.parametrize(
    ("kept", "said"), [(True, "Kept."), (False, "Not kept."), (None, "Too few to tell.")]
)
def test_the_promise_is_told_with_what_it_rests_on(kept: bool | None, said: str) -> None:
    verdict, told = promise_words(a_promise(kept=kept))
    assert verdict == said
    assert "at most 10 % of followed decisions" in told
    assert "74 reached a confidence of 0.710 and 3 of those were worse" in told
    assert "Of 232 later decisions, 91 were followed and 7 of those worse (7.7 %)." in told


def test_a_promise_that_could_not_be_made_or_was_not_looked_for_is_told() -> None:
    assert "Nothing is promised. On 180 earlier decisions" in words_of(
        render_what_if(a_what_if(promise=a_promise(threshold=None, kept=None)))
    )
    assert "No promise was made." in words_of(render_what_if(a_what_if(promise=None)))
    assert "(" not in promise_words(a_promise(later_followed=0, later_worse=0, kept=None))[1]


def test_the_first_fifty_differences_are_shown_and_the_others_counted() -> None:
    many = tuple(a_difference(i, bound="guardrail_pass") for i in range(60))
    page = render_what_if(a_what_if(differences=many, n_differences=157))
    told = words_of(page)
    assert page.count("<code>issue-") == 50
    assert (
        "157 decisions differ; the 50 with the largest expected gains are shown, 107 more" in told
    )
    assert (
        "issue-0serial, 60serial, 1555 → 6233.1 → 14.2+0.2500.93saves 18.9 minutesguardrail" in told
    )


def test_no_difference_is_said_to_be_none() -> None:
    assert "No decision differs from the baseline's." in words_of(render_what_if(a_what_if()))
    assert "1 decision differs; none was kept" in words_of(
        render_what_if(a_what_if(n_differences=1))
    )


def test_dollars_are_shown_where_any_are_known() -> None:
    assert "A dollar costs" not in render_what_if(a_what_if())
    priced = tuple(msgspec.structs.replace(p, usd=an_interval(0.4)) for p in POINTS)
    page = render_what_if(a_what_if(priced))
    assert "A dollar costs" in page
    assert "<summary>The same, by mean dollars a decision</summary>" in page
    assert 'data-usd="0.4"' in page
    spent = msgspec.to_builtins(Objective(spend="cost_usd"))
    assert "<summary>The same, by mean agent-minutes a decision</summary>" in render_what_if(
        a_what_if(priced, objective=spent)
    )


def test_what_the_sliders_leave_out_is_said() -> None:
    odd = Objective(rule="pareto", weights=Weights(risk=0.2, wall_minute=0.1, passed=2.0))
    told = words_of(render_what_if(a_what_if(objective=msgspec.to_builtins(odd))))
    for what in (
        'rule "pareto"',
        "chance of a timeout 0.2",
        "minute of waiting 0.1",
        "a pass weighs 2",
    ):
        assert what in told


def test_the_script_is_short_and_nothing_is_loaded() -> None:
    page = render_what_if(a_what_if())
    script = page[page.index("<script>") : page.index("</script>")]
    assert len(script.splitlines()) < 60
    assert not re.search(r"https?:|//[a-z]|\bsrc=|@import|url\(|fetch\(|eval\(", page)
    assert "<form hidden" in page  # a page without a script has no control that does nothing


def test_the_drawings_are_well_formed_and_tell_a_screen_reader_what_they_are() -> None:
    drawings = re.findall(r"<svg.*?</svg>", render_what_if(a_what_if()), re.S)
    assert len(drawings) == 2
    for text in drawings:
        root = ElementTree.fromstring(text)
        assert root.get("role") == "img"
        assert "of 7 policies and actions" in (root.get("aria-label") or "")
        shown = [
            "".join(label.itertext())
            for label in root.iter("text")
            if "label" in label.get("class", "")
        ]
        assert len(shown) == 5  # baseline, best fixed, imitation, value, oracle


def test_labels_lie_inside_the_plot_and_on_no_other_label() -> None:
    crowd = [a_point(f"policy number {i}", "value", 0.5 + 0.001 * i, 20.0) for i in range(6)]
    captions = [Caption(look="value", title=p.name, label=p.name) for p in crowd]
    chart = build_chart(crowd, captions, spending="minutes", width=880.0, height=460.0)
    assert chart is not None
    labels = [mark.label for mark in chart.marks if mark.label]
    assert len(labels) == 6
    for at, one in enumerate(labels):
        assert chart.plot.left < one.x < chart.plot.right
        assert chart.plot.top < one.y < chart.plot.bottom
        assert all(abs(one.y - o.y) > 12 or abs(one.x - o.x) > 100 for o in labels[at + 1 :])


def test_the_front_is_of_fixed_actions_alone_and_equal_places_count_once() -> None:
    captions = [Caption(look=p.kind, title=p.name, label=None) for p in POINTS]
    chart = build_chart(POINTS, captions, spending="minutes", width=880.0, height=460.0)
    assert chart is not None
    by_row = {mark.row: (mark.x, mark.y) for mark in chart.marks}
    assert chart.front == (by_row[1], by_row[2])
    assert pareto_front([]) == ()


def test_one_point_of_no_spread_can_be_drawn() -> None:
    point = a_point("alone", "fixed", 0.0, 0.0)
    flat = Interval(value=0.0, low=0.0, high=0.0, n=2, n_issues=2)
    page = render_what_if(
        a_what_if((msgspec.structs.replace(point, pass_rate=flat, minutes=flat),))
    )
    assert "<svg" in page
    assert nice_ticks(0.0, 1.0, 5) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def test_a_page_of_its_own_and_its_data_are_written(tmp_path: Path) -> None:
    what_if = a_what_if(differences=(a_difference(1, gain=float("nan")),), n_differences=1)
    write_what_if(what_if, tmp_path)
    page = (tmp_path / "what_if.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "prefers-color-scheme: dark" in page
    assert render_what_if(what_if) in page
    document = json.loads((tmp_path / "what_if.json").read_bytes())
    assert document["schema_version"] == "cyntra.planner_what_if.v1"
    assert document["verdict"] == what_if_verdict(what_if)
    assert document["points"][5]["pass_rate"]["value"] == 0.65
    assert document["differences"][0]["gain"] is None


def test_an_objective_that_is_none_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="rule"):
        render_what_if(a_what_if(objective={"rule": "whatever"}))
