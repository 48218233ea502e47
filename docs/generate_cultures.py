"""Writes data/iso_cultures.toml: every country of ISO 3166-1 as a record, or as names for one of our own.

Names are those of CLDR (package babel), ISO (pycountry) and country-converter, regions those of the United
Nations (country-converter), languages those that are official or spoken by a tenth of the people (CLDR). Run
it again when these packages change: `pip install --group cultures`, `python docs/generate_cultures.py`.
Corrections belong into a record of our own in cultures/, which takes the country out of this file.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import country_converter
import pycountry
from babel import Locale
from babel.core import get_global

DATA = Path(__file__).parent.parent / "data"
WITHOUT_PEOPLE = {"AQ", "BV", "GS", "HM", "IO", "TF", "UM"}
WITH_ARTICLE = {"BS", "CD", "CF", "CG", "DO", "GM", "IM", "KM", "VA"}
COMMON = {
    "AE": ["UAE"],
    "CD": ["DRC"],
    "CI": ["Ivory Coast", "Cote d'Ivoire"],
    "HK": ["Hong Kong SAR"],
    "MM": ["Burma"],
    "SZ": ["Swaziland"],
}
"""Names that people write and none of the sources has."""
LEFT_OUT = {"congo", "guiana", "province of china taiwan", "saint martin", "st. martin"}
"""Names that some people give to another country, or nobody."""
MOST_LANGUAGES = 6
LEAST_SPEAKERS = 10.0


def main() -> None:
    """Write the file; a name that two countries have is left out of both."""
    own = {record["iso"]: record for record in own_records()}
    sources = {code: (row, list(names(code, row))) for code, row in countries().items()}
    claimed = Counter(plain(name) for _, of_country in sources.values() for name in unlike(of_country, []))
    for code, about in own.items():
        same = set(map(plain, sources[code][1])) if code in sources else set()
        claimed.update(plain(name) for name in unlike(about["names"], []) if plain(name) not in same)
    free = {name for name, n in claimed.items() if n == 1} - LEFT_OUT
    lines = ["# Made by docs/generate_cultures.py from CLDR, ISO 3166 and the United Nations' regions.", ""]
    lines += ["[alpha_3]"]
    lines += [f'{country.alpha_2} = "{country.alpha_3}"' for country in pycountry.countries]
    lines += ["", "[other_names]  # of records of our own"]
    for code, (_, of_country) in sources.items():
        if code in own:
            more = [name for name in unlike(of_country, own[code]["names"]) if plain(name) in free]
            lines += [f"{code} = {json.dumps(more, ensure_ascii=False)}"] if more else []
    for code, (row, of_country) in sources.items():
        if code not in own and languages(code):
            more = [name for name in unlike(of_country, [row["name_short"]]) if plain(name) in free]
            lines += ["", "[[cultures]]"]
            lines += [
                f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in record(code, row, more).items()
            ]
    (DATA / "iso_cultures.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def countries() -> dict[str, dict[str, str]]:
    """Rows of country-converter by code."""
    table = Path(country_converter.__file__).parent / "country_data.tsv"
    with table.open(encoding="utf-8") as file:
        rows = {row["ISO2"].strip("^")[:2]: row for row in csv.DictReader(file, delimiter="\t")}
    codes = sorted({country.alpha_2 for country in pycountry.countries} - WITHOUT_PEOPLE)
    return {code: rows[code] for code in codes if rows[code]["UNregion"] or code == "TW"}


def names(code: str, row: dict[str, str]) -> Iterator[str]:
    """Every name of a country that the sources have."""
    country = pycountry.countries.get(alpha_2=code)
    cldr = Locale("en").territories[code]
    first, _, last = country.name.partition(", ")
    inverted = [f"{last} {first}"] if last and "," not in last and " of" in last else []
    yield from (row["name_short"], cldr, cldr.replace("’", "'"), cldr.replace(" & ", " and "))
    yield from (country.name, *inverted, getattr(country, "official_name", ""), row["name_official"])
    yield from (getattr(country, "common_name", ""), *COMMON.get(code, []))


def unlike(candidates: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names that readers can tell from those before them, and from known ones."""
    seen = set(map(plain, known))
    kept = []
    for name in candidates:
        if name and plain(name) not in seen:
            seen.add(plain(name))
            kept.append(name)
    return kept


def record(code: str, row: dict[str, str], other_names: list[str]) -> dict[str, object]:
    """The fields of a record; its zone of the cultural map is left empty."""
    key = row["name_short"].replace("Fed. Sts.", "Federated States of")
    article = code in WITH_ARTICLE or key.startswith("United ") or key.endswith("Islands")
    return {
        "key": key,
        "display_name": key,
        "in_sentence": f"the {key}" if article else key,
        "other_names": [name for name in other_names if plain(name) != plain(key)],
        "iso": code,
        "region": row["UNregion"] or "Eastern Asia",  # Taiwan, which the United Nations do not list
        "languages": languages(code),
    }


def languages(code: str) -> list[str]:
    """Official languages, then others of many people, each the most spoken first, as BCP-47."""
    spoken = get_global("territory_languages").get(code, {})
    shares = {name: about["population_percent"] or 0.0 for name, about in spoken.items()}
    official = {
        name for name in spoken if spoken[name]["official_status"] in ("official", "de_facto_official")
    }
    chosen = [name for name in spoken if name in official or shares[name] >= LEAST_SPEAKERS]
    ordered = sorted(chosen, key=lambda name: (name not in official, -shares[name], name))[:MOST_LANGUAGES]
    return list(dict.fromkeys(name.replace("_", "-") for name in ordered))


def plain(name: str) -> str:
    """A name as spellings are compared."""
    return " ".join(name.casefold().removeprefix("the ").split())


def own_records() -> Iterator[dict[str, object]]:
    """Code and names of each record of our own."""
    for path in sorted((DATA / "cultures").glob("*.toml")):
        fields = {}
        for line in path.read_text(encoding="utf-8").partition("[names]")[0].splitlines():
            field, _, value = line.partition(" = ")
            if field in ("iso", "key", "display_name", "in_sentence", "other_names"):
                fields[field] = json.loads(value)
        code, several = fields.pop("iso"), fields.pop("other_names", [])
        yield {"iso": code, "names": [*fields.values(), *several]}


if __name__ == "__main__":
    main()
