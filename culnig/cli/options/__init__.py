"""Options that several commands share, each declared once."""

from culnig.cli.options.base import (
    PATH,
    SHARE,
    Command,
    defaults_of,
    json_option,
    out_options,
    overwrite_option,
    resume_option,
    together,
)
from culnig.cli.options.items import (
    check_option,
    culture_records_option,
    data_dir_option,
    ignored_prefix_sharing_option,
    item_options,
    prefix_sharing_option,
    prompt_date_option,
    skip_too_long_option,
)
from culnig.cli.options.model import ModelChoice, model_options

__all__ = [
    "PATH",
    "SHARE",
    "Command",
    "ModelChoice",
    "check_option",
    "culture_records_option",
    "data_dir_option",
    "defaults_of",
    "ignored_prefix_sharing_option",
    "item_options",
    "json_option",
    "model_options",
    "out_options",
    "overwrite_option",
    "prefix_sharing_option",
    "prompt_date_option",
    "resume_option",
    "skip_too_long_option",
    "together",
]
