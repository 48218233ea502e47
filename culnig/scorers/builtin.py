"""The scorers that come with culnig. Formulas and sources: docs/method.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from culnig.scorers.base import RELEASED_CODE, GradientOfTarget, Pair, Scorer, Target

if TYPE_CHECKING:
    import torch


class MeanActivation(Scorer):
    """Σ_t |a(n,t)| / number of real tokens: the baseline without gradients."""

    name = "mean-activation"
    summary = "mean |activation| over the tokens of an item"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.token_sums.magnitude / pair.real.sum(1, keepdim=True)


class PositiveTokens(Scorer):
    """Number of real tokens with a(n,t) > 0, the counter behind LAPE and CAPE (Tang et al. 2024).

    Summed over a culture's items and divided by their tokens it is p(n,g), the share of tokens at which the
    neuron is active. SiLU and GELU keep the sign, so the gate's output has the sign of its activation.
    """

    name = "positive-tokens"
    summary = "tokens with activation > 0 (for `select lape` and `select cape`)"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.token_sums.positive_tokens.float()


class GradientNorm(Scorer):
    """√Σ_t (∂P/∂a(n,t))²: sensitivity without activations."""

    name = "gradient-norm"
    summary = "norm over the tokens of the gradient of P(gold)"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.token_sums.gradient_norm


class LogProbability(Scorer):
    """P · max_t a(n,t) · ∂log P/∂a(n,t) = max_t a(n,t) · ∂P/∂a(n,t).

    Gradient × activation of log P(gold), weighted with P(gold) as the default score is. That equals the
    default score without its weight: uncertain items count as much as certain ones.
    """

    name = "log-probability"
    summary = "gradient × activation of log P(gold)"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.highest(pair.activation.float() * pair.gradient.float())


class ReleasedCode(Scorer):
    """Gradient × activation as the paper's released code computes it, for `--compat paper` (docs/method.md).

    Products are taken in bfloat16, and padding counts as zero before the maximum: an item shorter than the
    longest of its batch never scores below zero, so the score depends on the batch.
    """

    name = RELEASED_CODE
    summary = "gradient × activation as in the paper's released code"
    weight = "gold"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        products = pair.activation.bfloat16() * pair.gradient.bfloat16()
        return products.masked_fill(~pair.real[..., None], 0).amax(dim=1).float()


class LogOdds(GradientOfTarget):
    """max_t a(n,t) · ∂(log P(gold) − log P(other labels))/∂a(n,t), weighted with P(gold).

    It ignores how much probability the labels have together, so neurons that only keep the answer format
    score low.
    """

    name = "log-odds"
    summary = "gradient × activation of the log-odds of the gold label among the labels"
    weight = "gold"
    targets = ("log-odds",)


class Crispr(Scorer):
    """max_t [a · ∂P(ŷ)/∂a − max(0, a · ∂P(y)/∂a)], weighted with P(ŷ) (Yang et al., ACL 2024).

    ŷ is the most probable wrong label, y the gold label. It finds neurons of a bias, a contrast to scores of
    the right answer.
    """

    name = "crispr"
    summary = "gradient × activation of the most probable wrong label, minus that of the gold label"
    weight = "wrong"
    targets = ("wrong",)

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        activation = pair.activation.float()
        right = activation * pair.gradient.float()
        wrong = activation * pair.gradients["wrong"].float()
        return pair.highest(wrong - right.clamp(min=0))


class IntegratedGradients(Scorer):
    """max_t a(n,t) · mean over the path of ∂P/∂a(n,t), weighted with P(gold) (Dai et al. 2022).

    The score of knowledge neurons: ā · ∫₀¹ ∂P(αā)/∂a dα as a Riemann sum. Dai et al. scale the neurons of one
    layer at a time; here those of all modules are scaled at once, so that one sum serves every neuron.
    """

    name = "integrated-gradients"
    summary = "activation × gradient averaged over a path from zero (20 more passes)"
    weight = "gold"
    targets = ("path",)

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.highest(pair.activation.float() * pair.gradients["path"].float())


class Relevance(GradientOfTarget):
    """max_t a(n,t) · ∂̃P/∂a(n,t), weighted with P(gold): relevance patching, where ∂̃ follows relevance rules.

    The rules (docs/method.md) let relevance pass through norms, activation functions and products whole. For
    gate and up neurons the score is that of their product h, h · ∂̃P/∂h.
    """

    name = "relp"
    summary = "relevance × activation of P(gold): a backward pass by relevance rules"
    weight = "gold"
    targets: ClassVar[tuple[Target, ...]] = ("relevance",)


class RelevanceOfLogOdds(Relevance):
    """The same of log P(gold) − log P(other labels)."""

    name = "relp-log-odds"
    summary = "relevance × activation of the log-odds of the gold label among the labels"
    targets = ("relevance-log-odds",)
