"""CommonsenseQA: everyday knowledge of no particular culture, five options.

Paper: Talmor et al., "CommonsenseQA: A Question Answering Challenge Targeting Commonsense Knowledge", NAACL
2019. Licence: MIT. Hub: `tau/commonsense_qa`, split `validation`; locally
`CommonsenseQA/dev_rand_split.jsonl` with the columns of the hub.
Splits: all validation questions test; `train_rand_split.jsonl` is for fine-tuning. Options are in the
published order.
Checked against: the validation file (1,221 questions).
"""

from __future__ import annotations

from dataclasses import replace

from culnig.benchmarks.base import licensed
from culnig.benchmarks.published import CultureNames, PublishedBenchmark, Question
from culnig.benchmarks.rows import Row
from culnig.benchmarks.source import Source
from culnig.core.items import NO_CULTURE

N_OPTIONS = 5


class CommonsenseQA(PublishedBenchmark):
    """One item per question and wording."""

    name = "commonsenseqa"
    role = "target"
    summary = "CommonsenseQA validation: general knowledge, no culture; 4 wordings"
    licence = licensed("MIT")
    id_column = "id"
    source = Source(
        "CommonsenseQA",
        ("dev_rand_split.jsonl",),
        (id_column, "question", "choices", "answerKey"),
        hub="tau/commonsense_qa",
        hub_split="validation",
    )
    training = replace(source, file_names=("train_rand_split.jsonl",), hub_split="train")
    prompts = "prompts/commonsenseqa.toml"
    parts = frozenset({"question"})
    n_options = N_OPTIONS

    def question(self, row: Row, names: CultureNames) -> Question:
        """Turn a row into a question."""
        choices = row.values["choices"]
        if not isinstance(choices, dict) or {"label", "text"} - set(choices):
            raise row.error("expected an object with the lists `label` and `text`", "choices")
        labels, texts = choices["label"], choices["text"]
        if len(labels) != len(texts) or len(texts) != N_OPTIONS or not all(str(t).strip() for t in texts):
            raise row.error(f"expected {N_OPTIONS} labels with {N_OPTIONS} texts, none empty", "choices")
        gold = row.one_of("answerKey", labels, "answer letter")
        return Question({"question": row.text("question")}, tuple(texts), labels.index(gold), NO_CULTURE)
