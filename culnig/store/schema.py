"""Every name in a run folder, and the format version. Writer and reader take their names from here.

RUN/run.json                    what was asked, of which model, by which versions, and how far it got
RUN/scores.h5                   attributes format, format_version
    /layout/{module,layer,start,width}      one row per module and layer, in layout order
    /benchmarks/<name>                      attributes role, split
        cultures [C]  n_items [C]  confidence_sum [C]
        sum [C, N] f64  sum_of_squares [C, N] f64  positive_count [C, N] u32
        items/{id, question_id, culture, topic, split, gold, predicted, correct,
               confidence, option_mass, options, option_probabilities,
               alignment}                       one row per item, file order
RUN/parts/<name>.h5             the same group while a benchmark is not finished, with batches_done
"""

from __future__ import annotations

RUN_FORMAT = "culnig-run"
RUN_FORMAT_VERSION = 1

RUN_FILE = "run.json"
SCORES_FILE = "scores.h5"
PARTS_FOLDER = "parts"

FORMAT = "format"
FORMAT_VERSION = "format_version"

LAYOUT = "layout"
MODULE, LAYER, START, WIDTH = "module", "layer", "start", "width"

BENCHMARKS = "benchmarks"
ROLE, SPLIT = "role", "split"
BATCHES_DONE = "batches_done"

CULTURES = "cultures"
N_ITEMS = "n_items"
CONFIDENCE_SUM = "confidence_sum"
SUM = "sum"
SUM_OF_SQUARES = "sum_of_squares"
POSITIVE_COUNT = "positive_count"

ITEMS = "items"
OPTION_SEPARATOR = "\t"
"""Joins an item's labels into one string; no label contains it."""
