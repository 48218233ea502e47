"""Every name in a run folder, and the format versions. Writer and reader take their names from here.

RUN/run.json                    what was asked, of which model, by which versions, and how far it got
RUN/scores.h5                   attributes format, format_version
    /layout/{module,layer,start,width}      one row per module and layer, in layout order
    /layout/experts                         experts of each row, where a model has some
    /benchmarks/<name>                      attributes role, split
        cultures [C]  n_items [C]  confidence_sum [C]
        sum [C, N] f64  sum_of_squares [C, N] f64  positive_count [C, N] u32
        sum_over_cultures [1, N] f64
        first_half/{n_items [C], sum [C, N]}    of one half of the questions, where the run was asked for it
        scorers/<scorer>/{cultures, n_items, confidence_sum, sum, …}    the same of other scorers
        items/{id, question_id, culture, topic, split, gold, predicted, correct,
               confidence, option_mass, options, option_probabilities,
               alignment, n_tokens}             one row per item, file order
        items/{also_right, together, similarity}    where items have several right labels, are right or wrong
                                                together, or have a distribution
        items/log_probabilities [n, option]     where options are read as texts; padded with NaN
        items/routed_tokens [n, E] u32          tokens that each expert saw, for models with experts
RUN/items/part-*.h5             level `item`: what each item gave each neuron; attributes format,
                                format_version, run, benchmark, portion, first_batch
    item [n]                                    index in the benchmark's item table, in the order of scoring
    offsets [n+1]  token_ids [T]                the prompt's tokens, item after item
    vocabulary_ids [V]  vocabulary [V]          text of every token that occurs
    scores [n, N] f32 or f16                    before P(gold) and clamp; f16 as a fraction of scale [n]
    peak_token [n, N] u16 or u32                index of the token that gave the score
RUN/tensors/part-*.h5           level `token`: attributes and item, offsets, token_ids as above
    layers/<layer>/<module>/{activation,gradient} [T, width]    in the model's number format; bfloat16 as
                                                uint16 bits with the attribute dtype="bfloat16"
    modules [S]  hashes [S, 2, n] u64           which <layer>/<module> there are; XXH3 of each item's values
RUN/parts/<name>-<portion>.h5   a portion of a benchmark while the run is not finished: its group, with
                                attributes batches_done, n_batches, portions, half (1 or 2, of the questions,
                                where they are kept apart) and place [n], the indices of its items

Additions keep the version. A change of meaning raises it, and the reader still reads the older one.
"""

from __future__ import annotations

RUN_FORMAT = "culnig-run"
RUN_FORMAT_VERSION = 1
ITEMS_FORMAT = "culnig-items"
ITEMS_FORMAT_VERSION = 1
TENSORS_FORMAT = "culnig-tensors"
TENSORS_FORMAT_VERSION = 1

RUN_FILE = "run.json"
SCORES_FILE = "scores.h5"
PARTS_FOLDER = "parts"
ITEMS_FOLDER = "items"
TENSORS_FOLDER = "tensors"

FORMAT = "format"
FORMAT_VERSION = "format_version"
RUN_ID = "run"
HASHES, DATA_FILES = "hashes", "data_files"
BENCHMARK = "benchmark"
PORTION = "portion"
FIRST_BATCH = "first_batch"
HALF = "half"
BATCHES_DONE, N_BATCHES, PORTIONS = "batches_done", "n_batches", "portions"

LAYOUT = "layout"
MODULE, LAYER, START, WIDTH, EXPERTS = "module", "layer", "start", "width", "experts"

BENCHMARKS = "benchmarks"
ROLE, SPLIT = "role", "split"

CULTURES = "cultures"
N_ITEMS = "n_items"
P_GOLD_SUM = "confidence_sum"
P_GOLD = "confidence"
"""P(gold) kept its first name in files: other programs read them."""
SUM = "sum"
TOTAL = "sum_over_cultures"
"""Σ of `sum` over the cultures, in their order: what general selections read of a large file."""
SUM_OF_SQUARES = "sum_of_squares"
POSITIVE_COUNT = "positive_count"
ROUTED_TOKENS = "routed_tokens"
TABLES = (SUM, SUM_OF_SQUARES, POSITIVE_COUNT)

FIRST_HALF = "first_half"
"""Sums over one half of each culture's questions; the other half's are the difference to all."""
SCORERS = "scorers"
ITEMS = "items"
OPTION_SEPARATOR = "\t"
"""Joins an item's labels into one string; no label contains it."""
ITEM_INDEX = "place"
"""Index of each of a part's items in the benchmark's item table."""

ITEM = "item"
OFFSETS, TOKEN_IDS = "offsets", "token_ids"
VOCABULARY_IDS, VOCABULARY = "vocabulary_ids", "vocabulary"
SCORES, SCALE, PEAK_TOKEN = "scores", "scale", "peak_token"
LAYERS = "layers"
ACTIVATION, GRADIENT = "activation", "gradient"
STORED_MODULES = "modules"
DTYPE = "dtype"
