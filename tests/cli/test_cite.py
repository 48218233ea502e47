from __future__ import annotations

from pathlib import Path

RUN = Path(__file__).parents[1] / "fixtures" / "first-edition" / "runs" / "culture"


def test_it_prints_methods_references_licences_and_what_to_complete(culnig):
    done = culnig("cite", RUN)
    assert done.code == 0, done.err
    methods, references, licences = (
        done.out.index(text) for text in ("We scored 96 neurons", "@misc{culnig_engine,", "Licences")
    )
    assert methods < references < licences
    assert "Complete these entries by hand: cities, meals, meals-control, model" in done.out


def test_json_and_files_hold_the_same(culnig, tmp_path):
    done = culnig("cite", RUN, "-o", tmp_path / "cited", "--json")
    assert done.json["bibtex"] == (tmp_path / "cited" / "references.bib").read_text(encoding="utf-8")
    assert {each["kind"] for each in done.json["used"]} == {"program", "library", "model", "data"}
    refused = culnig("cite", RUN, "-o", tmp_path / "cited")
    assert refused.code == 2
    assert "--overwrite" in refused.err


def test_a_folder_without_outputs_is_refused(culnig, tmp_path):
    refused = culnig("cite", tmp_path)
    assert refused.code == 2
    assert "nor a folder that holds any" in refused.err
