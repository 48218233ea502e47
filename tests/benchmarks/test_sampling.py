"""Draws of whole questions: the same for target and control, even over topics, whatever the order."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import weakref
from collections import Counter
from dataclasses import replace

import pytest

import culnig
from culnig.benchmarks import choosing
from culnig.benchmarks.base import Benchmark, ChosenItems
from culnig.benchmarks.choosing import read_benchmarks
from culnig.benchmarks.everyday import Everyday
from culnig.benchmarks.sampling import Asked, Sample
from culnig.cli.main import COMMANDS
from culnig.core.items import NO_CULTURE
from culnig.errors import InputError, MismatchError
from culnig.reporting.inspect import benchmark_rows
from tests.tiny_models import tiny_model
from tests.toy import CULTURES, items

BOTH = ("everyday", "everyday-control")


def questions(chosen):
    return {item.question for item in chosen.items}


def chosen(own, role="target"):
    return ChosenItems(role, "identify", own)


class Given(Benchmark):
    """A benchmark of the given items."""

    summary = "toy"

    def __init__(self, name, own, role="target"):
        self.name, self._items, self.role = name, own, role

    def read(self, data_dir):
        yield from self._items


def sampled(asked, sample, say=lambda line: None):
    """The draw from items, as from benchmarks that have them."""
    given = [Given(name, own.items, own.role) for name, own in asked.items()]
    return read_benchmarks(given, sample=sample.n_questions, seed=sample.seed, say=say)


def test_a_draw_is_even_over_topics_and_keeps_every_culture_of_a_question():
    drawn = read_benchmarks("everyday", split="identify", sample=6)["everyday"]
    assert len(drawn.items) == 6 * 16
    topic_of = {item.question: item.topic for item in drawn.items}
    assert Counter(topic_of.values()) == {"Food": 2, "Work life": 2, "Sport": 2}
    assert set(Counter(item.question for item in drawn.items).values()) == {16}


def test_target_and_control_get_the_same_questions_and_each_benchmark_as_many():
    drawn = read_benchmarks((*BOTH, "country-rc"), split="identify", sample=7, seed=3)
    assert questions(drawn["everyday"]) == questions(drawn["everyday-control"])
    assert [len(questions(own)) for own in drawn.values()] == [7, 7, 7]
    alone = read_benchmarks("everyday-control", split="identify", sample=7, seed=3)
    assert questions(alone["everyday-control"]) == questions(drawn["everyday"])


def test_only_questions_that_target_and_control_share_are_drawn():
    own = items(questions=8)
    lacking = [item for item in own if item.question not in ("q2", "q5")]
    for seed in range(5):
        drawn = sampled({"t": chosen(own), "c": chosen(lacking, "control")}, Sample(5, seed))
        assert questions(drawn["t"]) == questions(drawn["c"])
        assert not questions(drawn["t"]) & {"q2", "q5"}
    with pytest.raises(InputError, match=r"is 7, but 't' and 'c' share only 6 questions.*give 6 or"):
        sampled({"t": chosen(own), "c": chosen(lacking, "control")}, Sample(7))


def test_two_targets_and_their_controls_are_drawn_pair_by_pair():
    first, second = items(questions=6), [replace(item, unit=f"other {item.question}") for item in items()]
    asked = {
        "a": chosen(first),
        "b": chosen(second),
        "b-control": chosen(second, "control"),
        "a-control": chosen(first[:-1], "control"),
    }
    drawn = sampled(asked, Sample(3, 1))
    assert list(drawn) == list(asked)
    assert questions(drawn["a"]) == questions(drawn["a-control"])
    assert questions(drawn["b"]) == questions(drawn["b-control"]) == {f"other q{n}" for n in range(3)}


def test_the_order_of_the_items_does_not_matter():
    own = items(questions=9, per_question=2)
    assert Asked(own).ranked(4) == Asked(own[::-1]).ranked(4)
    drawn = sampled({"t": chosen(own)}, Sample(4, 4))["t"]
    assert drawn.items == [item for item in own if item.question in set(Asked(own).ranked(4)[:4])]


def test_questions_of_one_topic_are_in_the_order_of_their_hashes():
    own = [replace(item, topic="") for item in items(questions=7)]
    hashed = sorted((hashlib.sha256(f"5\nq{n}".encode()).digest(), f"q{n}") for n in range(7))
    assert Asked(own).ranked(5) == [name for _, name in hashed]


def test_a_small_draw_is_part_of_a_larger_one_and_seeds_differ():
    draws = [questions(read_benchmarks("everyday", sample=n)["everyday"]) for n in (6, 12, 48)]
    assert draws[0] < draws[1] < draws[2]
    seeds = {frozenset(questions(read_benchmarks("everyday", sample=6, seed=s)["everyday"])) for s in (0, 1)}
    assert len(seeds) == 2


def test_questions_of_single_cultures_are_even_over_cultures_too():
    own = [replace(item, question_id=f"{item.culture} {item.question_id}") for item in items(questions=6)]
    drawn = sampled({"t": chosen(own)}, Sample(8))["t"]
    assert Counter(item.culture for item in drawn.items) == dict.fromkeys(CULTURES, 2)
    assert Counter((item.culture, item.topic) for item in drawn.items) == {
        (culture, topic): 1 for culture in CULTURES for topic in ("Food", "Sport")
    }
    said = []
    few = sampled({"t": chosen(own)}, Sample(3), said.append)["t"]
    (missing,) = set(CULTURES) - {item.culture for item in few.items}
    assert said == [f"t: none of the questions drawn is about {missing}; draw more, or with another seed"]


def test_a_draw_from_a_long_benchmark_holds_only_the_items_that_are_drawn(monkeypatch):
    (one,) = items(("Spain",), questions=1)
    alive, most = weakref.WeakSet(), []

    class Long(Given):
        def read(self, data_dir):
            for number in range(300):
                item = replace(one, id=f"i{number}", question_id=f"q{number}")
                alive.add(item)
                yield item
                del item
                most.append(len(alive))

    whole = read_benchmarks(Long("long", ()), sample=5)["long"]
    assert len(most) == 300, "read once"
    monkeypatch.setattr(choosing, "MOST_HELD", 10)
    most.clear()
    drawn = read_benchmarks(Long("long", ()), sample=5)["long"]
    assert drawn.items == whole.items
    assert len(most) == 600
    assert max(most) <= 5 + 10 + 5 + 2


def test_the_draw_is_recorded():
    drawn = read_benchmarks("everyday", sample=3, seed=9)["everyday"]
    assert drawn.record()["sample"] == {"n_questions": 3, "seed": 9}
    assert "sample" not in read_benchmarks("everyday", limit=3)["everyday"].record()


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"sample": 0}, "sample is 0; at least 1"),
        ({"sample": 3, "seed": -1}, "seed is -1; at least 0"),
        (
            {"sample": 25, "split": "test"},
            "sample is 25, but 'everyday' has only 24 questions in this split; ",
        ),
        ({"sample": 3, "limit": 5}, "sample draws whole questions, limit takes the first items; give only"),
        ({"sample": 3, "per_culture": 5}, "sample draws whole questions, per_culture takes the first items"),
    ],
)
def test_what_cannot_be_drawn_is_refused(choice, problem):
    with pytest.raises(InputError, match=problem):
        read_benchmarks("everyday", **choice)


@pytest.mark.parametrize("choice", [{"sample": 2}, {"limit": 2}, {"per_culture": 2}, {"cultures": ["Spain"]}])
def test_items_that_are_chosen_already_are_not_chosen_again(choice):
    with pytest.raises(InputError, match=f"chosen already; leave out {next(iter(choice))}"):
        read_benchmarks({"t": chosen(items())}, **choice)


def test_per_culture_says_so_where_it_does_not_count_questions():
    def said(own, n):
        lines = []
        read_benchmarks(Given("toy", own), per_culture=n, say=lines.append)
        return lines

    assert said(items(questions=4), 4) == []
    assert said(items(questions=4, per_question=5), 10) == [
        "toy: the first 10 items of each culture are on only 2 questions; a sample draws whole questions"
    ]
    assert said(items([NO_CULTURE], questions=9), 4) == [
        "toy: its items are about no culture; these are its first 4 items, on 4 questions"
    ]


def test_a_question_of_several_languages_is_drawn_with_all_of_them():
    own = [
        replace(item, id=f"{item.id}-{language}", question_id=f"{item.question_id}-{language}", unit=unit)
        for item in items(questions=4)
        for language in ("en", "es")
        for unit in [item.question_id]
    ]
    drawn = sampled({"t": chosen(own)}, Sample(2))["t"]
    assert len(drawn.items) == 2 * len(CULTURES) * 2
    assert len(questions(drawn)) == 2


def test_whatever_takes_items_of_each_culture_can_draw_questions():
    drawing = set()
    for name, module in COMMANDS.items():
        parameters = {parameter.name for parameter in importlib.import_module(module).command.params}
        if "per_culture" in parameters:
            assert {"sample", "seed"} <= parameters, name
            drawing.add(name)
    assert drawing == {"score", "evaluate", "plan", "instances", "audit", "train"}
    for function in (culnig.score, culnig.evaluate, culnig.plan, culnig.instances, culnig.audit):
        assert {"sample", "seed"} <= inspect.signature(function).parameters.keys(), function.__name__
    assert "sample" in inspect.signature(culnig.compare_arms).parameters  # seed is among its options


def test_runs_of_other_draws_are_neither_resumed_nor_merged(tmp_path):
    def run(name, benchmark, **draw):
        return culnig.score(
            tiny_model(), benchmark, tmp_path / name, cultures=("Spain",), check=False, **draw
        )

    target = run("target", "everyday", sample=2, seed=1)
    assert target.record["benchmarks"]["everyday"]["sample"] == {"n_questions": 2, "seed": 1}
    for other in ({"sample": 2, "seed": 2}, {"limit": 2}):
        with pytest.raises(MismatchError, match="sample"):
            run("target", "everyday", resume=True, **other)
    run("target", "everyday", sample=2, seed=1, resume=True)
    control = run("control", "everyday-control", sample=2, seed=1)
    merged = culnig.merge([target, control], tmp_path / "both")
    assert merged.record["benchmarks"]["everyday-control"]["sample"] == {"n_questions": 2, "seed": 1}
    assert {item["n_questions"] for item in benchmark_rows(merged)} == {2}
    with pytest.raises(MismatchError, match=r"[23] questions drawn with seed 1; .*the same sample and seed"):
        culnig.merge([target, run("other", "everyday-control", sample=3, seed=1)], tmp_path / "wrong")


def test_an_evaluation_draws_with_its_own_seed_and_records_it(tmp_path):
    found = culnig.evaluate(
        tiny_model(), "everyday", (), tmp_path / "eval", cultures=("Spain",), sample=2, seed=4, check=False
    )
    assert found.results["benchmarks"]["everyday"]["sample"] == {"n_questions": 2, "seed": 4}
    own = [item for item in Everyday().read(None) if item.split == "test" and item.culture == "Spain"]
    expected = Asked(own).ranked(4)[:2]
    assert set(found.answers["everyday", "unmasked"].units) == set(expected)
