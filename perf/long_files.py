"""Peak memory of reading long files: `python perf/long_files.py --out DIR [--rows 10000 100000 1000000]`.

Writes a declared benchmark of so many rows, and reads it in a process of its own for each way of reading:
`list benchmarks --check`, and a sample of 8 questions as `score`, `evaluate` and `plan` draw it. A million
rows take some minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

COUNTRIES = ("China", "Iran", "Mexico", "Spain", "Kenya", "Japan", "France", "Peru")
DECLARATION = """name: long
data: {data}
columns: {{question: question, options: options, answer: answer, culture: country, id: id, topic: topic}}
answer_is: letter
identify_topics: [Food]
wordings: [{{id: w1, template: "{{question}}\\n{{options}}"}}]
"""
WAYS = {
    "check": "culnig.check_benchmark({path!r})",
    "sample": "from culnig.benchmarks.choosing import read_benchmarks; read_benchmarks({path!r}, sample=8)",
}
MEASURE = """
import resource, time, culnig
began = time.process_time()
{work}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time() - began)
"""


def write(folder: Path, n_rows: int) -> Path:
    """A file of so many rows, eight countries to a question, and its declaration."""
    data = folder / f"long-{n_rows}.jsonl"
    with data.open("w", encoding="utf-8") as file:
        for number in range(n_rows):
            row = {
                "id": number,
                "question": f"What goes with tea number {number // 8} in {{country}}?",
                "country": COUNTRIES[number % 8],
                "options": ["sugar", "salt", "milk", "lemon"],
                "answer": "ABCD"[number % 4],
                "topic": "Food" if number % 16 < 8 else "Work",
            }
            file.write(json.dumps(row) + "\n")
    path = folder / f"long-{n_rows}.yaml"
    path.write_text(DECLARATION.format(data=data.name), encoding="utf-8")
    return path


def main() -> None:
    """Write, read, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for n_rows in chosen.rows:
        path = write(chosen.out, n_rows)
        for way, work in WAYS.items():
            command = [sys.executable, "-c", MEASURE.format(work=work.format(path=str(path)))]
            peak, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            line = f"{n_rows:>9,} rows  {way:<7} {int(peak) / 1000:6.0f} MB  {float(seconds):6.1f} s"
            print(line, flush=True)


if __name__ == "__main__":
    main()
