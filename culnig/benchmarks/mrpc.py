"""MRPC: do two sentences mean the same? Language understanding without cultural knowledge.

Paper: Dolan and Brockett, "Automatically Constructing a Corpus of Sentential Paraphrases", IWP 2005; as part
of GLUE (Wang et al., ICLR 2019), with Microsoft's research licence. Hub: `nyu-mll/glue`, config `mrpc`, split
`test`; locally `GLUE/mrpc_test.jsonl` with the columns of the hub.
Splits: all pairs test; `mrpc_train.jsonl` is for fine-tuning. Label 1 is "equivalent".
Checked against: the test file (1,725 pairs).
"""

from __future__ import annotations

from dataclasses import replace

from culnig.benchmarks.base import licensed
from culnig.benchmarks.published import CultureNames, PublishedBenchmark, Question
from culnig.benchmarks.rows import Row
from culnig.benchmarks.source import Source
from culnig.core.items import NO_CULTURE

LABELS = ("1", "0")


class MRPC(PublishedBenchmark):
    """One item per pair and wording."""

    name = "mrpc"
    role = "target"
    summary = "GLUE MRPC test: do two sentences mean the same? no culture; 4 wordings"
    licence = licensed("Microsoft's research licence", non_commercial=True)
    id_column = "idx"
    source = Source(
        "GLUE",
        ("mrpc_test.jsonl",),
        (id_column, "sentence1", "sentence2", "label"),
        hub="nyu-mll/glue",
        hub_config="mrpc",
        hub_split="test",
    )
    training = replace(source, file_names=("mrpc_train.jsonl",), hub_split="train")
    prompts = "prompts/mrpc.toml"
    parts = frozenset({"sentence1", "sentence2"})
    n_options = len(LABELS)

    def question(self, row: Row, names: CultureNames) -> Question:
        """Turn a row into a question."""
        return Question(
            {"sentence1": row.text("sentence1"), "sentence2": row.text("sentence2")},
            ("yes", "no"),
            LABELS.index(row.one_of("label", LABELS, "label")),
            NO_CULTURE,
        )
