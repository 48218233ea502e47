"""Studies: models, benchmarks, selections, masks and trainings in one file, and one report of them."""
