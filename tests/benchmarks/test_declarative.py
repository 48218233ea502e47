from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from culnig import registry
from culnig.benchmarks.declaration import Declaration
from culnig.benchmarks.declarative import declared_benchmark
from culnig.benchmarks.rows import Row
from culnig.cli.list import command as list_command
from culnig.core.items import NO_CULTURE
from culnig.errors import DataFileError

DECLARATION = """\
name: tea
summary: tea and what goes with it
data: tea.jsonl
columns:
  id: key
  question: ask
  options: choices
  answer: right
  culture: place
  topic: topic
answer_is: text
identify_topics: [Food]
control: true
wordings:
  - id: letters
    template: |
      {question} Answer with {labels} as JSON.

      {options}
  - id: digits
    labels: digits
    option: "{label}) {name}"
    template: |
      Look at {options}

      {question}
    control: Choose from {options}
"""
ROWS = [
    {
        "key": f"{question}/{place}",
        "ask": f"What is poured first in {{country}}, {question}?",
        "choices": ["tea", "milk", "water"],
        "right": right,
        "place": place,
        "topic": topic,
    }
    for question, topic in (("q1", "Food"), ("q2", "Family"))
    for place, right in (("UK", "milk"), ("Japan", "water"))
]


def write(folder: Path, text: str = DECLARATION, rows=ROWS, name: str = "tea.yaml") -> Path:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "tea.jsonl").write_text(lines, encoding="utf-8")
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def read(path: Path, **options):
    return list(declared_benchmark(path, **options).read(None))


def test_columns_become_items(tmp_path):
    items = read(write(tmp_path))
    assert [item.id for item in items[:3]] == ["q1/UK/letters", "q1/UK/digits", "q1/Japan/letters"]
    assert {(item.culture, item.split, item.topic) for item in items} == {
        (culture, split, topic)
        for culture in ("UK", "Japan")
        for split, topic in (("identify", "Food"), ("test", "Family"))
    }
    first = items[0]
    assert first.prompt.startswith(
        "What is poured first in the United Kingdom, q1? Answer with A, B or C as JSON."
    )
    assert f"{first.answer}. milk" in first.prompt
    assert items[1].options == ("1", "2", "3")
    assert f"{items[1].answer}) milk" in items[1].prompt


def test_control_is_the_item_without_its_question(tmp_path):
    path = write(tmp_path)
    items, controls = read(path), read(path, control=True)
    assert [replace(item, prompt="") for item in items] == [replace(item, prompt="") for item in controls]
    assert controls[0].prompt.startswith("Answer with A, B or C as JSON.\n\nA. ")
    assert controls[1].prompt.startswith("Choose from 1) ")
    benchmark = registry.benchmark(f"{path}#control")
    assert (benchmark.name, benchmark.role) == ("tea-control", "control")
    assert declared_benchmark(path).control == "tea-control"


def test_items_do_not_depend_on_order_or_other_rows(tmp_path):
    items = {item.id: item for item in read(write(tmp_path))}
    turned = ROWS.copy()
    random.Random(1).shuffle(turned)
    assert {item.id: item for item in read(write(tmp_path, rows=turned))} == items
    assert all(items[item.id] == item for item in read(write(tmp_path, rows=ROWS[1:3])))


def test_a_seed_changes_only_the_shuffle(tmp_path):
    rows = [{**row, "key": f"{row['key']}/{n}"} for row in ROWS for n in range(5)]
    one = read(write(tmp_path, rows=rows))
    other = read(write(tmp_path, DECLARATION + "seed: 5\n", rows))
    assert one != other
    same = [replace(item, answer=item.options[0], prompt="".join(sorted(item.prompt))) for item in one]
    assert same == [replace(i, answer=i.options[0], prompt="".join(sorted(i.prompt))) for i in other]
    plain = read(write(tmp_path, DECLARATION + "shuffle: false\n", rows))
    assert {item.answer for item in plain if item.culture == "UK"} == {"B", "2"}


def test_csv_columns_as_options_and_a_fixed_culture(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfq,a,b,right\r\nWhy?,yes,no,B\r\n")
    path = tmp_path / "t.toml"
    path.write_text(
        'name = "t"\ndata = "t.csv"\nculture = "Spain"\nsplit = "identify"\nshuffle = false\n'
        '[columns]\nquestion = "q"\noptions = ["a", "b"]\nanswer = "right"\n'
        '[[wordings]]\nid = "w"\ntemplate = "{question} {options}"\n',
        encoding="utf-8",
    )
    (item,) = read(path)
    assert (item.id, item.culture, item.split, item.answer) == ("line 2/w", "Spain", "identify", "B")
    assert item.prompt == "Why? A. yes\nB. no"
    path.write_text(path.read_text().replace('culture = "Spain"\n', ""))
    assert read(path)[0].culture == NO_CULTURE


def test_a_scale_is_ordinal_and_keeps_its_order(tmp_path):
    items = read(write(tmp_path, DECLARATION + "ordinal: true\n"))
    assert all(item.ordinal for item in items)
    assert {item.answer for item in items if item.culture == "UK"} == {"B", "2"}


def test_a_windows_path_in_the_declaration_works_everywhere(tmp_path):
    (tmp_path / "sub").mkdir()
    path = write(tmp_path, DECLARATION.replace("data: tea.jsonl", "data: sub\\tea.jsonl"))
    (tmp_path / "tea.jsonl").rename(tmp_path / "sub" / "tea.jsonl")
    assert len(read(path)) == 8


def test_a_windows_path_is_taken_for_a_file():
    with pytest.raises(DataFileError, match="no such file"):
        registry.benchmark("C:\\my data\\tea.YAML")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_spellings_may_be_composed_or_not(tmp_path, form):
    rows = [{**ROWS[0], "choices": ["thé", "lait"], "right": unicodedata.normalize(form, "thé")}]
    assert len(read(write(tmp_path, rows=rows))) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_mark_of_the_declaration(tmp_path, end):
    path = write(tmp_path)
    path.write_bytes(("\ufeff" + DECLARATION.replace("\n", end)).encode())
    assert len(read(path)) == 8


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: tea\n", "", "line 1: name: Field required"),
        ("name: tea", "name: Tea Time", "line 1: name: String should match"),
        ("control: true", "contrl: true", "line 13: contrl: unknown key; did you mean 'control'?"),
        ("  answer: right\n", "", "line 4: columns: give either answer, the"),
        ("answer_is: text", "answer_is: word", "line 11: answer_is: Input should be 'letter', 'number', "),
        ("{question} Answer", "Answer", "line 15: wordings.0: template lacks the placeholder {question}"),
        ("{labels}", "{letters}", "template has the placeholder {letters}; allowed: {country}, {labels}"),
        ("{label}) {name}", "{name}", "line 20: wordings.1: option must contain {label} and {name}"),
        ("id: digits", "id: letters", "two wordings have the same id"),
        ("  topic: topic\n", "", "identify_topics needs columns.topic"),
        ("control: true", "control: true\nculture: UK", "give either culture or columns.culture"),
        ("control: true", "control: true\nrole: control", "only a benchmark with the role target"),
        ("control: true", "control: true\nname: again", "line 14: 'name' appears twice"),
        ("columns:", "columns: [", "not valid YAML"),
        (DECLARATION, "", "Input should be a valid dictionary"),
    ],
)
def test_a_malformed_declaration_is_refused_with_its_line(tmp_path, old, new, said):
    assert old in DECLARATION
    with pytest.raises(DataFileError) as caught:
        declared_benchmark(write(tmp_path, DECLARATION.replace(old, new, 1)))
    assert said in str(caught.value)
    assert "tea.yaml" in str(caught.value)


def test_all_mistakes_are_reported_at_once(tmp_path):
    text = DECLARATION.replace("name: tea", "name: T").replace("answer_is: text", "answer_is: x")
    with pytest.raises(DataFileError, match=r"line 1: name: .*; line 11: answer_is"):
        declared_benchmark(write(tmp_path, text))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("right", "coffee", "line 2, column 'right': 'coffee' must be exactly one of the options tea, milk"),
        ("choices", [], "column 'choices': expected a list of at least two texts, got []"),
        ("choices", ["tea", ""], "column 'choices': option 2: no value (''); fill the cell"),
        ("choices", "tea", "expected a list"),
        ("key", "q1/UK", "line 2, column 'key': 'q1/UK' appears twice"),
        ("place", "Japn", "column 'place': unknown culture 'Japn'; did you mean"),
        ("ask", " ", "column 'ask': no value"),
    ],
)
def test_a_malformed_row_is_reported_with_line_and_column(tmp_path, column, value, said):
    rows = [dict(row) for row in ROWS]
    rows[1][column] = value
    with pytest.raises(DataFileError) as caught:
        read(write(tmp_path, rows=rows))
    assert said in str(caught.value)
    assert "tea.jsonl" in str(caught.value)


def test_wrong_columns_and_letters_are_named(tmp_path):
    with pytest.raises(DataFileError, match="column 'soup': no such column; columns: key, ask"):
        read(write(tmp_path, DECLARATION.replace("answer: right", "answer: soup")))
    rows = [{**ROWS[0], "right": "D"}]
    with pytest.raises(DataFileError, match="unknown answer letter 'D'; allowed: A, B, C"):
        read(write(tmp_path, DECLARATION.replace("answer_is: text", "answer_is: letter"), rows))
    rows = [{**ROWS[0], "right": 4}]
    with pytest.raises(DataFileError, match="unknown answer number '4'; allowed: 1, 2, 3"):
        read(write(tmp_path, DECLARATION.replace("answer_is: text", "answer_is: number"), rows))


def test_a_control_that_is_not_declared_is_refused(tmp_path):
    path = write(tmp_path, DECLARATION.replace("control: true\n", ""))
    with pytest.raises(DataFileError, match="has no control; add `control: true`"):
        registry.benchmark(f"{path}#control")


def test_the_example_of_the_documentation_is_valid():
    text = (Path(__file__).parents[2] / "docs" / "declared-benchmarks.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block.split("```")[0]) for block in text.split("```yaml\n")[1:]]
    assert blocks
    whole = yaml.safe_load(blocks[0])
    for block in blocks:  # the later ones show some fields of a declaration
        fields = {**whole, **yaml.safe_load(block)}
        if "hub" in fields:
            fields.pop("data")
        if block != blocks[0]:
            fields.pop("identify_topics")
        if fields.get("answer_by") == "likelihood":  # shows no options
            fields = {
                name: value for name, value in fields.items() if name not in ("shuffle", "seed", "wordings")
            }
            fields["wordings"] = [{"id": "plain", "template": "{question}"}]
        if "answer" not in fields["columns"]:
            fields.pop("answer_is")
        Declaration.model_validate(fields)


def run_list(*arguments: str) -> str:
    result = CliRunner().invoke(
        list_command, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_check_shows_three_prompts_and_the_counts(tmp_path):
    path = write(tmp_path)
    text = run_list("benchmarks", "--check", path)
    assert text.count("── ") >= 3
    assert "What is poured first in the United Kingdom, q1?" in text
    found = json.loads(run_list("benchmarks", "--check", path, "--json"))
    assert found["cultures"] == [{"culture": c, "identify": 2, "test": 2} for c in ("UK", "Japan")]
    shown = [(item["culture"], item["id"].rpartition("/")[2]) for item in found["items"]]
    assert shown == [(culture, wording) for culture in ("UK", "Japan") for wording in ("letters", "digits")]
    assert sum(found["gold"].values()) == found["n"] == 8
    assert found["n_questions"] == 2
    assert found["dropped"] == {}


def test_check_shows_three_cultures_the_gold_labels_and_what_is_left_out(tmp_path):
    rows = [
        {**ROWS[0], "key": str(n), "place": place} for n, place in enumerate(("UK", "Iran", "Iran", "China"))
    ]
    rows += [{**rows[0], "key": "x", "place": "Spain"}, {**rows[0], "key": "y", "topic": "Sport"}]
    path = write(tmp_path, DECLARATION + "shuffle: false\nwhere: {topic: Food}\n", rows)
    text = run_list("benchmarks", "--check", path)
    assert [line.split(" · ")[1] for line in text.splitlines() if line.startswith("── ")] == [
        *("UK", "UK", "Iran", "Iran", "China", "China")
    ]
    assert "Gold labels after shuffling: 2 5, B 5" in text
    assert "Left out: 1 rows, topic is sport" in text


def test_cultures_are_listed_by_region_language_and_benchmark():
    def keys(*arguments: str) -> set[str]:
        return {row["culture"] for row in json.loads(run_list("cultures", *arguments, "--json"))["cultures"]}

    assert keys("--benchmark", "blend") >= {"Assam", "West Java"}
    assert len(keys("--benchmark", "culturalbench")) == 45
    melanesia = {"Fiji", "Papua New Guinea"}
    assert keys("--region", "melanesia") == melanesia | {"New Caledonia", "Solomon Islands", "Vanuatu"}
    assert "Hong Kong" in keys("--language", "zh")
    assert keys("--language", "su", "--benchmark", "blend") == {"Indonesia", "West Java"}


@pytest.mark.slow
def test_a_long_file_is_read_in_flat_memory(tmp_path):
    script = """
import sys
from pathlib import Path
from culnig.benchmarks.declaration import Declaration
from culnig.benchmarks.declarative import declared_benchmark
from culnig.benchmarks.rows import Row
benchmark = declared_benchmark(Path(sys.argv[1]))
peaks = []
for number, item in enumerate(benchmark.read(None), start=1):
    if number in (10_000, 60_000):
        status = Path("/proc/self/status").read_text()
        peaks.append(int(status.partition("VmHWM:")[2].split()[0]))
print(number, peaks[1] - peaks[0])
"""
    text = DECLARATION[: DECLARATION.index("  - id: digits")]
    path = write(tmp_path, text)
    row = json.dumps({**ROWS[0], "key": "KEY", "ask": "x" * 200})
    with (tmp_path / "tea.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(row.replace("KEY", f"q{number}") + "\n" for number in range(60_000))
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    count, kibibytes = map(int, done.stdout.split())
    assert count == 60_000
    assert kibibytes < 3_200, "the rows between have 15 MiB; to keep their ids alone takes as much"


# what is one question


def test_rows_of_one_question_before_the_country_is_filled_are_one_unit(tmp_path):
    items = read(write(tmp_path))
    assert len(items) == 8  # 2 questions, 2 cultures, 2 wordings
    assert {item.question for item in items} == {
        "What is poured first in {country}, q1?",
        "What is poured first in {country}, q2?",
    }
    assert len({item.id for item in items}) == 8


def test_rows_without_the_country_are_each_their_own(tmp_path):
    rows = [{**row, "ask": "What is poured first?"} for row in ROWS]
    assert {item.question for item in read(write(tmp_path, rows=rows))} == {row["key"] for row in ROWS}


def test_a_column_names_the_question(tmp_path):
    rows = [{**row, "of": row["key"][:2]} for row in ROWS]
    text = DECLARATION.replace("  id: key\n", "  id: key\n  question_id: of\n")
    before = read(write(tmp_path, rows=rows))
    items = read(write(tmp_path, text, rows))
    assert [item.question for item in items] == ["q1"] * 4 + ["q2"] * 4
    assert [(item.id, item.prompt, item.answer) for item in items] == [
        (item.id, item.prompt, item.answer) for item in before
    ]


def test_the_finland_example_has_twelve_questions():
    folder = Path(__file__).parents[2] / "examples/culture-plugin/culnig_finland"
    lines = (folder / "finland.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 48
    benchmark = declared_benchmark(folder / "finland.yaml")
    assert {benchmark._unit(Row("finland.jsonl", 1, json.loads(line))) for line in lines} == {
        json.loads(line)["question"] for line in lines
    }
    assert len({json.loads(line)["question"] for line in lines}) == 12
