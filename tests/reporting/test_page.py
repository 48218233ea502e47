"""The page as a document: read by Python's own HTML parser, not by a browser."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from culnig.core.neurons import Layout
from culnig.errors import InputError, StoreError
from culnig.reporting.page import Report, json_block
from culnig.reporting.sources import Sources, read_sources
from culnig.store.run import Run
from tests.reporting.samples import CULTURES, HOSTILE, SCRIPT
from tests.toy import moments, neuron_set, write_run, write_toy_run

SECTIONS = (
    *("summary", "where", "depth", "cultures", "similarity", "masking", "matrix", "dose", "instances"),
    *("training", "leaderboard", "neurons", "methods"),
)
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, and the text of script elements by id."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self.text: list[str] = []
        self.open: list[str] = []
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self._script = dict(attributes).get("id")
            assert self._script not in self.scripts
            self.scripts[self._script] = ""

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts[self._script] += data
        else:
            self.text.append(data)

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


@pytest.fixture(scope="module")
def page(page_file) -> Page:
    return Page(page_file.read_text(encoding="utf-8"))


def test_every_tag_is_closed_and_every_id_is_unique(page):
    assert page.open == []
    assert [name for name, n in Counter(page.ids()).items() if n > 1] == []
    assert [name for name in page.ids() if name in SECTIONS] == list(SECTIONS)


def test_all_sections_have_data_and_each_drawing_a_description(page, report):
    assert all(section.filled for section in report.sections)
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) > 10
    assert all(len(attributes["aria-label"] or "") > 20 for attributes in drawings)


def test_nothing_is_loaded_from_elsewhere(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if (target := attributes.get(name)) is not None:
                assert target.startswith("#") or (tag, target) == ("link", "data:,"), (tag, target)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_texts_of_the_data_add_no_element(page, page_file):
    """Only our own scripts, no element with an event handler, no element from names of cultures and sets."""
    assert set(page.scripts) == {"neuron-data", "file-data", None}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert not [tag for tag, _ in page.tags if tag in ("img", "b")]
    assert SCRIPT not in page_file.read_text(encoding="utf-8")
    assert any("specific <b>Spain</b>" in text for text in page.text)


def test_a_hostile_question_arrives_whole(page):
    data = json.loads(page.scripts["neuron-data"])
    (item,) = [item for item in data["items"] if item["id"] == "China-0-0"]
    assert item["text"] == "".join(HOSTILE)
    assert len(item["text"]) > 2000
    (neuron,) = [n for n in data["neurons"] if n["set"] == "general <i>" and n["rank"] == 1]
    driver = neuron["drivers"][0]
    assert driver["score"] == 25.0  # 50, weighted with P(gold) = 0.5
    units = item["text"].encode("utf-16-le")
    assert units[2 * driver["start"] : 2 * driver["end"]].decode("utf-16-le") == HOSTILE[3]


def test_the_list_holds_the_scores_of_the_run(page, sample):
    data = json.loads(page.scripts["neuron-data"])
    run = Run(sample.run)
    table = run.moments("toy-target").culture_scores
    assert len(data["neurons"]) == 5 + 4 * 6
    assert data["cultures"] == list(CULTURES)
    for neuron in data["neurons"]:
        segment = run.layout.segment(neuron["module"], neuron["layer"])
        column = table[:, segment.start + neuron["index"]]
        np.testing.assert_allclose(neuron["values"], column, rtol=1e-3)
        assert neuron["culture"] == CULTURES[column.argmax()]


def test_json_cannot_end_its_script():
    text = json_block({"a": "</script><!-- & \u2028 é"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!-- & \u2028 é"}


def test_parts_without_data_say_which_command_makes_them(tmp_path):
    run = write_toy_run(tmp_path / "run")
    report = Report(Sources([run]))
    page = Page(report.html())
    text = " ".join(" ".join(page.text).split())
    for section in report.sections:
        assert section.filled == (section.key in ("depth", "cultures"))
        assert (f"h-{section.key}" in page.ids()) == section.filled
    assert f"culnig-engine select general {run.folder} -o general.neurons.json" in text
    assert (
        "evaluate --model toy --benchmark toy-target --neurons FILE --random-baseline 10 -o evaluation"
        in text
    )
    assert text.index("Not run") < text.index("culnig-engine train --model toy")
    assert "--level item" in text
    data = json.loads(page.scripts["neuron-data"])
    difference = sum(
        sign * run.moments(name).sum.sum(axis=0) / run.stored(name).n_items
        for name, sign in (("toy-target", 1), ("toy-control", -1))
    )
    assert [n["score"] for n in data["neurons"][:5]] == pytest.approx(np.sort(difference)[::-1][:5], rel=1e-3)


def test_an_evaluation_alone_and_a_set_alone_are_enough(sample):
    for path, filled in (
        (sample.evaluation, ["masking", "matrix", "dose"]),
        (sample.sets[0], ["where"]),
        (sample.instances, ["instances"]),
        (sample.arms, ["training"]),
    ):
        report = Report(read_sources([path]))
        assert [section.key for section in report.sections if section.filled] == filled
        assert Page(report.html()).open == []


def test_equal_inputs_give_equal_bytes(sample, page_file):
    assert Report(sample.sources()).html() == page_file.read_text(encoding="utf-8")


def test_invalid_inputs_are_reported(tmp_path):
    with pytest.raises(StoreError, match="no such file or folder"):
        read_sources([tmp_path / "nothing"])
    with pytest.raises(StoreError, match="not a run"):
        read_sources([tmp_path])
    with pytest.raises(InputError, match="no inputs given"):
        read_sources([])
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(StoreError, match="format is None"):
        read_sources([tmp_path / "x.json"])


def test_a_run_of_a_single_culture_and_one_of_zeros(tmp_path):
    layout = Layout.from_widths([(0, "mlp.gate_proj", 5)])
    run = write_run(tmp_path / "run", layout, {"t": ("target", moments(["China"], [3], np.zeros((1, 5))))})
    one = Report(Sources([run], neuron_sets=[neuron_set(layout, [1])]))
    assert Page(one.html()).open == []
    assert [section.key for section in one.sections if section.filled] == ["where", "depth"]
    zeros = write_run(
        tmp_path / "zeros", layout, {"t": ("target", moments(["A", "B", "C"], [1] * 3, np.zeros((3, 5))))}
    )
    assert "no data" in Report(Sources([zeros])).html()
