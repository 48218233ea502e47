"""CulturalBench-Easy: 1,227 multiple-choice questions on 45 countries.

Paper: Chiu et al., "CulturalBench: A Robust, Diverse, and Challenging Cultural Benchmark by Human-AI
CulturalTeaming", ACL 2025. Licence: CC BY 4.0. Hub: `kellycyy/CulturalBench`, config `CulturalBench-Easy`,
split `test`; locally `CulturalBench/CulturalBench-Easy.csv`. Splits: all questions test. Options are shuffled
for every item, because A is the right letter of 54 % of the published questions. Two wordings have letters,
two have digits. Checked against: the published CSV (1,227 questions, 45 countries), see docs/method.md,
Masking and evaluation.
"""

from __future__ import annotations

from culnig.benchmarks.base import licensed
from culnig.benchmarks.published import CultureNames, PublishedBenchmark, Question
from culnig.benchmarks.rows import Row
from culnig.benchmarks.source import Source

LETTERS = ("A", "B", "C", "D")


class CulturalBench(PublishedBenchmark):
    """One item per question and wording."""

    name = "culturalbench"
    role = "target"
    summary = "CulturalBench-Easy, 45 countries, options shuffled; 4 wordings"
    licence = licensed("CC BY 4.0")
    id_column = "data_idx"
    source = Source(
        "CulturalBench",
        ("CulturalBench-Easy.csv",),
        (
            id_column,
            "prompt_question",
            *(f"prompt_option_{letter.lower()}" for letter in LETTERS),
            "answer",
            "country",
        ),
        hub="kellycyy/CulturalBench",
        hub_config="CulturalBench-Easy",
    )
    prompts = "prompts/culturalbench.toml"
    parts = frozenset({"question"})
    n_options = len(LETTERS)
    shuffle = True

    def question(self, row: Row, names: CultureNames) -> Question:
        """Turn a row into a question."""
        return Question(
            {"question": row.text("prompt_question")},
            tuple(row.text(f"prompt_option_{letter.lower()}") for letter in LETTERS),
            LETTERS.index(row.one_of("answer", LETTERS, "answer letter")),
            names.find(row, "country").key,
        )
