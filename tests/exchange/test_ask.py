from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import culnig
from culnig.cli.main import run
from culnig.core.neurons import MLP_GATE, Neuron
from culnig.errors import InputError, MismatchError
from culnig.exchange.ask import Answer
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.random import select_random
from tests.exchange.exported import save, some_of_each_segment
from tests.tiny_models import byte_tokenizer, tiny_model
from tests.training.chosen import neuron_set, random_set

QUESTIONS = ("What is eaten there?", "Where?")
PROMPT = "<|user|>{}\n<|assistant|>"
"""As the tiny models' chat template writes a question."""


@pytest.fixture(scope="module")
def bound() -> BoundModel:
    return tiny_model()


@pytest.fixture(scope="module")
def chosen(bound) -> NeuronSet:
    return random_set(bound, n=60)


def greedy(bound: BoundModel, text: str, n_tokens: int) -> list[int]:
    """The most probable token, again and again."""
    ids: list[int] = bound.tokenizer(text, add_special_tokens=False)["input_ids"]
    written: list[int] = []
    for _ in range(n_tokens):
        with torch.no_grad():
            logits = bound.model(input_ids=torch.tensor([ids + written])).logits[0, -1]
        token = int(logits.argmax())
        if token == bound.tokenizer.eos_token_id:
            break
        written.append(token)
    return written


def test_answers_are_those_of_each_state(bound, chosen):
    result = culnig.ask(bound, QUESTIONS, chosen, factors=(0, 2), max_new_tokens=6)
    assert result.conditions == (
        "unmasked",
        "by hand ×0",
        "by hand ×2",
        "random 0 like by hand ×0",
    )
    masks = [
        (np.empty(0, dtype=np.int64), 1.0),
        (chosen.flat(bound.layout), 0.0),
        (chosen.flat(bound.layout), 2.0),
        (select_random(chosen, bound.layout, 0).flat(bound.layout), 0.0),
    ]
    for question, answers in zip(QUESTIONS, result.answers, strict=True):
        for answer, (flat, factor) in zip(answers, masks, strict=True):
            with intervene(bound, flat, factor):
                expected = greedy(bound, PROMPT.format(question), 6)
            assert answer.text == bound.tokenizer.decode(expected).strip(), answer.condition


def test_the_first_token_that_differs_is_marked(bound, chosen):
    (answers,) = culnig.ask(bound, "What is eaten there?", chosen, max_new_tokens=8).answers
    assert answers[0].differs is None
    first = greedy(bound, PROMPT.format("What is eaten there?"), 8)
    with intervene(bound, chosen):
        masked = greedy(bound, PROMPT.format("What is eaten there?"), 8)
    same = next(number for number, (a, b) in enumerate(zip(first, masked, strict=False)) if a != b)
    before = bound.tokenizer.decode(masked[:same])
    own = answers[1]
    assert own.differs is not None
    assert own.text.startswith(before.lstrip())
    assert own.text[: own.differs[0]].rstrip() == before.strip()
    assert own.marked.replace("»", "").replace("«", "") == own.text


def test_marks_of_an_answer_that_ends_early_are_at_its_end():
    answer = Answer("masked", "Rice", (4, 4), {}, False)
    assert answer.marked == "Rice»«"
    assert Answer("masked", "Rice", None, {}, False).marked == "Rice"


def test_probabilities_of_chosen_answers(bound, chosen):
    result = culnig.ask(bound, "Where?", chosen, factors=0, random_baseline=0, answers=("ab", "C"))
    ids = bound.tokenizer(PROMPT.format("Where?"), add_special_tokens=False)["input_ids"]
    for own, factor in zip(result.answers[0], (1.0, 0.0), strict=True):
        expected = 1.0
        written = list(ids)
        for token in bound.tokenizer("ab", add_special_tokens=False)["input_ids"]:
            with torch.no_grad(), intervene(bound, chosen, factor):
                logits = bound.model(input_ids=torch.tensor([written])).logits[0, -1]
            expected *= float(logits.double().softmax(-1)[token])
            written.append(token)
        assert own.probabilities["ab"] == pytest.approx(expected, rel=1e-4)
        assert list(own.probabilities) == ["ab", "C"]


def test_an_answer_is_encoded_together_with_the_prompt(bound):
    """A tokenizer that joins the end of the prompt, n, with the beginning of an answer, d."""
    joins = byte_tokenizer()
    state = json.loads(joins.backend_tokenizer.to_str())
    state["model"]["vocab"]["nd"], state["model"]["merges"] = 258, [["n", "d"]]
    joins = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    result = culnig.ask(
        replace(bound, tokenizer=joins), "Rice an", raw=True, answers=["d", "t"], max_new_tokens=1
    )

    def probability(prompt: str, token: int) -> float:
        ids = torch.tensor([bound.tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            return float(bound.model(input_ids=ids).logits[0, -1].double().softmax(-1)[token])

    (t,) = bound.tokenizer("t")["input_ids"]
    expected = {"d": probability("Rice a", 258), "t": probability("Rice an", t)}
    assert result.answers[0][0].probabilities == pytest.approx(expected, rel=1e-4)


def test_an_answer_without_tokens_is_refused(bound):
    class Without:
        def __getattr__(self, name):
            return getattr(bound.tokenizer, name)

        def __call__(self, text, **options):
            return bound.tokenizer(text.rstrip(" "), **options)

    with pytest.raises(InputError, match=r"question 1: ' ' vanishes: this tokenizer has no tokens"):
        culnig.ask(replace(bound, tokenizer=Without()), "Where?", answers=(" ",), max_new_tokens=1)


def test_a_seed_draws_the_same_answers_and_leaves_torchs_own_state(bound, chosen):
    options = {"temperature": 1.5, "max_new_tokens": 12, "random_baseline": 0}
    before = torch.random.get_rng_state()
    first = culnig.ask(bound, "Where?", chosen, seed=3, **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert culnig.ask(bound, "Where?", chosen, seed=3, **options) == first
    assert culnig.ask(bound, "Where?", chosen, seed=4, **options).answers != first.answers
    assert first.document()["temperature"] == 1.5


def test_a_raw_text_is_continued(bound):
    (answers,) = culnig.ask(bound, "Rice and", raw=True, max_new_tokens=5).answers
    assert answers[0].text == bound.tokenizer.decode(greedy(bound, "Rice and", 5)).strip()


def test_notebooks_show_a_table_of_each_question(bound):
    page = culnig.ask(bound, ["<b>?", "Where?"], answers=["A"], max_new_tokens=2)._repr_html_()
    assert page.count("<table>") == 2
    assert "&lt;b&gt;?" in page
    assert "P(A)" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"questions": "  "}, "no question, or an empty one"),
        ({"questions": []}, "no question, or an empty one"),
        ({"factors": float("nan")}, "factors is nan; give finite numbers"),
        ({"factors": "0"}, "factors is '0'; give finite numbers"),
        ({"temperature": -1}, "temperature is -1; give 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; at least 1"),
        ({"raw": True, "system": "Answer."}, "raw uses no chat template"),
        ({"answers": [""]}, "answers holds an empty text"),
    ],
)
def test_impossible_options_are_refused(bound, options, message):
    with pytest.raises(InputError, match=message):
        culnig.ask(bound, **{"questions": "Where?", **options})


def test_a_set_of_another_model_is_refused(bound):
    other = tiny_model("gpt2")
    with pytest.raises(MismatchError, match="was made for"):
        culnig.ask(bound, "Where?", some_of_each_segment(other))


# The command


@pytest.fixture(scope="module")
def folder(bound, chosen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ask")
    save(bound, folder / "model")
    chosen.write(folder / "set.json")
    (folder / "questions.txt").write_text("What is eaten there?\n\nWhere?\n", encoding="utf-8")
    return folder


def command(capfd, folder, *arguments: str) -> tuple[int, str, str]:
    code = run(["ask", "--model", str(folder / "model"), "--max-new-tokens", "6", *arguments])
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_the_command_prints_json(folder, capfd, bound):
    code, out, _ = command(
        capfd,
        folder,
        "--questions",
        str(folder / "questions.txt"),
        "--neurons",
        str(folder / "set.json"),
        "--json",
    )
    assert code == 0
    document = json.loads(out)
    assert [own["question"] for own in document["questions"]] == list(QUESTIONS)
    expected = greedy(bound, PROMPT.format("Where?"), 6)
    assert document["questions"][1]["answers"][0]["text"] == bound.tokenizer.decode(expected).strip()


def test_the_command_prints_columns(folder, capfd):
    code, out, _ = command(
        capfd, folder, "Where?", "--neurons", str(folder / "set.json"), "--factor", "0", "--answer", "A"
    )
    assert code == 0
    assert "Where?" in out
    assert "│ unmasked" in out.replace("┃", "│")
    assert "P(A) = " in out
    assert "»…« is the first token that differs from the unmasked answer" in out
    assert "… ends an answer that is longer than --max-new-tokens" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either questions on the command line"),
        (("Where?", "--questions", "no.txt"), "give either questions on the command line"),
        (("--questions", "no.txt"), "no.txt cannot be read as questions"),
        (("Where?", "--factor", "much"), "'much' is not a valid float"),
    ],
)
def test_the_command_refuses_bad_input(folder, capfd, arguments, message):
    code, _, err = command(capfd, folder, *arguments)
    assert code == 2
    assert message in err


def test_neurons_of_no_file(folder, capfd):
    code, _, err = command(capfd, folder, "Where?", "--neurons", "nowhere.json")
    assert code == 2
    assert "nowhere.json: no such file" in err


def test_a_single_neuron_can_be_asked_about(bound):
    one = neuron_set(bound, [Neuron(MLP_GATE, 0, 0)])
    result = culnig.ask(bound, "Where?", one, factors=[2], max_new_tokens=2)
    assert result.conditions == ("unmasked", "by hand", "random 0 like by hand")
