"""What is checked once a model is loaded.

All its weights are the checkpoint's, its tokenizer's ids have embeddings, and it is causal.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from culnig.errors import AnotherStopped, BindingError, ModelLoadError, listed, option

if TYPE_CHECKING:
    import torch

    from culnig.models.base import BoundModel

N_TOKENS, FIRST_CHANGED = 16, 7
"""Tokens of the test for causality, and the first that is changed: not the first of a block of 2, 4, 8 or 16,
so a model that sees later tokens within a block fails too."""

_BUFFERS = re.compile(
    r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$|(attn|attention)\.(masked_)?bias$|\.[kv]_scale$"
    r"|position_ids$"
)
"""Tensors of old checkpoints that the model computes itself, and scales of a quantized key-value cache."""
_OF_THE_DECODER = re.compile(r"^[^.]*(norm|ln|emb|position|wpe|wte)[^.]*\.(weight|bias)$")
"""A tensor beside the stack of layers that every token passes: an embedding, a position, a norm."""


class ModelWarning(UserWarning):
    """Something in a model's folder is not used."""


def check_weights(source: str, model: Any, info: Mapping[str, Any], stack: str) -> None:
    """ModelLoadError unless the weights are the checkpoint's, and every weight that counts is used.

    `info` is what `from_pretrained` says with `output_loading_info`, `stack` the path of the layers. The
    model must have nothing that transformers made up: no tensor that is missing (tied ones are not) or of
    another shape. Some tensors of the checkpoint that the model does not have are refused, because the model
    was trained with them and computes something else without them:

    - tensors of layers: a bias, a norm, a scale, a packed weight, an adapter, or a whole layer more than the
      configuration declares (it declares layers that predict several tokens at once; they are not needed)
    - further tensors of a module that the model has, such as a bias or an adapter of the head
    - embeddings and norms that every token passes

    All others belong to parts that plain text does not use (image towers, value heads); a ModelWarning names
    them. Buffers that the model computes itself are not mentioned.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _refuse_made_up(source, shapes, info)
    unused = {name for name in info["unexpected_keys"] if not _BUFFERS.search(name)}
    lost = {name for name in unused if _counts(name, model, stack)}
    if lost:
        raise ModelLoadError(
            f"model {source!r}: its checkpoint has tensors that the model of its configuration does not use: "
            f"{listed(lost)}. The model would compute something else than it was trained for; check "
            "that config.json belongs to these weights, or give the model in its original form (unquantized, "
            "adapters merged)"
        )
    if unused:
        parts = {".".join(name.split(".")[:3]) for name in unused}
        warnings.warn(
            f"model {source!r}: these parts of its checkpoint are not used for text: {listed(parts)}",
            ModelWarning,
            stacklevel=2,
        )


def _refuse_made_up(source: str, shapes: Mapping[str, tuple[int, ...]], info: Mapping[str, Any]) -> None:
    missing = sorted(info["missing_keys"])
    if missing:
        described = [f"{name} ({_shape(shapes.get(name, ()))})" for name in missing]
        instead = info["unexpected_keys"]
        has = f" The checkpoint has these instead: {listed(set(instead))}." if instead else ""
        raise ModelLoadError(
            f"model {source!r}: the checkpoint lacks {len(missing)} of its {len(shapes)} tensors: "
            f"{listed(described)}; transformers would fill them with random numbers.{has} Check that the "
            "files of weights are complete and belong to config.json, or download the model again"
        )
    if info["mismatched_keys"]:
        described = [
            f"{name} ({_shape(stored)} in the checkpoint, {_shape(expected)} by the configuration)"
            for name, stored, expected in info["mismatched_keys"]
        ]
        raise ModelLoadError(
            f"model {source!r}: tensors have another shape than the configuration declares: "
            f"{listed(described)}; check that config.json belongs to these weights"
        )
    if info.get("error_msgs"):
        raise ModelLoadError(
            f"model {source!r}: {listed(list(info['error_msgs']))}; download the model again"
        )


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def _counts(name: str, model: Any, stack: str) -> bool:
    """Whether a text's results depend on a tensor that the model does not have (see `check_weights`)."""
    decoder = stack.rpartition(".")[0]
    for outer in _tails(stack):
        if match := re.match(rf"{re.escape(outer)}\.(\d+)\.", name):
            further = getattr(model.config.get_text_config(), "num_nextn_predict_layers", None) or 0
            n_layers = len(model.get_submodule(stack))
            return not n_layers <= int(match[1]) < n_layers + further
    for prefix in (*_tails(decoder), ""):
        start = f"{prefix}." if prefix else ""
        if name.startswith(start) and _OF_THE_DECODER.match(name.removeprefix(start)):
            return True
    modules = dict(model.named_modules())
    parts = name.split(".")
    owner = next(
        (
            modules[path]
            for length in range(len(parts) - 1, 0, -1)
            if (path := ".".join(parts[:length])) in modules
        ),
        None,
    )
    return owner is not None and not list(owner.children())


def _tails(path: str) -> list[str]:
    """A dotted path, and what is left of it without its first parts: checkpoints leave out outer names."""
    parts = path.split(".") if path else []
    return [".".join(parts[start:]) for start in range(len(parts))]


def layer_stack(bound: BoundModel) -> str:
    """The path of the stack that holds the bound layers, such as `model.layers`."""
    paths = {id(module): name for name, module in bound.model.named_modules()}
    parts = paths[id(bound.linears[0].linear)].split(".")
    number = next((index for index, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[:number])


@contextlib.contextmanager
def without_report() -> Iterator[None]:
    """Keep transformers from printing its table of weights, and the layers of other families that it would
    spread; `check_weights` and `culnig.models.sharding` say what matters."""

    def other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage() and "_plan` rules" not in record.getMessage()

    loggers = [logging.getLogger(f"transformers.{name}") for name in ("modeling_utils", "distributed.mixin")]
    for logger in loggers:
        logger.addFilter(other)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(other)


def check_vocabulary(bound: BoundModel) -> None:
    """ModelLoadError where the tokenizer gives ordinary texts ids that have no embedding.

    A larger embedding is usual. So are added tokens beyond it that no prompt holds, such as an image token of
    a text model (Gemma 3 1B); a prompt that holds one is refused when it is encoded
    (`BoundModel.check_token_ids`).
    """
    rows, tokenizer = bound.n_embeddings, bound.tokenizer
    vocabulary = tokenizer.get_vocab()
    added = set(tokenizer.get_added_vocab().values())
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    beyond = {token for token, id in vocabulary.items() if id >= rows and (id not in added or id in ends)}
    if beyond:
        highest = max(vocabulary[token] for token in beyond)
        raise ModelLoadError(
            f"model {bound.source!r}: its tokenizer has tokens without an embedding: "
            f"{listed(map(repr, beyond))}, up to id {highest}, and the embedding has {rows:,} rows; the "
            "tokenizer belongs to another model, or the embedding was saved before it was resized"
        )


def check_causal(bound: BoundModel) -> None:
    """BindingError where a later token changes what a bound module computes at an earlier one.

    Two passes over the same tokens, the second with other tokens from one on. Up to there the outputs of a
    causal model are equal; differences up to the precision of the numbers are allowed, relative to the
    difference at the changed tokens. ModelLoadError where outputs are not finite numbers.
    """
    import torch

    rows, tolerance = bound.n_embeddings, 4 * torch.finfo(bound.model.dtype).eps
    ids = (torch.arange(N_TOKENS) * 37 + 11) % max(rows - 1, 1) + 1
    other = ids.clone()
    other[FIRST_CHANGED:] = (ids[FIRST_CHANGED:] + rows // 2) % rows
    try:
        first, second = _outputs(bound, ids), _outputs(bound, other)
    except (torch.OutOfMemoryError, AnotherStopped):
        raise
    except Exception as error:  # weights that do not fit their modules fail wherever they are first used
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ModelLoadError(
            f"model {bound.source!r} is loaded and cannot compute a text of {N_TOKENS} tokens: {reason}; "
            "check that config.json (quantization_config, if it has one) belongs to these weights"
        ) from error
    for number in sorted(first.keys() & second.keys()):
        linear, before, after = bound.linears[number], first[number], second[number]
        segment = linear.slices[0].segment
        where = f"layer {segment.layer}, {segment.module}"
        if not bool(torch.isfinite(before).all() and torch.isfinite(after).all()):
            raise ModelLoadError(
                f"model {bound.source!r} computes NaN or infinite values ({where}): weights are damaged, or "
                f"too large for the number format; try {option('dtype', 'float32')}, or download the model "
                "again"
            )
        change = before - after
        earlier, later = change[:FIRST_CHANGED], change[FIRST_CHANGED:]
        if _root_mean_square(earlier) > tolerance * _root_mean_square(later):
            raise BindingError(
                f"model {bound.source!r} is not causal: changing the last {N_TOKENS - FIRST_CHANGED} of "
                f"{N_TOKENS} tokens changes what it computes at earlier ones ({where}). Scores need a causal "
                "decoder, such as Llama, Qwen or Gemma"
            )


def check_differentiable(bound: BoundModel) -> None:
    """ModelLoadError where quantized weights have no backward pass; scores need gradients of activations.

    One backward pass of two tokens, for models with weights that are not floats and those that a quantizer of
    transformers has loaded.
    """
    import torch

    model: Any = bound.model
    floats = all(parameter.is_floating_point() for parameter in model.parameters())
    if floats and getattr(model, "hf_quantizer", None) is None:
        return
    begun: list[torch.Tensor] = []

    def begin(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        begun.append(output.detach().requires_grad_())
        return begun[-1].clone()

    ids = torch.ones((1, 2), dtype=torch.long, device=bound.input_device)
    handle = model.get_input_embeddings().register_forward_hook(begin)
    try:
        with torch.enable_grad():
            last = model(input_ids=ids, use_cache=False).logits[0, -1].float()
            (gradient,) = torch.autograd.grad(last.square().sum(), begun)
        reason = "" if bool(gradient.isfinite().all() and gradient.any()) else "its gradients are no numbers"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each format fails in its own way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    finally:
        handle.remove()
    if reason:
        raise ModelLoadError(
            f"model {bound.source!r} is quantized in a format without a backward pass here ({reason}), and "
            "scores need gradients; load its weights dequantized (bfloat16), or the unquantized model with "
            f"{option('quantize', '4bit')}"
        )


def _outputs(bound: BoundModel, ids: torch.Tensor) -> dict[int, torch.Tensor]:
    """What each bound linear computes for one text, (token, column), on the CPU in float32."""
    import torch

    outputs: dict[int, torch.Tensor] = {}

    def keeping(number: int) -> Callable[[Any, Any, torch.Tensor], None]:
        def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
            own = bound.linears[number].output(inputs, output.detach())
            outputs[number] = own.reshape(len(ids), -1).float().cpu()

        return keep

    def differentiable(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output.detach().requires_grad_().clone()  # some families (CTRL, GIT) change it in place

    with contextlib.ExitStack() as stack, _rows_apart(bound.model), torch.enable_grad():
        # as in scoring: without gradients, bitsandbytes packs its weights anew on some CPUs
        stack.callback(bound.model.get_input_embeddings().register_forward_hook(differentiable).remove)
        for number, linear in enumerate(bound.linears):
            stack.callback(linear.linear.register_forward_hook(keeping(number)).remove)
        bound.model(input_ids=ids[None].to(bound.input_device), use_cache=False)
    return outputs


def _root_mean_square(values: torch.Tensor) -> float:
    return float(values.double().square().mean().sqrt())


@contextlib.contextmanager
def _rows_apart(model: torch.nn.Module) -> Iterator[None]:
    """bitsandbytes' 8-bit products without its columns of outliers, which all tokens decide together."""
    states: list[Any] = [
        module.state for module in model.modules() if type(module).__name__ == "Linear8bitLt"
    ]
    thresholds = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, thresholds, strict=True):
            state.threshold = threshold
