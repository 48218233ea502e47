"""The parts of a layer that hold neurons: attention, MLP, and mixers that pass on a state.

Families call the same projections by different names and nest them differently. A part is found by walking the
layer for a module with the children of one of the tables below, wherever it lies and whatever it is called,
and its neurons get the same names in every family (`culnig.core.neurons`). Widths are read from the modules:
what an MLP's last projection takes is what its first gives, and so for attention.

| part | its modules |
|---|---|
| attention | query, key and value; other projections that read the layer's input, such as output gates and the latent ones of DeepSeek, keep their names after `self_attn.` |
| MLP | gate and up projection, or the only first one |
| mixer with a state (state-space, linear attention, convolution) | the projections that read its input, by their own names |
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from culnig.core.neurons import (
    KEY,
    MLP_GATE,
    MLP_IN,
    MLP_UP,
    QUERY,
    SHARED_GATE,
    SHARED_IN,
    SHARED_UP,
    VALUE,
)
from culnig.errors import BindingError
from culnig.models.base import ModuleSlice, linear_outputs
from culnig.models.structure import Parts, cut, find, has

if TYPE_CHECKING:
    from torch import nn

ATTENTION = (
    ("q_proj", "k_proj", "v_proj"),
    ("q_proj.linear", "k_proj.linear", "v_proj.linear"),
    ("query", "key", "value"),
    ("project_q", "project_k", "project_v"),
    ("Wq", "Wk", "Wv"),
)
"""Query, key and value projection, side by side in one module."""

FUSED_ATTENTION = (
    ("qkv_proj", "o_proj"),
    ("qkv_proj", "out_proj"),
    ("c_attn", "c_proj"),
    ("Wqkv", "out_proj"),
    ("query_key_value", "dense"),
)
"""The one projection to queries, keys and values, and the one that reads what attention gives."""

LATENT_ATTENTION = ("kv_a_proj_with_mqa", "kv_b_proj")
"""Keys and values, all heads' together, from a narrow vector; the query is `q_b_proj` or `q_proj`."""

GATED_MLP = (
    ("gate_proj", "up_proj", "down_proj"),
    ("w1", "w3", "w2"),
    ("w_in.w_0", "w_in.w_1", "w_out"),
    ("proj_up_gate", "proj_up", "proj_down"),
)
"""Gate, up and last projection."""

MLP = (
    ("gate_up_proj", "down_proj"),
    ("input_linear", "output_linear"),
    ("Wi", "Wo"),
    ("up_proj", "down_proj"),
    ("fc1", "fc2"),
    ("fc_in", "fc_out"),
    ("c_fc", "c_proj"),
    ("dense_h_to_4h", "dense_4h_to_h"),
    ("intermediate.dense", "output.dense"),
    ("key", "value", "receptance"),
    ("0", "2"),
)
"""First and last projection. Where the first has twice the outputs that the last reads, it is gate and up
projection in this order (`verify` checks it). RWKV's third one only scales what the last gives."""

OUT = ("o_proj", "out_proj", "dense", "c_proj", "attention_out", "Wo", "output", "linear_out")
"""Last projections of attention and mixers."""

STATE = ("A_log", "dt_bias", "slope_rate", "time_decay", "igate_preact")
"""Tensors or modules that only mixers with a state have; a convolution over tokens is another sign."""

SHARED = {MLP_GATE: SHARED_GATE, MLP_UP: SHARED_UP, MLP_IN: SHARED_IN}
"""Modules of an MLP that sees every token beside routed experts."""

ELSEWHERE = ("encoder_attn", "cross_attn", "crossattention")
"""Attention to what another model gives."""

APART = ("experts", "router", "indexer", "compressor", "output", *ELSEWHERE)
"""Submodules that are not searched: experts, and what chooses tokens or experts for others."""


def layer_slices(layer: nn.Module, number: int, config: Any) -> list[ModuleSlice]:
    """The slices of all parts of a layer; BindingError where a part is not as its names say."""
    slices: list[ModuleSlice] = []
    routed = _experts(layer)
    for path, part in _searched(layer):
        if _keeps_state(part):
            slices += _mixer(part, path, number, config)
        elif own := _attention(part, path, number, config):
            slices += own
        elif routed and "shared" in path:
            slices += [replace(own, module=SHARED[own.module]) for own in _mlp(part, path, number, config)]
        else:
            slices += _mlp(part, path, number, config)
    for experts in routed:
        slices += _routed(experts, number)
    modules = [own.module for own in slices]
    if doubled := sorted({module for module in modules if modules.count(module) > 1}):
        raise BindingError(f"layer {number} has {', '.join(doubled)} more than once; a module has one name")
    return slices


def _searched(layer: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layer and its submodules, each with its path, outer ones first."""
    yield path, layer
    for name, child in layer.named_children():
        if name not in APART:
            yield from _searched(child, f"{path}.{name}" if path else name)


def _experts(layer: nn.Module) -> list[nn.Module]:
    """Modules that hold the experts that tokens of this layer are routed to."""
    return [module for path, module in layer.named_modules() if path.rpartition(".")[2] == "experts"]


def routes_to_experts(layer: nn.Module) -> bool:
    """Whether tokens of this layer are routed to a mixture of experts."""
    return bool(_experts(layer))


def _routed(experts: nn.Module, layer: int) -> list[ModuleSlice]:
    """Slices of routed experts; BindingError where their layer is computed in a way of its own."""
    from culnig.models.experts import expert_slices

    return expert_slices(experts, layer)


def attends_elsewhere(layer: nn.Module, number: int) -> bool:
    """Whether the layer only reads what another model has made of an image, and is left out for text.

    BindingError where it reads that beside its own input, as in an encoder-decoder.
    """
    names = {name for name, _ in layer.named_children()}
    elsewhere = names & set(ELSEWHERE)
    if elsewhere and names & {"self_attn", "attention"}:
        raise BindingError(
            f"layer {number} attends to an encoder's output (`{', '.join(elsewhere)}`), so it belongs to an "
            "encoder–decoder"
        )
    return bool(elsewhere)


def linear_inputs(linear: nn.Module) -> int | None:
    """Number of inputs of a linear module (also of GPT-2's Conv1D), or None for any other module."""
    inputs = getattr(linear, "in_features", getattr(linear, "nx", None))
    return inputs if isinstance(inputs, int) else None


def _keeps_state(part: nn.Module) -> bool:
    own = {name for name, _ in part.named_parameters(recurse=False)}
    own |= {name for name, _ in part.named_buffers(recurse=False)}
    children = dict(part.named_children())
    convolves = any(type(child).__name__ == "Conv1d" for child in children.values())
    return bool((own | children.keys()) & set(STATE)) or convolves


def _mixer(part: nn.Module, path: str, layer: int, config: Any) -> list[ModuleSlice]:
    """Projections of a mixer's input. One that is called an attention is named as what it is."""
    name = path.rpartition(".")[2]
    name = "linear_attn" if "att" in name else name or "mixer"
    slices: list[ModuleSlice] = []
    for child, linear in _readers(part, config):
        slices += cut(linear, f"{path}.{child}", layer, [(f"{name}.{child}", linear_outputs(linear) or 0)])
    return slices


def _readers(part: nn.Module, config: Any) -> Iterator[tuple[str, nn.Module]]:
    """Linear modules directly in a part that read the hidden state, with their names."""
    hidden = getattr(config, "hidden_size", None)
    for name, child in part.named_children():
        if name not in OUT and linear_outputs(child) and linear_inputs(child) == hidden:
            yield name, child


def _attention(part: nn.Module, path: str, layer: int, config: Any) -> list[ModuleSlice]:
    """Slices of an attention's projections; none where the part is no attention."""
    slices: list[ModuleSlice] = []
    taken: set[str] = set()

    def add(name: str, parts: Parts, times: int = 1) -> None:
        slices.extend(cut(part.get_submodule(name), f"{path}.{name}", layer, parts, times))
        taken.add(name.partition(".")[0])

    query, key, value = next((names for names in ATTENTION if _is_linear(part, names[0])), ATTENTION[0])
    shares = getattr(part, "is_kv_shared_layer", False)
    if has(part, *LATENT_ATTENTION):
        query = "q_b_proj" if has(part, "q_b_proj") else query
        add(query, [(QUERY, _outputs(part, query))])
        of_head = [
            (module, getattr(part, name, None) or getattr(config, name))
            for module, name in ((KEY, "qk_nope_head_dim"), (VALUE, "v_head_dim"))
        ]
        add("kv_b_proj", of_head, _outputs(part, "kv_b_proj") // sum(width for _, width in of_head))
    elif has(part, query) and (shares or has(part, key)):
        add(query, *_query(part, (query, key, value), config))
        for name, module in ((key, KEY), (value, VALUE)):
            if not shares and has(part, name):
                add(name, [(module, _outputs(part, name))])
            # a layer that uses the keys and values of an earlier one never runs its own
            taken.add(name)
    elif names := next((names for names in FUSED_ATTENTION if has(part, *names)), None):
        add(names[0], *_fused(part, names, config))
    else:
        return []
    further = [(name, linear) for name, linear in _readers(part, config) if name not in taken]
    for name, linear in further:
        add(name, [(f"self_attn.{name}", linear_outputs(linear) or 0)])
    return slices


def _is_linear(part: nn.Module, name: str) -> bool:
    child = find(part, name)
    return child is not None and linear_outputs(child) is not None


def _outputs(part: nn.Module, name: str) -> int:
    linear = find(part, name)
    outputs = None if linear is None else linear_outputs(linear)
    if outputs is None:
        raise BindingError(f"`{name}` of an attention is {type(linear).__name__}, not a linear module")
    return outputs


def _read_by_last(part: nn.Module) -> int | None:
    """How many values the last projection of an attention reads."""
    last = next((child for name in OUT if (child := find(part, name)) is not None), None)
    return None if last is None else linear_inputs(getattr(last, "linear", last))


def _query(part: nn.Module, names: tuple[str, str, str], config: Any) -> tuple[Parts, int]:
    """What a query projection holds; one that also gives each head an output gate is twice as wide."""
    outputs, values = _outputs(part, names[0]), _read_by_last(part)
    same = not has(part, *names) or _outputs(part, names[1]) == _outputs(part, names[2])
    if same and values is not None and outputs == 2 * values:
        width = _head_width(part, values, config)
        return [(QUERY, width), ("self_attn.gate_proj", width)], values // width
    return [(QUERY, outputs)], 1


def _head_width(part: nn.Module, values: int, config: Any) -> int:
    """Width of a head; where layers differ in it, each knows its own."""
    width = getattr(part, "head_dim", None)
    return width if isinstance(width, int) else int(values // config.num_attention_heads)


def _fused(part: nn.Module, names: tuple[str, str], config: Any) -> tuple[Parts, int]:
    """What one projection to queries, keys and values holds, and how often it begins again.

    `query_key_value` goes head after head, or group after group of heads that share key and value (Falcon);
    so does GPT-BigCode with a key for each head. CodeGen's is in four blocks, values before keys. All others
    have queries, keys and values side by side.
    """
    outputs, queries = _outputs(part, names[0]), linear_inputs(part.get_submodule(names[1])) or 0
    keys = (outputs - queries) // 2
    width = _head_width(part, queries, config)
    if names == ("qkv_proj", "out_proj"):
        return [(QUERY, queries // 4), (VALUE, keys // 4), (KEY, keys // 4)], 4
    alternating = names[0] == "query_key_value" or getattr(config, "multi_query", None) is False
    times = max(1, keys // width) if alternating else 1
    return [(QUERY, queries // times), (KEY, keys // times), (VALUE, keys // times)], times


def _mlp(part: nn.Module, path: str, layer: int, config: Any) -> list[ModuleSlice]:
    """Slices of an MLP's first projections; none where the part is no MLP."""

    names = next((names for names in GATED_MLP + MLP if has(part, *names)), None)
    if names is None:
        return []
    last = part.get_submodule(names[2 if names in GATED_MLP else 1])
    width = linear_inputs(last)

    def cut_from(name: str, parts: Parts) -> list[ModuleSlice]:
        slices = cut(part.get_submodule(name), f"{path}.{name}".removeprefix("."), layer, parts)
        return [replace(own, read_by=last) for own in slices]

    if width is None:
        return []
    _refuse_further(part, path, layer, names, config)
    if names in GATED_MLP:
        return cut_from(names[0], [(MLP_GATE, width)]) + cut_from(names[1], [(MLP_UP, width)])
    is_gated = linear_outputs(part.get_submodule(names[0])) == 2 * width
    return cut_from(names[0], [(MLP_GATE, width), (MLP_UP, width)] if is_gated else [(MLP_IN, width)])


def _refuse_further(part: nn.Module, path: str, layer: int, names: tuple[str, ...], config: Any) -> None:
    """BindingError where an MLP that is a module of its own has a projection that no table knows."""
    further = [name for name, _ in _readers(part, config) if name not in names]
    if path and further:
        raise BindingError(f"layer {layer}: `{path}.{further[0]}` is no projection of an MLP that is known")
