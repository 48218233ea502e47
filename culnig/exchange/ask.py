"""Ask a model a question unmasked, masked, enhanced and with random neurons masked, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.core.items import NO_CULTURE, Item
from culnig.core.notebook import html_table
from culnig.core.progress import Say, say_nothing
from culnig.errors import InputError, argument, check_at_least
from culnig.evaluation.conditions import Condition, make_conditions
from culnig.evaluation.request import NeuronSetChoice, SetChoice
from culnig.inference.encoding import Encoder
from culnig.inference.generation import DEFAULT_NEW_TOKENS, Sampling, end_of, end_tokens, write_tokens
from culnig.models.intervention import intervene
from culnig.models.named import loaded_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel
    from culnig.models.settings import LoadOptions

FACTORS = (0.0, 2.0)
MARKS = ("»", "«")
"""Around the first token that differs from the unmasked model's."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote under one condition."""

    condition: str
    text: str
    differs: tuple[int, int] | None
    """Range in the text of the first token that differs from the unmasked answer; empty and at the end if
    the answer ends there. None if the answers are the same."""
    probabilities: dict[str, float]
    """Probability that the model writes a chosen answer next, by answer."""
    is_cut: bool
    """Whether it was cut at the maximum number of tokens."""

    @property
    def marked(self) -> str:
        """The text with marks around the first token that differs."""
        if self.differs is None:
            return self.text
        start, end = self.differs
        return f"{self.text[:start]}{MARKS[0]}{self.text[start:end]}{MARKS[1]}{self.text[end:]}"


@dataclass(frozen=True)
class Answers:
    """Answers to some questions, each under all conditions."""

    model: str
    conditions: tuple[str, ...]
    """`unmasked` first."""
    questions: tuple[str, ...]
    answers: tuple[tuple[Answer, ...], ...]
    """By question, in the order of the conditions."""
    sampling: Sampling | None = None
    """None if every token is the most probable one."""

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "model": self.model,
            "temperature": 0.0 if self.sampling is None else self.sampling.temperature,
            "seed": None if self.sampling is None else self.sampling.seed,
            "questions": [
                {"question": question, "answers": [_document(answer) for answer in answers]}
                for question, answers in zip(self.questions, self.answers, strict=True)
            ],
        }

    def __repr__(self) -> str:
        lines = [f"<Answers of {self.model}>"]
        for question, answers in zip(self.questions, self.answers, strict=True):
            lines.append(question)
            lines += [f"  {answer.condition}: {answer.marked}" for answer in answers]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: a table of each question."""
        tables = []
        for question, answers in zip(self.questions, self.answers, strict=True):
            rows: list[tuple[str, ...]] = [tuple(answer.marked for answer in answers)]
            for chosen in answers[0].probabilities:
                rows.append(tuple(f"P({chosen}) {answer.probabilities[chosen]:.3g}" for answer in answers))
            tables.append(html_table(question, self.conditions, rows))
        return "".join(tables)


def _document(answer: Answer) -> dict[str, Any]:
    return {
        "condition": answer.condition,
        "text": answer.text,
        "differs_at": None if answer.differs is None else answer.differs[0],
        "cut": answer.is_cut,
        "probabilities": answer.probabilities,
    }


def ask(
    model: str | Path | BoundModel,
    questions: str | Path | Sequence[str],
    neurons: NeuronSetChoice = (),
    *,
    factors: float | Sequence[float] = FACTORS,
    random_baseline: int = 1,
    seed: int = 0,
    temperature: float = 0.0,
    answers: Sequence[str] = (),
    max_new_tokens: int = DEFAULT_NEW_TOKENS,
    raw: bool = False,
    system: str | None = None,
    prompt_date: date | str | None = None,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> Answers:
    """Ask one or several questions, or those in a text file (a `Path`, one per line), side by side.

    The model answers unmasked, with each set of `neurons` at each of `factors`, and with `random_baseline`
    random sets that match it, at the first factor. At `temperature` 0 every token is the most probable one;
    above 0, tokens are sampled with `seed`, which is also the seed of the random sets. `answers` are texts:
    under each condition, the result has the probability that each is written next.

    A question goes through the chat template, after the `system` message if there is one; `raw` continues the
    text as it stands. `loading` holds the options of `load_model` for a model given by name.

    MismatchError if a set is of another model, InputError for empty questions and for values that are not
    allowed.
    """
    asked = _questions(questions)
    given = [factors] if isinstance(factors, int | float) else list(factors)
    if not given or not all(isinstance(factor, int | float) and math.isfinite(factor) for factor in given):
        raise InputError(f"{argument('factors')} is {factors!r}; give finite numbers, such as 0 and 2")
    if not math.isfinite(temperature) or temperature < 0:
        raise InputError(f"{argument('temperature')} is {temperature}; give 0 (greedy) or more")
    if raw and system is not None:
        raise InputError(f"{argument('raw')} uses no chat template, so there is no {argument('system')} turn")
    for name, value, least in (
        ("max_new_tokens", max_new_tokens, 1),
        ("random_baseline", random_baseline, 0),
        ("seed", seed, 0),
    ):
        check_at_least(name, value, least)
    if any(not text for text in answers):
        raise InputError(f"{argument('answers')} holds an empty text, which has no probability")
    sets = SetChoice(neurons).read()
    bound = loaded_model(model, say, **loading)
    conditions = make_conditions(sets, bound.layout, factor=given, n_random=random_baseline, seed=seed)
    conditions = _as_columns(conditions, float(given[0]))
    encoder = Encoder(bound, prompt_date)
    prompts = [
        _Prompt.of(
            encoder,
            question if raw else encoder.prompt_text(_item(question, number, system)),
            answers,
            f"question {number}",
        )
        for number, question in enumerate(asked, start=1)
    ]
    sampling = Sampling(temperature, seed) if temperature else None
    writer = _Writer(bound, max_new_tokens, sampling)
    by_condition = []
    for condition in conditions:
        say(f"answering: {condition.name}")
        with intervene(bound, condition.flat, condition.factor):
            by_condition.append([writer.write(condition.name, prompt) for prompt in prompts])
    rows = zip(*by_condition, strict=True)
    return Answers(
        bound.source,
        tuple(condition.name for condition in conditions),
        tuple(asked),
        tuple(writer.compared(row) for row in rows),
        sampling,
    )


def _questions(questions: str | Path | Sequence[str]) -> list[str]:
    """The questions, without those that are empty lines of a file."""
    if isinstance(questions, Path):
        try:
            text = questions.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{questions} cannot be read as questions, one per line: {error}") from None
        asked = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        asked = [questions] if isinstance(questions, str) else list(questions)
    if not asked or any(not question.strip() for question in asked):
        raise InputError("no question, or an empty one; give one or several texts, or a file of them")
    return asked


def _item(question: str, number: int, system: str | None) -> Item:
    """A question as an item, of which only the prompt matters."""
    return Item(
        f"question {number}", f"{number}", NO_CULTURE, "test", question, ("A", "B"), "A",
        answer_prefix="", system=system,
    )  # fmt: skip


def _as_columns(conditions: Sequence[Condition], first: float) -> list[Condition]:
    """The conditions with random sets last, and only at the first factor, because space is scarce."""
    random = [c for c in conditions if c.like is not None and c.factor == first]
    return [c for c in conditions if c.like is None] + random


@dataclass(frozen=True)
class _Prompt:
    """Token ids of a prompt."""

    ids: tuple[int, ...]
    with_answers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """By chosen answer: prompt and answer, encoded together. Where the tokenizer joins the end of the prompt
    with the beginning of the answer, that token is the answer's."""

    @classmethod
    def of(cls, encoder: Encoder, text: str, answers: Sequence[str], name: str) -> _Prompt:
        """Encode a text; LabelError for an answer that has no tokens after it."""
        return cls(
            tuple(encoder.text_ids(text, name)),
            {answer: encoder.text_after(text, answer, name) for answer in answers},
        )


@dataclass(frozen=True)
class _Written:
    """Token ids of an answer, up to its end."""

    condition: str
    ids: tuple[int, ...]
    is_cut: bool
    probabilities: dict[str, float]


class _Writer:
    """Writes answers, and finds where they differ."""

    def __init__(self, bound: BoundModel, max_new_tokens: int, sampling: Sampling | None) -> None:
        self._bound = bound
        self._max_new_tokens = max_new_tokens
        self._sampling = sampling
        self._ends = end_tokens(bound)

    def write(self, condition: str, prompt: _Prompt) -> _Written:
        """The answer to one prompt, in a batch by itself, so that it does not depend on other prompts."""
        (written,) = write_tokens(self._bound, [prompt.ids], self._ends, self._max_new_tokens, self._sampling)
        end = end_of(written, self._ends)
        probabilities = {text: self._probability(*ids) for text, ids in prompt.with_answers.items()}
        return _Written(condition, tuple(written[:end]), end is None, probabilities)

    def _probability(self, prompt: Sequence[int], text: Sequence[int]) -> float:
        """Probability that the model writes a text next: the product over its tokens."""
        import torch

        tokens = torch.tensor([[*prompt, *text]], device=self._bound.input_device)
        model: Any = self._bound.model
        with torch.inference_mode():
            logits = model(input_ids=tokens, use_cache=False).logits[0, len(prompt) - 1 : -1].double()
        chosen = logits.log_softmax(-1)[torch.arange(len(text)), torch.tensor(text)]
        return float(chosen.sum().exp())

    def compared(self, row: Sequence[_Written]) -> tuple[Answer, ...]:
        """The answers to one question as text, with where each starts to differ from the first."""
        return tuple(self._answer(written, row[0]) for written in row)

    def _answer(self, own: _Written, first: _Written) -> Answer:
        text = self._text(own.ids)
        differs = None
        if own.ids != first.ids:
            pairs = zip(own.ids, first.ids, strict=False)
            same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(own.ids), len(first.ids)))
            start = min(len(self._text(own.ids[:same])), len(text))
            end = max(start, min(len(self._text(own.ids[: same + 1])), len(text)))
            token = text[start:end]
            differs = end - len(token.lstrip() or token), end
        return Answer(own.condition, text.rstrip(), differs, own.probabilities, own.is_cut)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._bound.tokenizer.decode(list(ids), skip_special_tokens=True)).lstrip()
