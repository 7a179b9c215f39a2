"""The outcome model: what an attempt is like, and what any number of them under any limit comes to.

Belongs here: the ensemble of small networks, and the analytic layer from an attempt to an action.
Does not: fitting (``training.outcome_fit``), choosing (``planner_runtime.policy``).
Spec: section 7.4. Shapes: M members, B rows, A actions, F features, P parameters of an attempt.

An attempt passes in the end with chance pi, after a log-normal time; else it gives up after a
log-normal time of its own (a cure mixture, Boag 1949). So with a limit of T it passes with chance
m = pi x F(T), and a limit that cuts it is a censored time, never a duration. Candidates of one
action share what the features do not tell: their common chance is Beta-distributed around m with
concentration kappa, so that K of them all fail with chance
(b)(b + 1)...(b + K - 1) / (kappa)(kappa + 1)...(kappa + K - 1), b = (1 - m) kappa.
K and T are never learned cell by cell, and other choices of an action enter as inputs.
"""

import math
from typing import Final, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_CANDIDATES: Final = 16
PARAMETERS: Final = (
    "pass_logit", "log_minutes_pass", "log_spread_pass", "log_minutes_fail", "log_spread_fail",
    "log_usd_per_minute",
)  # fmt: skip
N_PARAMETERS: Final = len(PARAMETERS)
OUTPUTS: Final = ("p_pass", "p_timeout", "minutes", "wall_minutes", "cost_usd")
Kind = Literal["networks", "trees"]
# Gauss-Legendre nodes on [0, 1]: the mean of a maximum is an integral without a closed form
_N_NODES: Final = 24
# means of five equally likely parts of a standard normal distribution
LEVELS: Final = (-1.3998, -0.5319, 0.0, 0.5319, 1.3998)


class OutcomeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of an outcome model.

    Attributes:
        n_features: F, of the decision.
        n_choices: C, numbers that describe an action beside its candidates and minutes.
        n_members: M.
        width: Of the hidden layer.
        offsets: For each of the parameters, the feature it starts from, or -1: a parameter is
            that feature, scaled, plus what the network adds.
        doubt: The feature that holds the standard deviation of the first offset, or -1.
    """

    n_features: int
    n_choices: int
    n_members: int = 5
    width: int = 32
    dropout: float = 0.1
    offsets: tuple[int, ...] = (-1,) * N_PARAMETERS
    doubt: int = -1


class AttemptModel(nn.Module):
    """(B, F) features and (B, C) choices -> (M x Q, B, P) parameters of an attempt.

    Every parameter starts from its offset, times a slope, plus a bias, for every member; what is
    added to that differs by kind. What the evidence leaves open about passing is carried by Q
    equally likely values of its log-odds, so the spread of the rows is of the members and of the
    evidence.
    """

    start: Tensor
    has_offset: Tensor
    places: Tensor
    levels: Tensor
    is_logit: Tensor
    learned: tuple[str, ...] = ("slope", "bias")
    decayed: tuple[str, ...] = ()

    def __init__(self, spec: OutcomeSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("start", torch.zeros(N_PARAMETERS))
        self.slope = nn.Parameter(torch.ones(spec.n_members, N_PARAMETERS))
        self.bias = nn.Parameter(torch.zeros(spec.n_members, N_PARAMETERS))
        has_offset = torch.tensor([float(i >= 0) for i in spec.offsets])
        self.register_buffer("has_offset", has_offset, persistent=False)
        places = torch.tensor([max(i, 0) for i in spec.offsets])
        self.register_buffer("places", places, persistent=False)
        levels = torch.tensor(LEVELS if spec.doubt >= 0 else (0.0,))
        self.register_buffer("levels", levels, persistent=False)
        is_logit = torch.tensor([float(i == 0) for i in range(N_PARAMETERS)])
        self.register_buffer("is_logit", is_logit, persistent=False)

    def with_offsets(self, features: Tensor, added: Tensor) -> Tensor:
        """Parameters from what is added to the offsets.

        Args:
            features: (B, F).
            added: (M, B, P), or (M, 1, P).
        """
        offset = features[:, self.places] * self.has_offset + self.start * (1 - self.has_offset)
        slope = self.slope * self.has_offset + (1 - self.has_offset)
        parameters = offset.unsqueeze(0) * slope.unsqueeze(1) + self.bias.unsqueeze(1) + added
        if self.spec.doubt < 0:
            return parameters
        doubt = features[:, self.spec.doubt] * slope[:, :1]  # (M, B)
        moved = doubt.unsqueeze(1) * self.levels.view(1, -1, 1)  # (M, Q, B)
        every = parameters.unsqueeze(1) + moved.unsqueeze(-1) * self.is_logit
        return every.flatten(0, 1)


class AttemptNetworks(AttemptModel):
    """Every member adds a linear path and a hidden layer; their inputs are standardised by buffers
    that come from the training rows.
    """

    centre: Tensor
    scale: Tensor
    learned = ("slope", "bias", "linear", "hidden", "hidden_bias", "out")
    decayed = ("linear", "hidden", "hidden_bias", "out")

    def __init__(self, spec: OutcomeSpec) -> None:
        super().__init__(spec)
        n_in, m, w = spec.n_features + spec.n_choices, spec.n_members, spec.width
        self.register_buffer("centre", torch.zeros(n_in))
        self.register_buffer("scale", torch.ones(n_in))
        self.linear = nn.Parameter(torch.zeros(m, n_in, N_PARAMETERS))
        self.hidden = nn.Parameter(torch.randn(m, n_in, w) / math.sqrt(n_in))
        self.hidden_bias = nn.Parameter(torch.zeros(m, w))
        self.out = nn.Parameter(torch.randn(m, w, N_PARAMETERS) * (0.1 / math.sqrt(w)))

    def forward(self, features: Tensor, choices: Tensor) -> Tensor:
        """Parameters of an attempt by every member."""
        x = torch.cat([features, choices], dim=1)
        z = ((x - self.centre) / self.scale).clamp(-6.0, 6.0)  # (B, F + C)
        z = functional.dropout(z, self.spec.dropout, self.training)
        z = z.unsqueeze(0)  # (1, B, F + C)
        hidden = functional.silu(torch.matmul(z, self.hidden) + self.hidden_bias.unsqueeze(1))
        hidden = functional.dropout(hidden, self.spec.dropout, self.training)
        added = torch.matmul(z, self.linear) + torch.matmul(hidden, self.out)  # (M, B, P)
        return self.with_offsets(features, added)


def _normal_cdf(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def pass_chance(parameters: Tensor) -> Tensor:
    """(M, B) chance that an attempt passes if it is given all the time it wants."""
    return torch.sigmoid(parameters[..., 0])


class Times(msgspec.Struct, frozen=True):
    """Log-normal times of (M, B) attempts: means and standard deviations of log minutes."""

    mean: Tensor
    spread: Tensor

    def within(self, log_minutes: Tensor) -> Tensor:
        """Chance to be over by then."""
        return _normal_cdf((log_minutes - self.mean) / self.spread)

    def within_each(self, log_minutes: Tensor) -> Tensor:
        """(M, A, n) chances to be over by (A, n) moments, times two, minus one."""
        sharp = 1 / (self.spread * math.sqrt(2))
        return torch.erf(log_minutes * sharp.unsqueeze(-1) - (self.mean * sharp).unsqueeze(-1))

    def spent(self, minutes: Tensor) -> Tensor:
        """Expected minutes where ``minutes`` is the most that is allowed."""
        below = (torch.log(minutes) - self.mean) / self.spread
        whole = torch.exp(self.mean + self.spread**2 / 2)
        return whole * _normal_cdf(below - self.spread) + minutes * (1 - _normal_cdf(below))


def times_of(parameters: Tensor) -> tuple[Times, Times]:
    """Times of attempts that pass, and of those that give up."""

    def spread(log_spread: Tensor) -> Tensor:
        return torch.exp(log_spread.clamp(-2.0, 1.0))

    mean = parameters.clamp(-5.0, 7.0)  # a second to eighteen hours
    return (
        Times(mean[..., 1], spread(parameters[..., 2])),
        Times(mean[..., 3], spread(parameters[..., 4])),
    )


class ActionOutcomes(nn.Module):
    """The analytic layer: parameters of an attempt -> outcomes of actions.

    Args:
        knows_cost: Whether any training row had a cost; else costs are NaN.
        n_levels: Rows of parameters come in groups of so many with equal times.
    """

    kappa: Tensor
    log_nodes: Tensor
    weights: Tensor
    counts: Tensor

    def __init__(self, log_kappa: float, *, knows_cost: bool, n_levels: int = 1) -> None:
        super().__init__()
        self.n_levels = n_levels
        self.register_buffer("kappa", torch.tensor(math.exp(log_kappa)))
        self.knows_cost = knows_cost
        nodes, weights = _quadrature(_N_NODES)
        self.register_buffer("log_nodes", nodes.log(), persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        counts = torch.arange(MAX_CANDIDATES, dtype=torch.float32)
        self.register_buffer("counts", counts, persistent=False)

    def forward(
        self, parameters: Tensor, candidates: Tensor, minutes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The outputs in the order of ``OUTPUTS``, each (M, A).

        Args:
            parameters: (M, A, P).
            candidates: (A,) from 1 to ``MAX_CANDIDATES``.
            minutes: (A,) the limit, above 0.
        """
        pi = pass_chance(parameters)
        passing, failing = times_of(parameters)
        log_limit = torch.log(minutes)
        m = (pi * passing.within(log_limit)).clamp(1e-6, 1 - 1e-6)
        # (1 - m) kappa + i over kappa + i for every candidate that is run, 1 for the others
        is_run = candidates.unsqueeze(-1) > self.counts  # (A, MAX_CANDIDATES)
        share = torch.where(is_run, self.kappa / (self.kappa + self.counts), 0.0)
        factor = (1 - m).unsqueeze(-1) * share + (1 - share)
        none_passes = factor.prod(dim=-1)
        cut = pi * (1 - passing.within(log_limit)) + (1 - pi) * (1 - failing.within(log_limit))
        one = pi * passing.spent(minutes) + (1 - pi) * failing.spent(minutes)
        agent_minutes = one * candidates
        at = log_limit.unsqueeze(-1) + self.log_nodes  # (A, nodes)
        each = [t.within_each(at).unsqueeze(1) for t in times_of(parameters[:: self.n_levels])]
        chance = 0.5 * pi.view(-1, self.n_levels, pi.shape[1], 1)  # (M, Q, A, 1)
        over = (0.5 + 0.5 * each[1]) + chance * (each[0] - each[1])
        # a power by exp and log: several times faster in onnxruntime
        all_over = torch.exp(torch.log(over.clamp(1e-9, 1.0)) * candidates.unsqueeze(-1))
        mean = torch.matmul(all_over.flatten(0, 2), self.weights.unsqueeze(-1))  # one matrix: fast
        wall = minutes * (1 - mean.view(pi.shape))
        cost = agent_minutes * torch.exp(parameters[..., 5].clamp(-12.0, 6.0))
        if not self.knows_cost:
            cost = cost * float("nan")
        return 1 - none_passes, cut**candidates, agent_minutes, wall, cost


def _quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1], squared: closer together where most times end."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    x = (nodes + 1) / 2
    return torch.tensor(x**2, dtype=torch.float32), torch.tensor(weights * x, dtype=torch.float32)


class OutcomeNetwork(nn.Module):
    """What is exported: features of a decision and the numbers of its actions in, outcomes out."""

    def __init__(self, attempts: nn.Module, outcomes: ActionOutcomes) -> None:
        super().__init__()
        self.attempts, self.outcomes = attempts, outcomes

    def forward(
        self, features: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Outcomes of every action.

        Args:
            features: (1, F) of the decision.
            actions: (A, 2 + C): candidates, minutes, then the other choices.
        """
        rows = features.expand(actions.shape[0], -1)
        parameters = self.attempts(rows, actions[:, 2:])
        outputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = self.outcomes(
            parameters, actions[:, 0], actions[:, 1]
        )
        return outputs
