"""WorldValuesBench: what do people of a country value? Answers on a scale, scored by their distance.

Paper: Zhao et al., "WorldValuesBench: A Large-Scale Benchmark Dataset for Multi-Cultural Value Awareness of
Language Models", LREC-COLING 2024, from the World Values Survey, wave 7 (respondents' data may not be
redistributed). Not on the hub. In `<data-dir>/WorldValuesBench/`: `question_metadata.json`, and either
`full_demographic_qa.tsv` and `full_value_qa.tsv` (there or in `full/`), or `wvb_country_distributions.json`,
the share of each answer per country and question.

Gold is the most common answer of the country (the lower one of a tie). A country's questions are in the order
of KL(country ‖ all countries), the most distinctive first. Splits: the first 40 identify neurons, the others
test them; the paper evaluates on both, `--split all`. `worldvalues` asks about the cultures with
`specific_target`, `worldvalues-all` about every culture on record. Labels are the digits of the scale. A
scale up to ten has letters instead, because most tokenizers split "10". Checked against: the question
metadata (239 questions), shares of 19 countries; see docs/method.md, Masking and evaluation.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from culnig.benchmarks.base import Benchmark
from culnig.benchmarks.published import CultureNames
from culnig.benchmarks.rows import csv_rows, read_json
from culnig.benchmarks.wordings import check_placeholders, fill, read_tables
from culnig.core.data_files import own_data
from culnig.core.items import Item
from culnig.cultures.records import Culture
from culnig.cultures.spellings import name_in_sentence
from culnig.errors import DataFileError, argument

N_IDENTIFY = 40
MIN_ANSWERS = 10
"""A country's questions with fewer answers are left out."""
PROMPTS = "prompts/worldvalues.toml"
_METADATA = "question_metadata.json"
_SHARES = "wvb_country_distributions.json"
_PEOPLE, _ANSWERS = "full_demographic_qa.tsv", "full_value_qa.tsv"
_ID, _COUNTRY = "D_INTERVIEW", "B_COUNTRY"

Shares = Mapping[int, float]
"""Share of each answer; they sum to 1."""


@dataclass(frozen=True)
class ValueQuestion:
    """A question and the ends of its scale."""

    id: str
    text: str
    lowest: int
    highest: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the answers, in the order of the scale."""
        n = self.highest - self.lowest + 1
        if self.highest > 9:
            return tuple(string.ascii_uppercase[:n])
        return tuple(str(value) for value in range(self.lowest, self.highest + 1))

    @property
    def scale(self) -> str:
        """The labels as text."""
        labels = self.labels
        if not labels[0].isdigit():
            labels = tuple(f"{label} for {value}" for value, label in enumerate(labels, self.lowest))
        return f"{', '.join(labels[:-1])} or {labels[-1]}"


class WorldValues(Benchmark):
    """Questions about the cultures with `specific_target`."""

    name = "worldvalues"
    role = "target"
    summary = "WorldValuesBench: a country's most usual answers; alignment on the scale; 2 × 2 wordings"
    needs_data_dir = True

    def includes(self, culture: Culture) -> bool:
        """Whether the benchmark asks about the culture."""
        return culture.specific_target

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items: country by country, then question by question, then wording by wording."""
        folder = _folder(data_dir)
        questions = read_questions(folder / _METADATA)
        shares, reference = read_shares(folder, questions)
        wordings = _read_wordings(own_data(PROMPTS))
        names = CultureNames("worldvalues")
        cultures = {record.key: (record, c) for c in shares if (record := names.get(c)) is not None}
        for _, (record, country) in sorted(cultures.items()):
            if self.includes(record):
                ranked = rank_questions(shares[country], reference)
                for rank, question in enumerate(ranked):
                    of_country = shares[country][question]
                    identify = rank < N_IDENTIFY
                    yield from _items(questions[question], of_country, record, wordings, identify)

    def files(self, data_dir: Path | None) -> list[Path]:
        """Metadata, answers and wordings."""
        folder = _folder(data_dir)
        people = _respondents(folder)
        return [folder / _METADATA, *(people or [folder / _SHARES]), own_data(PROMPTS)]


class WorldValuesAll(WorldValues):
    """Questions about every culture on record."""

    name = "worldvalues-all"
    summary = "worldvalues for every country of the survey on record; choose with --culture"

    def includes(self, culture: Culture) -> bool:
        """Whether the benchmark asks about the culture."""
        return True


def rank_questions(country: Mapping[str, Shares], reference: Mapping[str, Shares]) -> list[str]:
    """Questions by KL(country ‖ reference), the largest first; ties keep their order."""
    return sorted(country, key=lambda question: -divergence(country[question], reference[question]))


def divergence(shares: Shares, reference: Shares) -> float:
    """KL(shares ‖ reference) in nats, over the answers that both have."""
    return sum(
        share * math.log(share / reference[answer])
        for answer, share in shares.items()
        if share > 0 and reference.get(answer, 0) > 0
    )


def read_questions(path: Path) -> dict[str, ValueQuestion]:
    """The value questions of the metadata; DataFileError names a malformed question."""
    questions: dict[str, ValueQuestion] = {}
    for name, entry in read_json(path).items():
        if not isinstance(entry, dict):
            raise DataFileError(path, f"question {name!r}: expected an object, got {entry!r}")
        if entry.get("use_case") != "value":
            continue
        text, lowest, highest = (
            entry.get(key) for key in ("question", "answer_scale_min", "answer_scale_max")
        )
        if not isinstance(text, str) or not text.strip():
            raise DataFileError(path, f"question {name!r}: no text under `question`")
        if not isinstance(lowest, int) or not isinstance(highest, int) or not 0 <= lowest < highest <= 25:
            problem = "answer_scale_min and answer_scale_max must be whole numbers, the first smaller"
            raise DataFileError(path, f"question {name!r}: {problem}; got {lowest!r} and {highest!r}")
        questions[name] = ValueQuestion(name, text.strip(), lowest, highest)
    return questions


def read_shares(
    folder: Path, questions: Mapping[str, ValueQuestion]
) -> tuple[dict[str, dict[str, Shares]], dict[str, Shares]]:
    """Shares by country and question, and the shares of all countries together.

    The latter weight all respondents equally, or all countries, if only the countries' shares are known.
    """
    people = _respondents(folder)
    if people is not None:
        counts = _count_answers(*people, questions)
        whole: dict[str, Counter[int]] = {}
        for answers in counts.values():
            for question, counted in answers.items():
                whole.setdefault(question, Counter()).update(counted)
        by_country: dict[str, dict[str, Shares]] = {
            country: {q: _normal(c) for q, c in answers.items() if sum(c.values()) >= MIN_ANSWERS}
            for country, answers in counts.items()
        }
        return by_country, {question: _normal(counted) for question, counted in whole.items()}
    shares = _read_distributions(folder / _SHARES, questions)
    summed: dict[str, dict[int, float]] = {}
    for distributions in shares.values():
        for question, distribution in distributions.items():
            sums = summed.setdefault(question, {})
            for answer, share in distribution.items():
                sums[answer] = sums.get(answer, 0.0) + share
    return shares, {question: _normal(sums) for question, sums in summed.items()}


def _items(
    question: ValueQuestion, shares: Shares, culture: Culture, wordings: _Wordings, identify: bool
) -> Iterator[Item]:
    usual = min(shares, key=lambda answer: (-shares[answer], answer))
    labels = question.labels
    for system_id, system in wordings.systems.items():
        for user_id, user in wordings.users.items():
            yield Item(
                id=f"{question.id}/{culture.key}/{system_id}{user_id}",
                question_id=question.id,
                culture=culture.key,
                split="identify" if identify else "test",
                prompt=fill(user, {"question": question.text, "scale": question.scale}),
                options=labels,
                answer=labels[usual - question.lowest],
                system=fill(system, {"country": name_in_sentence(culture, culture.names["worldvalues"])}),
                ordinal=True,
            )


@dataclass(frozen=True)
class _Wordings:
    systems: dict[str, str]
    users: dict[str, str]


def _read_wordings(path: Path) -> _Wordings:
    columns = {"id": str, "template": str}
    texts: dict[str, dict[str, str]] = {}
    for name, parts in (("systems", {"country"}), ("wordings", {"question", "scale"})):
        texts[name] = {}
        for where, table in read_tables(path, name, columns):
            check_placeholders(path, where, table["template"], parts, parts)
            texts[name][table["id"]] = table["template"].strip()
    return _Wordings(texts["systems"], texts["wordings"])


def _folder(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataFileError(
            "WorldValuesBench",
            f"not on the hub; name the parent folder of WorldValuesBench/ with {argument('data_dir')} or "
            "CULNIG_DATA (its README on GitHub explains how to make the files from the survey's data)",
        )
    return data_dir / "WorldValuesBench"


def _respondents(folder: Path) -> tuple[Path, Path] | None:
    """Demographics and answers of the respondents, if both files exist."""
    for parent in (folder, folder / "full"):
        if (parent / _PEOPLE).is_file() and (parent / _ANSWERS).is_file():
            return parent / _PEOPLE, parent / _ANSWERS
    return None


def _count_answers(
    people: Path, answers: Path, questions: Mapping[str, ValueQuestion]
) -> dict[str, dict[str, Counter[int]]]:
    country_of: dict[str, str] = {}
    for row in csv_rows(people, (_ID, _COUNTRY), delimiter="\t"):
        country_of[row.text(_ID)] = row.text(_COUNTRY)
    counts: dict[str, dict[str, Counter[int]]] = {}
    for row in csv_rows(answers, (_ID, *questions), delimiter="\t"):
        country = country_of.get(row.text(_ID))
        if country is None:
            raise row.error(f"respondent {row.text(_ID)} is not in {people.name}", _ID)
        of_country = counts.setdefault(country, {})
        for name, question in questions.items():
            value = row.values[name]
            if not value:
                continue
            try:
                answer = int(float(value))
            except ValueError:
                raise row.error(f"expected a number, got {value!r}", name) from None
            if not question.lowest <= answer <= question.highest:
                allowed = f"{question.lowest} to {question.highest}"
                raise row.error(f"answer {answer} is not on the scale {allowed}", name)
            of_country.setdefault(name, Counter())[answer] += 1
    return counts


def _read_distributions(path: Path, questions: Mapping[str, ValueQuestion]) -> dict[str, dict[str, Shares]]:
    shares: dict[str, dict[str, Shares]] = {}
    for country, entries in read_json(path).items():
        shares[country] = {}
        for name, dist in entries.items():
            where = f"{country}, question {name!r}"
            if name not in questions:
                raise DataFileError(path, f"{where}: {_METADATA} has no such value question")
            question = questions[name]
            scale = {str(value) for value in range(question.lowest, question.highest + 1)}
            if not isinstance(dist, dict) or not dist or set(dist) - scale:
                problem = f"expected shares of the answers {', '.join(sorted(scale))}, got {dist!r}"
                raise DataFileError(path, f"{where}: {problem}")
            shares[country][name] = _normal({int(answer): float(share) for answer, share in dist.items()})
    return shares


def _normal(weights: Mapping[int, float]) -> Shares:
    total = sum(weights.values())
    return {answer: weight / total for answer, weight in sorted(weights.items())}
