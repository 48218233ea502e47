"""`culnig-engine select crispr`, `ig` and `knowledge-neurons`: neighbouring methods, by their own rules."""

from __future__ import annotations

from pathlib import Path

import click

from culnig.cli.selected import ALL, each_culture_option, output_options, tell, wanted_cultures, write_sets
from culnig.store.run import Run

_SHARE = click.FloatRange(0, 1)
_POSITIVE = click.FloatRange(0, 1, min_open=True)


def _by_scorer(method: str, help_text: str) -> click.Command:
    @click.command(method, help=help_text)
    @click.argument("run", type=click.Path(path_type=Path))
    @click.option("--target", help="Target benchmark, where the run has several.")
    @click.option(
        "--culture",
        "cultures",
        multiple=True,
        help="The culture to select for; several times, or `all`, for a set of each (-o is a folder then). "
        "Without it all cultures are taken together.",
    )
    @click.option("--top", type=_SHARE, default=0.01, show_default=True, help="Share of the pool kept.")
    @click.option("--pool", default="mlp", show_default=True, help="mlp, attention, all, or a module.")
    @output_options("Neuron-set file; a folder for several cultures.")
    def select(
        run: Path,
        target: str | None,
        cultures: tuple[str, ...],
        top: float,
        pool: str,
        output: Path,
        overwrite: bool,
        as_json: bool,
    ) -> None:
        from culnig.selection.by_scorer import SCORERS, TopSettings, select_by_scorer
        from culnig.selection.tables import selection_tables

        opened = Run(run, SCORERS[method])
        tables = selection_tables(opened, target=target, use_control=False, use_exclusion=False)
        settings = TopSettings(top, pool)
        if not cultures:
            chosen = select_by_scorer(tables, method, None, settings)
            chosen.write(output, overwrite=overwrite)
            tell([(chosen, output)], None, as_json)
            return
        wanted = wanted_cultures(cultures, tables.cultures)
        sets = [select_by_scorer(tables, method, culture, settings) for culture in wanted]
        write_sets(sets, wanted, ALL in cultures, output, overwrite, as_json)

    return select


crispr = _by_scorer("crispr", "Neurons that raise the most probable wrong label (Yang et al. 2024).")
ig = _by_scorer("ig", "Neurons of largest integrated gradients (the score of Dai et al. 2022).")


@click.command("knowledge-neurons")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--target", help="Target benchmark, where the run has several.")
@each_culture_option()
@click.option(
    "--threshold",
    type=_POSITIVE,
    default=0.2,
    show_default=True,
    help="Share of the largest score of a prompt that a neuron must reach there.",
)
@click.option(
    "--shared",
    type=_POSITIVE,
    default=0.7,
    show_default=True,
    help="Share of the culture's prompts in which it must.",
)
@click.option("--pool", default="mlp", show_default=True, help="mlp, attention, all, or a module.")
@output_options("Neuron-set file; a folder for several cultures.")
def knowledge_neurons(
    run: Path,
    target: str | None,
    cultures: tuple[str, ...],
    threshold: float,
    shared: float,
    pool: str,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Neurons that stand out in most prompts, by the rule of Dai et al. 2022; for runs of --level item."""
    from culnig.selection.knowledge import KnowledgeSettings, prompt_counts, select_knowledge

    settings = KnowledgeSettings(threshold, shared, pool)
    counted = prompt_counts(Run(run), settings, target)
    wanted = wanted_cultures(cultures, counted.cultures)
    sets = [select_knowledge(counted, culture, settings) for culture in wanted]
    write_sets(sets, wanted, ALL in cultures, output, overwrite, as_json)
