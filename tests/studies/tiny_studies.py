"""A study of two tiny random models that has every kind of step, and takes seconds."""

from __future__ import annotations

from pathlib import Path

from tests.tiny_models import tiny_model

CULTURES = "[China, Iran, Mexico, Spain]"

STUDY = f"""\
prompt_date: 2026-01-02
models:
  one: {{model: one}}
  two: {{model: two}}
scoring:
  identify:
    benchmarks: [everyday, everyday-control, country-rc]
    cultures: {CULTURES}
    per_culture: 2
selections:
  general: {{method: general, top_mlp: 0.1, top_attention: 0.1}}
  specific: {{method: specific, cultures: {CULTURES}, top: 0.4, z: 0.0}}
  random: {{method: random, like: general}}
evaluations:
  general:
    benchmarks: [everyday]
    neuron_sets: [general]
    cultures: {CULTURES}
    per_culture: 1
    random_baseline: 1
  specific:
    models: [one]
    benchmarks: [everyday]
    neuron_sets: specific
    cultures: {CULTURES}
    per_culture: 1
    matrix: true
instances:
  general: {{models: [one], benchmarks: everyday, neurons: general, cultures: [Iran], per_culture: 1}}
audits:
  iran:
    models: [one]
    benchmarks: [everyday]
    neurons: specific/Iran
    cultures: [Iran]
    per_culture: 1
    top: 2
trainings:
  arms:
    models: [one]
    neurons: general
    task: everyday
    plan: {{budget: 0.3}}
    arms: [top]
    examples: 2
    max_steps: 1
    cultures: [Iran]
    limit: 1
comparisons:
  models: {{method: neurons, of: [one/general, two/general]}}
  masks: {{method: evaluations, of: [one/general, two/general]}}
report:
  title: Two tiny models
"""


def write_study(folder: Path, text: str = STUDY) -> Path:
    """The file of a study in a folder with its models."""
    for name, family in (("one", "llama"), ("two", "qwen3")):
        if not (folder / name).exists():
            bound = tiny_model(family)
            bound.model.save_pretrained(folder / name)
            bound.tokenizer.save_pretrained(folder / name)
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path
