"""What `select` commands share: options of runs and cultures, and what they print about the sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, Command, together
from culnig.cli.output import print_json, print_line, print_table, print_warning
from culnig.core.text import counted
from culnig.models.embedded import model_name
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.select import ALL
from culnig.selection.significance import FAR_TAIL

CULTURE_HELP = "Culture to select for; give several, or `all`, for one set each (-o is then a folder)."

run_options = together(
    click.argument("run", type=PATH),
    click.option("--target", help="Target benchmark, if the run has several."),
)


def culture_option(more_help: str = "", **attributes: Any) -> Callable[[Command], Command]:
    """--culture."""
    return click.option("--culture", "cultures", multiple=True, help=CULTURE_HELP + more_help, **attributes)


def is_folder(cultures: Sequence[str]) -> bool:
    """Whether -o is a folder, because sets of several or all cultures are requested."""
    return ALL in cultures or len(set(cultures)) > 1


def print_sets(sets: Sequence[NeuronSet], files: Sequence[Path], folder: Path | None, as_json: bool) -> None:
    """Print what was selected and where it was written; `folder` if each culture has a file."""
    for chosen in sets:
        if not chosen.neurons:
            print_warning(
                f"{chosen.name}: no neuron is left; try larger fractions, a smaller z or a larger fdr"
            )
    if as_json:
        documents = [_document(chosen, file) for chosen, file in zip(sets, files, strict=True)]
        print_json(documents[0] if folder is None else {"folder": str(folder), "sets": documents})
        return
    first = sets[0]
    if folder is None:
        print_counts(first)
    else:
        print_table(
            f"Specific neurons of {first.model}",
            ("set", "neurons", "questions", *_evidence_headings(first), "file"),
            [
                (chosen.name, len(chosen.neurons), _n_questions(chosen), *_evidence_cells(chosen), file.name)
                for chosen, file in zip(sets, files, strict=True)
            ],
        )
    published = first.method.get("published", {})
    if published.get("n_general") is not None:
        print_line(
            f"Published for {published['name']}: {published['n_general']:,} neurons; here "
            f"{len(first.neurons):,}"
        )
    if folder is None:
        _print_evidence(first)
    print_line(f"Written to {folder or files[0]}")


def _n_questions(chosen: NeuronSet) -> int | None:
    """Questions of the target, in the set's culture where the run counted them; None if unknown."""
    tests = [*chosen.method.get("significance", []), chosen.method.get("stability", {})]
    of_culture = next((test["n_questions"] for test in tests if test.get("n_questions")), None)
    of_runs = [source.get("n_questions", {}).get("target") for source in chosen.sources]
    known = [number for number in of_runs if number is not None]
    return of_culture or (sum(known) if known and len(known) == len(of_runs) else None)


def _document(chosen: NeuronSet, output: Path) -> dict[str, Any]:
    return {
        "neurons": str(output),
        "name": chosen.name,
        "model": chosen.model,
        "n_neurons": len(chosen.neurons),
        "n_questions": _n_questions(chosen),
        "method": chosen.method,
        "by_module_and_layer": [
            {"module": module, "layer": layer, "n": n}
            for (module, layer), n in sorted(chosen.count_by_module_and_layer().items())
        ],
    }


def print_counts(chosen: NeuronSet) -> None:
    """Print how many neurons are in each module, and in which layers."""
    by_module: dict[str, dict[int, int]] = {}
    for (module, layer), n in sorted(chosen.count_by_module_and_layer().items()):
        by_module.setdefault(module, {})[layer] = n
    n_questions = _n_questions(chosen)
    by = "" if n_questions is None else f", from {counted(n_questions, 'question')}"
    print_table(
        f"{chosen.name}: {len(chosen.neurons):,} neurons of {model_name(chosen.model)}{by}",
        ("module", "neurons", "layer: neurons"),
        [
            (
                module,
                sum(layers.values()),
                " ".join(f"{layer}:\xa0{n}" for layer, n in layers.items()),
            )
            for module, layers in by_module.items()
        ],
    )


def _print_evidence(chosen: NeuronSet) -> None:
    """Print what the tests and the resamples found."""
    for test in chosen.method.get("significance", []):
        print_line(_survivors(chosen.name, test))
    if stability := chosen.method.get("stability"):
        _print_stability(chosen.name, stability)


def _evidence_headings(chosen: NeuronSet) -> list[str]:
    """Headings of the cells of `_evidence_cells`."""
    tests = [f"significant against {test['against']}" for test in chosen.method.get("significance", [])]
    return [*tests, *(["stable"] if "selected_stable" in chosen.method.get("stability", {}) else [])]


def _evidence_cells(chosen: NeuronSet) -> list[str]:
    """How many of the selected neurons passed each test, in a few characters."""
    tests = [
        f"{test['selected_significant']:,} of {test['selected']:,}"
        for test in chosen.method.get("significance", [])
    ]
    stability = chosen.method.get("stability")
    if stability and "selected_stable" in stability:
        tests.append(f"{stability['selected_stable']:,} of {stability['selected']:,}")
    return tests


def _survivors(name: str, test: Mapping[str, Any]) -> str:
    verb = "kept" if test["is_rule"] else "survive"
    questions = f", {counted(test['n_questions'], 'question')}" if test.get("n_questions") else ""
    return (
        f"{name}: {test['selected_significant']:,} of {test['selected']:,} {verb} at a false discovery "
        f"rate of {test['fdr']:g} ({test['tested_significant']:,} of {test['tested']:,} tested would; "
        f"{test['test']}{questions}). Null hypothesis: {test['null']}.{_limits(test)}"
    )


def _limits(test: Mapping[str, Any]) -> str:
    """What a test cannot show."""
    least, uncertain = test.get("least_p"), test.get("uncertain_tails")
    if least and not test["tested_significant"] and least * test["tested"] > test["fdr"]:
        enough = ceil(least * test["tested"] / test["fdr"])
        return (
            f" So many permutations give no p below {least:.1e}: at least {enough:,} of the tested neurons "
            "would need it to survive. Use more permutations."
        )
    faults = []
    if test.get("repeats_questions"):
        faults.append("takes the items of a question as independent, so its p is too small")
    if uncertain:
        faults.append(
            f"is far too small for {uncertain:,} of the selected, with a p below {FAR_TAIL:g} from a skewed "
            "control"
        )
    if not faults:
        return ""
    return f" Welch's test {'; it '.join(faults)}. Score with --level item to permute questions."


def _print_stability(name: str, stability: Mapping[str, Any]) -> None:
    n_questions = stability.get("n_questions")
    over = f" ({counted(n_questions, 'question')})" if n_questions else ""
    for agreement in stability["agreement"]:
        chance = agreement["by_chance"]
        by_chance = "" if chance is None else f", by chance {chance:.3f}"
        print_line(
            f"{name}: {agreement['kind']}{over}: Jaccard {agreement['jaccard']:.3f} "
            f"({agreement['lowest']:.3f} to {agreement['highest']:.3f} in {agreement['n_pairs']}){by_chance}"
        )
    if "selected_stable" not in stability:
        return
    verb = "kept" if stability["is_rule"] else "selected"
    print_line(
        f"{name}: {stability['selected_stable']:,} of {stability['selected']:,} {verb} in at least "
        f"{100 * stability['level']:g} % of the bootstrap resamples"
    )
