"""The forward pass reads the last position, and the head's gradient is summed well."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.errors import BindingError
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.readout import can_read_out, read_out
from culnig.scoring.targets import log_odds, most_probable_wrong
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
    with AnswerReader(bound) as reader:
        # inside, because a head with hooks of its own is not read out
        bound.model.lm_head.register_forward_hook(
            lambda head, inputs, logits: seen.append(len(inputs[0])), prepend=True
        )
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


def own_forward(model):
    forward = model.lm_head.forward
    model.lm_head.forward = lambda hidden: 2 * forward(hidden)


def own_hook(model):
    model.lm_head.register_forward_hook(lambda head, inputs, logits: 2 * logits)


def own_pre_hook(model):
    model.lm_head.register_forward_pre_hook(lambda head, inputs: (2 * inputs[0],))


def parametrized(model):
    class Double(nn.Module):
        def forward(self, weight):
            return 2 * weight

    nn.utils.parametrize.register_parametrization(model.lm_head, "weight", Double())


def after_the_head(change):
    def edit(model):
        forward = model.forward

        def changed(*inputs, **options):
            output = forward(*inputs, **options)
            output.logits = change(output.logits)
            return output

        model.forward = changed

    return edit


def head_with(read):
    """A model whose forward takes logits from its hidden states by `read`, without a call as in Llama."""

    def edit(model):
        def forward(input_ids, use_cache=None, **options):
            hidden = model.model(input_ids=input_ids, use_cache=False, **options).last_hidden_state
            return CausalLMOutput(logits=read(model.lm_head, hidden))

        model.forward = forward

    return edit


EDITED_HEADS = {
    "forward": own_forward,
    "hook": own_hook,
    "pre-hook": own_pre_hook,
    "parametrization": parametrized,
    "mul_": after_the_head(lambda logits: logits.mul_(2)),
    "divided in place": after_the_head(lambda logits: logits.div_(2)),
    "clamp_": after_the_head(lambda logits: logits.clamp_(-5, 5)),
    "soft cap": after_the_head(lambda logits: 3 * torch.tanh(logits / 3)),
    "weight without a call": head_with(lambda head, hidden: nn.functional.linear(hidden, head.weight)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", EDITED_HEADS)
def test_answers_and_gradients_of_an_edited_head_are_those_of_the_plain_model(name, dtype):
    bound = tiny_model(dtype=dtype)
    EDITED_HEADS[name](bound.model)
    items = tiny_items(2)
    encoded = Encoder(bound).encode_all(items)
    (batch,) = make_batches(encoded, 10_000)
    gradient_of = {}
    embeddings = bound.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
    embeddings.register_forward_hook(lambda module, inputs, output: gradient_of.update(hidden=output))
    bound.model.requires_grad_(False)

    def log_p_gold(logits, item):
        log_p = logits.double().log_softmax(-1)[item.gold_id]
        return float(log_p.detach()), torch.autograd.grad(log_p, gradient_of["hidden"], retain_graph=True)[0]

    plain = {}
    for item in encoded:
        logits = bound.model(input_ids=torch.tensor([item.token_ids]), use_cache=False).logits[0, -1]
        plain[item.item.id] = log_p_gold(logits, item)
    with AnswerReader(bound) as reader:
        read = reader.logits(batch)
        for row, item in enumerate(batch.items):
            expected, expected_gradient = plain[item.item.id]
            log_p, gradient = log_p_gold(read[row], item)
            tolerance = 1e-3 if dtype == torch.float32 else 0.1
            assert log_p == pytest.approx(expected, abs=tolerance)
            gradient = gradient[row, : len(item.token_ids)].float()
            error = (gradient - expected_gradient[0].float()).abs().max() / expected_gradient.abs().max()
            assert error < tolerance


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda head, hidden: head(hidden[:, -1:]), r"receives a tensor of shape \(2, 1, 24\), expected"),
        (lambda head, hidden: head(input=hidden), "receives no positional input"),
        (
            lambda head, hidden: nn.functional.linear(hidden[:, -1], head.weight),
            r"returns logits of shape \(2, 260\) for tokens of shape",
        ),
    ],
)
def test_a_head_that_cannot_be_read_is_refused(read, message):
    bound = tiny_model()
    head_with(read)(bound.model)
    (batch,) = make_batches(Encoder(bound).encode_all(tiny_items(2)), 10_000)
    with AnswerReader(bound) as reader, torch.inference_mode(), pytest.raises(BindingError, match=message):
        reader.logits(batch)


def test_a_head_that_accelerate_placed_is_still_computed_in_float64():
    accelerate = pytest.importorskip("accelerate")
    bound = tiny_model()
    accelerate.hooks.add_hook_to_module(bound.model.lm_head, accelerate.hooks.AlignDevicesHook("cpu"))
    assert can_read_out(bound.model.lm_head)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_bias_of_the_head_is_in_the_logits_and_in_the_gradient(dtype):
    generator = torch.Generator().manual_seed(3)
    head = nn.Linear(4, 9, bias=True)
    head.weight.data = torch.randn(9, 4, generator=generator)
    head.bias.data = 5 * torch.randn(9, generator=generator)
    head = head.to(dtype)
    hidden = torch.randn(2, 1, 4, generator=generator).to(dtype).requires_grad_(True)
    logits = read_out(hidden, head(hidden), head)
    logits[:, -1].double().softmax(-1)[:, 1].sum().backward()
    exact = hidden.detach().double().requires_grad_(True)
    expected = exact @ head.weight.detach().double().T + head.bias.detach().double()
    expected[:, -1].softmax(-1)[:, 1].sum().backward()
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.05}
    torch.testing.assert_close(logits.double(), expected, **tolerance)
    torch.testing.assert_close(hidden.grad.double(), exact.grad, **tolerance)


class Words:
    """A tokenizer of five words."""

    def decode(self, ids):
        return " ".join(("A", "B", "C", "the", "</s>")[token] for token in ids)


@pytest.mark.parametrize("ordinal", [False, True])
def test_what_is_recorded_of_an_answer_by_hand(ordinal):
    """Labels A, B and C are tokens 0 to 2. The second answer is no label, though B is the best of them."""
    options = ("A", "B", "C")
    asked = [
        Item(f"i{n}", "q", "Iran", "test", "?", options, gold, ordinal=ordinal)
        for n, gold in enumerate("ABC")
    ]
    probabilities = torch.tensor(
        [[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.3, 0.0, 0.5, 0.1], [0.2, 0.1, 0.4, 0.2, 0.1]]
    )
    numbers = [2, 0, 1]  # the batch is in another order
    batch = SimpleNamespace(
        numbers=numbers,
        items=[
            SimpleNamespace(item=asked[n], option_ids=(0, 1, 2), gold_id=n, token_ids=tuple(range(n + 5)))
            for n in numbers
        ],
    )
    outcomes = Outcomes.empty(asked)
    reader = AnswerReader(SimpleNamespace(model=None, tokenizer=Words(), sharding=None))
    reader.record(batch, reader.read(batch, probabilities[numbers]), outcomes)
    assert outcomes.predicted.tolist() == ["B", "the", "C"]
    assert outcomes.correct.tolist() == [False, False, True]
    assert outcomes.option_correct.tolist() == [False, True, True]
    np.testing.assert_allclose(outcomes.p_gold, [0.1, 0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(outcomes.option_probabilities, probabilities[:, :3].numpy(), rtol=1e-6)
    assert outcomes.n_tokens.tolist() == [5, 6, 7]
    # A is two steps from C at most, B is one from either end; an answer that is no label is worth nothing
    expected = [50.0, 0.0, 100.0] if ordinal else [np.nan] * 3
    np.testing.assert_array_equal(outcomes.alignment, expected)


def test_every_right_label_counts_and_people_are_compared_with_the_labels():
    """Labels A, B and C are tokens 0 to 2; half of the people chose A, half chose B."""
    item = Item("i", "q", "Iran", "test", "?", ("A", "B", "C"), "A")
    asked = [replace(item, also_right=("C",))] * 3 + [replace(item, distribution=(0.5, 0.5, 0.0))] * 2
    probabilities = torch.tensor(
        [
            [0.1, 0.6, 0.1, 0.2],
            [0.1, 0.1, 0.6, 0.2],
            [0.2, 0.1, 0.3, 0.4],
            [0.3, 0.3, 0.0, 0.4],
            [0, 0, 0.5, 0.5],
        ]
    )
    encoded = [SimpleNamespace(item=each, option_ids=(0, 1, 2), gold_id=0, token_ids=(1,)) for each in asked]
    batch = SimpleNamespace(numbers=list(range(5)), items=encoded)
    outcomes = Outcomes.empty(asked)
    reader = AnswerReader(SimpleNamespace(model=None, tokenizer=Words(), sharding=None))
    answers = reader.read(batch, probabilities)
    reader.record(batch, answers, outcomes)
    assert outcomes.correct[:3].tolist() == [False, True, False]
    assert outcomes.option_correct[:3].tolist() == [False, True, True]
    np.testing.assert_allclose(outcomes.p_gold[:3], [0.1, 0.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(outcomes.similarity, [np.nan] * 3 + [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(most_probable_wrong(batch, answers)[:3], [0.6, 0.1, 0.1], rtol=1e-6)
    expected = torch.log(probabilities[:3, 0]) - torch.log(probabilities[:3, 1])
    first = SimpleNamespace(numbers=[0, 1, 2], items=encoded[:3])
    torch.testing.assert_close(log_odds(first, probabilities[:3]), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_on_another_device_than_its_input_is_read_out_where_it_is(dtype):
    """Tied embeddings over several devices: the head is on the first, its input on the last.

    The meta device stands for the first; it has devices and number formats, but no numbers.
    """
    bound = tiny_model("smollm2", dtype=dtype)
    head = bound.model.lm_head
    head.weight = nn.Parameter(torch.empty_like(head.weight, device="meta"), requires_grad=False)
    bound.model.get_input_embeddings().register_forward_hook(lambda *call: call[-1].requires_grad_(True))
    (batch,) = make_batches(Encoder(bound).encode_all(tiny_items(2)), 10_000)
    with AnswerReader(bound) as reader:
        logits = reader.logits(batch)
    assert logits.device.type == "meta"
    names, function = [], logits.grad_fn
    while function is not None:  # the first input of each function, from the logits down
        names.append(type(function).__name__)
        function = function.next_functions[0][0] if function.next_functions else None
    read_out_at = names.index("_ReadOutBackward")
    assert "ToCopyBackward0" in names[read_out_at:], "the gradient goes back to the device of the input"
    assert not {"MmBackward0", "TBackward0"} & set(names[:read_out_at]), "the head's own product is not used"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_logits_are_float32_and_float64_where_a_float32_head_has_gradients(dtype):
    bound = tiny_model(dtype=dtype)
    (batch,) = make_batches(Encoder(bound).encode_all(tiny_items(2)), 10_000)
    with AnswerReader(bound) as reader:
        with torch.inference_mode():
            assert reader.logits(batch).dtype == torch.float32
        bound.model.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output: output.requires_grad_(True)
        )
        exact = reader.logits(batch)
    assert exact.dtype == (torch.float64 if dtype == torch.float32 else torch.float32)
    assert exact.shape == (2, 260)


def test_a_model_that_does_not_call_its_head_is_read_at_each_last_token():
    bound = tiny_model()
    encoded = Encoder(bound).encode_all(tiny_items(3))
    alone = [bound.model(input_ids=torch.tensor([one.token_ids])).logits[0, -1] for one in encoded]
    head_with(lambda head, hidden: nn.functional.linear(hidden, head.weight))(bound.model)
    (batch,) = make_batches(encoded, 10_000)
    with AnswerReader(bound) as reader, torch.inference_mode():
        for _ in range(2):  # also after a pass
            for row, number in enumerate(batch.numbers):
                assert_values_equal(reader.logits(batch)[row], alone[number])


def test_a_model_without_a_head_is_refused():
    model = SimpleNamespace(get_output_embeddings=lambda: None, training=False)
    reader = AnswerReader(SimpleNamespace(model=model, tokenizer=None, sharding=None))
    with pytest.raises(BindingError, match="SimpleNamespace has no output embeddings to read an answer from"):
        reader.__enter__()
