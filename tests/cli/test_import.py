from __future__ import annotations

from tests.reanalysis.released import document, written


def test_score_files_to_a_selection(culnig, tmp_path):
    folder = tmp_path / "outputs" / "Qwen3-14B" / "cultural_neuron"
    files = [
        written(folder / f"{name}_max_scores.json", document(name, seed, 10))
        for seed, name in enumerate(("blend", "blendcontrol", "countryrc"))
    ]
    result = culnig("import", *files, "-o", tmp_path / "run", "--json")
    assert result.code == 0, result.err
    assert result.json["model"] == "Qwen3-14B"
    assert [row["role"] for row in result.json["benchmarks"]] == ["target", "control", "exclusion"]
    assert culnig("inspect", tmp_path / "run").code == 0
    selected = culnig(
        *("select", "general", tmp_path / "run", "--top-mlp", "0.1", "-o", tmp_path / "g.json", "--json")
    )
    assert selected.json["n_neurons"] > 0
    tested = culnig("select", "general", tmp_path / "run", "--significance", "-o", tmp_path / "h.json")
    assert tested.code == 2
    assert "holds sums only" in tested.err


def test_mistakes(culnig, tmp_path):
    missing = culnig("import", tmp_path / "none.json", "-o", tmp_path / "run")
    assert missing.code == 2
    assert "none.json: no such file; expected a score file" in missing.err
    (tmp_path / "x.json").write_text('{"neuron_scores": {')
    broken = culnig("import", tmp_path / "x.json", "-o", tmp_path / "run")
    assert broken.code == 2
    assert "not valid JSON, or cut off" in broken.err
    assert culnig("import", "-o", tmp_path / "run").code == 2
    assert not (tmp_path / "run").exists()


def test_the_model_can_be_named(culnig, tmp_path):
    file = written(tmp_path / "scores.json", document("blend", 0, 10))
    result = culnig("import", file, "--model-name", "my model", "-o", tmp_path / "run")
    assert result.code == 0
    assert "400 neurons" not in result.out
    assert "520 neurons of my model" in result.out
