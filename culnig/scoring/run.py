"""A whole scoring run: every benchmark into one run folder, by one process or several, resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from culnig.benchmarks.base import ChosenItems
from culnig.core.processes import ALONE, Processes
from culnig.core.text import is_group_name
from culnig.errors import InputError, check_choice, option
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.inference.products import computation_of
from culnig.models.base import BoundModel
from culnig.models.sharding import check_items
from culnig.provenance import describe_model, versions
from culnig.scorers.base import Scorer
from culnig.scoring.culture_swap import OTHER_CULTURES, Baseline, check_baseline
from culnig.scoring.division import Handover, pieces_of, portion_of
from culnig.scoring.keepers import ItemScoreKeeper, Keeper, TensorKeeper
from culnig.scoring.levels import Level, StoredTensors
from culnig.scoring.memory import peak_bytes
from culnig.scoring.portions import Piece, batches_in_turns
from culnig.scoring.question_halves import HALVINGS, WHOLE_QUESTIONS
from culnig.scoring.resumed import IN_TURNS, accept_earlier_version, keep_earlier_check
from culnig.scoring.scaling import is_narrow
from culnig.scoring.scoring import BenchmarkScores, ScoreSettings, Scoring, relevance_rules
from culnig.store.background import BackgroundWriter
from culnig.store.compression import Compression
from culnig.store.item_scores import ScoreType
from culnig.store.run import Run
from culnig.store.writer import Portion, PortionState, RunWriter

Progress = Callable[[str, int], None]
"""Called with a benchmark's name and the number of items that were just finished."""


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run, apart from those that decide its scores."""

    level: Level = "culture"
    """What is stored: sums per culture, scores per item, or tensors per token."""
    score_type: ScoreType = "float32"
    """Number format of item scores."""
    tensors: StoredTensors = field(default_factory=StoredTensors)
    """What is stored at level `token`."""
    scorers: tuple[Scorer, ...] = ()
    """Scorers beside gradient × activation."""
    halves: bool = False
    """Whether sums over one half of the questions are stored beside those over all."""
    compression: Compression = "default"
    gradient_checkpointing: bool = False
    baseline: Baseline | None = None
    """What activations are counted from: zero, or the other cultures' of the question (`culture_swap`)."""

    def __post_init__(self) -> None:
        check_choice("baseline", self.baseline, (None, OTHER_CULTURES))
        if self.baseline and self.level == "token":
            raise InputError(
                f"{option('level', 'token')} stores activations as they are, not those that "
                f"{option('baseline', self.baseline)} scores; leave one of them out"
            )
        for scorer in self.scorers:
            if not is_group_name(scorer.name):
                raise InputError(
                    f"scorer {scorer.name!r} cannot be stored under its name; give it one without / and NUL"
                )


def score_run(
    bound: BoundModel,
    benchmarks: Mapping[str, ChosenItems],
    settings: ScoreSettings,
    folder: Path,
    *,
    run_settings: RunSettings | None = None,
    encoder: Encoder | None = None,
    encoded: Mapping[str, Sequence[EncodedItem]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skipped: Mapping[str, int] | None = None,
    planned_memory: Mapping[str, Any] | None = None,
    progress: Progress = lambda benchmark, n_items: None,
) -> Run:
    """Score all benchmarks into the run folder `folder` and return the finished run.

    An interrupted run is finished by the same call with `resume`, to the same bits. `encoder` writes the
    prompts, by default with today's date; `encoded` are the items of each benchmark where the caller has
    encoded them with it already. `skipped` counts the items of each benchmark
    that were left out as too long, `planned_memory` is a plan's estimate; both are recorded, the latter
    beside the measured peak. OutputExistsError if the folder is in use, MismatchError if the run in
    it has other settings.
    """
    score_portions(
        bound,
        benchmarks,
        settings,
        folder,
        ALONE,
        run_settings=run_settings,
        encoder=encoder,
        encoded=encoded,
        resume=resume,
        overwrite=overwrite,
        skipped=skipped,
        planned_memory=planned_memory,
        progress=progress,
    )
    return Run(folder)


def score_portions(
    bound: BoundModel,
    benchmarks: Mapping[str, ChosenItems],
    settings: ScoreSettings,
    folder: Path,
    processes: Processes,
    *,
    run_settings: RunSettings | None = None,
    encoder: Encoder | None = None,
    encoded: Mapping[str, Sequence[EncodedItem]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skipped: Mapping[str, int] | None = None,
    planned_memory: Mapping[str, Any] | None = None,
    check: Mapping[str, Any] | None = None,
    progress: Progress = lambda benchmark, n_items: None,
) -> None:
    """Score this process's portions of a run; see `score_run`.

    Processes of one launch end with the finished run; a shard is left to be merged with the others
    (`culnig.store.merge`). The numbers are those of one process, to the bit. `check` is what was checked of
    the model (`culnig.verification.quick`), which is recorded.
    """
    check_items(bound.sharding, sum(len(chosen.items) for chosen in benchmarks.values()))
    run_settings = run_settings or RunSettings()
    rules = relevance_rules(bound, run_settings.scorers)
    encoder = encoder or Encoder(bound)
    encoded = encoded or {name: encoder.encode_all(chosen.items) for name, chosen in benchmarks.items()}
    for name, own in encoded.items():
        if benchmarks[name].role != "exclusion":
            check_baseline(run_settings.baseline, bound.layout, own)
    prompts = {name: encoder.record(own) for name, own in encoded.items()}
    record = _record(bound, benchmarks, settings, run_settings, prompts)
    if skipped:
        record["skipped_too_long"] = dict(skipped)
    if processes.is_shard:
        record["shard"] = {"number": processes.number, "of": processes.of}
    if check is not None:
        record["check"] = dict(check)
    if resume:
        record = accept_earlier_version(folder, record)
        keep_earlier_check(folder, record)
    compression = run_settings.compression
    with _writer(processes, folder, record, bound, compression, resume=resume, overwrite=overwrite) as writer:
        if writer.finished:
            return
        halving = HALVINGS[record["settings"]["halves"]] if run_settings.halves else None
        scorings = {
            name: Scoring(
                *(bound, encoded[name], chosen.role, settings),
                gradient_checkpointing=run_settings.gradient_checkpointing,
                scorers=run_settings.scorers,
                halving=halving,
                rules=rules,
                baseline=run_settings.baseline,
            )
            for name, chosen in benchmarks.items()
        }
        if IN_TURNS in record["settings"]:
            longest = batches_in_turns(sum(len(scoring.batches) for scoring in scorings.values()))
            for scoring in scorings.values():
                scoring.cut(longest)
        portions = {name: len(scoring.portions) for name, scoring in scorings.items()}
        hands_over = run_settings.level == "culture" and processes.of > 1 and not processes.is_shard
        pieces = pieces_of(scorings, writer, processes, hands_over=hands_over)
        with BackgroundWriter() as parts:
            of_run = _RunParts(writer, parts, Handover(writer, processes), run_settings, progress)
            for name, piece in pieces:
                _score_portion(of_run, bound, name, benchmarks[name], scorings[name], piece)
            if bound.sharding is not None:
                with next(iter(scorings.values())).without_batches() as turns:
                    turns.finish()
        if planned_memory is not None and processes.is_first:
            writer.record_more(memory={"planned": dict(planned_memory), "measured_peak": peak_bytes()})
        if processes.is_shard:
            writer.record_more(portions=portions)
            return
        processes.wait_for_all()
        if processes.is_first:
            writer.finish(portions)
        processes.wait_for_all()


def _writer(
    processes: Processes,
    folder: Path,
    record: dict[str, Any],
    bound: BoundModel,
    compression: Compression,
    *,
    resume: bool,
    overwrite: bool,
) -> RunWriter:
    """The run folder: the first process makes or checks it, then the others join."""
    if not processes.is_first:
        processes.wait_for_all()
        return RunWriter.join(folder, record, bound.layout, compression=compression)
    writer = RunWriter.open(
        folder, record, bound.layout, resume=resume, overwrite=overwrite, compression=compression
    )
    processes.wait_for_all()
    return writer


class _RunParts(NamedTuple):
    """What all portions of a run share."""

    writer: RunWriter
    background: BackgroundWriter
    """Writes the parts."""
    handover: Handover
    settings: RunSettings
    progress: Progress


def _score_portion(
    run: _RunParts,
    bound: BoundModel,
    name: str,
    chosen: ChosenItems,
    scoring: Scoring,
    piece: Piece,
) -> None:
    """Score batches of a portion, once those before them are scored."""
    writer, parts, handover, run_settings, progress = run
    number = piece.portion
    numbers, portion = scoring.portions[number], portion_of(name, scoring, number)
    if piece.is_rest:
        run.handover.take(portion, piece.begin, scoring.without_batches() if bound.sharding else None)
    indices = scoring.item_indices(number)
    scores = scoring.empty()
    stored = writer.read_part(portion)
    if stored is not None:
        scores.moments, scores.batches_done = stored.moments, stored.batches_done
        scores.scorers = dict(stored.scorers)
        asked = [chosen.items[index] for index in stored.indices]
        scores.outcomes.put(stored.indices, stored.outcomes.asked_as(asked))
        progress(name, int(stored.moments.n_items.sum()))
    if run_settings.level != "culture":
        writer.discard_data(_KEEPERS[run_settings.level].folder, portion, numbers.start + scores.batches_done)
    keeper = _keeper(writer, bound, portion, chosen, scoring, run_settings)

    def save(own: BenchmarkScores) -> None:
        """Save the sums, which nothing changes any more, and the answers in the background."""
        if keeper:
            keeper.settle()
        state = PortionState(own.moments, own.outcomes.take(indices), indices, own.batches_done, own.scorers)
        n_bytes = own.moments.n_bytes * (1 + len(own.scorers))
        parts.submit(lambda: writer.save_part(portion, chosen.role, chosen.split, state), n_bytes)

    def after_batch(batches_done: int, n_items: int) -> None:
        due = batches_done < portion.n_batches and parts.idle and writer.checkpoint_due()
        if due and (keeper is None or keeper.between_parts):
            save(scores.so_far())
        progress(name, n_items)

    try:
        if keeper:
            writer.require_data(portion, keeper.files(scores.batches_done))
        if stored is not None and scores.batches_done >= piece.end:
            return
        scoring.score(number, scores, keeper=keeper, after_batch=after_batch, end=piece.end)
        save(scores)
        if piece.end < portion.n_batches:
            parts.drain()
            if bound.sharding is None:
                handover.give()
    finally:
        if keeper:
            keeper.close()


_KEEPERS: dict[str, type[Keeper]] = {"item": ItemScoreKeeper, "token": TensorKeeper}


def _keeper(
    writer: RunWriter,
    bound: BoundModel,
    portion: Portion,
    chosen: ChosenItems,
    scoring: Scoring,
    run_settings: RunSettings,
) -> Keeper | None:
    def text_of(token: int) -> str:
        return str(bound.tokenizer.decode([token]))

    common = (writer, portion, scoring.batches, scoring.portions[portion.number], text_of)
    if run_settings.level == "item":
        return ItemScoreKeeper(*common, bound.layout.n_neurons, run_settings.score_type)
    if run_settings.level == "token":
        tensors = run_settings.tensors
        number_format = str(bound.model.dtype).removeprefix("torch.")
        indices = tensors.item_indices(chosen.items)
        return TensorKeeper(*common, tensors.segments(bound.layout), number_format, indices)
    return None


def _record(
    bound: BoundModel,
    benchmarks: Mapping[str, ChosenItems],
    settings: ScoreSettings,
    run_settings: RunSettings,
    prompts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    stored: dict[str, Any] = {"level": run_settings.level}
    if bound.sharding is not None:
        stored[IN_TURNS] = True
    if run_settings.scorers:
        stored["scorers"] = [scorer.name for scorer in run_settings.scorers]
    if run_settings.baseline:
        stored["baseline"] = run_settings.baseline
    if run_settings.halves:
        stored["halves"] = WHOLE_QUESTIONS
    if is_narrow(bound.model):
        stored["target_scaling"] = "power of two"  # float16 portions of earlier versions do not fit these
    if run_settings.level == "item":
        stored["score_type"] = run_settings.score_type
    if run_settings.level == "token":
        stored |= run_settings.tensors.record()
    return {
        "model": describe_model(bound),
        # prefix_sharing: runs of the first edition say so too where every prompt was computed whole
        "settings": {**asdict(settings), "prefix_sharing": False, **stored},
        "benchmarks": {name: chosen.record(prompts[name]) for name, chosen in benchmarks.items()},
        "versions": versions(computation_of(bound.model)),
        "complete": False,
    }
