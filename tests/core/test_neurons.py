from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culnig.core.neurons import (
    EXPERTS_GATE,
    FORWARD_ORDER,
    KEY,
    MLP_GATE,
    MLP_UP,
    POOLS,
    QUERY,
    VALUE,
    Layout,
    Neuron,
    Segment,
    parse_layers,
)
from culnig.errors import InputError
from tests.toy import toy_layout

WIDTHS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(FORWARD_ORDER), st.integers(1, 9)),
    min_size=1,
    unique_by=lambda triple: triple[:2],
)


def test_flat_order_is_layer_then_forward_order_then_index():
    layout = Layout.from_widths([(1, QUERY, 1), (0, MLP_GATE, 2), (0, VALUE, 1), (0, QUERY, 3), (0, KEY, 1)])
    assert layout.segments == (
        Segment(QUERY, 0, 0, 3),
        Segment(KEY, 0, 3, 1),
        Segment(VALUE, 0, 4, 1),
        Segment(MLP_GATE, 0, 5, 2),
        Segment(QUERY, 1, 7, 1),
    )
    assert layout.n_neurons == 8
    assert layout.n_layers == 2
    assert layout.modules == (QUERY, KEY, VALUE, MLP_GATE)


def test_modules_of_other_models_come_after_the_known_ones_by_name():
    layout = Layout.from_widths([(0, "z.proj", 1), (0, "b.proj", 1), (0, MLP_UP, 1)])
    assert layout.modules == (MLP_UP, "b.proj", "z.proj")


def test_a_segment_is_its_columns_of_a_score_row():
    segment = toy_layout().segment(KEY, 1)
    row = np.arange(84)
    assert row[segment.columns].tolist() == [28 + 4, 28 + 5]


@given(WIDTHS)
def test_neurons_undoes_flat(widths):
    layout = Layout.from_widths(widths)
    everything = np.arange(layout.n_neurons)
    neurons = layout.neurons(everything)
    assert [layout.flat(neuron) for neuron in neurons] == everything.tolist()
    assert len(set(neurons)) == layout.n_neurons


@given(WIDTHS, st.randoms(use_true_random=False))
def test_the_order_in_which_modules_are_found_does_not_matter(widths, random):
    shuffled = random.sample(widths, len(widths))
    assert Layout.from_widths(shuffled) == Layout.from_widths(widths)
    assert Layout.from_widths(shuffled).hash == Layout.from_widths(widths).hash


@given(WIDTHS)
def test_pools_are_ascending_and_all_is_mlp_with_attention(widths):
    layout = Layout.from_widths(widths)
    mlp, attention, both = (layout.pool(name) for name in ("mlp", "attention", "all"))
    assert np.all(np.diff(both) > 0)
    assert sorted([*mlp, *attention]) == both.tolist()
    assert {neuron.module for neuron in layout.neurons(attention)} <= {QUERY, KEY, VALUE}
    assert {neuron.module for neuron in layout.neurons(mlp)} <= set(POOLS["mlp"])
    experts = {neuron.module for neuron in layout.neurons(layout.pool("experts"))}
    assert experts == {"mlp.experts.gate_proj", "mlp.experts.fc_in"} & set(layout.modules)


def test_up_proj_belongs_to_no_pool():
    assert not any(MLP_UP in modules for modules in POOLS.values())
    layout = toy_layout()
    assert MLP_UP in layout.modules
    assert MLP_UP not in {neuron.module for name in POOLS for neuron in layout.neurons(layout.pool(name))}


def test_flat_indices_by_segment_keep_their_order_within_it():
    layout = toy_layout()
    first, second = layout.segments[0], layout.segments[3]
    flat = np.array([second.start + 1, first.start + 2, second.start, first.start])
    grouped = list(layout.by_segment(flat))
    assert [segment for segment, _, _ in grouped] == [first, second]
    assert [positions.tolist() for _, positions, _ in grouped] == [[1, 3], [0, 2]]
    assert [columns.tolist() for _, _, columns in grouped] == [[2, 0], [1, 0]]
    assert list(layout.by_segment(flat[:0])) == []


def test_neurons_keep_the_order_asked_for():
    layout = toy_layout()
    assert layout.neurons(np.array([83, 0, 28])) == [
        Neuron(MLP_UP, 2, 9),
        Neuron(QUERY, 0, 0),
        Neuron(QUERY, 1, 0),
    ]


def test_the_hash_is_a_promise_that_files_of_other_versions_rely_on():
    rows = [[QUERY, 0, 0, 2], [MLP_GATE, 0, 2, 3]]
    expected = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert Layout.from_widths([(0, QUERY, 2), (0, MLP_GATE, 3)]).hash == expected


@pytest.mark.parametrize(
    "widths",
    [
        [(0, QUERY, 2), (0, MLP_GATE, 4)],
        [(0, QUERY, 3), (0, MLP_GATE, 3)],
        [(0, KEY, 2), (0, MLP_GATE, 3)],
        [(0, QUERY, 2), (1, MLP_GATE, 3)],
    ],
)
def test_another_width_module_or_layer_is_another_hash(widths):
    assert Layout.from_widths(widths).hash != Layout.from_widths([(0, QUERY, 2), (0, MLP_GATE, 3)]).hash


def test_an_unknown_module_is_reported_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"'mlp\.gate_proj' in layer 3; .*layers 0 to 2 with self_attn\.q_proj"
    ):
        toy_layout().segment(MLP_GATE, 3)


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_the_module_is_refused(index):
    with pytest.raises(InputError, match=rf"index {index} is outside mlp\.gate_proj of layer 1.* 10 neurons"):
        toy_layout().flat(Neuron(MLP_GATE, 1, index))


def test_an_unknown_pool_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError,
        match=r"unknown pool or module 'gates'; .*known: all, attention, experts, mlp, mlp\.gate_proj",
    ):
        toy_layout().pool("gates")


def test_a_module_is_a_pool_of_its_own():
    layout = toy_layout()
    assert [neuron.module for neuron in layout.neurons(layout.pool(MLP_UP))] == [MLP_UP] * 30


def test_an_empty_layout_has_no_neurons():
    layout = Layout(())
    assert (layout.n_neurons, layout.n_layers, layout.modules) == (0, 0, ())
    assert layout.pool("all").size == 0


def test_modules_come_in_forward_order_and_unknown_ones_after_them_by_name():
    widths = [(0, "zeta", 1), (0, MLP_GATE, 2), (0, "alpha", 3), (0, QUERY, 4), (0, "mid", 5)]
    assert Layout.from_widths(widths).modules == (QUERY, MLP_GATE, "alpha", "mid", "zeta")


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("0", (0,)),
        ("3,1", (3, 1)),
        ("0-3,7", (0, 1, 2, 3, 7)),
        (" 2 - 2 ".replace(" - ", "-"), (2,)),
        ("1,0-2", (1, 0, 2)),
        ("99999", (99_999,)),
    ],
)
def test_layers_are_numbers_and_ranges_each_once(text, layers):
    assert parse_layers(text) == layers


@pytest.mark.parametrize("text", ["", "3-1", "a", "1,,2", "-1", "1-", "1-2-3", "123456", "1;2"])
def test_other_text_is_no_choice_of_layers(text):
    with pytest.raises(InputError, match="is neither a layer nor a range"):
        parse_layers(text)


HYBRID = Layout.from_widths(
    [
        (0, "linear_attn.q_proj", 3),
        (0, "mlp.gate_proj", 4),
        (1, "self_attn.q_proj", 2),
        (1, "mlp.gate_proj", 4),
    ]
)
"""A layer with a mixer, and one with attention."""


def test_layers_of_hybrids_have_their_own_modules():
    assert HYBRID.modules == ("self_attn.q_proj", "mlp.gate_proj", "linear_attn.q_proj")
    assert [HYBRID.has("self_attn.q_proj", layer) for layer in (0, 1)] == [False, True]
    assert HYBRID.pool("attention").tolist() == [7, 8]
    with pytest.raises(InputError, match=r"no module 'self_attn.q_proj' in layer 0"):
        HYBRID.segment("self_attn.q_proj", 0)


def test_a_short_name_is_first_that_of_attention():
    assert [(own.module, own.layer) for own in HYBRID.chosen(["q_proj"])] == [("self_attn.q_proj", 1)]
    assert [own.layer for own in HYBRID.chosen(["linear_attn.q_proj"])] == [0]


def test_the_number_of_experts_is_in_the_hash_where_there_are_several():
    of = {n: Layout((Segment(EXPERTS_GATE, 0, 0, 8, n),)).hash for n in (1, 2, 4)}
    assert len(set(of.values())) == 3
    rows = [[EXPERTS_GATE, 0, 0, 8, 2]]
    assert of[2] == hashlib.sha256(json.dumps(rows).encode()).hexdigest()
