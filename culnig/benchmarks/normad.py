"""NormAd-Eti: is the conduct in a story acceptable in a country: yes, no or neutral?

Paper: Rao et al., "NormAd: A Framework for Measuring the Cultural Adaptability of Large Language Models",
NAACL 2025. Licence: CC BY 4.0. Hub: `akhilayerukola/NormAd`, split `train`; locally `NormAd/normad.csv` or
`NormAd/normad_yes_no.csv` (the rows whose label is yes or no).
Splits: all stories test. The three options are shuffled over the digits 1 to 3 for every item. Every item has
all three options, even in a file with only two labels, because an item must not depend on other rows.
Checked against: the published columns; the yes and no rows (1,818 of 2,633 stories, 75 countries).
"""

from __future__ import annotations

from culnig.benchmarks.base import licensed
from culnig.benchmarks.published import CultureNames, PublishedBenchmark, Question
from culnig.benchmarks.rows import Row
from culnig.benchmarks.source import Source
from culnig.cultures.spellings import name_in_sentence

LABELS = ("yes", "no", "neutral")


class NormAd(PublishedBenchmark):
    """One item per story and wording."""

    name = "normad"
    role = "target"
    summary = "NormAd stories: acceptable in this country? yes, no or neutral; 75 countries, 4 wordings"
    licence = licensed("CC BY 4.0")
    id_column = "ID"
    source = Source(
        "NormAd",
        ("normad.csv", "normad_yes_no.csv"),
        (id_column, "Country", "Story", "Gold Label"),
        hub="akhilayerukola/NormAd",
        hub_split="train",
    )
    prompts = "prompts/normad.toml"
    parts = frozenset({"country", "story"})
    n_options = len(LABELS)
    shuffle = True

    def question(self, row: Row, names: CultureNames) -> Question:
        """Turn a row into a question."""
        culture = names.find(row, "Country")
        return Question(
            {"country": name_in_sentence(culture, row.text("Country")), "story": row.text("Story")},
            LABELS,
            LABELS.index(row.one_of("Gold Label", LABELS, "label")),
            culture.key,
        )
