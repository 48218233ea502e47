"""The forward pass reads the last position, and the head's gradient is summed well."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.readout import can_read_out, read_out
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_probabilities_equal, assert_values_equal


def test_logits_are_those_of_each_prompt_alone_at_its_last_token():
    bound = tiny_model()
    (batch,) = make_batches(Encoder(bound).encode_all(tiny_items(5)), 10_000)
    with torch.no_grad(), AnswerReader(bound) as reader:
        together = reader.logits(batch)
    for row, encoded in enumerate(batch.items):
        with torch.no_grad():
            alone = bound.model(input_ids=torch.tensor([encoded.token_ids])).logits[0, -1]
        assert_values_equal(together[row], alone)


def test_the_model_is_untouched_afterwards():
    bound = tiny_model()
    tokens = torch.tensor([[3, 4, 5]])
    before = bound.model(input_ids=tokens).logits
    with AnswerReader(bound):
        pass
    after = bound.model(input_ids=tokens).logits
    assert after.shape == (1, 3, 260)
    assert torch.equal(before, after)


def test_answers_are_recorded_at_the_items_indices():
    bound, items = tiny_model(), tiny_items(6)
    together, alone = Outcomes.empty(items), Outcomes.empty(items)
    encoded = Encoder(bound).encode_all(items)
    with AnswerReader(bound) as reader:
        for budget, outcomes in ((10_000, together), (1, alone)):
            for batch in make_batches(encoded, budget):
                reader.answer(batch, outcomes)
    assert list(together.predicted) == list(alone.predicted)
    assert_probabilities_equal(together.p_gold, alone.p_gold)
    assert_probabilities_equal(together.option_probabilities, alone.option_probabilities)


def gradients(vocabulary, width, rows):
    """Gradient of ΣP(gold) at the head's input: read out, and exactly, in float64."""
    torch.manual_seed(0)
    head = nn.Linear(width, vocabulary, bias=False)
    head.weight.requires_grad_(False)
    hidden = torch.randn(rows, 1, width, requires_grad=True)
    gold = torch.arange(rows)

    def p_gold(logits):
        return logits[:, -1].softmax(-1)[torch.arange(rows), gold].sum()

    p_gold(read_out(hidden, head(hidden), head)).backward()
    exact = hidden.detach().double().requires_grad_(True)
    p_gold(exact @ head.weight.double().T).backward()
    return hidden.grad, exact.grad


def test_the_heads_gradient_equals_float64():
    for rows in (1, 3):
        got, exact = gradients(vocabulary=50_000, width=32, rows=rows)
        error = (got.double() - exact).abs().amax() / exact.abs().amax()
        assert error < 2e-6


def test_the_last_block_of_the_vocabulary_may_be_short():
    got, exact = gradients(vocabulary=261, width=8, rows=2)
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("dtype", "rows"), [(torch.float32, 0), (torch.bfloat16, 2)])
def test_the_heads_own_product_is_taken_only_where_it_is_used(dtype, rows):
    bound = tiny_model(dtype=dtype)
    (batch,) = make_batches(Encoder(bound).encode_all(tiny_items(2)), 10_000)
    seen = []
    bound.model.lm_head.register_forward_hook(lambda head, inputs, logits: seen.append(len(logits)))
    with AnswerReader(bound) as reader:
        bound.model.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output: output.requires_grad_(True)
        )
        logits = reader.logits(batch)
        with torch.inference_mode():
            plain = reader.logits(batch)
    assert seen == [rows, 2]
    assert logits.shape == plain.shape
    torch.testing.assert_close(logits.float(), plain.float(), rtol=1e-4, atol=1e-5)


def test_a_head_that_is_not_plain_linear_keeps_its_own_gradient():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    assert not can_read_out(Scaled(4, 8))
    bound, items = tiny_model(), tiny_items(2)
    (batch,) = make_batches(Encoder(bound).encode_all(items), 10_000)
    head = bound.model.lm_head
    scaled = Scaled(head.in_features, head.out_features, bias=False)
    scaled.weight = head.weight
    bound.model.lm_head = scaled
    with AnswerReader(bound) as reader:
        gold_probabilities(batch, reader.logits(batch).softmax(-1)).sum().backward()
    assert head.weight.grad is not None
