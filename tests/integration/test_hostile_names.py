"""Every hostile name wherever a name is printed, drawn, stored or becomes a file."""

from __future__ import annotations

import ast
import csv
import html.parser
import io
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import culnig
from culnig.cli import output, streams
from culnig.cli.main import run
from culnig.cli.progress import progress_view
from culnig.core.notebook import html_table
from culnig.core.plots import layers_figure, save
from culnig.errors import DataFileError, InputError
from culnig.reanalysis.score_files import import_scores
from culnig.reporting.charts import bars
from culnig.reporting.page import Report
from culnig.reporting.sections.panels import slug
from culnig.reporting.sources import read_sources
from culnig.reporting.tables import Table
from culnig.selection.formats import csv_text
from culnig.selection.neuron_set import read_neuron_set
from culnig.store.data_parts import belongs_to, part_file
from culnig.store.writer import Portion
from tests.hostile_names import NAMES, is_harmless
from tests.reanalysis import released
from tests.toy import neuron_set, random_moments, toy_layout, write_run

every_name = pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:30])


def letters(text: str) -> str:
    """The letters and digits of a text, which no escaping changes and no wrapping loses."""
    return "".join(re.findall(r"[^\W_]", re.sub(r"\\(x..|u....|[nrt])", "", text)))


@every_name
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_terminals(name: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, trees, lines, warnings, progress and JSON on an output of any encoding."""
    outputs = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", outputs[0])
    monkeypatch.setattr(sys, "stderr", outputs[1])
    with streams.guarded():
        output.print_table(name, (name, "n"), [(name, 1), (None, 2.5)])
        output.print_tree(name, (name, [(name, [])]))
        output.print_line(f"Written to {name}")
        output.print_warning(name)
        sys.stderr.write(warnings.formatwarning(name, UserWarning, "x.py", 1))
        with progress_view() as view:
            view.progress(name, 0, 1)
            view.say(name)
        output.print_json({"name": name})
        sys.stdout.flush(), sys.stderr.flush()
    printed, reported = (each.buffer.getvalue().decode(encoding) for each in outputs)  # type: ignore[attr-defined]
    assert is_harmless(printed.replace("\t", ""))
    assert is_harmless(reported.replace("\t", ""))
    assert json.loads(printed[printed.rindex("{\n") :])["name"] == name
    if len(name) < 50 and name.isascii() and "\\" not in name:
        assert letters(printed).count(letters(name)) >= 7
        assert letters(reported).count(letters(name)) >= 3


@every_name
def test_errors(name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An unknown option value, a missing file, an unknown culture: the name comes back in the message."""
    argument = name.replace("\0", "").encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    if argument.startswith("-") or not argument:
        return
    for arguments in (
        ["list", "cultures", "--language", argument],
        ["select", "general", str(tmp_path / "none" / "x"), "--target", argument, "-o", argument],
        ["list", argument],
    ):
        assert run(arguments) in (0, 2)
        captured = capfd.readouterr()
        assert is_harmless(captured.out + captured.err)
        assert "Traceback" not in captured.err


class Texts(html.parser.HTMLParser):
    """The text of a page and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@every_name
def test_tables_and_charts(name: str) -> None:
    table = Table(slug("masking", name), name, (name, "n"), [(name, 1), (name, 2)])
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert [len(row) for row in rows] == [2, 2, 2]
    assert rows[1][1] == "1"
    assert all(name == "-1.5" or not cell.lstrip().startswith(tuple("=+-@")) for row in rows for cell in row)
    assert is_harmless(table.csv().replace("\t", ""))
    latex = table.latex()
    assert is_harmless(latex)
    for line in latex.split("\n"):
        assert not line.startswith(("[", "*"))  # the row before would take it as an argument
        bare = re.sub(r"\\[\\{}$&#%_]|\\[a-z]+", "", line).replace(" & ", "").replace("$-$", "")
        assert not set(bare) & set("$#%^~") or line.startswith("\\")
    notebook = Texts(html_table(name, [name], [[name]]))
    assert notebook.tags == {"table", "caption", "thead", "tr", "th", "tbody", "td"}
    assert is_harmless("".join(notebook.texts))
    drawn = Texts(str(bars([name], [0.5], [name], title=name, description=name)))
    assert drawn.tags <= {"svg", "text", "rect", "line", "title", "g", "path"}
    assert is_harmless("".join(drawn.texts))


def test_csv_of_a_neuron_set() -> None:
    chosen = neuron_set(toy_layout(), range(2))
    named = type(chosen)(**{**vars(chosen), "columns": dict.fromkeys(NAMES, chosen.scores)})
    heading, *rows = csv.reader(io.StringIO(csv_text(named)))
    assert len(heading) == len(rows[0]) == 4 + len(NAMES)
    assert all(not cell.startswith(tuple("=+@")) for cell in heading)


def test_figures(tmp_path: Path) -> None:
    """All names in one figure; matplotlib finds no formula and no character that it cannot draw."""
    names = [name for name in NAMES if name.isascii()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = layers_figure(
            [(name[:40], [name[:40]], random_moments(0, 3).sum[:1]) for name in names[:12]]
        )
        save(figure, tmp_path / "x.svg", "svg")
        rows = layers_figure([("all", [name[:40] for name in names], random_moments(0, 3, names).sum)])
        save(rows, tmp_path / "y.pdf", "pdf")
    assert (tmp_path / "x.svg").stat().st_size > 1000


@every_name
def test_parts_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    for file in (f"{Portion(name, 0, 1, 1).name}.h5", part_file(name, 0, 0), f"{slug('masking', name)}.csv"):
        (tmp_path / file).write_text("")
        assert file in [path.name for path in tmp_path.iterdir()]
    path = tmp_path / part_file(name, 12, 345)
    assert [other for other in NAMES if belongs_to(path, other)] == [name]


def test_part_files_of_the_first_edition_are_found() -> None:
    assert belongs_to(Path("part-My Bench-000-000000.h5"), "My Bench")


CULTURES = tuple(name for name in NAMES if "\0" not in name)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose cultures have all the names."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    layout = toy_layout()
    table = random_moments(0, layout.n_neurons, CULTURES)
    return write_run(folder, layout, {"toy-target": ("target", table)}).folder


def test_a_set_for_every_culture(run_folder: Path, tmp_path: Path, capfd: Any) -> None:
    roles = ("--no-control", "--no-exclusion", "--top", "1", "--z", "-9")
    code = run(
        ["select", "specific", str(run_folder), *roles, "--culture", "all", "-o", str(tmp_path / "sets")]
    )
    captured = capfd.readouterr()
    assert code == 0
    assert is_harmless(captured.out + captured.err)
    files = sorted((tmp_path / "sets").iterdir())
    assert len(files) == len(CULTURES)
    assert [path.name for path in tmp_path.iterdir()] == ["sets"]
    assert {read_neuron_set(file).method["culture"] for file in files} == set(CULTURES)
    for file in files:
        assert run(["inspect", str(file)]) == 0
    captured = capfd.readouterr()
    assert is_harmless(captured.out + captured.err)
    for arguments in (["inspect", str(run_folder)], ["neurons", "overlap", *map(str, files[:12])]):
        assert run(arguments) == 0
        assert is_harmless(capfd.readouterr().out)


def test_a_report_of_every_name(run_folder: Path, tmp_path: Path) -> None:
    layout = toy_layout()
    files = []
    for number, name in enumerate(NAMES):
        files.append(tmp_path / f"{number}.neurons.json")
        neuron_set(layout, range(number % 7, 8), name).write(files[-1])
    report = Report(read_sources([run_folder, *files]))
    page = Texts(report.html())
    assert "alert(1)" not in page.texts
    assert is_harmless("".join(page.texts).replace("\t", ""))
    assert "49" not in [text.strip() for text in page.texts]  # {{ 7*7 }}
    tables = [table.name for table in report.tables]
    assert len({name.casefold() for name in tables}) == len(tables)
    (tmp_path / "tables").mkdir()
    report.write_tables(tmp_path / "tables")
    assert len(list((tmp_path / "tables").iterdir())) == 2 * len(tables)


def test_evaluations_in_folders_of_one_name_keep_their_own_tables_and_figures(tmp_path: Path) -> None:
    from tests.reporting.samples import write_sample

    samples = [write_sample(tmp_path / side) for side in ("left", "right")]
    sources = [sample.evaluation for sample in samples]
    report = Report(read_sources(sources))
    names = [table.name for table in report.tables]
    assert len(set(names)) == len(names)
    drawn = culnig.figures(sources, tmp_path / "figures", figures=["masking"], format="png")
    assert len(drawn) == len(list((tmp_path / "figures").iterdir())) == 2 * 4


@every_name
def test_imported_score_files(name: str, tmp_path: Path) -> None:
    """The name is a data set's and a culture's; nothing is written outside of the run."""
    cultures = ("Spain", name)
    content: dict[str, Any] = {
        "neuron_scores": released.scores(0, 1, {"mlp.gate_proj": 3}, cultures),
        "total_probabilities_per_country": dict.fromkeys(cultures, 1.0),
        "dataset_ids": {name: ["1", "2"]},
    }
    file = released.written(tmp_path / "in" / "scores.json", content)
    out = tmp_path / "deep" / "er" / "run"
    before = sorted(path for path in tmp_path.rglob("*") if out not in path.parents)
    if "\0" in name:
        with pytest.raises(DataFileError, match="holds a NUL"):
            import_scores([file], out)
        return
    made = import_scores([file], out)
    (benchmark,) = made.benchmarks
    assert made.benchmarks[benchmark].cultures == cultures
    expected = [list(row.values()) for row in content["neuron_scores"].values()]
    assert made.moments(benchmark).sum.T.tolist() == expected
    after = sorted(path for path in tmp_path.rglob("*") if out not in path.parents and path != out)
    assert [path for path in after if path not in before] == [tmp_path / "deep", tmp_path / "deep" / "er"]


def test_data_sets_whose_names_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    files = [
        released.written(tmp_path / f"{name}.json", released.document(name, 1, 4))
        for name in ("blend", "Blend")
    ]
    with pytest.raises(InputError, match=r"'Blend', .*'blend'; names that differ only in case"):
        import_scores(files, tmp_path / "run")


NO_NAMES = {
    "culnig/core/locks.py": {"hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]"},
    "culnig/store/files.py": {"secrets.token_hex(8)"},
    "culnig/exchange/harness_logs.py": {"task", "time"},
    "culnig/studies/calls.py": {"file_names([source.culture])[0]"},
    "culnig/studies/examples.py": {"name"},
    "culnig/studies/records.py": {"step"},
    "culnig/evaluation/parts.py": {"first", "second"},
    "culnig/reporting/page.py": {"each.name", "suffix"},
    "culnig/selection/select.py": {"name"},
    "culnig/store/writer.py": {"portion.name"},
    "culnig/training/arms.py": {"seed"},
    "culnig/training/comparison.py": {"seed"},
    "culnig/training/trainer.py": {"state.global_step"},
}
"""What f-strings make paths of apart from `file_name(…)`: numbers, hashes, and names that are checked."""


def test_paths_are_made_of_names_by_file_name_only() -> None:
    """A new path made of an f-string uses `file_name`, or is listed above with a reason to be safe."""
    root = Path(culnig.__file__).parent
    unsafe = []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            joined: list[ast.expr] = []
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                joined = [node.right]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                joined = node.args if node.func.attr in ("joinpath", "with_name", "with_stem") else []
            for text in (each for each in joined if isinstance(each, ast.JoinedStr)):
                for value in (each.value for each in text.values if isinstance(each, ast.FormattedValue)):
                    source = ast.unparse(value)
                    name = f"culnig/{path.relative_to(root).as_posix()}"
                    if not source.startswith("file_name(") and source not in NO_NAMES.get(name, ()):
                        unsafe.append(f"{name}:{node.lineno}: {source}")
    assert unsafe == []
