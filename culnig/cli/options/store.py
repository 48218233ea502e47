"""Options of `score` about what is stored."""

from __future__ import annotations

import click

from culnig.cli.options.base import together
from culnig.scoring.levels import LEVELS
from culnig.store.compression import COMPRESSIONS
from culnig.store.item_scores import SCORE_TYPES

store_options = together(
    click.option(
        "--level",
        type=click.Choice(LEVELS),
        help="What to store: sums per culture; item adds the score of every item; token adds activations "
        "and gradients at every token.",
    ),
    click.option("--score-type", type=click.Choice(SCORE_TYPES), help="Number format of stored item scores."),
    click.option(
        "--halves",
        is_flag=True,
        help="Also store sums over half of the questions, so that `select --stability` needs no item scores.",
    ),
    click.option(
        "--modules", multiple=True, help="With --level token: store only these modules, such as gate_proj."
    ),
    click.option("--layers", default="", help="With --level token: store only these layers, such as 0-3,7."),
    click.option(
        "--items",
        multiple=True,
        help="With --level token: store only items with this id; * matches any characters.",
    ),
    click.option("--compression", type=click.Choice(COMPRESSIONS), help="How files are compressed."),
    click.option("--force", is_flag=True, help="Write even if the disk looks too small."),
)
