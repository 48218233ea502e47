"""The loop beside a plain one, checkpoints, and a loss that is no number."""

from __future__ import annotations

import shutil

import pytest
import torch

from culnig.errors import TrainingError
from culnig.inference.encoding import Encoder
from culnig.training.folder import COMPLETE, TrainingFolder
from culnig.training.label_loss import LabelLoss, collate
from culnig.training.settings import TrainSettings
from culnig.training.trainer import fit
from tests.tiny_models import ALL_CONFIGS, tiny_items, tiny_model
from tests.tolerances import assert_probabilities_equal
from tests.training.runs import plan_of, run, weights_of


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_the_loss_is_that_of_the_label_token_alone(family):
    bound = tiny_model(family)
    encoded = Encoder(bound).encode_all(tiny_items(5))
    loss = LabelLoss(bound.model.get_output_embeddings())
    with torch.no_grad(), loss.attached():
        together = loss(bound.model, collate(encoded))
    one_by_one = []
    for item in encoded:  # no padding, no hook, all positions
        with torch.no_grad():
            logits = bound.model(input_ids=torch.tensor([item.token_ids])).logits[0, -1].double()
        one_by_one.append(torch.logsumexp(logits, 0) - logits[item.gold_id])
    assert_probabilities_equal(together.exp(), torch.stack(one_by_one).mean().exp())


def test_steps_are_those_of_a_plain_loop_with_adamw(tmp_path):
    bound, twin = tiny_model(), tiny_model()
    plan = plan_of(bound)
    items = tiny_items(8)
    trained = run_all_at_once(bound, plan, items, tmp_path / "t")

    names = {part.parameter for part in plan.train}
    weights = [p for name, p in twin.model.named_parameters() if name in names]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        total = []
        for item in Encoder(twin).encode_all(items):
            logits = twin.model(input_ids=torch.tensor([item.token_ids])).logits[0, -1]
            total.append(torch.nn.functional.cross_entropy(logits[None], torch.tensor([item.gold_id])))
        mean = torch.stack(total).mean()
        mean.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(mean.item())
    assert [row["loss"] for row in trained.log] == pytest.approx(losses, abs=1e-4)
    for one, other in zip(bound.model.parameters(), twin.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-5)


def run_all_at_once(bound, plan, items, folder):
    """Every step sees all items, four at a time, so that their order does not matter."""
    how = TrainSettings(learning_rate=1e-3, batch_size=4, accumulation=2, epochs=3, log_every=1)
    folder.mkdir()
    return fit(bound, plan, Encoder(bound).encode_all(items), how, TrainingFolder(folder))


def test_the_order_of_examples_comes_from_the_seed(tmp_path):
    ends = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        bound = tiny_model()
        run(bound, plan_of(bound), tmp_path / name, seed=seed)
        ends.append(torch.cat([p.detach().flatten() for p in bound.model.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


class Killed(BaseException):
    """As sudden as a kill, inside a test."""


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize(("dtype", "lora_rank"), [(torch.bfloat16, None), (torch.float32, 2)])
def test_interrupted_and_resumed_equals_uninterrupted(dtype, lora_rank, tmp_path):
    settings = {"max_steps": 7, "save_every": 2, "lora_rank": lora_rank}
    whole = tiny_model("gpt2", dtype=dtype)  # a family with dropout: its random state is resumed, too
    expected = run(whole, plan_of(whole), tmp_path / "whole", **settings)

    def die(done, total):
        if done == 5:
            raise Killed

    stopped = tiny_model("gpt2", dtype=dtype)
    with pytest.raises(Killed):
        run(stopped, plan_of(stopped), tmp_path / "cut", more={"progress": die}, **settings)
    folder = TrainingFolder(tmp_path / "cut")
    assert folder.last_checkpoint().name == "checkpoint-4"
    broken = folder.checkpoints / "checkpoint-6"  # as a kill while writing leaves it
    shutil.copytree(folder.last_checkpoint(), broken)
    (broken / COMPLETE).unlink()
    (broken / "optimizer.pt").write_bytes(b"half")

    again = tiny_model("gpt2", dtype=dtype)
    steps = []
    resumed = run(
        again, plan_of(again), tmp_path / "cut", more={"progress": lambda d, t: steps.append(d)}, **settings
    )
    assert steps == [4, 5, 6, 7]
    assert resumed.log == expected.log
    for (name, one), other in zip(whole.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_loss_that_is_not_a_number_stops_and_names_the_last_checkpoint(tmp_path):
    bound = tiny_model()
    plan = plan_of(bound)

    def poison(done, total):
        if done == 3:
            with torch.no_grad():
                bound.model.get_parameter(plan.train[0].parameter).fill_(float("nan"))

    with pytest.raises(
        TrainingError, match=r"the loss is nan in step 4, after 3 steps.*checkpoint-2\. Lower"
    ):
        run(bound, plan, tmp_path / "t", max_steps=6, save_every=2, more={"progress": poison})
    kept = TrainingFolder(tmp_path / "t").last_checkpoint()
    assert kept.name == "checkpoint-2"
    good = tiny_model()
    run(good, plan, tmp_path / "t", max_steps=6, save_every=2)  # and goes on from there
    assert all(bool(torch.isfinite(p).all()) for p in good.model.parameters())


def test_weights_that_are_no_numbers_never_become_a_checkpoint(tmp_path):
    bound = tiny_model()
    plan = plan_of(bound)

    def poison(done, total):
        if done == 2:
            with torch.no_grad():
                bound.model.get_parameter(plan.train[0].parameter).fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"is not finite after 2 steps.*no checkpoint was written yet"):
        run(bound, plan, tmp_path / "t", max_steps=6, save_every=2, more={"progress": poison})
    assert not list((tmp_path / "t").rglob(COMPLETE))


def test_nothing_is_left_in_the_model(tmp_path):
    bound = tiny_model()
    before = {name for name, _ in bound.model.named_parameters()}
    with torch.no_grad():
        whole = bound.model(input_ids=torch.arange(40, 50)[None]).logits
    run(bound, plan_of(bound), tmp_path / "t", max_steps=1)
    with torch.no_grad():
        after = bound.model(input_ids=torch.arange(40, 50)[None]).logits
    assert after.shape == whole.shape
    assert after.dtype == whole.dtype
    assert {name for name, _ in bound.model.named_parameters()} == before
    assert all(p.grad is None for p in bound.model.parameters())
    assert weights_of(bound).keys() == before
