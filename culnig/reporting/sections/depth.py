"""How the scores of a run are spread over the layers, by module and by culture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from culnig.core.quantities import percent
from culnig.reporting.charts import Line, lines
from culnig.reporting.heat_maps import layer_map
from culnig.reporting.profiles import Profile
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.tables import Table


def depth_section(profiles: Sequence[Profile]) -> Section:
    """Share of the positive score by layer, by module and by culture."""
    return Section(
        "depth",
        "Scores over depth",
        "How the attribution is spread over the layers. All neurons of the model count here, not only the "
        "selected ones.",
        [panel for profile in profiles for panel in (_modules_panel(profile), _cultures_panel(profile))],
        "culnig-engine score --model MODEL --benchmark BENCHMARK -o RUN",
    )


def _modules_panel(profile: Profile) -> Panel:
    shares = profile.layers.sum(axis=0) / (profile.layers.sum() or 1.0)
    by_layer, n_layers = shares.sum(axis=0), shares.shape[1]
    highest = int(by_layer.argmax())
    return Panel(
        f"{profile.target}: modules",
        lines(
            [
                Line(module, range(n_layers), row.tolist())
                for module, row in zip(profile.modules, shares, strict=True)
            ],
            title=f"Score over depth, {profile.difference}",
            description=f"Share of all positive scores; layer {highest} has the most.",
            x_axis="layer",
            y_axis="share of positive score, %",
            percent=True,
            form=percent,
        ),
        f"Sum of the positive scores ({profile.difference}) of each module and layer, as a share of the "
        f"total. Layer {highest} has the most ({percent(by_layer[highest])}).",
        Table(
            slug("depth", profile.target),
            f"Share of the positive score by layer and module, {profile.basis}",
            ("layer", *profile.modules),
            [(layer, *shares[:, layer].tolist()) for layer in range(n_layers)],
            ("", *["%"] * len(profile.modules)),
        ),
    )


def _cultures_panel(profile: Profile) -> Panel:
    of_culture = profile.layers.sum(axis=1)
    shares = of_culture / np.maximum(of_culture.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    n_layers = shares.shape[1]
    return Panel(
        f"{profile.target}: cultures",
        layer_map(
            shares,
            profile.cultures,
            title=f"Score over depth by culture, {profile.difference}",
            description="Each row is one culture's positive score over all modules and adds up to 100 %.",
            form=percent,
            numbers=False,
        ),
        "Each row adds up to 100 % and shows in which layers a culture's score lies.",
        Table(
            slug("depth-cultures", profile.target),
            f"Share of each culture's positive score by layer, {profile.basis}",
            ("layer", *profile.cultures),
            [(layer, *shares[:, layer].tolist()) for layer in range(n_layers)],
            ("", *["%"] * len(profile.cultures)),
        ),
    )
