"""The contents of a file that declares a benchmark, checked by pydantic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from culnig.benchmarks.cells import MISSING, AnswerKind
from culnig.benchmarks.declared_wordings import PARTS, DeclaredWording, Text
from culnig.core.checked_documents import Strict
from culnig.core.items import Normalization, Role, Split

Scalar = StrictStr | StrictBool | StrictInt | StrictFloat | None


class Hub(Strict):
    """A data set on the Hugging Face hub."""

    id: Text
    config: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    """Its configuration; several are read one after the other, and rows then have the column `config`."""
    split: Text = "test"
    """The split of the hub; not the one of items."""
    revision: Text | None = None
    """Branch, tag or commit; by default the newest that the hub or the cache has."""

    @property
    def configs(self) -> list[str | None]:
        """All its configurations."""
        return [self.config] if isinstance(self.config, str | None) else list(self.config)


class About(Strict):
    """Where a set comes from and what its licence allows."""

    paper: Text
    licence: Text
    """Its name, and where that was read."""
    training: Literal["allowed", "forbidden", "unknown"] = "unknown"
    """Whether models may be trained on it; `train` refuses what is not allowed."""
    non_commercial: bool | None = None
    """Whether it is for non-commercial use only; None if that is unknown."""
    languages: list[Text] = []
    cultures: Text = "unknown"
    checked: Text
    """What this declaration was checked against."""

    def record(self) -> dict[str, object]:
        """The licence as runs record it."""
        return {"name": self.licence, "training": self.training, "non_commercial": self.non_commercial}


class Columns(Strict):
    """The columns of the data, by content; `a.b` is the key `b` inside the column `a`."""

    question: Text
    options: Text | list[Text] | None = None
    """One column with a list (JSONL, Parquet), or one column per option."""
    answer: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    """The right option. Several columns, or a column with lists, if several options may be right."""
    distribution: Text | list[Text] | None = None
    """How many people chose each option, in place of the answer: one column with lists or dictionaries, or
    one column per option."""
    culture: Text | None = None
    id: Text | None = None
    """By default, the line number is the id."""
    question_id: Text | None = None
    """Names the question that rows share, the independent unit of the statistics. By default, rows whose
    question is the same before `{country}` is filled are one question; other rows are each their own."""
    together: Text | None = None
    """Rows with the same value count as right only if all of them are."""
    topic: Text | None = None
    split: Text | None = None
    language: Text | None = None
    """Chooses the wordings of `languages`."""

    @model_validator(mode="after")
    def _different(self) -> Columns:
        if (self.answer is None) == (self.distribution is None):
            raise ValueError("give either answer, the right option, or distribution, how many chose each")
        if self.options is None or isinstance(self.options, str):
            return self
        if len(self.options) < 2:
            raise ValueError(
                f"options names {len(self.options)} columns; name one with lists, or at least two"
            )
        if len(set(self.options)) < len(self.options):
            raise ValueError(
                f"options names a column twice: {', '.join(self.options)}; name each option's own"
            )
        return self

    @property
    def names(self) -> list[str]:
        """All columns, each once."""
        columns = (
            *(self.question, self.options, self.answer, self.distribution, self.culture, self.id),
            *(self.question_id, self.together, self.topic, self.split, self.language),
        )
        names = [[column] if isinstance(column, str) else column or [] for column in columns]
        return list(dict.fromkeys(name for several in names for name in several))


class FewShot(Strict):
    """Worked examples in front of every prompt, from the split `identify`."""

    n: Annotated[int, Field(strict=True, ge=1, le=20)]
    """Examples of each item, from questions that are not its own."""
    seed: Annotated[int, Field(strict=True, ge=0)] = 0


class Declaration(Strict):
    """The contents of a declaration file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    data: Text | None = None
    """Path of the data file: relative to the declaration, absolute, or from the home folder (`~`)."""
    hub: Hub | None = None
    """A data set on the hub, in place of `data`."""
    quoted: bool = True
    """Whether cells of CSV and TSV files may be quoted; the quotation marks are then not part of the cell."""
    where: dict[Text, Scalar | Annotated[list[Scalar], Field(min_length=1)]] = {}
    """Rows to keep: the value of each column, or its allowed values; null is an empty cell."""
    where_not: dict[Text, Scalar | Annotated[list[Scalar], Field(min_length=1)]] = {}
    """Rows to leave out: the value of each column, or several; null is an empty cell."""
    expand: Text | Annotated[list[Text], Field(min_length=2)] | dict[Text, dict[Text, Text]] | None = None
    """A column with a dictionary, or several columns: one row for each key, in the columns `key`, `value`.
    Or names, each with columns by further names: `value.a` is then the column of the name `a`."""
    options_are: list[Text] = []
    """The options of every row, in place of columns.options."""
    options_labelled: bool = False
    """Whether options begin with their own letter or number ("A. tea"), which is then removed."""
    fewer_options: bool = False
    """Whether the last of several option columns may be empty in rows that have fewer options."""
    distribution_in: Literal["shares", "percent", "counts"] = "shares"
    """What columns.distribution holds: shares with the sum 1, percent with the sum 100, or counts."""
    options_split: Annotated[str, Field(min_length=1)] | None = None
    """What stands between options that are one text."""
    columns: Columns
    wordings: list[DeclaredWording] = []
    """Wordings of every row, or of the rows whose language has none in `languages`."""
    languages: dict[Text, Annotated[list[DeclaredWording], Field(min_length=1)]] = {}
    """Wordings by the value of columns.language."""
    placeholders: dict[Annotated[str, Field(pattern=r"^\w+$")], Text] = {}
    """Further placeholders of wordings, each with the column that fills it; `column?` may be empty."""
    few_shot: FewShot | None = None
    """Worked examples in front of every prompt; by default none."""
    summary: str = "declared in a file"
    about: About | None = None
    """Paper, licence, languages and cultures; by default nothing is known."""
    role: Role = "target"
    culture: Text | None = None
    """The culture of all rows, in place of a column; with neither, items have no culture."""
    cultures: dict[Text, Text | None] = {}
    """The culture that each value of columns.culture means; null leaves its rows out."""
    culture_is: Literal["named", "mentioned"] = "named"
    """Whether columns.culture holds the culture's name, or a text that mentions one of `cultures`."""
    country_names: dict[Text, Text] = {}
    """What `{country}` becomes, by culture; by default the record's name in a sentence."""
    answer_is: AnswerKind = "letter"
    """Content of the answer column: the option's letter, its number, its text, the name of its column, or
    true for the first option and false for the second."""
    answer_split: Annotated[str, Field(min_length=1)] | None = None
    """The separator of several right answers in one text."""
    answer_starts_at: Annotated[int, Field(strict=True, ge=0, le=1)] | None = None
    """Number of the first option, 0 or 1; by default the answers must show it."""
    answer_by: Literal["label", "likelihood"] = "label"
    """What decides: the label that the model writes, or the log-probability of each option's text after the
    prompt, for models that are not tuned to instructions and for sets whose options have no labels."""
    normalize: Normalization = "none"
    """Whether log-probabilities are compared as sums, or per byte of the option's text; for `likelihood`."""
    delimiter: str = " "
    """Text between prompt and option, for `likelihood` and models without a chat template."""
    missing: list[str] = list(MISSING)
    """Texts that mark a missing value, as programs write them; cells that hold one are refused.

    JSONL and Parquet files tell a missing value from a text, so their answers and options are refused only if
    the declaration has this field.
    """
    split: Split = "test"
    """The split of all rows, unless a column or `identify_topics` decides it."""
    identify_topics: list[Text] = []
    """Topics that identify neurons; the others test them."""
    shuffle: bool = True
    seed: int = 0
    ordinal: bool = False
    """Whether the options are the steps of a scale, in its order; they are then not shuffled."""
    control: bool = False
    """Whether there is also a control benchmark `NAME-control`: the items without their question."""

    @model_validator(mode="after")
    def _whole(self) -> Declaration:
        self._check_wordings()
        if (self.data is None) == (self.hub is None):
            raise ValueError("give either data, the path of a file, or hub, a data set on the hub")
        if self.columns.culture and self.culture:
            raise ValueError("give either culture or columns.culture")
        self._check_options()
        if self.identify_topics and (self.columns.split or not self.columns.topic):
            raise ValueError("identify_topics needs columns.topic and no columns.split")
        if self.columns.answer is None and "answer_is" in self.model_fields_set:
            raise ValueError("answer_is needs columns.answer")
        if self.answer_starts_at is not None and self.answer_is != "number":
            raise ValueError("answer_starts_at needs `answer_is: number`")
        if self.culture_is == "mentioned" and not self.cultures:
            raise ValueError("culture_is: mentioned needs cultures, the names to look for")
        if self.answer_split is not None and self.columns.answer is None:
            raise ValueError("answer_split needs columns.answer")
        if self.cultures and not self.columns.culture:
            raise ValueError("cultures needs columns.culture")
        if not (self.columns.culture or self.culture):
            if self.country_names:
                raise ValueError("country_names needs culture or columns.culture")
            if any(wording.names_country for wording in self.all_wordings):
                raise ValueError("a wording with {country} needs culture or columns.culture")
        if self.control and self.role != "target":
            raise ValueError("only a benchmark with the role target can have a control")
        return self

    @property
    def all_wordings(self) -> list[DeclaredWording]:
        """The wordings of all languages."""
        return [*self.wordings, *(wording for several in self.languages.values() for wording in several)]

    def _check_wordings(self) -> None:
        if not self.all_wordings:
            raise ValueError("wordings: give at least one, in wordings or languages")
        for wordings in (self.wordings, *self.languages.values()):
            ids = [wording.id for wording in wordings]
            if len(set(ids)) != len(ids):
                raise ValueError(f"two wordings have the same id; the ids are {', '.join(ids)}")
        if (self.columns.language is None) != (not self.languages):
            raise ValueError("languages and columns.language need each other")
        if taken := sorted(PARTS & set(self.placeholders)):
            raise ValueError(f"placeholders: {{{taken[0]}}} already has a meaning; give it another name")
        by_likelihood = self.answer_by == "likelihood"
        for name in ("normalize", "delimiter"):
            if name in self.model_fields_set and not by_likelihood:
                raise ValueError(f"{name} needs `answer_by: likelihood`")
        for wording in self.all_wordings:
            wording.check_placeholders(self.placeholders, by_likelihood=by_likelihood)
        shuffles = self.shuffle and "shuffle" in self.model_fields_set
        if by_likelihood and (shuffles or "seed" in self.model_fields_set):
            raise ValueError("shuffle and seed are for options that are shown; `likelihood` shows none")

    def _check_options(self) -> None:
        options = self.columns.options
        if (options is None) == (not self.options_are):
            raise ValueError("give either columns.options or options_are, the options of every row")
        if self.options_split is not None and not isinstance(options, str):
            raise ValueError("options_split needs one column as columns.options")
        if self.fewer_options and not isinstance(options, list):
            raise ValueError("fewer_options needs one column per option as columns.options")
        if self.answer_is == "boolean" and len(self.options_are) != 2:
            raise ValueError("answer_is: boolean needs `options_are` with two options, that for true first")
        if self.answer_is == "column" and not isinstance(options, list):
            raise ValueError("answer_is: column needs one column per option as columns.options")
        if len(self.options_are) == 1:
            raise ValueError("options_are names one option; name at least two")
        if "distribution_in" in self.model_fields_set and self.columns.distribution is None:
            raise ValueError("distribution_in needs columns.distribution")
        if isinstance(options, list):
            self._check_option_columns(options)

    def _check_option_columns(self, options: list[str]) -> None:
        columns = self.columns
        for content in ("question", "culture", "id", "topic", "split", "answer"):
            column = getattr(columns, content)
            if isinstance(column, list):
                continue
            if column in options and (content != "answer" or self.answer_is != "text"):
                raise ValueError(f"columns.{content} and columns.options name the same column, {column!r}")

    @property
    def likelihood(self) -> Normalization | None:
        """How log-probabilities of option texts are compared; None where options are labels."""
        return self.normalize if self.answer_by == "likelihood" else None

    @property
    def answer_kind(self) -> AnswerKind | None:
        """`answer_is`; None if the file does not say it."""
        return self.answer_is if "answer_is" in self.model_fields_set else None
