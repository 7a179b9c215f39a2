"""From a spec to a network.

Belongs here: which class an architecture is. Does not: the classes.
"""

from typing import Final

from torch import nn

from planner_pipeline.models.linear import FeatureLinear
from planner_pipeline.models.mlp import FeatureMlp
from planner_pipeline.models.prior import JobPrior
from planner_pipeline.models.recurrent import RecurrentEncoder
from planner_pipeline.models.spec import ModelSpec
from planner_pipeline.models.transformer import TransformerEncoder

NETWORKS: Final[dict[str, type[nn.Module]]] = {
    "prior": JobPrior,
    "logreg": FeatureLinear,
    "mlp": FeatureMlp,
    "transformer": TransformerEncoder,
    "recurrent": RecurrentEncoder,
}


def build_model(spec: ModelSpec) -> nn.Module:
    """A network with fresh weights, drawn from torch's generator.

    Raises:
        ValueError: the architecture is no network, or its sizes do not fit together.
    """
    if spec.arch not in NETWORKS:
        raise ValueError(f"{spec.arch} is no network")
    return NETWORKS[spec.arch](spec)
