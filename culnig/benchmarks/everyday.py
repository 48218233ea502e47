"""Our own questions on everyday culture (`data/everyday.toml`), with and without the question.

Each template is asked about every culture. The gold option is the culture's usual answer. The three wrong
options are usual answers of other cultures that are wrong for this one. SHA-256 of the item's id chooses
them, so they depend neither on the order of the file nor on the selection of items.

Items come in rounds: the first template of every topic, then the second of every topic, and so on. So the
first N items of a culture (`per_culture`) cover the topics evenly.

Gold letters form Latin squares: within a topic, hashes put the cultures and the templates in order, and the
letter is the sum of the two indices, modulo 4. Every template uses every letter equally often, and so does
every culture within a topic, provided that both counts are multiples of 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from culnig.benchmarks.base import Benchmark, licensed
from culnig.benchmarks.templates import (
    LEAST_WRONG,
    PLACEHOLDER,
    TOPICS,
    Questions,
    Template,
    by_hash,
    read_questions,
)
from culnig.core.data_files import own_data
from culnig.core.items import Item, Role

LABELS = ("A", "B", "C", "D")
INSTRUCTION = "Choose the letter of the best option and answer as JSON with the single key answer_choice."


def make_items(questions: Questions, *, with_question: bool = True) -> Iterator[Item]:
    """One item per template and culture, template by template, the topics in turn."""
    letters = _gold_letters(questions)
    for template in _in_rounds(questions.templates):
        for culture, name in questions.cultures.items():
            label = letters[template.id, culture]
            choices = template.wrong_answers(culture)[:LEAST_WRONG]
            choices.insert(LABELS.index(label), template.answers[culture][0])
            lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LABELS, choices, strict=True))
            prompt = f"{INSTRUCTION}\n\n{lines}\n\nAnswer:"
            if with_question:
                prompt = f"{template.question.replace(PLACEHOLDER, name)} {prompt}"
            yield Item(
                id=f"{template.id}/{culture}",
                question_id=template.id,
                culture=culture,
                split=TOPICS[template.topic],
                prompt=prompt,
                options=LABELS,
                answer=label,
                topic=template.topic,
            )


def _in_rounds(templates: Iterable[Template]) -> list[Template]:
    """The first template of every topic, then the second of every topic, and so on."""
    seen: Counter[str] = Counter()
    numbered: list[tuple[int, Template]] = []
    for template in templates:
        numbered.append((seen[template.topic], template))
        seen[template.topic] += 1
    return [template for _, template in sorted(numbered, key=lambda pair: pair[0])]


def _gold_letters(questions: Questions) -> dict[tuple[str, str], str]:
    letters: dict[tuple[str, str], str] = {}
    for topic in TOPICS:
        ids = by_hash((t.id for t in questions.templates if t.topic == topic), f"templates of {topic}")
        cultures = by_hash(questions.cultures, f"cultures of {topic}")
        for row, template in enumerate(ids):
            for column, culture in enumerate(cultures):
                letters[template, culture] = LABELS[(row + column) % len(LABELS)]
    return letters


class Everyday(Benchmark):
    """The questions, as target items."""

    name = "everyday"
    role: Role = "target"
    summary = "our own everyday-culture questions, 48 on 6 topics, 16 cultures (needs no data)"
    licence = licensed("MIT, ours")
    control: str | None = "everyday-control"

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items, the topics in turn; `data_dir` is ignored, because the data comes with the package."""
        yield from make_items(read_questions(own_data("everyday.toml")))

    def files(self, data_dir: Path | None) -> list[Path]:
        """The questions."""
        return [own_data("everyday.toml")]


class EverydayControl(Everyday):
    """The items of `Everyday` without the question, so that only the task format remains."""

    name = "everyday-control"
    role = "control"
    summary = "the items of everyday without their question"
    control = None

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """The same ids, options and gold letters as `Everyday`, in the same order."""
        yield from make_items(read_questions(own_data("everyday.toml")), with_question=False)
