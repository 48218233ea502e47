"""Documents that people write: every mistake with its line, the key, and the nearest known key."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from culnig.core.checked_documents import Strict, line_of, read_checked
from culnig.errors import DataFileError


class Tea(Strict):
    kind: Literal["tea"]
    minutes: int = 3


class Coffee(Strict):
    kind: Literal["coffee"]
    grams: int = 7
    """Of beans."""


class Order(Strict):
    name: str
    drinks: dict[str, Annotated[Tea | Coffee, Field(discriminator="kind")]] = {}  # noqa: RUF012 - pydantic copies it


def problem(tmp_path, text: str, suffix: str = ".yaml") -> str:
    path = tmp_path / f"order{suffix}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_checked(path, Order)
    return str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nam: x", "line 1: name: Field required; line 1: nam: unknown key; did you mean 'name'?"),
        (
            "name: x\ndrinks:\n  one: {kind: tea}\n  two:\n    kind: tea\n    minuts: 4",
            "line 6: drinks.two.minuts: unknown key; did you mean 'minutes'?",
        ),
        (  # only the keys of its own kind are offered
            "name: x\ndrinks:\n  one: {kind: coffee, minutes: 4}",
            "line 3: drinks.one.minutes: unknown key",
        ),
        ("name: x\ndrinks: {one: {kind: milk}}", "line 2: drinks.one: Input tag 'milk'"),
        ("name: x\ndrinks:\n  one: {}", "line 3: drinks.one: Unable to extract tag"),
        ("name: x\nname: y", "line 2: 'name' appears twice"),
        ("", "Input should be a valid dictionary"),
        ("name: [", "not valid YAML"),
    ],
)
def test_mistakes_are_told_with_line_and_key(tmp_path, text, said):
    told = problem(tmp_path, text)
    assert said in told
    assert "minutes'" not in told or "coffee" not in text


def test_toml_has_no_lines_but_whole_keys(tmp_path):
    told = problem(tmp_path, 'name = "x"\n[drinks.one]\nkind = "tea"\nminuts = 4\n', ".toml")
    assert told == "/order.toml: drinks.one.tea.minuts: unknown key; did you mean 'minutes'?"


def test_lines_of_values_are_known(tmp_path):
    path = tmp_path / "order.yaml"
    path.write_text("name: x\ndrinks:\n  one:\n    kind: tea\n", encoding="utf-8")
    order, lines = read_checked(path, Order)
    assert order.drinks["one"] == Tea(kind="tea")
    assert line_of(lines, ("drinks", "one", "kind")) == 4
    assert line_of(lines, ("drinks", "one", "minutes")) == 3
    assert Coffee.model_json_schema()["properties"]["grams"]["description"] == "Of beans."
