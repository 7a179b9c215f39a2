"""Every reason this runtime gives, as data: a closed set of codes, each with its meaning.

Belongs here: the codes and a sentence for people. Does not: deciding which of them applies.
A reason is a code, or a code, a colon and its detail; whoever counts reasons counts codes, so that
no detail becomes a label. A test looks for every code in the source and fails where one is missing.
Spec: sections 10.2 and 10.3; formats 7.3.
"""

from collections.abc import Mapping
from typing import Final

OTHER: Final = "other"

# why an answer is not the model's own, or what the kernel did not follow of it
FALLBACK_REASONS: Final[Mapping[str, str]] = {
    "bundle_dir_missing": "no bundle was configured",
    "bundle_dir_not_found": "the bundle's folder is not there",
    "bundle_load_failed": "the bundle was refused",
    "deadline": "the decision took longer than it may",
    "epoch_mismatch": "the kernel's configuration is not the one the model learned from",
    "exploration": "chance chose, within its budget",
    "inference_failed": "the model failed or gave no finite numbers",
    "invalid_action_type": "the prediction was no object",
    "invalid_input": "the planner input does not keep its contract",
    "log_only": "the kernel only writes down what it would have done",
    "low_confidence": "the model is less sure than its threshold asks",
    "malformed_prediction": "the prediction names no swarm",
    "max_candidates_exceeds_cap": "more candidates than the kernel allows",
    "max_iterations_exceeds_cap": "more iterations than the kernel allows",
    "no_action_open": "limits and guardrails leave no action",
    "no_valid_action": "no offered action is valid and known to the bundle",
    "not_certified": "calibration found no confidence that keeps its promise",
    "onnx_import_failed": "onnxruntime is not installed",
    "out_of_distribution": "the question is unlike what the model learned from",
    "planner_failed": "the planner itself failed",
    "planner_input_failed": "the question could not be put together",
    "policy_refused": "the objective or its limits make no sense",
    "prediction_invalid": "the predicted choices do not go together",
    "prediction_out_of_space": "the prediction is not among the offered choices",
    "sidecar_unavailable": "the sidecar did not answer in time, or not with an answer",
    "swarm_mismatch": "another topology than the kernel's, which it does not allow",
    "timeout_exceeds_cap": "more minutes than the kernel allows",
}

# why a bundle is refused
LOAD_REASONS: Final[Mapping[str, str]] = {
    "altered": "the manifest does not hash to its own id",
    "bad_name": "a file's name is not a plain one",
    "changed": "a file changed while it was read",
    "count_mismatch": "another number of golden cases than the manifest says",
    "duplicate_key": "a file names a key twice",
    "file_set": "the manifest does not list the files of such a bundle",
    "golden_mismatch": "a golden case is not answered as when it was shipped",
    "hard_linked": "a file has a second name",
    "hash_mismatch": "the manifest names another content",
    "input_spec_mismatch": "this runtime builds another input than the model learned from",
    "load_failed": "opening it failed in a way that nobody foresaw",
    "malformed": "a file does not keep its contract",
    "missing": "a file or the folder is not there",
    "model_refused": "the model cannot be loaded",
    "model_unreadable": "the model is no graph that can be read",
    "not_canonical": "a file is not in canonical form",
    "not_directory": "the path is no folder",
    "not_regular": "a name is no regular file",
    "onnx_import_failed": "onnxruntime is not installed, or does not import",
    "op_not_allowed": "the model uses an operation that is not allowed",
    "ops_mismatch": "the model uses other operations than the manifest says",
    "pointer_malformed": "the channel's pointer is none",
    "protocol_too_new": "the bundle is of a later protocol than this runtime knows",
    "protocol_too_old": "the bundle is of a protocol that is no longer read",
    "public_key_unusable": "the key that bundles are checked with is none of P-256",
    "rolled_back": "too many of its first decisions failed, so that the one before serves again",
    "sha256_mismatch": "a file is not what was shipped",
    "signature_invalid": "signed in a trusted key's name, not with it",
    "signature_key_retired": "signed with a key that is trusted no more",
    "signature_key_unknown": "signed with a key that is not trusted",
    "signature_malformed": "the signature is of no known format",
    "signature_mismatch": "the signature is about other files",
    "signature_missing": "a signature is asked for and there is none",
    "signature_no_key": "a signature is required and no key is given",
    "signature_not_checkable": "what checks signatures is not installed",
    "size_mismatch": "a file has another size than the manifest says",
    "too_large": "a file is larger than any may be",
    "too_many_files": "more files than a bundle may have",
    "total_too_large": "all files together are larger than a bundle may be",
    "unexpected": "a file is not listed in the manifest",
    "unreadable": "a file cannot be read",
}

# what closes an action to a decision by outcomes
BOUND_REASONS: Final[Mapping[str, str]] = {
    "cap": "a budget is above its cap",
    "guardrail_pass": "the risk class does not allow so much lower a chance to pass",
    "guardrail_saving": "the risk class asks for a greater saving",
    "kernel": "the kernel would not enforce it",
    "not_a_reduction": "a budget is above the baseline's",
    "topology": "another topology than the baseline's",
    "unknown_outcome": "the model knows too little of it",
}


def reason_code(reason: str, known: Mapping[str, str] = FALLBACK_REASONS) -> str:
    """The code of a reason, or ``other`` for one that is not known.

    >>> reason_code("low_confidence:0.3 < 0.5"), reason_code("the moon")
    ('low_confidence', 'other')
    """
    code = reason.partition(":")[0]
    return code if code in known else OTHER
