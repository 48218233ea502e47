from __future__ import annotations

import json

import pytest

from culnig.core.neurons import MLP_GATE, MLP_UP, QUERY
from culnig.errors import InputError
from culnig.scoring.levels import StoredTensors
from tests.toy import items, toy_layout

LAYOUT = toy_layout()


def chosen(**options):
    return [(segment.layer, segment.module) for segment in StoredTensors(**options).segments(LAYOUT)]


def test_nothing_chosen_is_everything():
    assert StoredTensors().segments(LAYOUT) == list(LAYOUT.segments)
    assert StoredTensors().item_indices(items()) is None


def test_modules_go_by_their_name_or_its_last_part_and_come_in_layout_order():
    assert chosen(modules=("up_proj", QUERY), layers=(2,)) == [(2, QUERY), (2, MLP_UP)]
    assert chosen(modules=("gate_proj", MLP_GATE)) == [(layer, MLP_GATE) for layer in range(3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modules": ("gate_porj",)}, "gate_porj.*self_attn.q_proj"),
        ({"layers": (1, 3)}, "no layer 3; this model has layers 0 to 2"),
    ],
)
def test_what_the_model_does_not_have_is_named(options, message):
    with pytest.raises(InputError, match=message):
        StoredTensors(**options).segments(LAYOUT)


def indices(*patterns):
    return sorted(StoredTensors(items=patterns).item_indices(items()))


def test_items_go_by_id_and_pattern():
    ids = [item.id for item in items()]
    assert indices("Iran-1-0") == [ids.index("Iran-1-0")]
    assert indices("Spain-*") == [index for index, name in enumerate(ids) if name.startswith("Spain")]
    assert indices("China-0-0", "*-2-?") == sorted({0} | {i for i, name in enumerate(ids) if "-2-" in name})
    assert indices("spain-*") == []


def test_brackets_in_an_id_are_letters():
    from dataclasses import replace

    asked = [replace(items()[0], id="q[1]"), replace(items()[0], id="q1")]
    assert StoredTensors(items=("q[1]",)).item_indices(asked) == {0}


def test_the_record_goes_through_json():
    record = StoredTensors(("gate_proj",), (0, 2), ("a*",)).record()
    assert json.loads(json.dumps(record)) == {"modules": ["gate_proj"], "layers": [0, 2], "items": ["a*"]}
