"""What was asked is recorded, and outputs whose prompts differ do not belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

import culnig
from culnig.benchmarks.base import ChosenItems
from culnig.cli import main
from culnig.core.items import Item
from culnig.errors import InputError, MismatchError
from culnig.inference.encoding import Encoder
from culnig.models.base import bind_model
from culnig.models.gated_decoder import GatedDecoder
from culnig.training.folder import TrainingFolder
from culnig.training.record import request_record
from culnig.training.settings import TrainSettings
from culnig.training.tasks import Task
from tests.stored import document_of
from tests.stored_runs import assert_same_scores
from tests.tiny_models import CHAT_TEMPLATE, byte_tokenizer, tiny_items, tiny_model
from tests.toy import neuron_set, toy_layout
from tests.training.runs import plan_of

DATED = "Today is {{ strftime_now('%d %b %Y') }}.\n" + CHAT_TEMPLATE
MONDAY, TUESDAY = "2025-03-10", "2025-03-11"
WRITTEN = Item(
    "short-0", "short-0", "Spain", "test", "Name a dish.", (), "paella", accepted=("paella",), language="es"
)


def model(template=DATED):
    return bind_model("tiny", tiny_model().model, byte_tokenizer(template), [GatedDecoder()])


def benchmarks(items=None):
    asked = tiny_items(6) if items is None else items
    control = [replace(item, prompt="Choose.") for item in asked]
    return {
        "toy": ChosenItems("target", "identify", asked),
        "toy-control": ChosenItems("control", "identify", control),
    }


def score(folder, day=MONDAY, *, template=DATED, items=None, **options):
    return culnig.score(
        model(template), benchmarks(items), folder, prompt_date=day, token_budget=200, **options
    )


def evaluate(folder, day=MONDAY, *, template=DATED, items=None, sets=(), **options):
    chosen = {"toy": ChosenItems("target", "test", tiny_items(4) if items is None else items)}
    return culnig.evaluate(
        model(template), chosen, sets, folder, prompt_date=day, token_budget=200, **options
    )


def forget_prompts(path):
    """Make a record look as versions before this one wrote it."""
    record = document_of(path)
    for own in record["benchmarks"].values():
        del own["prompts"]
    path.write_text(json.dumps(record), encoding="utf-8")


def unfinished(folder):
    (folder / "scores.h5").unlink()


def test_a_run_records_the_token_ids_and_shows_three_prompts(tmp_path):
    run = score(tmp_path / "run")
    prompts = run.record["benchmarks"]["toy"]["prompts"]
    texts = [
        f'Today is 10 Mar 2025.\n<|user|>{item.prompt}\n<|assistant|>{{"answer_choice":"'
        for item in tiny_items(6)
    ]
    digest = sha256()
    for text in texts:  # the tokenizer has one token per byte
        ids = byte_tokenizer().convert_tokens_to_ids(byte_tokenizer().tokenize(text))
        for number in (len(text), *ids):
            digest.update(number.to_bytes(8, "little"))
    assert prompts == {
        "hash": digest.hexdigest(),
        "examples": [texts[0], texts[2], texts[5]],
        "date": MONDAY,
        "template": sha256(DATED.encode()).hexdigest(),
    }


def test_prompts_without_a_date_record_none_and_resume_on_any_day(tmp_path):
    run = score(tmp_path / "run", template=CHAT_TEMPLATE)
    assert run.record["benchmarks"]["toy"]["prompts"]["date"] is None
    unfinished(tmp_path / "run")
    assert_same_scores(score(tmp_path / "run", TUESDAY, template=CHAT_TEMPLATE, resume=True), run)
    plain = score(tmp_path / "plain", template=None)
    assert plain.record["benchmarks"]["toy"]["prompts"]["template"] is None


def test_an_evaluation_records_what_it_asked_in_free_text_too(tmp_path):
    items = [WRITTEN, replace(WRITTEN, id="short-1", prompt="And another?")]
    evaluation = evaluate(tmp_path / "eval", items=items, max_new_tokens=2)
    prompts = evaluation.results["benchmarks"]["toy"]["prompts"]
    assert [text.splitlines()[1] for text in prompts["examples"]] == [
        "<|user|>Name a dish.",
        "<|user|>And another?",
    ]
    assert (prompts["date"], len(prompts["hash"])) == (MONDAY, 64)


def test_a_run_is_resumed_only_with_its_date(tmp_path):
    finished = score(tmp_path / "whole")
    folder = tmp_path / "run"
    score(folder)
    unfinished(folder)
    with pytest.raises(MismatchError) as raised:
        score(folder, TUESDAY, resume=True)
    message = str(raised.value)
    assert f"benchmarks.toy.prompts.date is '{MONDAY}' there and '{TUESDAY}' in this request" in message
    assert f"prompt_date='{MONDAY}' asks with the earlier date" in message
    assert "prompts.hash" not in message
    assert f"--prompt-date {MONDAY}" in raised.value.for_command_line()
    assert_same_scores(score(folder, MONDAY, resume=True), finished)


def test_a_run_is_not_resumed_with_another_template_or_tokenizer(tmp_path, monkeypatch):
    score(tmp_path / "run")
    unfinished(tmp_path / "run")
    with pytest.raises(MismatchError, match=r"benchmarks.toy.prompts.template is '\w+' there"):
        score(tmp_path / "run", template=DATED.replace("Today", "Now"), resume=True)
    spelled = Encoder._ids
    monkeypatch.setattr(Encoder, "_ids", lambda self, text: [2, *spelled(self, text)])
    with pytest.raises(MismatchError, match=r"benchmarks.toy.prompts.hash is '\w+' there"):
        score(tmp_path / "run", resume=True)


def test_an_evaluation_is_resumed_only_with_its_date(tmp_path):
    folder = tmp_path / "eval"
    before = evaluate(folder)
    with pytest.raises(MismatchError, match=rf"prompts.date is '{MONDAY}' there and '{TUESDAY}'"):
        evaluate(folder, TUESDAY, resume=True)
    assert evaluate(folder, MONDAY, resume=True).results == before.results


def test_shards_of_two_dates_are_not_merged(tmp_path):
    shards = [tmp_path / "one", tmp_path / "two"]
    for number, (folder, day) in enumerate(zip(shards, (MONDAY, TUESDAY), strict=True)):
        score(folder, day, shard=f"{number + 1}/2")
    with pytest.raises(MismatchError) as raised:
        culnig.merge(shards, tmp_path / "merged")
    assert MONDAY in str(raised.value)
    assert TUESDAY in str(raised.value)
    assert f"give the day of the first with prompt_date='{MONDAY}'" in str(raised.value)
    score(shards[1], MONDAY, shard="2/2", overwrite=True)
    merged = culnig.merge(shards, tmp_path / "merged")
    assert_same_scores(merged, whole := score(tmp_path / "whole"))
    assert merged.record["benchmarks"] == whole.record["benchmarks"]


def test_runs_over_different_items_are_merged_only_with_one_date(tmp_path):
    first = score(tmp_path / "one", items=tiny_items(6)[:3])
    late = score(tmp_path / "late", TUESDAY, items=tiny_items(6)[3:])
    with pytest.raises(MismatchError, match=rf"show the date {MONDAY}|show the date {TUESDAY}") as raised:
        culnig.merge([first, late], tmp_path / "merged")
    assert MONDAY in str(raised.value)
    assert TUESDAY in str(raised.value)
    second = score(tmp_path / "two", items=tiny_items(6)[3:])
    merged = culnig.merge([first, second], tmp_path / "merged")
    prompts = merged.record["benchmarks"]["toy"]["prompts"]
    assert prompts["date"] == MONDAY
    parts = sorted([first, second], key=lambda run: run.scores_hash)
    hashes = [run.record["benchmarks"]["toy"]["prompts"]["hash"] for run in parts]
    assert prompts["hash"] == sha256("".join(hashes).encode()).hexdigest()


def test_evaluations_of_two_dates_are_not_compared(tmp_path):
    first, second = evaluate(tmp_path / "one"), evaluate(tmp_path / "two", TUESDAY)
    with pytest.raises(MismatchError) as raised:
        culnig.compare(first, second)
    assert f"show the date {MONDAY}, those of the other {TUESDAY}" in str(raised.value)
    same = evaluate(tmp_path / "three")
    assert [row["change"]["accuracy"]["effect"] for row in culnig.compare(first, same)] == [0.0]


def test_evaluations_of_one_model_with_two_templates_are_not_compared(tmp_path):
    first = evaluate(tmp_path / "one", template=CHAT_TEMPLATE)
    second = evaluate(
        tmp_path / "two", template=CHAT_TEMPLATE.replace("<|user|>", "<|human|>").replace("\n", "\t")
    )
    with pytest.raises(MismatchError, match="prompts were written by different chat templates"):
        culnig.compare(first, second)


def test_models_of_other_layouts_are_compared_with_their_own_templates(tmp_path):
    first, second = (
        evaluate(tmp_path / "one", template=CHAT_TEMPLATE),
        evaluate(tmp_path / "two", template=None),
    )
    path = second.folder / "results.json"
    results = document_of(path)
    results["model"]["layout_hash"] = "0" * 64
    path.write_text(json.dumps(results), encoding="utf-8")
    assert len(culnig.compare(first, second.folder)) == 1


def test_a_selection_refuses_a_control_of_another_date(tmp_path):
    run = score(tmp_path / "run")
    path = run.folder / "run.json"
    record = document_of(path)
    record["benchmarks"]["toy-control"]["prompts"]["date"] = TUESDAY
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(
        MismatchError, match=rf"'toy' and 'toy-control' .* {MONDAY}, those of the other {TUESDAY}"
    ):
        culnig.select_general(run.folder, exclusion=False)


def test_means_come_from_prompts_of_the_same_date(tmp_path):
    run = score(tmp_path / "run", level="item")
    chosen = neuron_set(run.layout, [0, 1])
    evaluate(tmp_path / "eval", sets=chosen, mask="mean", means=run)
    with pytest.raises(MismatchError, match=rf"does not fit 'toy': .*{MONDAY}, .*{TUESDAY}"):
        evaluate(tmp_path / "late", TUESDAY, sets=chosen, mask="mean", means=run)


def test_outputs_of_earlier_versions_are_resumed_merged_and_compared(tmp_path):
    whole = score(tmp_path / "whole")
    shards = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(shards):
        score(folder, shard=f"{number + 1}/2")
    forget_prompts(shards[0] / "run.json")
    merged = culnig.merge(shards, tmp_path / "merged")
    assert_same_scores(merged, whole)
    assert "prompts" not in merged.record["benchmarks"]["toy"]
    forget_prompts(whole.folder / "run.json")
    unfinished(whole.folder)
    resumed = score(whole.folder, resume=True)
    assert_same_scores(resumed, merged)
    assert "prompts" not in resumed.record["benchmarks"]["toy"]
    first, second = evaluate(tmp_path / "three"), evaluate(tmp_path / "four", TUESDAY)
    forget_prompts(first.folder / "results.json")
    assert len(culnig.compare(first.folder, second)) == 1


def test_a_reduced_run_of_other_items_claims_no_hash_of_its_prompts(tmp_path):
    run = score(tmp_path / "run", level="item")
    prompts = run.record["benchmarks"]["toy"]["prompts"]
    same = culnig.reduce(run, tmp_path / "same")
    assert same.record["benchmarks"]["toy"]["prompts"] == prompts
    fewer = culnig.reduce(run, tmp_path / "fewer", cultures=["Spain"])
    assert fewer.record["benchmarks"]["toy"]["prompts"] == {**prompts, "hash": None, "examples": []}


def test_a_date_that_is_none_is_refused_before_the_model_is_loaded(tmp_path):
    for command in (culnig.score, culnig.evaluate):
        with pytest.raises(InputError, match="prompt_date is 'tomorrow'"):
            command(
                "no-such-model",
                {},
                *([()] if command is culnig.evaluate else []),
                tmp_path / "x",
                prompt_date="tomorrow",
            )


def test_scores_differ_with_the_date_that_prompts_show(tmp_path):
    first, second = score(tmp_path / "one"), score(tmp_path / "two", TUESDAY)
    assert not np.array_equal(first.moments("toy").sum, second.moments("toy").sum)


def test_the_command_line_refuses_a_date_that_is_none(tmp_path, capsys):
    asked = ("--model", "no-such-model", "--benchmark", "everyday", "--prompt-date", "10.3.2025")
    for command in ("score", "evaluate", "instances", "audit"):
        neurons = {"instances": ["--neurons", "x.json"], "audit": ["x.json"]}.get(command, [])
        out = [] if command == "audit" else ["-o", str(tmp_path / command)]
        neuron_set(toy_layout(), [0, 1, 2]).write(tmp_path / "x.json", overwrite=True)
        paths = [str(tmp_path / name) if name == "x.json" else name for name in neurons]
        options = ["--top", "2"] if command == "audit" else []
        assert main.run([command, *asked, *paths, *out, *options]) == 2
        assert "error: --prompt-date is '10.3.2025'; give a date of the" in capsys.readouterr().err


def test_a_training_is_resumed_only_with_its_date(tmp_path):
    bound, task = model(), Task("toy", tiny_items(3))
    plan = plan_of(bound)
    folder = TrainingFolder(tmp_path / "training")

    def request(day):
        encoder = Encoder(bound, day)
        prompts = encoder.record(encoder.encode_all(task.examples))
        return request_record(bound, plan, task, TrainSettings(prompt_date=day), prompts)

    with folder:
        folder.open(request(MONDAY), resume=False)
    with pytest.raises(MismatchError) as raised:
        folder.open(request(TUESDAY), resume=True)
    assert f"task.prompts.date is '{MONDAY}' there and '{TUESDAY}' in this request" in str(raised.value)
    assert "settings" not in str(raised.value).partition("differ: ")[2].partition(". Use")[0]
    with folder:
        folder.open(request(MONDAY), resume=True)
