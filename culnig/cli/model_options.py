"""The former home of the model's options."""

from culnig.cli.options.model import ModelChoice, model_options

__all__ = ["ModelChoice", "model_options"]
