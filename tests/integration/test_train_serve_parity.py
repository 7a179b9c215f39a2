"""What is trained and judged is what serves: for every example of the sample, to the last bit.

The pipeline's way: rows of the data set, in batches, through its own evaluation. The runtime's: the
question alone, as text and as a mapping, through ``Planner``. Between them stands one session, whose
rows are asked for one by one on both sides.
"""

from pathlib import Path

import numpy as np
import pytest

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.evaluation.predictions import answers_of
from planner_pipeline.release.onnx_export import served_outputs
from planner_runtime.actions import HEADS, action_to_indices, valid_actions
from planner_runtime.bundle import read_bundle
from planner_runtime.contracts import PlannerInput, canonical_json, read_document
from planner_runtime.decode import action_log_probs, action_table, log_softmax
from planner_runtime.features import feature_vector
from planner_runtime.imitation import Imitator
from planner_runtime.planner import Planner, open_model
from planner_runtime.session import OnnxModel
from planner_runtime.tokenizer import TokenBudget, tokenize
from tests.bench.served import write_network_bundle

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def dataset(built: Path) -> Dataset:
    return Dataset(built / "dataset")


@pytest.fixture(scope="module", params=["mlp", "transformer", "as built"])
def bundle_dir(
    request: pytest.FixtureRequest, built: Path, dataset: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """The sample's own bundle, and one of each kind of input."""
    if request.param == "as built":
        return built / "bundle"
    folder: Path = tmp_path_factory.mktemp("parity") / request.param
    write_network_bundle(folder, request.param, dataset)
    return folder


def test_every_example_has_the_numbers_it_was_stored_with(dataset: Dataset) -> None:
    arrays = dataset.arrays(*SPLITS)
    budget = TokenBudget(**dataset.meta.settings["token_budget"])
    examples = dataset.examples(*SPLITS)
    assert len(examples) == len(arrays) > 150
    for row, example in enumerate(examples):
        question = read_document(example.planner_input, PlannerInput)
        assert feature_vector(question).tobytes() == arrays.features[row].tobytes()
        assert tokenize(question, budget=budget) == arrays.tokens.row(row).tolist()


def test_a_question_is_decided_as_its_row_is_judged(dataset: Dataset, bundle_dir: Path) -> None:
    bundle = read_bundle(bundle_dir)
    session, card = open_model(bundle), bundle.manifest.model
    assert isinstance(session, OnnxModel)
    assert bundle.calibration is not None
    temperatures = bundle.calibration.temperatures
    arrays, examples = dataset.arrays(*SPLITS), dataset.examples(*SPLITS)
    outputs = served_outputs(session, arrays, card.input_kind)
    judged = answers_of(outputs, arrays, card.decoding, temperatures)
    planner = Planner(bundle, session, deadline_ms=None)
    imitator = Imitator(bundle, session)
    for row, example in enumerate(examples):
        question = read_document(example.planner_input, PlannerInput)
        stored = arrays.features[row] if card.input_kind == "features" else arrays.tokens.row(row)
        served = imitator.row_of(question)
        assert served.tolist() == stored.tolist()
        decision = planner.decide(canonical_json(example.planner_input), now_ms=0)
        assert planner.decide(example.planner_input, now_ms=0) == decision
        assert decision.action.input_hash == example.input_hash
        assert decision.model_choice is not None
        chosen = action_to_indices(dataset.space, decision.model_choice)
        assert list(chosen) == judged.actions[row].tolist()
        assert decision.action.confidence == min(1.0, float(judged.confidence[row]))
        table = action_table(dataset.space, example.job_type)
        one = [output[[row]] for output in outputs]
        joint = np.exp(action_log_probs(one, temperatures, table, card.decoding)[0])
        actions = valid_actions(dataset.space, example.job_type)
        told = [(actions.index(action), p) for action, p in decision.alternatives]
        assert [p for _, p in told] == [float(joint[i]) for i, _ in told]
        assert [i for i, _ in told] == np.argsort(-joint, kind="stable")[:5].tolist()
        if card.decoding == "heads":
            assert decision.action.probs is not None
            for head, output, mask in zip(HEADS, one, table.masks, strict=True):
                scores = output[0].astype(np.float64) / temperatures[head]
                alone = np.clip(np.exp(log_softmax(scores, mask)), 0.0, 1.0)
                assert list(decision.action.probs[head]) == alone.tolist()
