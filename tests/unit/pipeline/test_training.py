"""Fitting: what is learned, masked, averaged, kept, taken up again, saved; and its temperatures."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from planner_pipeline.dataset.arrays import Arrays, build_arrays, choose_rows
from planner_pipeline.evaluation.calibration import (
    calibrated_nll,
    fit_temperatures,
    label_log_probs,
)
from planner_pipeline.models.build import NETWORKS, build_model
from planner_pipeline.models.spec import PADDING, Arch
from planner_pipeline.training.batches import Inputs, build_targets, epoch_batches, in_order
from planner_pipeline.training.checkpoint import (
    CheckpointError,
    decode_checkpoint,
    decode_tensors,
    encode_checkpoint,
    encode_tensors,
)
from planner_pipeline.training.closed_form import count_prior, fit_logistic
from planner_pipeline.training.config import TrainConfig, usual_config
from planner_pipeline.training.fit import NothingToLearnError, fit_model
from planner_pipeline.training.loop import CLIP, DIGEST_SIZE, EpochMetrics, Trained, train_network
from planner_pipeline.training.losses import masked_cross_entropy, output_losses, total_loss
from planner_pipeline.training.optimizers import AdamATan2
from planner_pipeline.training.predict import model_outputs, network_outputs
from planner_runtime.actions import Action, ActionSpace, is_valid_action, valid_actions
from planner_runtime.decode import Decoding, action_log_probs, output_widths, temperature_names
from planner_runtime.features import FEATURE_NAMES, N_FEATURES
from planner_runtime.tokenizer import EQUALS, TOKEN_IDS, VOCABULARY, fold

SPACE = ActionSpace()
N_CHOICES = [len(choices) for choices in SPACE.choices]
JOBS = ("code", "fab-world")
DECODINGS: tuple[Decoding, ...] = ("heads", "joint", "autoregressive")
KEY_IDS = [i for i, token in enumerate(VOCABULARY) if token.startswith("[KEY:")]
VALUE_IDS = range(max(KEY_IDS) + 1, len(VOCABULARY))
SMALL = {"width": 16, "n_layers": 1, "n_heads": 2, "expansion": 2.0, "epochs": 6, "batch_size": 64}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums of these sizes cost less than waking another thread for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_sequence(luck: np.random.Generator, n_entries: int) -> list[int]:
    ids = [TOKEN_IDS["[BOS]"]]
    for number in range(n_entries):
        ids += [int(luck.choice(KEY_IDS)), EQUALS, int(luck.choice(VALUE_IDS))]
        if number % 3 == 2:
            ids.append(TOKEN_IDS["[SEP]"])
    return [*ids, TOKEN_IDS["[EOS]"]]


def some_rows(
    n: int, seed: int = 0, *, jobs: Sequence[str] = JOBS, most_entries: int = 5
) -> Arrays:
    """Rows of some job types in turn, whose label follows from two of their features."""
    luck = np.random.default_rng(seed)
    features = luck.normal(size=(n, N_FEATURES)).astype(np.float32)
    job_types = [jobs[i % len(jobs)] for i in range(n)]
    picks = (features[:, 0] > 0) * 13 + (features[:, 1] > 0) * 3 + 1
    labels = [
        valid_actions(SPACE, job)[int(pick)] for job, pick in zip(job_types, picks, strict=True)
    ]
    tokens = [a_sequence(luck, int(luck.integers(1, most_entries + 1))) for _ in range(n)]
    return build_arrays(features, labels, job_types, SPACE, tokens)


def rows_labelled(labels: Sequence[Action], jobs: Sequence[str]) -> Arrays:
    features = np.zeros((len(labels), N_FEATURES), dtype=np.float32)
    return build_arrays(features, labels, jobs, SPACE)


def random_outputs(n: int, decoding: Decoding, seed: int = 0) -> list[np.ndarray]:
    luck = np.random.default_rng(seed)
    return [luck.normal(size=(n, width)) * 2 for width in output_widths(SPACE, decoding).values()]


def choices_of(job: str) -> list[tuple[int, ...]]:
    """VALID_ACTIONS as choices of the heads, by trying everything."""
    return [
        choice
        for choice in itertools.product(*map(range, N_CHOICES))
        if is_valid_action(
            Action(*(SPACE.choices[h][c] for h, c in enumerate(choice))),  # type: ignore[arg-type]
            job_type=job,
        )
    ]


def job_of(rows: Arrays, row: int) -> str:
    return rows.job_types[int(rows.jobs[row])]


# -- learning


@pytest.mark.parametrize(
    ("arch", "decoding", "changes"),
    [
        *(("mlp", d, {"learning_rate": 1e-2, "epochs": 80, "width": 32}) for d in DECODINGS),
        *(("logreg", d, {"l2": (1e-5,)}) for d in ("heads", "joint")),
        ("gbt", "heads", {"trees": 150, "leaves": 15, "least_rows": 1}),
        *(("transformer", d, {"learning_rate": 1e-2, "epochs": 60}) for d in DECODINGS),
        *(("recurrent", d, {"learning_rate": 1e-2, "epochs": 60, "warmup_steps": 5, "loops": 3,
                            "grad_loops": 2}) for d in DECODINGS),
    ],
)  # fmt: skip
def test_32_rows_are_learned_by_heart(arch: Arch, decoding: Decoding, changes) -> None:
    rows = some_rows(32)
    config = usual_config(
        arch,
        **SMALL | {"decoding": decoding, "dropout": 0.0, "weight_decay": 0.0, "ema": 0.0} | changes,
    )
    checkpoint, record = fit_model(rows, choose_rows(rows, np.arange(0)), config)
    outputs = model_outputs(decode_checkpoint(checkpoint), rows)
    plain = dict.fromkeys(temperature_names(decoding), 1.0)
    log_probs = label_log_probs(outputs, rows, decoding, plain)
    assert -log_probs.mean() < 0.1
    assert record.n_train == 32
    assert record.val_nll is None
    assert record.n_weights > 0


def test_no_rows_cannot_be_learned_from() -> None:
    none = some_rows(0)
    with pytest.raises(ValueError, match="no training examples"):
        train_network(none, none, TrainConfig())
    with pytest.raises(NothingToLearnError):
        fit_model(none, none, TrainConfig())


def test_a_label_that_is_not_valid_for_its_job_is_refused() -> None:
    bad = rows_labelled([Action("serial_handoff", 2, 60, "NA")], ["code"])
    with pytest.raises(ValueError, match="no valid action"):
        build_targets(bad)


def test_a_loss_that_is_no_longer_finite_stops_the_fit() -> None:
    rows = some_rows(8)
    rows.features[3, 5] = np.nan
    with pytest.raises(FloatingPointError, match="epoch 0"):
        train_network(rows, some_rows(0), usual_config("mlp", **SMALL))


def test_the_prior_is_counting() -> None:
    luck = np.random.default_rng(0)
    jobs = [JOBS[i] for i in luck.integers(0, 2, 60)]
    labels = [valid_actions(SPACE, job)[int(luck.integers(0, 5))] for job in jobs]
    rows = rows_labelled(labels, jobs)
    for job in JOBS:
        column = FEATURE_NAMES.index(f"job_type={job}")
        rows.features[np.array(jobs) == job, column] = 1.0
    model = count_prior(rows, usual_config("prior"))
    counts = Counter(zip(jobs, labels, strict=True))
    plain = {"joint": 1.0}
    log_probs = label_log_probs(network_outputs(model, rows), rows, "joint", plain)
    for job, label, log_prob in zip(jobs, labels, log_probs, strict=True):
        n_valid = len(valid_actions(SPACE, job))
        share = (counts[job, label] + 1) / (jobs.count(job) + n_valid)
        assert log_prob == pytest.approx(math.log(share), abs=1e-5)


@pytest.mark.parametrize("decoding", ["heads", "joint"])
def test_logistic_regression_stands_where_its_loss_is_level(decoding: Decoding) -> None:
    rows, l2 = some_rows(60), 0.1
    config = usual_config("logreg", decoding=decoding, l2=(l2,))
    model, _ = fit_logistic(rows, some_rows(0), config)
    model.zero_grad()
    loss = total_loss(
        model(torch.from_numpy(rows.features)), build_targets(rows), decoding,
        head_weights=config.head_weights,
    )  # fmt: skip
    loss = loss + l2 / 2 * sum(w.square().sum() for w in model.parameters() if w.ndim > 1)
    loss.backward()
    assert max(float(weight.grad.abs().max()) for weight in model.parameters()) < 1e-3


def test_the_penalty_is_the_one_that_validation_likes_best_and_else_the_strongest() -> None:
    train, val = some_rows(40), some_rows(60, 1)
    config = usual_config("logreg", l2=(1.0, 30.0, 5.0))
    alone = {
        l2: calibrated_nll(
            network_outputs(fit_logistic(train, val, usual_config("logreg", l2=(l2,)))[0], val),
            val,
            "heads",
        )[0]
        for l2 in config.l2
    }
    assert len(set(alone.values())) == 3
    assert fit_logistic(train, val, config)[1] == min(alone, key=lambda l2: alone[l2])
    assert fit_logistic(train, some_rows(0), config)[1] == 30.0


# -- losses


def naive_losses(outputs: list[np.ndarray], rows: Arrays, decoding: Decoding) -> list[float]:
    """Mean over the rows that had a choice, of what the label cost among what was valid."""
    heads = range(1 if decoding == "joint" else 4)
    found: list[list[float]] = [[] for _ in heads]
    every = choices_of("any")
    for row, label in enumerate(map(tuple, rows.labels.tolist())):
        valid = choices_of(job_of(rows, row))
        for head in heads:
            raw = outputs[head][row]
            if decoding == "joint":
                scores = {choice: raw[every.index(choice)] for choice in valid}
                mine: Any = label
            elif decoding == "heads":
                scores = {c: raw[c] for c in {choice[head] for choice in valid}}
                mine = label[head]
            else:
                before = label[:head]
                at = list(itertools.product(*map(range, N_CHOICES[:head]))).index(before)
                step = raw.reshape(-1, N_CHOICES[head])[at]
                scores = {c[head]: step[c[head]] for c in valid if c[:head] == before}
                mine = label[head]
            if len(scores) > 1:
                total = sum(math.exp(score) for score in scores.values())
                found[head].append(math.log(total) - scores[mine])
    return [sum(losses) / max(1, len(losses)) for losses in found]


@pytest.mark.parametrize("jobs", [("code",), ("fab-world",), JOBS])
@pytest.mark.parametrize("decoding", DECODINGS)
def test_losses_are_the_naive_loop_and_forced_heads_are_left_out(decoding: Decoding, jobs) -> None:
    rows = some_rows(30, jobs=jobs)
    outputs = random_outputs(30, decoding)
    got = output_losses([torch.from_numpy(o) for o in outputs], build_targets(rows), decoding)
    expected = naive_losses(outputs, rows, decoding)
    assert got.tolist() == pytest.approx(expected)
    if jobs == ("code",) and decoding != "joint":
        assert got[3] == 0  # iterations: every row is forced


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("decoding", DECODINGS)
def test_what_is_not_valid_gets_no_gradient(decoding: Decoding, focal: float) -> None:
    rows = some_rows(12)
    outputs = [torch.from_numpy(o).requires_grad_() for o in random_outputs(12, decoding)]
    loss = total_loss(
        outputs, build_targets(rows), decoding, head_weights=(1, 2, 3, 4), focal=focal
    )
    loss.backward()
    every = choices_of("any")
    for row, label in enumerate(map(tuple, rows.labels.tolist())):
        valid = choices_of(job_of(rows, row))
        for head, output in enumerate(outputs):
            told = set(np.flatnonzero(output.grad[row].numpy()).tolist())
            if decoding == "joint":
                allowed = {every.index(choice) for choice in valid}
            elif decoding == "heads":
                allowed = {choice[head] for choice in valid}
            else:
                at = list(itertools.product(*map(range, N_CHOICES[:head]))).index(label[:head])
                allowed = {
                    at * N_CHOICES[head] + choice[head]
                    for choice in valid
                    if choice[:head] == label[:head]
                }
            assert told == (allowed if len(allowed) > 1 else set())


def test_an_invalid_choice_costs_nothing_however_high_it_scores() -> None:
    logits = torch.tensor([[1.0, 2.0, 50.0]], requires_grad=True)
    loss = masked_cross_entropy(logits, torch.tensor([1]), torch.tensor([[True, True, False]]))
    loss.sum().backward()
    assert float(loss[0].detach()) == pytest.approx(math.log(1 + math.exp(-1.0)))
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    assert torch.isfinite(logits.grad).all()


@given(
    st.lists(st.floats(-20, 20), min_size=4, max_size=4),
    st.integers(0, 3),
    st.sets(st.integers(0, 3)),
    st.sampled_from([0.0, 0.3, 1.0, 2.5]),
)
@settings(max_examples=150, deadline=None)
def test_focal_loss_is_its_formula_and_its_gradient_is_finite(raw, label, others, gamma) -> None:
    valid = sorted({label, *others})
    logits = torch.tensor([raw], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[i in valid for i in range(4)]])
    loss = masked_cross_entropy(logits, torch.tensor([label]), mask, focal=gamma)
    p = 1 / sum(math.exp(raw[i] - raw[label]) for i in valid)
    expected = (1 - p) ** gamma * -math.log(p)  # 0 ** 0 is 1
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
    if gamma == 0:
        plain = nn.functional.cross_entropy(logits[:, valid], torch.tensor([valid.index(label)]))
        assert float(plain.detach()) == pytest.approx(float(loss.detach()), abs=1e-12)


def test_head_weights_weigh_the_heads_and_not_the_joint_loss() -> None:
    rows, weights = some_rows(10), (0.5, 0.0, 2.0, 1.0)
    targets = build_targets(rows)
    outputs = [torch.from_numpy(o) for o in random_outputs(10, "heads")]
    parts = output_losses(outputs, targets, "heads").tolist()
    total = float(total_loss(outputs, targets, "heads", head_weights=weights))
    assert total == pytest.approx(sum(w * p for w, p in zip(weights, parts, strict=True)))
    joint = [torch.from_numpy(o) for o in random_outputs(10, "joint")]
    assert float(total_loss(joint, targets, "joint", head_weights=weights)) == pytest.approx(
        float(output_losses(joint, targets, "joint")[0])
    )


def world(iterations: Any, swarm: str = "speculate_vote", candidates: Any = 2) -> Action:
    return Action(swarm, candidates, 60, iterations)


def test_class_weights_have_mean_one_and_give_every_label_equal_say() -> None:
    labels = [world(1)] * 6 + [world(2)] * 3 + [world("NA")]
    rows = rows_labelled(labels, ["fab-world"] * 10)
    weights = build_targets(rows, class_weight=1.0).weights.numpy()
    assert weights.mean(axis=0) == pytest.approx(np.ones(5))
    of_iterations = weights[:, 3]
    assert of_iterations[:6].sum() == pytest.approx(of_iterations[6:9].sum())
    assert of_iterations[:6].sum() == pytest.approx(of_iterations[9])
    assert weights[:, 4] == pytest.approx(of_iterations)  # joint actions differ in this head alone
    gentle = build_targets(rows, class_weight=0.5).weights.numpy()[:, 3]
    assert gentle[9] / gentle[0] == pytest.approx(math.sqrt(6))
    assert (build_targets(rows).weights == 1).all()


def test_rows_without_a_choice_do_not_move_the_weights_of_those_with_one() -> None:
    labels, jobs = [world(1)] * 6 + [world("NA")] * 2, ["fab-world"] * 8
    forced = [Action("speculate_vote", 2, 60, "NA")] * 40
    alone = build_targets(rows_labelled(labels, jobs), class_weight=1.0)
    among = build_targets(rows_labelled([*labels, *forced], jobs + ["code"] * 40), class_weight=1.0)
    assert among.weights[:8, 3].tolist() == pytest.approx(alone.weights[:, 3].tolist())


def test_after_one_agent_the_candidates_are_no_choice_of_an_autoregressive_model() -> None:
    free = [world(1, candidates=1)] * 2 + [world(1, candidates=3)] * 2
    forced = [world(1, "serial_handoff", 1)] * 20
    rows = rows_labelled([*free, *forced], ["fab-world"] * 24)
    by_step = build_targets(rows, class_weight=1.0, decoding="autoregressive").weights
    by_head = build_targets(rows, class_weight=1.0, decoding="heads").weights
    assert by_step[:4, 1].tolist() == pytest.approx([1, 1, 1, 1])
    assert float(by_head[2, 1] / by_head[0, 1]) == pytest.approx(11)  # 22 rows of one candidate


# -- the loop


class Killed(Exception):
    """What a test ends a fit with."""


def kill_in(epoch: int) -> Any:
    def on_epoch(metrics: EpochMetrics) -> None:
        if metrics.epoch == epoch:
            raise Killed

    return on_epoch


@contextmanager
def steps_counted() -> Iterator[list[str]]:
    """One entry for every pass of a network in training mode."""
    seen: list[str] = []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, *_: (
            seen.append(type(module).__name__)
            if isinstance(module, tuple(NETWORKS.values())) and module.training
            else None
        )
    )
    try:
        yield seen
    finally:
        hook.remove()


def told(trained: Trained) -> tuple[bytes, bytes, int]:
    """Everything of a fit that must not depend on how it went."""
    return (
        encode_checkpoint(trained.model),
        msgspec.json.encode(trained.history),
        trained.best_epoch,
    )


def a_config(arch: Arch = "mlp", **changes: Any) -> TrainConfig:
    return usual_config(arch, **SMALL | {"dropout": 0.3, "learning_rate": 5e-3} | changes)


@pytest.mark.parametrize(
    ("arch", "changes"),
    [
        ("mlp", {"optimizer": "adamw", "warmup_steps": 3}),
        ("mlp", {"optimizer": "adam_atan2", "ema": 0.6, "decoding": "joint"}),
        ("mlp", {"ema": 0.0, "class_weight": 1.0, "focal": 1.0, "decoding": "autoregressive"}),
        ("transformer", {"head_weights": (1.0, 0.5, 2.0, 0.0)}),
    ],
)
def test_the_kept_weights_are_the_average_that_a_naive_loop_comes_to(arch: Arch, changes) -> None:
    rows = some_rows(20)
    config = a_config(arch, **{"dropout": 0.0, "epochs": 3, "batch_size": 8} | changes)
    trained = train_network(rows, some_rows(0), config)

    torch.manual_seed(config.seed)
    model = build_model(config.model_spec(SPACE))
    if arch == "mlp":
        model.scaler.fit(torch.from_numpy(rows.features))
    inputs = Inputs(rows, model.spec.input_kind)
    targets = build_targets(rows, class_weight=config.class_weight, decoding=config.decoding)
    kinds = {"adamw": torch.optim.AdamW, "adam_atan2": AdamATan2}
    optimizer = kinds[config.optimizer](
        model.parameters(), lr=1.0, weight_decay=config.weight_decay
    )
    average = [weight.detach().double().numpy() for weight in model.parameters()]
    step = 0
    for epoch in range(config.epochs):
        for batch in epoch_batches(inputs.lengths, 8, seed=config.seed, epoch=epoch):
            step += 1
            optimizer.param_groups[0]["lr"] = config.learning_rate * (
                min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
            )
            model.zero_grad()
            total_loss(
                model(*inputs.batch(batch)), targets.rows(torch.from_numpy(batch)), config.decoding,
                head_weights=config.head_weights, focal=config.focal,
            ).backward()  # fmt: skip
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            keep = min(config.ema, (1 + step) / (10 + step))
            average = [
                keep * mean + (1 - keep) * weight.detach().double().numpy()
                for mean, weight in zip(average, model.parameters(), strict=True)
            ]
    assert step == 9
    moved = 0.0
    for kept, mean, last in zip(
        trained.model.parameters(), average, model.parameters(), strict=True
    ):
        assert np.abs(kept.detach().numpy() - mean).max() < 1e-6
        moved = max(moved, float(np.abs(last.detach().numpy() - mean).max()))
    assert (moved > 1e-4) == (config.ema > 0)  # the average is not just the last weights


@pytest.mark.parametrize(("arch", "decoding"), [("mlp", "heads"), ("transformer", "joint")])
def test_the_best_epoch_is_the_one_that_is_kept(arch: Arch, decoding: Decoding) -> None:
    train, val = some_rows(40), some_rows(40, 5)
    config = a_config(
        arch, epochs=25, learning_rate=2e-2, patience=25, decoding=decoding, batch_size=20
    )
    trained = train_network(train, val, config)
    nlls = [epoch.val_nll for epoch in trained.history]
    assert 0 < trained.best_epoch < 24
    assert trained.best_epoch == int(np.argmin(nlls))
    back = decode_checkpoint(encode_checkpoint(trained.model))
    best = trained.history[trained.best_epoch]
    assert calibrated_nll(model_outputs(back, val), val, decoding) == pytest.approx(
        (best.val_nll, best.val_nll_raw), rel=1e-9
    )
    checkpoint, record = fit_model(train, val, config)
    assert checkpoint == encode_checkpoint(trained.model)
    assert (record.best_epoch, record.val_nll) == (trained.best_epoch, best.val_nll)
    assert record.epochs == trained.history


def test_it_stops_after_patience_epochs_without_a_better_one() -> None:
    train, val = some_rows(40), some_rows(40, 5)
    config = a_config(epochs=200, learning_rate=5e-2, patience=4, ema=0.0)
    trained = train_network(train, val, config)
    assert len(trained.history) == trained.best_epoch + 1 + 4 < 200


@pytest.mark.parametrize("arch", ["mlp", "transformer", "recurrent"])
def test_dropout_is_on_in_every_epoch_and_off_where_it_is_judged(arch: Arch) -> None:
    seen: list[bool] = []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append(module.training) if isinstance(module, nn.Dropout) else None
    )
    try:
        train_network(some_rows(16), some_rows(8, 1), a_config(arch, epochs=3))
    finally:
        hook.remove()
    phases = [(is_on, len(list(times))) for is_on, times in itertools.groupby(seen)]
    n_layers = phases[0][1]
    assert n_layers > 0
    assert phases == [(True, n_layers), (False, n_layers)] * 3


@pytest.mark.parametrize("arch", ["mlp", "transformer", "recurrent"])
def test_equal_seeds_give_equal_bytes_and_others_others(arch: Arch) -> None:
    train, val = some_rows(24), some_rows(12, 1)
    first, second, other = (
        told(train_network(train, val, a_config(arch, epochs=3, seed=seed, batch_size=8)))
        for seed in (0, 0, 1)
    )
    assert first == second
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_global_luck_does_not_matter() -> None:
    train, val, config = some_rows(24), some_rows(12, 1), a_config(epochs=3)
    first = told(train_network(train, val, config))
    torch.manual_seed(99)
    np.random.seed(99)
    assert told(train_network(train, val, config)) == first


def test_without_validation_rows_the_last_epoch_is_kept() -> None:
    trained = train_network(some_rows(16), some_rows(0), a_config(epochs=4, patience=1))
    assert (trained.best_epoch, len(trained.history)) == (3, 4)
    assert trained.history[-1].val_nll is None


@pytest.mark.parametrize("has_val", [True, False])
@pytest.mark.parametrize(
    ("arch", "optimizer"),
    [
        ("mlp", "adamw"),
        ("mlp", "adam_atan2"),
        ("recurrent", "adam_atan2"),
        ("transformer", "adamw"),
    ],
)
def test_a_fit_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, arch: Arch, optimizer: str, has_val: bool
) -> None:
    train, val = some_rows(24), some_rows(12 if has_val else 0, 1)
    config = a_config(arch, epochs=6, optimizer=optimizer, warmup_steps=4)
    state = tmp_path / "state"
    whole = train_network(train, val, config)
    with steps_counted() as steps:
        for epoch in (0, 1, 1, 4):  # killed in an epoch, it has only those before
            with pytest.raises(Killed):
                train_network(train, val, config, kill_in(epoch), state=state)
        shown: list[EpochMetrics] = []
        resumed = train_network(train, val, config, shown.append, state=state)
    assert told(resumed) == told(whole)
    assert tuple(shown) == whole.history
    assert len(steps) == 1 + 2 + 1 + 4 + 2  # one a trained epoch: nothing was done over again
    assert not state.exists()


def test_patience_and_the_best_epoch_survive_a_kill(tmp_path: Path) -> None:
    train, val = some_rows(40), some_rows(40, 5)
    config = a_config(epochs=200, learning_rate=5e-2, patience=4, ema=0.0)
    whole = train_network(train, val, config)
    for epoch in (whole.best_epoch, whole.best_epoch + 1, whole.best_epoch + 4):
        with pytest.raises(Killed):
            train_network(train, val, config, kill_in(epoch), state=tmp_path / "state")
        resumed = train_network(train, val, config, state=tmp_path / "state")
        assert told(resumed) == told(whole)


def a_state(path: Path, config: TrainConfig, key: str) -> bytes:
    with pytest.raises(Killed):
        train_network(some_rows(24), some_rows(12, 1), config, kill_in(3), state=path, key=key)
    return path.read_bytes()


def test_a_state_of_other_data_or_settings_is_left_alone(tmp_path: Path) -> None:
    path, config = tmp_path / "state", a_config(epochs=5)
    train, val = some_rows(24), some_rows(12, 1)
    for other, key in ((config, "other data"), (a_config(epochs=5, learning_rate=1e-3), "data")):
        a_state(path, other, key)
        with steps_counted() as steps:
            trained = train_network(train, val, config, state=path, key="data")
        assert len(steps) == 5
        assert told(trained) == told(train_network(train, val, config))


def test_a_damaged_state_is_left_alone(tmp_path: Path) -> None:
    path, config = tmp_path / "state", a_config(epochs=4)
    train, val = some_rows(24), some_rows(12, 1)
    good = a_state(path, config, "data")
    whole = told(train_network(train, val, config))
    flipped = bytearray(good)
    flipped[-1] ^= 1  # of a number, so that it is read without complaint
    tensors, card = decode_tensors(good[DIGEST_SIZE:], dict)
    renamed = {name.replace("outputs", "ends"): value for name, value in tensors.items()}
    narrower = {n: v[:-1] if n.startswith("model/") and v.ndim else v for n, v in tensors.items()}
    others = [encode_tensors(renamed, card), encode_tensors(narrower, card)]  # of other code
    for damaged in (
        b"", good[:20], good[:100], good[:-10], b"\x80\x04K\x01.", b"\xff" * 64, bytes(flipped),
        *(sha256(other).digest() + other for other in others),
    ):  # fmt: skip
        path.write_bytes(damaged)
        with steps_counted() as steps:
            trained = train_network(train, val, config, state=path, key="data")
        assert told(trained) == whole
        assert len(steps) == 4
    path.write_bytes(good)
    with steps_counted() as steps:
        assert told(train_network(train, val, config, state=path, key="data")) == whole
    assert len(steps) == 1  # while the good one is taken up


def test_the_loss_of_every_loop_is_the_sum_of_the_losses_of_the_last_k() -> None:
    rows = some_rows(16)
    config = a_config("recurrent", dropout=0.0, epochs=1, loops=4, grad_loops=3, per_loop_loss=True)
    first_loss = train_network(rows, some_rows(0), config).history[0].train_loss
    torch.manual_seed(config.seed)
    model = build_model(config.model_spec(SPACE))
    targets = build_targets(rows)
    losses = [
        float(total_loss(outputs, targets, "heads", head_weights=config.head_weights).detach())
        for outputs in model.forward_loops(*Inputs(rows, "tokens").batch(np.arange(16)))
    ]
    assert len(losses) == 3
    assert first_loss == pytest.approx(sum(losses), rel=1e-5)
    last_only = msgspec.structs.replace(config, per_loop_loss=False)
    assert train_network(rows, some_rows(0), last_only).history[0].train_loss == pytest.approx(
        losses[-1], rel=1e-5
    )


# -- the optimizer


def naive_atan2_steps(
    weight: np.ndarray, gradients: Sequence[np.ndarray], lr: float, decay: float
) -> np.ndarray:
    mean = spread = np.zeros_like(weight)
    for t, gradient in enumerate(gradients, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        spread = 0.95 * spread + 0.05 * gradient**2
        direction = np.arctan2(mean / (1 - 0.9**t), np.sqrt(spread / (1 - 0.95**t)))
        weight = weight * (1 - lr * decay) - lr * direction
    return weight


@pytest.mark.parametrize(("lr", "decay", "scale"), [(0.1, 0.1, 1.0), (0.01, 0.0, 1e6), (1.0, 0.5, 1e-9)])  # fmt: skip
def test_adam_atan2_takes_the_naive_steps_whatever_the_gradients_scale(lr, decay, scale) -> None:
    luck = np.random.default_rng(0)
    starts = [luck.normal(size=shape) for shape in ((3, 4), (5,))]
    gradients = [[luck.normal(size=s.shape) * (luck.random(s.shape) < 0.8) for _ in range(7)] for s in starts]  # fmt: skip
    weights = [nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    untouched = nn.Parameter(torch.ones(2))
    optimizer = AdamATan2([*weights, untouched], lr=lr, weight_decay=decay)
    for step in range(7):
        for weight, told_it in zip(weights, gradients, strict=True):
            weight.grad = torch.from_numpy(told_it[step] * scale)
        optimizer.step()
    for weight, start, told_it in zip(weights, starts, gradients, strict=True):
        expected = naive_atan2_steps(start, told_it, lr, decay)
        assert np.abs(weight.detach().numpy() - expected).max() < 1e-12
    assert untouched.tolist() == [1, 1]  # it had no gradient


# -- batches


@given(
    st.lists(st.integers(1, 300), max_size=200),
    st.integers(1, 40),
    st.integers(0, 5),
    st.integers(0, 5),
)
@settings(max_examples=100, deadline=None)
def test_an_epoch_is_every_row_once_in_an_order_that_seed_and_epoch_decide(
    lengths, size, seed, epoch
) -> None:
    array = np.array(lengths, dtype=np.int64)
    batches = list(epoch_batches(array, size, seed=seed, epoch=epoch))
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    assert all(0 < len(batch) <= size for batch in batches)
    again = list(epoch_batches(array, size, seed=seed, epoch=epoch))
    assert [b.tolist() for b in batches] == [b.tolist() for b in again]
    ordered = [row for batch in in_order(array, size) for row in batch.tolist()]
    assert sorted(ordered) == list(range(len(lengths)))
    assert (np.diff(array[ordered]) >= 0).all()


def test_other_epochs_and_other_seeds_have_other_orders() -> None:
    lengths = np.random.default_rng(0).integers(1, 99, 500)
    orders = {
        tuple(np.concatenate(list(epoch_batches(lengths, 16, seed=seed, epoch=epoch))).tolist())
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def wasted(lengths: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    places = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return 1 - lengths.sum() / places


def test_batches_of_like_lengths_waste_little_on_padding() -> None:
    luck = np.random.default_rng(0)
    lengths = np.minimum(512, luck.lognormal(4, 0.8, 2_000)).astype(np.int64) + 1
    shuffled = luck.permutation(2_000)
    plain = wasted(lengths, [shuffled[i : i + 32] for i in range(0, 2_000, 32)])
    sorted_ones = wasted(lengths, list(epoch_batches(lengths, 32, seed=0, epoch=0)))
    assert plain > 0.5
    assert sorted_ones < plain / 3


def test_a_batch_holds_every_row_folded_and_nothing_else() -> None:
    rows = some_rows(40, most_entries=30)
    inputs = Inputs(rows, "tokens")
    alone = [fold(rows.tokens.row(row)) for row in range(40)]
    assert inputs.lengths.tolist() == [len(values) for values, _ in alone]
    for chosen in (np.arange(40), np.array([7]), np.array([31, 2, 2, 18])):
        values, keys, mask = (part.numpy() for part in inputs.batch(chosen))
        longest = max(len(alone[row][0]) for row in chosen)
        assert longest <= values.shape[1] < longest + 8
        for place, row in enumerate(chosen):
            n = len(alone[row][0])
            assert values[place, :n].tolist() == alone[row][0].tolist()
            assert keys[place, :n].tolist() == alone[row][1].tolist()
            assert mask[place].tolist() == [1] * n + [0] * (values.shape[1] - n)
            assert (values[place, n:] == PADDING).all()
            assert (keys[place, n:] == PADDING).all()


def test_features_are_read_as_they_are_and_rows_without_tokens_are_refused() -> None:
    rows = some_rows(6)
    inputs = Inputs(rows, "features")
    (features,) = inputs.batch(np.array([4, 1]))
    assert (features.numpy() == rows.features[[4, 1]]).all()
    assert inputs.lengths.tolist() == [1] * 6
    with pytest.raises(ValueError, match="no tokens"):
        Inputs(rows_labelled([world(1)], ["fab-world"]), "tokens")


def test_outputs_of_rows_do_not_depend_on_their_batch_and_dropout_is_off() -> None:
    rows = some_rows(20, most_entries=20)
    torch.manual_seed(0)
    model = build_model(a_config("transformer", dropout=0.5).model_spec(SPACE)).train()
    together = network_outputs(model, rows)
    assert model.training
    for row in (0, 13):
        alone = network_outputs(model, choose_rows(rows, np.array([row])))
        for one, all_of_them in zip(alone, together, strict=True):
            assert np.abs(one[0] - all_of_them[row]).max() < 1e-5
    assert [o.shape for o in network_outputs(model, some_rows(0))] == [(0, n) for n in N_CHOICES]


# -- checkpoints


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("arch", ["prior", "logreg", "mlp", "transformer", "recurrent"])
def test_a_checkpoint_comes_back_as_it_was_and_damage_is_refused(
    arch: Arch, decoding: Decoding
) -> None:
    spec = a_config(arch, decoding=decoding, dropout=0.0).model_spec(SPACE)
    try:
        model = build_model(spec)
    except ValueError:
        assert (arch, decoding) in {
            ("prior", "heads"), ("prior", "autoregressive"), ("logreg", "autoregressive"),
        }  # fmt: skip
        return
    data = encode_checkpoint(model)
    back = decode_checkpoint(data)
    assert back.spec == spec
    assert not back.training
    assert encode_checkpoint(back) == data
    rows = some_rows(5)
    for mine, its in zip(network_outputs(model, rows), network_outputs(back, rows), strict=True):
        assert (mine == its).all()
    for broken in (b"", data[:100], data[:-10], b"\x80\x04K\x01.", b'{"schema_version":'):
        with pytest.raises(CheckpointError):
            decode_checkpoint(broken)
    tensors, card = decode_tensors(data, dict)
    other = {**card, "spec": {**card["spec"], "n_joint": 3, "n_choices": [2, 4, 6, 4]}}
    with pytest.raises(CheckpointError):
        decode_checkpoint(encode_tensors(tensors, other))


# -- temperatures


def drawn_rows(
    n: int, decoding: Decoding, job: str, space: ActionSpace
) -> tuple[list[np.ndarray], Arrays]:
    """Scores, and labels drawn from what they say at temperature 1."""
    luck = np.random.default_rng(0)
    widths = output_widths(space, decoding).values()
    outputs = [luck.normal(size=(n, width)) * 1.5 for width in widths]
    actions = valid_actions(space, job)
    blank = np.zeros((n, N_FEATURES), dtype=np.float32)
    one = build_arrays(blank[:1], [actions[0]], [job], space)
    plain = dict.fromkeys(temperature_names(decoding), 1.0)
    odds = np.exp(action_log_probs(outputs, plain, one.tables[0], decoding)).cumsum(axis=1)
    picks = (odds < luck.random((n, 1)) * odds[:, -1:]).sum(axis=1)
    labels = [actions[int(pick)] for pick in picks]
    return outputs, build_arrays(blank, labels, [job] * n, space)


@pytest.mark.parametrize("true_t", [0.5, 3.0])
@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_known_temperature_is_recovered(decoding: Decoding, true_t: float) -> None:
    # one swarm whose every combination is valid: independent heads are then independent indeed
    space = ActionSpace(swarm_ids=("speculate_vote",)) if decoding == "heads" else SPACE
    outputs, rows = drawn_rows(1_500, decoding, "fab-world", space)
    hot = [output * true_t for output in outputs]
    fitted, notes = fit_temperatures(hot, rows, decoding)
    assert set(fitted) == set(temperature_names(decoding))
    free = [name for name in fitted if not (decoding == "heads" and name == "swarm_id")]
    assert [fitted[name] for name in free] == pytest.approx([true_t] * len(free), rel=0.15)
    if decoding == "heads":
        assert fitted["swarm_id"] == 1.0
        assert any("no row with a choice" in note for note in notes)
    with_fit, without = calibrated_nll(hot, rows, decoding)
    plain = dict.fromkeys(fitted, 1.0)
    assert with_fit == pytest.approx(
        -label_log_probs(outputs, rows, decoding, plain).mean(), abs=0.02
    )
    assert with_fit < without


@pytest.mark.parametrize("decoding", DECODINGS)
def test_the_probability_of_a_label_is_the_naive_loop(decoding: Decoding) -> None:
    rows = some_rows(12)
    outputs = random_outputs(12, decoding)
    names = temperature_names(decoding)
    temperatures = {name: 0.5 + i for i, name in enumerate(names)}
    got = label_log_probs(outputs, rows, decoding, temperatures)
    every = choices_of("any")
    for row, label in enumerate(map(tuple, rows.labels.tolist())):
        valid = choices_of(job_of(rows, row))
        weights = {}
        for choice in valid:
            weight = 1.0
            if decoding == "joint":
                weight = math.exp(outputs[0][row][every.index(choice)] / temperatures["joint"])
            for head, name in enumerate(names if decoding != "joint" else ()):
                step, allowed = outputs[head][row], {c[head] for c in valid}
                if decoding == "autoregressive":
                    before = list(itertools.product(*map(range, N_CHOICES[:head])))
                    step = step.reshape(-1, N_CHOICES[head])[before.index(choice[:head])]
                    allowed = {c[head] for c in valid if c[:head] == choice[:head]}
                total = sum(math.exp(step[c] / temperatures[name]) for c in allowed)
                weight *= math.exp(step[choice[head]] / temperatures[name]) / total
            weights[choice] = weight
        assert got[row] == pytest.approx(math.log(weights[label] / sum(weights.values())))


def test_few_rows_shrink_the_temperature_and_none_leave_it_alone() -> None:
    outputs, rows = drawn_rows(1_000, "joint", "code", SPACE)
    hot = [output * 4 for output in outputs]
    far, _ = fit_temperatures(hot, rows, "joint")
    few = np.arange(25)
    near, notes = fit_temperatures([o[few] for o in hot], choose_rows(rows, few), "joint")
    assert 1.0 < near["joint"] < far["joint"] ** 0.5
    assert any("only 25 rows" in note for note in notes)
    none, notes = fit_temperatures([o[:0] for o in hot], choose_rows(rows, few[:0]), "joint")
    assert none == {"joint": 1.0}
    assert len(notes) == 1
