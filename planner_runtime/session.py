"""The model itself: one onnxruntime session behind one small protocol.

Belongs here: the only import of onnxruntime in the runtime, and a fake for tests of its users.
Does not: checking files (``bundle``), choosing (``decode``). Source: reference/models.md 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from planner_runtime.deadline import NEVER, WATCHDOG, Deadline, DeadlineError
from planner_runtime.outcomes.features import CHOICES
from planner_runtime.outcomes.model import MODEL_OUTPUTS, OUTCOMES, RawOutcomes
from planner_runtime.tokenizer import fold

TOKEN_INPUTS: Final = ("input_ids", "key_ids", "attention_mask")


class ModelError(RuntimeError):
    """A model cannot be loaded, or does not answer as its manifest says."""


class NoOnnxruntimeError(ModelError):
    """onnxruntime is not installed, or does not import."""


class Model(Protocol):
    """One input row in, its outputs out."""

    def logits(self, row: np.ndarray) -> list[np.ndarray]:
        """Logits of one example.

        Args:
            row: (F,) float32 features, or (T,) int64 token ids.

        Returns:
            Per output (width,) float32, as ``decode.output_widths`` says.
        """
        ...


@runtime_checkable
class StoppableModel(Protocol):
    """A model that gives up when its time is over; of any other a late answer is not used."""

    def logits_by(self, row: np.ndarray, deadline: Deadline) -> list[np.ndarray]:
        """As ``Model.logits``; raises ``DeadlineError`` at the deadline."""
        ...


@runtime_checkable
class StoppableOutcomeModel(Protocol):
    """The same of a model of outcomes."""

    def outcomes_by(
        self, features: np.ndarray, actions: np.ndarray, deadline: Deadline
    ) -> RawOutcomes:
        """As ``OutcomeModel.outcomes``; raises ``DeadlineError`` at the deadline."""
        ...


class FixedModel:
    """A model that always gives the same logits: the fake for tests of planners."""

    def __init__(self, logits: Sequence[Sequence[float]]) -> None:
        self._logits = [np.asarray(head, dtype=np.float32) for head in logits]

    def logits(self, row: np.ndarray) -> list[np.ndarray]:
        """The logits it was made with."""
        return list(self._logits)


def _session_of(model: bytes) -> Any:
    """A session on the CPU, one thread. Raises ``ModelError``."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise NoOnnxruntimeError(str(error)) from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # session.set_denormal_as_zero stays off: it flips the floating-point mode of the calling
    # thread for good, which a library inside somebody's kernel must not do (docs/log.md)
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise ModelError(f"onnxruntime refuses the model: {error}") from error


class _Session:
    """A session that runs until a deadline.

    Raises:
        ModelError: onnxruntime is missing or refuses the model.
    """

    def __init__(self, model: bytes) -> None:
        session = _session_of(model)
        self.inputs, self.outputs = session.get_inputs(), session.get_outputs()
        self._names = [node.name for node in self.outputs]
        self._run = session.run
        self._options: Any = _run_options()

    def run(self, feed: Mapping[str, np.ndarray], deadline: Deadline) -> list[Any]:
        """Every output. Raises ``ModelError`` when the session fails, or ``DeadlineError``."""
        try:
            if deadline.is_never:
                return list(self._run(self._names, feed))
            deadline.check()
            options = self._options()

            def stop() -> None:
                options.terminate = True

            WATCHDOG.watch(deadline, stop)
            try:
                return list(self._run(self._names, feed, options))
            finally:
                WATCHDOG.forget(stop)
        except DeadlineError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no public base
            deadline.check()
            raise ModelError(f"inference failed: {error}") from error


class OnnxModel:
    """A session on the CPU, one thread, from bytes that were just hashed.

    Args:
        input_width: Features; of a model that reads tokens it is not looked at.
        output_widths: By name, in the model's order.

    Raises:
        ModelError: onnxruntime is missing, refuses the model, or its inputs and outputs differ
            from the manifest.
    """

    def __init__(
        self,
        model: bytes,
        *,
        input_kind: str,
        input_width: int,
        output_widths: Mapping[str, int],
    ) -> None:
        self._session = _Session(model)
        is_dense = input_kind == "features"
        names = ("features",) if is_dense else TOKEN_INPUTS
        said = [*((name, input_width if is_dense else None) for name in names)]
        said += output_widths.items()
        nodes = (*self._session.inputs, *self._session.outputs)
        found = [
            (node.name, node.shape[-1] if isinstance(node.shape[-1], int) else None)
            for node in nodes
        ]
        if found != said:
            raise ModelError(f"inputs and outputs are {found}, the manifest says {said}")
        self._input_kind = input_kind

    def logits(self, row: np.ndarray) -> list[np.ndarray]:
        """Logits of one example; raises ``ModelError`` when the session fails."""
        return self.logits_by(row, NEVER)

    def logits_by(self, row: np.ndarray, deadline: Deadline) -> list[np.ndarray]:
        """The same, but for ``DeadlineError`` at the deadline."""
        batch = row[np.newaxis]
        if self._input_kind == "features":
            feed: dict[str, np.ndarray] = {"features": batch.astype(np.float32, copy=False)}
        else:
            values, keys = (part[np.newaxis] for part in fold(row.astype(np.int64, copy=False)))
            feed = dict(zip(TOKEN_INPUTS, (values, keys, np.ones_like(values)), strict=True))
        return [np.asarray(head)[0] for head in self._session.run(feed, deadline)]


class OnnxOutcomeModel:
    """A session that predicts outcomes; how many rows it answers with, its file says.

    Args:
        input_width: Features of a decision.

    Raises:
        ModelError: onnxruntime is missing, refuses the model, or its inputs and outputs differ
            from the manifest.
    """

    def __init__(self, model: bytes, *, input_width: int) -> None:
        self._session = _Session(model)
        inputs, outputs = self._session.inputs, self._session.outputs
        widths = {"features": input_width, "actions": 2 + len(CHOICES)}
        found = {node.name: _places(node)[-1:] for node in inputs}
        if found != {name: [width] for name, width in widths.items()}:
            raise ModelError(f"inputs are {found}, an outcome model of the manifest reads {widths}")
        names = tuple(node.name for node in outputs)
        if names != MODEL_OUTPUTS:
            raise ModelError(f"outputs are {names}, an outcome model has {MODEL_OUTPUTS}")
        said = {node.name: _places(node) for node in outputs}
        rows = {said[n][0] for n in OUTCOMES if said[n] and isinstance(said[n][0], int)}
        if any(len(said[name]) != 2 for name in OUTCOMES) or len(rows) > 1:
            raise ModelError(f"outcomes have shapes {said}, not rows by actions, equally many")

    def outcomes(self, features: np.ndarray, actions: np.ndarray) -> RawOutcomes:
        """Outcomes of every action; raises ``ModelError`` when the session fails."""
        return self.outcomes_by(features, actions, NEVER)

    def outcomes_by(
        self, features: np.ndarray, actions: np.ndarray, deadline: Deadline
    ) -> RawOutcomes:
        """The same, but for ``DeadlineError`` at the deadline."""
        feed = {
            "features": np.asarray(features, dtype=np.float32)[np.newaxis],
            "actions": np.asarray(actions, dtype=np.float32),
        }
        *parts, novelty = (np.asarray(o) for o in self._session.run(feed, deadline))
        if any(part.ndim != 2 or part.shape[1] != len(actions) for part in parts):
            raise ModelError(f"outcomes of shapes {[part.shape for part in parts]}")
        if novelty.size != 1:
            raise ModelError(f"{novelty.size} novelties of one decision")
        return RawOutcomes(
            **dict(zip(OUTCOMES, parts, strict=True)), novelty=float(novelty.reshape(()))
        )


def _run_options() -> Any:
    """The class of options of one run. Raises ``ModelError``."""
    try:
        from onnxruntime import RunOptions
    except ImportError as error:
        raise NoOnnxruntimeError(str(error)) from error
    return RunOptions


def _places(node: Any) -> list[int | str | None]:
    """Lengths of a node's axes, by number where they are fixed."""
    return [axis if isinstance(axis, int) else str(axis) for axis in node.shape]
