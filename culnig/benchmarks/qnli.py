"""QNLI: does a sentence answer a question? Language understanding without cultural knowledge.

Paper: Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding",
ICLR 2019 (questions from SQuAD, CC BY-SA 4.0). Hub: `nyu-mll/glue`, config `qnli`, split `validation`;
locally `GLUE/qnli_validation.jsonl` with the columns of the hub.
Splits: all validation pairs test; `qnli_train.jsonl` is for fine-tuning (the paper uses 10,000 of its rows).
Label 0 is "entailment": the sentence contains the answer.
Checked against: the validation file (5,463 pairs).
"""

from __future__ import annotations

from dataclasses import replace

from culnig.benchmarks.base import licensed
from culnig.benchmarks.published import CultureNames, PublishedBenchmark, Question
from culnig.benchmarks.rows import Row
from culnig.benchmarks.source import Source
from culnig.core.items import NO_CULTURE

LABELS = ("0", "1")


class QNLI(PublishedBenchmark):
    """One item per pair and wording."""

    name = "qnli"
    role = "target"
    summary = "GLUE QNLI validation: does the sentence answer the question? no culture; 4 wordings"
    licence = licensed("CC BY-SA 4.0, questions from SQuAD")
    id_column = "idx"
    source = Source(
        "GLUE",
        ("qnli_validation.jsonl",),
        (id_column, "question", "sentence", "label"),
        hub="nyu-mll/glue",
        hub_config="qnli",
        hub_split="validation",
    )
    training = replace(source, file_names=("qnli_train.jsonl",), hub_split="train")
    training_examples = 10_000
    prompts = "prompts/qnli.toml"
    parts = frozenset({"question", "sentence"})
    n_options = len(LABELS)

    def question(self, row: Row, names: CultureNames) -> Question:
        """Turn a row into a question."""
        return Question(
            {"question": row.text("question"), "sentence": row.text("sentence")},
            ("yes", "no"),
            LABELS.index(row.one_of("label", LABELS, "label")),
            NO_CULTURE,
        )
