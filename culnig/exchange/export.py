"""Export a model with a mask in its weights, as a folder that any program can read.

OUT/export.json      what was masked and where it comes from; complete at the end
OUT/…                the checkpoint's own files, with the rows and biases of the neurons changed
OUT/README.md        the model card

A neuron is one output of a linear module, `w·x + b`, so multiplying the row and the bias multiplies the
neuron, whatever the layer does with it afterwards. Files are copied and changed in place, a few rows at a
time, in a hidden folder inside OUT. Only when nothing can be refused any more do they replace an earlier
export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from culnig import registry
from culnig.core.progress import Say, say_nothing
from culnig.errors import CulnigError, InputError, StoreError, argument, check_choice, option
from culnig.evaluation.request import NeuronSetChoice, SetChoice, run_with_prompts
from culnig.exchange.added_biases import biases_for, empty_biases, write_biases
from culnig.exchange.checkpoint_rows import CheckpointRows, Rows
from culnig.exchange.gguf_file import convert, find_converter, unconverted
from culnig.exchange.model_card import model_card
from culnig.exchange.patching import Change, change_rows, rounded
from culnig.exchange.sources import ExportSource, export_source
from culnig.models.checkpoint import StoredTensor, stored_tensors
from culnig.models.named import loaded_model
from culnig.provenance import versions
from culnig.store.files import read_json, remove_if_empty, whole_files, write_json, write_text
from culnig.store.formats import check_format
from culnig.store.output_folder import OutputFolder, check_folder
from culnig.store.output_kind import REPLACES, OutputKind
from culnig.training.checkpoints import facts_of
from culnig.training.weights import Weights

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel
    from culnig.models.settings import LoadOptions
    from culnig.selection.neuron_set import NeuronSet
    from culnig.store.run import Run

EXPORT_FILE = "export.json"
FORMAT = "culnig-export"
FORMAT_VERSION = 1
FILES = "files"
"""Key of the files of the model, with their sizes and hashes."""


def export_model(
    model: str | Path | BoundModel,
    neurons: NeuronSetChoice,
    out: Path | str,
    *,
    factor: float = 0.0,
    mask: Literal["scale", "mean"] = "scale",
    means: Run | Path | str | None = None,
    gguf: bool = False,
    overwrite: bool = False,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> Path:
    """Write a model with a mask in its weights, as a normal transformers folder, and return its path.

    `neurons` is a set, its file, or several of them; a neuron in several sets counts once. The weights that
    compute the neurons are multiplied by `factor`. With `mask="mean"`, the neurons are instead set to their
    mean activation in the prompts of the run `means`. The mean goes into the bias; the export is refused if a
    module cannot have one.

    Weight files are copied, and a few rows changed at a time; the model is loaded only to compute means, to
    merge an adapter, and to unpack a GGUF file for the first time. Weights keep the checkpoint's number
    format. `gguf` adds a GGUF file, if the converter of llama.cpp is installed. A model given by name takes
    the options of `load_model`.

    MismatchError for a set of another model, InputError if a factor cannot be exact in the weights (packed
    numbers), OutputExistsError if the folder is in use. EnvironmentProblem if the converter is not installed,
    or fails when the folder is complete without its file.
    """
    _check(factor, mask, means)
    converter = find_converter() if gguf else None
    folder = Path(out)
    check_folder(folder, EXPORT, overwrite=overwrite, inputs=(model, neurons, means))
    run = run_with_prompts(means)
    sets = SetChoice(neurons).read()
    if not any(chosen.neurons for chosen in sets):
        raise InputError("there is no neuron to mask; give a neuron set that is not empty")
    source = export_source(model, loading, say)
    flat = np.unique(np.concatenate([chosen.flat(source.structure.layout) for chosen in sets]))
    _check_unpacked(source)
    values = None if run is None else _means(model, source, run, flat, loading, say)
    stored = None if source.folder is None else stored_tensors(source.name, source.folder)
    changes = _Changes(source, flat, factor, values)
    if stored is not None:
        changes.plan(stored)  # refuses before anything is copied
    record = _record(source, sets, flat, factor, mask, run)
    output = OutputFolder.reserve(folder, EXPORT, overwrite=overwrite)
    try:
        record, said = _write(output, record, source, changes, sets, converter)
    finally:
        output.close()
    if rounding := record["largest_rounding"]:
        say(f"products were rounded to the weights' number format, by {100 * rounding:.2g} % at most")
    if converter is not None and said is not None:
        raise unconverted(converter, folder, said)
    return folder


def _write(
    output: OutputFolder,
    record: dict[str, Any],
    source: ExportSource,
    changes: _Changes,
    sets: Sequence[NeuronSet],
    converter: Path | None,
) -> tuple[dict[str, Any], str | None]:
    """Write all files; the finished record, and why there is no GGUF file if the converter failed.

    If a weight is refused, the folder stays as it was.
    """
    facts: dict[str, Any] = {}
    said: str | None = None

    def replace_earlier(names: list[str]) -> None:
        output.begin(EXPORT, record | {FILES: facts})

    try:
        with whole_files(output.path, replace_earlier) as new:
            source.write(new)
            record = {**record, "largest_rounding": changes.apply(new)}
            write_text(new / "README.md", model_card(source.name, record, sets, source.card))
            if converter is not None:
                said = convert(converter, new)
            facts |= {path.name: facts_of(path) for path in sorted(new.iterdir())}
    except CulnigError:
        remove_if_empty(output.path)
        raise
    record = {**record, FILES: facts, "complete": True}
    write_json(output.path / EXPORT_FILE, record)
    return record, said


def _check(factor: float, mask: str, means: object) -> None:
    check_choice("mask", mask, ("scale", "mean"))
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not math.isfinite(factor):
        raise InputError(
            f"{argument('factor')} is {factor!r}; give a finite number: 0 suppresses, 2 enhances"
        )
    if (mask == "mean") != (means is not None):
        raise InputError(
            f"give {option('mask', 'mean')} and {option('means', 'RUN')} together: the means are those in "
            "the run's prompts"
        )
    if mask == "mean" and factor != 0:
        raise InputError(
            f"{option('mask', 'mean')} replaces activations, so it does not take {argument('factor')}"
        )


def _check_unpacked(source: ExportSource) -> None:
    """InputError for a model whose weights are packed, or are packed when they are loaded."""
    quantization = getattr(source.structure.model.config, "quantization_config", None)
    if quantization is not None:
        method = getattr(quantization, "quant_method", None) or dict(quantization).get("quant_method", "?")
        raise InputError(
            f"model {source.name!r} declares quantized weights (quantization_config: {method}), in which a "
            "factor cannot be exact; export from the model in floating point (dequantized)"
        )


def _means(
    model: str | Path | BoundModel,
    source: ExportSource,
    run: Run,
    flat: NDArray[np.int64],
    loading: LoadOptions,
    say: Say,
) -> NDArray[np.float64]:
    """Mean activation of each neuron in the prompts of a run, as `evaluate` computes it."""
    from culnig.evaluation.means import activations_of, stored_prompts

    bound = source.structure if source.folder is None else loaded_model(model, say, **loading)
    prompts = stored_prompts(run, bound)
    say(f"mean activations in {len(prompts)} prompts of {run.folder}")
    return activations_of(bound, prompts, flat).mean


class _Changes:
    """What happens to the tensors of a checkpoint."""

    def __init__(
        self, source: ExportSource, flat: NDArray[np.int64], factor: float, values: NDArray[np.float64] | None
    ) -> None:
        self._source = source
        self._flat = flat
        self._factor = factor
        self._values = values
        self._planned: tuple[CheckpointRows, list[Rows]] | None = None

    def plan(self, stored: dict[str, StoredTensor]) -> tuple[CheckpointRows, list[Rows]]:
        """Rows of the tensors that belong to the neurons; InputError where they cannot be changed exactly."""
        if self._planned is None:
            tensors = CheckpointRows(self._source.structure, stored)
            rows = tensors.of_neurons(self._flat)
            if self._values is not None:
                self._biases(tensors, stored, rows)
            self._planned = tensors, rows
        return self._planned

    def apply(self, folder: Path) -> float:
        """Change the weights in a folder; the largest relative error of rounding."""
        stored = stored_tensors(self._source.name, folder)
        tensors, rows = self.plan(stored)
        worst = 0.0
        for name in dict.fromkeys(entry.tensor for entry in rows):
            changes = [self._change(entry, stored[name]) for entry in rows if entry.tensor == name]
            worst = max(worst, change_rows(stored[name].path, stored[name], changes))
        if self._values is not None and (added := self._biases(tensors, stored, rows)) is not None:
            biases, settings, error = added
            write_biases(folder, biases, settings, stored)
            worst = max(worst, error)
        return worst

    def _change(self, rows: Rows, stored: StoredTensor) -> Change:
        is_bias = len(stored.shape) == 1 + (rows.expert is not None)
        values = self._values[rows.neurons] if self._values is not None and is_bias else None
        return Change(rows, self._factor, values)

    def _biases(
        self, tensors: CheckpointRows, stored: dict[str, StoredTensor], rows: Sequence[Rows]
    ) -> tuple[dict[str, Any], tuple[str, ...], float] | None:
        """Biases to add for neurons whose module has none, with their means; None where all have one.

        And the settings that they need, and the largest relative error that rounding the means makes.
        """
        import torch

        assert self._values is not None
        has_bias = {
            int(neuron)
            for entry in rows
            if len(stored[entry.tensor].shape) == 1 + (entry.expert is not None)
            for neuron in entry.neurons
        }
        without = [
            entry
            for entry in Weights(self._source.structure).computing(self._flat)
            if not has_bias.issuperset(entry.neurons.tolist())
        ]
        if not without:
            return None
        paths = {entry.part.parameter.removesuffix(".weight") for entry in without}
        added = biases_for(self._source.structure, registry.adapters(), paths)
        biases = empty_biases(added, tensors.plain, stored)
        worst = 0.0
        for own in without:
            weight = tensors.plain[own.part.parameter]
            name = f"{weight.removesuffix('.weight')}.bias"
            means = torch.from_numpy(self._values[own.neurons])
            biases[name][own.part.indices], error = rounded(means, stored[weight].number_format, name)
            worst = max(worst, error)
        return biases, added.settings, worst


def _record(
    source: ExportSource,
    sets: Sequence[NeuronSet],
    flat: NDArray[np.int64],
    factor: float,
    mask: str,
    run: Run | None,
) -> dict[str, Any]:
    bound = source.structure
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": {
            "source": source.name,
            "adapter": bound.adapter,
            "architecture": bound.architecture,
            "n_layers": bound.layout.n_layers,
            "n_neurons": bound.layout.n_neurons,
            "layout_hash": bound.layout.hash,
        },
        "neuron_sets": [
            {
                "name": chosen.name,
                "n_neurons": len(chosen.neurons),
                "neurons_hash": sha256(chosen.flat(bound.layout).tobytes()).hexdigest(),
                "method": chosen.method,
                "sources": chosen.sources,
            }
            for chosen in sets
        ],
        "n_neurons": len(flat),
        "mask": mask,
        "factor": float(factor),
        "means": None if run is None else {"run": run.run_id},
        "versions": versions(),
        "largest_rounding": 0.0,
    }


def read_export(folder: Path) -> dict[str, Any]:
    """`export.json` of an exported model; StoreError if it is missing, damaged or foreign."""
    document = read_json(folder / EXPORT_FILE, "the record of an exported model")
    named = (document.get("format"), document.get("format_version"))
    check_format(folder / EXPORT_FILE, *named, FORMAT, FORMAT_VERSION)
    return document


def _is_finished(folder: Path) -> bool:
    document = read_export(folder)
    return bool(document.get("complete")) and REPLACES not in document


def _recorded_files(folder: Path) -> list[str]:
    try:
        files = read_export(folder).get(FILES)
    except StoreError:
        return []
    return list(files) if isinstance(files, dict) else []


EXPORT = OutputKind(
    "an exported model",
    read_export,
    _is_finished,
    marks=(EXPORT_FILE,),
    contents=(),
    listed=_recorded_files,
)
