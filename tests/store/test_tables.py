from __future__ import annotations

from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout, Segment
from culnig.core.outcomes import Outcomes
from culnig.errors import StoreError
from culnig.store import tables
from tests.toy import answered, items, random_moments, toy_layout


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        yield opened


def assert_same_bits(first, second):
    first, second = np.asarray(first), np.asarray(second)
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert first.tobytes() == second.tobytes()


def test_a_layout_comes_back_equal(file):
    tables.write_layout(file, toy_layout())
    assert tables.read_layout(file) == toy_layout()
    assert tables.read_layout(file).hash == toy_layout().hash


def test_an_empty_layout_comes_back_empty(file):
    tables.write_layout(file, Layout(()))
    assert tables.read_layout(file) == Layout(())


@pytest.mark.parametrize(
    "segments",
    [
        (Segment("m", 0, 1, 3),),
        (Segment("m", 0, 0, 3), Segment("m", 1, 4, 3)),
        (Segment("m", 0, 0, 3), Segment("m", 1, 2, 3)),
    ],
    ids=["starts late", "gap", "overlap"],
)
def test_segments_that_are_not_consecutive_are_refused(file, segments):
    tables.write_layout(file, Layout(segments))
    with pytest.raises(StoreError, match="/layout/start: segments are not consecutive"):
        tables.read_layout(file)


def test_moments_come_back_to_the_bit(file):
    table = random_moments(0, 84)
    table.sum[0, :6] = [0.1, -0.0, 5e-324, np.inf, np.nextafter(1, 2), -1e308]
    table.positive_count[1, 0] = 2**32 - 1
    tables.write_moments(file, table)
    found = tables.read_moments(file, 84)
    assert found.cultures == table.cultures
    for field in fields(CultureMoments)[1:]:
        assert_same_bits(getattr(found, field.name), getattr(table, field.name))


@pytest.mark.parametrize("n_neurons", [0, 1, 65_535, 65_536, 65_537, 200_003])
def test_tables_of_any_width_come_back_and_chunks_waste_nothing(file, n_neurons):
    table = random_moments(0, n_neurons, cultures=("China", "Iran"))
    tables.write_moments(file, table)
    assert_same_bits(tables.read_moments(file, n_neurons).sum, table.sum)
    if n_neurons:
        rows, width = file["sum"].chunks
        padding = -n_neurons % width
        assert rows == 1
        assert width <= 65_536
        assert padding < -(-n_neurons // width), "the last chunk is as full as the others, but for rounding"


def test_tables_without_cultures_come_back(file):
    tables.write_moments(file, CultureMoments.zeros([], 84))
    assert tables.read_moments(file, 84).sum.shape == (0, 84)


def test_moments_of_another_number_of_neurons_are_refused(file):
    tables.write_moments(file, random_moments(0, 84))
    with pytest.raises(StoreError, match=r"/sum has shape \(4, 84\).* expected shape \(4, 85\)"):
        tables.read_moments(file, 85)


def assert_equal_outcomes(found, expected):
    for name in ("id", "question_id", "culture", "topic", "split", "gold", "predicted"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert found.options == expected.options
    for name in ("correct", "p_gold", "option_probabilities", "alignment"):
        assert_same_bits(getattr(found, name), getattr(expected, name))


def test_outcomes_come_back_to_the_bit_with_all_that_is_computed_from_them(file):
    asked = items(questions=4)
    outcomes = answered(asked, np.arange(16) % 3 == 0, np.random.default_rng(0).random(16))
    outcomes.alignment[:] = np.linspace(0, 1, 16)
    tables.write_outcomes(file, outcomes)
    found = tables.read_outcomes(file)
    assert_equal_outcomes(found, outcomes)
    assert_same_bits(found.option_mass, outcomes.option_mass)
    assert found.units.tolist() == outcomes.units.tolist()
    assert found.option_correct.tolist() == outcomes.option_correct.tolist()


def test_items_with_different_numbers_of_options_come_back(file):
    first, second = items(["China"], questions=2)
    outcomes = Outcomes.empty([first, replace(second, options=("B", "A"))])
    outcomes.option_probabilities[1, :2] = 0.25
    tables.write_outcomes(file, outcomes)
    assert_equal_outcomes(tables.read_outcomes(file), outcomes)


def test_rare_columns_come_back_and_are_stored_only_where_an_item_has_them(file):
    plain, several, shared = items(["China"], questions=3)
    tables.write_outcomes(file.create_group("plain"), Outcomes.empty([plain]))
    assert not {"also_right", "together", "similarity"} & set(file["plain/items"])
    rare = Outcomes.empty(
        [
            plain,
            replace(several, also_right=tuple(several.options[2:])),
            replace(shared, together="q/w", distribution=(0.25,) * 4),
        ]
    )
    rare.similarity[2] = 0.5
    tables.write_outcomes(file.create_group("rare"), rare)
    again = tables.read_outcomes(file["rare"])
    assert again.also_right.tolist() == rare.also_right.tolist() == ["", "\t".join(several.options[2:]), ""]
    assert again.together.tolist() == ["", "", "q/w"]
    assert_same_bits(again.similarity, rare.similarity)
    first, last = np.array([0]), np.array([1, 2])
    joined = Outcomes.joined([(last, again.take(last)), (first, again.take(first))])
    assert joined.also_right.tolist() == again.also_right.tolist()


def test_no_items_come_back(file):
    tables.write_outcomes(file, Outcomes.empty([]))
    assert_equal_outcomes(tables.read_outcomes(file), Outcomes.empty([]))


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "\t", " A", "김", "é", "e\u0301", "�", "🍲", '"', "\\", "\r\n"],
    ids=ascii,
)
def test_whatever_a_model_says_comes_back(file, text):
    outcomes = answered(items(["China"], questions=1), [False])
    outcomes.predicted[0] = text
    tables.write_outcomes(file, outcomes)
    assert tables.read_outcomes(file).predicted.tolist() == [text]


def test_a_null_character_does_not_stop_a_run(file):
    # HDF5 cannot hold it in text, and a byte-level vocabulary has it as a token
    outcomes = answered(items(["China"], questions=1), [False])
    outcomes.predicted[0] = "a\x00b"
    tables.write_outcomes(file, outcomes)
    assert tables.read_outcomes(file).predicted.tolist() == ["a\N{SYMBOL FOR NULL}b"]


def test_option_mass_is_stored_for_readers_of_the_file(file):
    outcomes = answered(items(["China"]), [True, False, True])
    tables.write_outcomes(file, outcomes)
    assert_same_bits(file["items/option_mass"][()], outcomes.option_mass)


def test_columns_of_different_lengths_are_refused(file):
    tables.write_outcomes(file, answered(items(["China"]), [True] * 3))
    del file["items/topic"]
    file["items/topic"] = np.array(["Food"] * 2, dtype=h5py.string_dtype())
    with pytest.raises(StoreError, match="/items/topic has 2 rows, id has 3"):
        tables.read_outcomes(file)


def test_text_that_is_not_utf8_is_refused(file):
    tables.write_outcomes(file, answered(items(["China"]), [True] * 3))
    del file["items/predicted"]
    file["items/predicted"] = np.array([b"A", b"\xff", b"B"], dtype=h5py.string_dtype())
    with pytest.raises(StoreError, match="/items/predicted cannot be read"):
        tables.read_outcomes(file)


def test_a_damaged_chunk_is_named(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        tables.write_moments(file, random_moments(0, 1000))
        chunk = file["sum_of_squares"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    middle = slice(chunk.byte_offset, chunk.byte_offset + 64)
    content[middle] = bytes(64)
    path.write_bytes(content)
    with h5py.File(path) as file, pytest.raises(StoreError, match="/sum_of_squares cannot be read"):
        tables.read_moments(file, 1000)
