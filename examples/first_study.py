"""A first study with four calls: find culture-general neurons of a model, mask them, show what it costs."""

import sys

import culnig

MODEL = "embedded"  # or a hub name, a model folder, a .gguf file
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "first-study"
PER_CULTURE = int(sys.argv[2]) if len(sys.argv) > 2 else 10  # questions of each culture

model = culnig.load_model(MODEL, dtype="float32")
benchmarks = ["everyday", "everyday-control", "country-rc"]  # target, control, exclusion
run = culnig.score(model, benchmarks, f"{FOLDER}/run", per_culture=PER_CULTURE, say=print)
neurons = culnig.select_general(run, out=f"{FOLDER}/general.neurons.json")
evaluation = culnig.evaluate(
    model, "everyday", neurons, f"{FOLDER}/evaluation", per_culture=PER_CULTURE, random_baseline=4, say=print
)
culnig.report([run, evaluation, neurons], f"{FOLDER}/report.html")
print(neurons, evaluation, f"report: {FOLDER}/report.html", sep="\n")
