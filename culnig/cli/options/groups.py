"""Which group of the help each option is in: the same in every command.

An option without a group is listed last, under `UNGROUPED`; a test lists them.
"""

from __future__ import annotations

MODEL = (
    *("--model", "--model-name", "--revision", "--dtype", "--device", "--device-map", "--attention"),
    *("--quantize", "--adapter", "--trust-remote-code", "--fsdp", "--fsdp-offload", "--no-check"),
    *("--prompt-date", "--max-new-tokens", "--temperature", "--system", "--raw"),
)
ITEMS = (
    *("--benchmark", "--data-dir", "--split", "--culture", "--without-culture", "--cultures", "--limit"),
    *("--per-culture", "--sample", "--skip-too-long", "--target", "--control", "--no-control"),
    *("--exclusion", "--no-exclusion", "--items", "--without-items", "--modules", "--layers", "--half"),
    *("--bootstrap", "--region", "--language", "--check", "--from", "--question", "--options", "--answer"),
    *("--answer-is", "--answer-starts-at", "--tokens-per-item", "--condition", "--run", "--evaluation"),
)
NEURONS = (
    *("--neurons", "--scorer", "--compat", "--aggregator", "--baseline", "--confidence", "--padding"),
    *("--preset", "--top", "--top-mlp", "--top-attention", "--exclude", "--pool", "--z", "--rank-by"),
    *("--shrink", "--percentile", "--threshold", "--shared", "--like", "--match", "--factor", "--mask"),
    *("--means", "--share", "--dose", "--bound", "--measure", "--module", "--group", "--neurons-listed"),
)
TRAINING = (
    *("--plan", "--task", "--arms", "--seeds", "--rescore", "--examples", "--epochs", "--max-steps"),
    *("--learning-rate", "--batch-size", "--accumulation", "--lora", "--lora-alpha", "--save-every"),
    *("--log-every", "--report-to", "--i-have-permission", "--budget", "--direction", "--granularity"),
    *("--keep-neurons", "--keep-models"),
)
WORLD = (
    *("--world", "--questions", "--neurons-per-culture", "--mlp-width", "--experts", "--kernels"),
    *("--quick",),
)
NUMBERS = (
    *("--significance", "--fdr", "--permutations", "--stability", "--stable", "--resamples", "--leave-out"),
    *("--against", "--random-baseline", "--baseline-match", "--matrix", "--seed", "--halves"),
)
MACHINE = (
    *("--token-budget", "--gradient-checkpointing", "--no-prefix-sharing", "--shard", "--memory"),
    *("--device-memory", "--gpus", "--tflops", "--link", "--force", "--only", "--dry-run"),
)
OUTPUT = (
    *("--output", "--overwrite", "--resume", "--level", "--score-type", "--compression", "--allow-overlap"),
    *("--verify", "--title", "--tables", "--figure", "--format", "--to", "--name", "--width", "--font-size"),
    *(
        "--columns",
        "--published",
        "--gguf",
        "--file",
        "--public",
        "--message",
        "--init",
        "--export",
        "--schema",
    ),
    *("--plain", "--json", "--version", "--help"),
)

GROUPS: dict[str, tuple[str, ...]] = {
    "Model": MODEL,
    "Items": ITEMS,
    "Neurons": NEURONS,
    "Training": TRAINING,
    "Known neurons": WORLD,
    "Numbers": NUMBERS,
    "Speed and memory": MACHINE,
    "Output": OUTPUT,
}
"""Options by the heading of their group, in the order of the help."""

UNGROUPED = "More options"

_GROUP_OF = {flag: heading for heading, flags in GROUPS.items() for flag in flags}


def group_of(flags: list[str]) -> str:
    """The heading of an option's group, by its long name."""
    return next((_GROUP_OF[flag] for flag in flags if flag in _GROUP_OF), UNGROUPED)
