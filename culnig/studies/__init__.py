"""Studies: one file with models, benchmarks, selections, masks and trainings, and one report from it."""
