"""A model that is spread over several processes computes what it computes in one."""

from __future__ import annotations

import itertools
import os
import signal

import numpy as np
import pytest
import torch
import torch.distributed as distributed
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule
from transformers.distributed import fsdp as engine

import culnig
from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.outcomes import Outcomes
from culnig.core.processes import ALONE, Processes
from culnig.errors import AnotherStopped, EnvironmentProblem, InputError, ModelLoadError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.fitting import Answering
from culnig.inference.generation import AnswerWriter
from culnig.models import loading
from culnig.models.settings import LoadSettings
from culnig.models.sharding import check_equal, check_experts, check_items, check_launch, check_sharded
from culnig.planning.sharing import shares_of
from culnig.planning.spread import gathers_of
from culnig.planning.work import BenchmarkSize
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.forked import in_child
from tests.spread import loaded, on_ranks, saved
from tests.tiny_experts import bound_model
from tests.tiny_gguf import write_gguf
from tests.tiny_models import tiny_items, tiny_model

FAMILIES = ("llama", "smollm2", "gemma3", "qwen3", "gpt2", "mixtral")
"""Separate and tied embeddings, capped windows, norms of heads, a plain MLP, a mixture of experts."""
ITEMS = tiny_items(7)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny models by family, saved the usual way."""
    return {
        family: saved(
            bound_model(family) if family == "mixtral" else tiny_model(family),
            tmp_path_factory.mktemp(family),
        )
        for family in FAMILIES
    }


def shown(bound):
    """A model's hash, scores, answers and what it writes, in batches of some items, and its parameters."""
    scores = score_benchmark(bound, ITEMS, "target", ScoreSettings(token_budget=200))
    read, encoded = Outcomes.empty(ITEMS), Encoder(bound).encode_all(ITEMS)
    with AnswerReader(bound) as reader:
        reader.answer_all(make_batches(encoded, 200), read)
    writer, written = AnswerWriter(bound, lambda item, text: True, max_new_tokens=3), Outcomes.empty(ITEMS)
    Answering(bound, writer.answer, kind="write", is_fixed=False).run(writer.batches(encoded, 200), written)
    parameters = (getattr(each, "_local_tensor", each) for each in bound.model.parameters())
    n_parameters = sum(each.numel() for each in parameters)
    return bound.weights_hash, scores.moments.sum, read.p_gold, written.predicted.tolist(), n_parameters


@pytest.fixture(scope="module")
def alone(folders):
    """What one process shows of each family."""
    return in_child(lambda: {family: shown(loaded(folder)) for family, folder in folders.items()})


@pytest.fixture(scope="module", params=[2, 3, 4])
def spread(request, folders):
    """What several processes show of each family that is spread over them."""

    own = {family: folder for family, folder in folders.items() if request.param != 3 or family != "mixtral"}

    def work(rank):
        return {family: shown(loaded(folder, fsdp=True)) for family, folder in own.items()}

    return on_ranks(request.param, work)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_several_processes_compute_what_one_computes(alone, spread, family):
    weights_hash, sums, p_gold, written, n_parameters = alone[family]
    if len(spread) == 3 and family == "mixtral":
        return  # it has four experts: see below
    for rank in spread:
        assert rank[family][0] == weights_hash
        np.testing.assert_array_equal(rank[family][1], sums)
        np.testing.assert_allclose(rank[family][2], p_gold, rtol=1e-6)  # weights at other addresses
        assert rank[family][3] == written
    assert sum(rank[family][4] for rank in spread) == n_parameters
    assert max(rank[family][4] for rank in spread) <= n_parameters / len(spread) * 1.15


@pytest.mark.slow
def test_a_batch_that_does_not_fit_in_one_process_is_halved_and_the_others_go_on(folders, alone):
    """The second process runs out of memory in the middle of backward passes of three and more items."""

    def work(rank):
        bound = loaded(folders["llama"], fsdp=True)
        layer = bound.model.model.layers[1].mlp.gate_proj

        def fail(module, inputs, output):
            if rank == 1 and output.requires_grad and len(output) >= 3:
                output.register_hook(run_out)

        def run_out(gradient):
            raise torch.OutOfMemoryError("made to fail")

        layer.register_forward_hook(fail)
        scores = score_benchmark(bound, ITEMS, "target", ScoreSettings(token_budget=400))
        return scores.moments.sum, bound.sharding.n_turns, bound.sharding.n_spare

    (first, n_turns, n_spare), (second, n_turns_there, none_spare) = on_ranks(2, work)
    expected = in_child(
        lambda: score_benchmark(loaded(folders["llama"]), ITEMS, "target", ScoreSettings(token_budget=400))
    ).moments.sum
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_allclose(second, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
    assert n_turns == n_turns_there
    assert n_spare > none_spare == 0


@pytest.mark.slow
def test_all_scorers_compute_what_they_compute_in_one_process(folders):
    """Also those by relevance rules, which read the graph that autograd keeps."""
    families = ("llama", "smollm2", "gemma3", "gpt2")

    def work(rank):
        sums = {}
        for family in families:
            bound = loaded(folders[family], fsdp=rank is not None)
            settings = ScoreSettings(token_budget=200)
            scores = score_benchmark(bound, ITEMS, "target", settings, scorers=registry.scorers())
            sums[family] = {name: moments.sum for name, moments in scores.scorers.items()}
        return sums

    alone = in_child(lambda: work(None))
    assert {"relp", "relp-log-odds"} <= set(alone["llama"])
    for rank in on_ranks(2, work):
        for family in families:
            for name, expected in alone[family].items():
                assert expected.any()
                np.testing.assert_array_equal(rank[family][name], expected, err_msg=f"{family} {name}")


@pytest.mark.slow
def test_a_run_takes_the_turns_that_are_counted_before(folders, tmp_path):
    """130 batches in portions of two. One turn more at most, where a half portion is not seen at once."""
    items = {"toy": ChosenItems("target", "identify", tiny_items(130), {})}

    def work(rank):
        bound = loaded(folders["llama"], fsdp=True)
        culnig.score(bound, items, tmp_path / "run", token_budget=1, check=False)
        sizes = [BenchmarkSize.of(Encoder(bound).encode_all(items["toy"].items))]
        return bound.sharding.n_turns, bound.sharding.n_spare, shares_of(sizes, 1, 3).passes

    for rank, (n_turns, n_spare, passes) in enumerate(on_ranks(3, work)):
        assert passes == (43, 43, 44)
        assert n_turns - n_spare == passes[rank]
        assert n_turns - 44 in (0, 1)


@pytest.mark.slow
def test_a_process_that_is_killed_within_a_gather_stops_the_others(folders):
    def work(rank):
        bound = loaded(folders["llama"], fsdp=True)
        gather, n_gathers = distributed.all_gather_single, itertools.count()

        def interrupted(*given, **options):
            if rank == 1 and next(n_gathers) == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return gather(*given, **options)

        distributed.all_gather_single = interrupted
        with pytest.raises(AnotherStopped, match="another of the 3 processes has stopped"):
            score_benchmark(bound, ITEMS, "target", ScoreSettings(token_budget=200))
        return "stopped"

    assert on_ranks(3, work) == ["stopped", None, "stopped"]


@pytest.mark.slow
def test_a_node_with_another_version_stops_all_processes_before_the_model_is_read(tmp_path):
    (tmp_path / "config.json").write_text("never read")

    def work(rank):
        loading.versions = lambda: {"torch": f"2.{rank // 2}"}
        with pytest.raises(
            EnvironmentProblem, match=r"same torch: 2\.0 in processes 0, 1; 2\.1 in process 2"
        ):
            loaded(tmp_path, fsdp=True)
        return "refused"

    assert on_ranks(3, work) == ["refused"] * 3


@pytest.mark.slow
def test_weights_that_are_kept_on_the_host_give_the_same_numbers(folders, alone, monkeypatch):
    """torch's own policy, on CPUs, where it moves nothing; memory is pinned on GPUs only."""
    monkeypatch.setattr(engine, "CPUOffloadPolicy", lambda: CPUOffloadPolicy(pin_memory=False))
    monkeypatch.setattr(loading, "check_launch", lambda settings, processes, versions: None)

    def work(rank):
        bound = loaded(folders["llama"], fsdp=True, fsdp_offload=True)
        spread = [own for own in bound.model.modules() if isinstance(own, FSDPModule)]
        groups = [own._get_fsdp_state()._fsdp_param_group for own in spread]
        assert len(spread) >= 1 + bound.layout.n_layers
        assert {type(group.offload_policy) for group in groups if group} == {CPUOffloadPolicy}
        return shown(bound)

    for rank in on_ranks(2, work):
        assert rank[0] == alone["llama"][0]
        np.testing.assert_array_equal(rank[1], alone["llama"][1])


@pytest.mark.slow
def test_gathers_of_a_pass_are_counted(folders):
    """Forward all weights, backward layers and embedding once more, as the tiny Llama's shapes have them."""

    def work(rank):
        bound = loaded(folders["llama"], fsdp=True)
        score_benchmark(bound, ITEMS[:1], "target", ScoreSettings())  # and what comes only once
        before = bound.sharding.n_bytes
        score_benchmark(bound, ITEMS[:1], "target", ScoreSettings())
        of_batch = bound.sharding.n_bytes - before
        assert of_batch == gathers_of(bound.skeleton).per_batch, "the plan says something else"
        return of_batch

    layer = 24 * 24 * 2 + 24 * 12 * 2 + 3 * 24 * 40 + 2 * 24
    beside = 2 * 260 * 24 + 24
    forward, backward = 3 * layer + beside, 3 * layer + 260 * 24
    assert on_ranks(2, work) == [4 * (forward + backward)] * 2


@pytest.mark.slow
def test_a_buffer_larger_than_a_layer_is_named(folders):
    def work(rank):
        bound = loaded(folders["llama"], fsdp=True)
        bound.sharding.begin()
        bound.model.register_buffer("table", torch.zeros(10_000))
        with pytest.raises(ModelLoadError, match=r"buffers larger than a layer's weights.*table") as error:
            check_sharded("big", bound.model, "model.layers")
        return str(error.value)

    assert len(set(on_ranks(2, work))) == 1


@pytest.mark.slow
def test_a_gguf_file_is_unpacked_once_and_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("CULNIG_CACHE", str(tmp_path / "cache"))
    file = write_gguf(tmp_path / "tiny.gguf")
    hashes = on_ranks(2, lambda rank: loaded(file, fsdp=True).weights_hash)
    assert len(culnig.list_cache()["entries"]) == 1
    assert hashes == [in_child(lambda: loaded(file).weights_hash)] * 2


def test_a_process_without_experts_is_refused():
    model = bound_model("mixtral").model
    for of in (1, 2, 4):
        check_experts("small", model, Processes(0, of))
    with pytest.raises(InputError, match="has 4 experts in a layer, 2 for each process, so the last of 3"):
        check_experts("small", model, Processes(0, 3))


def test_processes_with_other_versions_or_devices_are_named():
    same = {"torch": "2.13.0", "device": "cpu"}
    check_equal([same, same])
    with pytest.raises(EnvironmentProblem, match=r"torch: 2\.13\.0 in processes 0, 2; 2\.12\.0 in process 1"):
        check_equal([same, same | {"torch": "2.12.0"}, same])
    with pytest.raises(EnvironmentProblem, match="same device: cpu in process 0; NVIDIA H200 in process 1"):
        check_equal([same, same | {"device": "NVIDIA H200"}])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fsdp_offload": True}, "has no effect alone"),
        ({"fsdp": True, "device_map": "auto"}, "spreads a model over the devices of a single process"),
        ({"fsdp": True, "quantize": "4bit"}, "cannot be divided"),
        ({"fsdp": True, "adapter": "folder"}, "merge it, save the model"),
    ],
)
def test_what_cannot_be_combined_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LoadSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fsdp_offload": True}, "between a GPU and the host, and there is no GPU; leave it out"),
        ({"device": "cuda"}, "here of kind cpu, but device='cuda' was asked for; leave it out"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(monkeypatch, settings, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        check_launch(LoadSettings(fsdp=True, **settings), Processes(0, 2), {})


def test_more_processes_than_gpus_of_a_node_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(EnvironmentProblem, match="3 processes on a node with 2 CUDA devices"):
        check_launch(LoadSettings(fsdp=True), Processes(0, 6), {})


def test_a_shard_of_a_model_that_is_spread_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"fsdp and shard exclude each other.*leave out shard"):
        culnig.score("embedded", "everyday", tmp_path / "run", fsdp=True, shard="1/2")
    assert list(tmp_path.iterdir()) == []


def test_one_process_holds_the_whole_model(folders):
    assert loaded(folders["llama"], fsdp=True).sharding is None
    check_items(None, 0)
    assert ALONE.gathered("value") == ["value"]
