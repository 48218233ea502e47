"""Two examples for the help of each command, and the page of the documentation with more."""

from __future__ import annotations

from typing import NamedTuple


class Examples(NamedTuple):
    """What the help of a command ends with."""

    first: str
    second: str
    page: str


_SCORED = "--benchmark everyday --benchmark everyday-control"

EXAMPLES: dict[str, Examples] = {
    "demo": Examples("demo", "demo --quick -o first-look", "docs/first-study.md"),
    "plan": Examples(
        "plan --model embedded --benchmark everyday",
        "plan --model meta-llama/Llama-3.1-70B --gpus 8 --device-memory 80G --fsdp",
        "docs/performance.md",
    ),
    "verify": Examples("verify --model embedded", "verify --kernels", "docs/models.md"),
    "validate": Examples("validate", "validate --world hard --seed 1 -o hard-1", "docs/validation.md"),
    "leaderboard": Examples("leaderboard hard-1", "leaderboard hard-1 hard-2 --json", "docs/validation.md"),
    "score": Examples(
        f"score --model embedded {_SCORED} --benchmark country-rc -o run",
        f"score --model embedded {_SCORED} --level item --sample 20 -o run-items",
        "docs/first-study.md",
    ),
    "reduce": Examples(
        "reduce run-tokens --aggregator mean -o run-mean",
        "reduce run-items --without-culture USA -o run-without-usa",
        "docs/store.md",
    ),
    "merge": Examples("merge shard-1 shard-2 -o run", "merge run-a run-b -o run", "docs/clusters.md"),
    "import": Examples(
        "import outputs/MODEL/blend_max_scores.json -o run",
        "import blend_max_scores.json --model-name gemma-3-12b-it -o run",
        "docs/store.md",
    ),
    "select general": Examples(
        "select general run -o general.neurons.json",
        "select general run-items --fdr 0.05 --stability -o general.neurons.json",
        "docs/selection.md",
    ),
    "select specific": Examples(
        "select specific run --culture China -o china.neurons.json",
        "select specific run --culture all --preset best -o specific",
        "docs/selection.md",
    ),
    "select random": Examples(
        "select random run --like general.neurons.json -o random.neurons.json",
        "select random run --like general.neurons.json --seed 1 --match total -o random-1.neurons.json",
        "docs/selection.md",
    ),
    "select lape": Examples(
        "select lape run --culture all -o lape",
        "select lape run --culture China --top 0.01 -o china.neurons.json",
        "docs/selection.md",
    ),
    "select cape": Examples(
        "select cape run --culture all -o cape",
        "select cape run --culture China --percentile 95 -o china.neurons.json",
        "docs/selection.md",
    ),
    "select crispr": Examples(
        "select crispr run -o crispr.neurons.json",
        "select crispr run --culture all -o crispr",
        "docs/selection.md",
    ),
    "select ig": Examples(
        "select ig run -o ig.neurons.json", "select ig run --culture all -o ig", "docs/selection.md"
    ),
    "select knowledge-neurons": Examples(
        "select knowledge-neurons run-items -o knowledge.neurons.json",
        "select knowledge-neurons run-items --culture China --threshold 0.2 -o china.neurons.json",
        "docs/selection.md",
    ),
    "neurons union": Examples(
        "neurons union a.json b.json -o either.json",
        "neurons union a.json b.json c.json --overwrite -o any.json",
        "docs/selection.md",
    ),
    "neurons intersect": Examples(
        "neurons intersect a.json b.json -o both.json",
        "neurons intersect a.json b.json c.json -o all.json",
        "docs/selection.md",
    ),
    "neurons minus": Examples(
        "neurons minus china.json general.json -o china-only.json",
        "neurons minus a.json b.json c.json -o only-a.json",
        "docs/selection.md",
    ),
    "neurons diff": Examples(
        "neurons diff a.json b.json", "neurons diff a.json b.json --json", "docs/selection.md"
    ),
    "neurons overlap": Examples(
        "neurons overlap a.json b.json c.json --run run",
        "neurons overlap a.json b.json c.json --figure overlap.pdf",
        "docs/selection.md",
    ),
    "neurons convert": Examples(
        "neurons convert general.neurons.json --to csv -o general.csv",
        "neurons convert lape.pth --to culnig --run run --group 0 -o lape.neurons.json",
        "docs/selection.md",
    ),
    "audit": Examples(
        "audit general.neurons.json --model embedded --benchmark everyday",
        "audit general.neurons.json --model embedded --benchmark everyday --bound --sample 10",
        "docs/selection.md",
    ),
    "evaluate": Examples(
        "evaluate --model embedded --benchmark everyday --neurons general.neurons.json"
        " --random-baseline 10 -o evaluation",
        "evaluate --model embedded --benchmark everyday --neurons China=china.neurons.json --dose -o doses",
        "docs/evaluation.md",
    ),
    "compare": Examples("compare evaluation", "compare before after --plain", "docs/evaluation.md"),
    "modules": Examples(
        "modules general.neurons.json -o plan.yaml",
        "modules general.neurons.json --direction bottom --budget 0.2 -o plan.yaml",
        "docs/training.md",
    ),
    "train": Examples(
        "train --model embedded --plan plan.yaml --task qnli -o tuned",
        "train --model embedded --plan plan.yaml --task qnli --arms top,bottom,random --seeds 3"
        " --benchmark everyday -o arms",
        "docs/training.md",
    ),
    "instances": Examples(
        "instances --model embedded --benchmark everyday --neurons general.neurons.json -o instances.h5",
        "instances --model embedded --benchmark everyday --neurons general.neurons.json --no-control"
        " -o raw.h5",
        "docs/evaluation.md",
    ),
    "report": Examples(
        "report run general.neurons.json evaluation -o report.html",
        "report run evaluation --tables tables -o report.html",
        "docs/report.md",
    ),
    "figures": Examples(
        "figures run general.neurons.json evaluation -o figures",
        "figures evaluation --figure masking --columns 1 --font-size 7 -o figures",
        "docs/report.md",
    ),
    "study run": Examples(
        "study run small.yaml -o small",
        "study run paper.yaml -o paper --dry-run --device-memory 80G --gpus 8 --tflops 400",
        "docs/studies.md",
    ),
    "study pack": Examples(
        "study pack small -o small.culnig.zip",
        "study pack small -o small.culnig.zip --overwrite",
        "docs/studies.md",
    ),
    "study unpack": Examples(
        "study unpack small.culnig.zip -o copy", "study unpack small.culnig.zip --verify", "docs/studies.md"
    ),
    "hub push": Examples(
        "hub push general.neurons.json OWNER/NAME",
        'hub push small.culnig.zip OWNER/NAME --title "A small study"',
        "docs/studies.md",
    ),
    "hub pull": Examples(
        "hub pull OWNER/NAME -o small.culnig.zip",
        "hub pull OWNER/NAME --file general.neurons.json -o general.neurons.json",
        "docs/studies.md",
    ),
    "export": Examples(
        "export general.neurons.json --model embedded -o suppressed",
        "export general.neurons.json --model embedded --factor 2 -o enhanced",
        "docs/ways-out.md",
    ),
    "ask": Examples(
        'ask --model embedded --neurons general.neurons.json "What do people eat in Mexico?"',
        "ask --model embedded --neurons general.neurons.json --factor 0 --questions questions.txt",
        "docs/ways-out.md",
    ),
    "cite": Examples("cite run", "cite run evaluation -o citations", "docs/publishing.md"),
    "neurons compare": Examples(
        "neurons compare a.neurons.json b.neurons.json --run run-a --run run-b",
        "neurons compare base.neurons.json instruct.neurons.json --seed 1 --json",
        "docs/studies.md",
    ),
    "inspect": Examples("inspect run", "inspect run --verify", "docs/store.md"),
    "list models": Examples("list models", "list models --json", "docs/models.md"),
    "list benchmarks": Examples("list benchmarks", "list benchmarks --check everyday", "docs/benchmarks.md"),
    "list cultures": Examples(
        "list cultures --region Asia", "list cultures --language es", "docs/new-culture.md"
    ),
    "list scorers": Examples("list scorers", "list scorers --json", "docs/scorers.md"),
    "list plugins": Examples("list plugins", "list plugins --plain", "docs/models.md"),
    "benchmarks new": Examples(
        "benchmarks new --from questions.csv -o questions.yaml",
        "benchmarks new --from questions.csv --question text --culture country -o questions.yaml",
        "docs/declared-benchmarks.md",
    ),
    "cache list": Examples("cache list", "cache list --json", "docs/models.md"),
    "cache clear": Examples("cache clear", "cache clear --json", "docs/models.md"),
}
"""By the words that call the command."""
