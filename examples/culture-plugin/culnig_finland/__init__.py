"""Finland for culnig-engine: a culture record, a benchmark and its control. The rest is data."""

from pathlib import Path

from culnig.benchmarks.declarative import DeclaredBenchmark, declared_benchmark
from culnig.cultures.records import Culture, plugin_cultures

FOLDER = Path(__file__).parent


def cultures() -> list[Culture]:
    """Records of the folder `cultures`."""
    return plugin_cultures(FOLDER / "cultures")


def finland() -> DeclaredBenchmark:
    """The questions."""
    return declared_benchmark(FOLDER / "finland.yaml")


def finland_control() -> DeclaredBenchmark:
    """The items without their question."""
    return declared_benchmark(FOLDER / "finland.yaml", control=True)
