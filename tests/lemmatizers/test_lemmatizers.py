"""Hand-made pairs of accepted and given answers in each language: right, inflected, wrong."""

from __future__ import annotations

import pytest

from culnig import registry
from culnig.core.items import Item
from culnig.evaluation.short_answers import CHAINS, NORMALISED, AnswerJudge, contains
from culnig.lemmatizers.base import Lemmatizer, fold, words
from culnig.lemmatizers.normalised import Normalised

LANGUAGES = ("en", "es", "ar", "fa", "el", "id", "zh", "ko", "ha", "am", "as", "az", "su")


def short(accepted: str | tuple[str, ...], language: str) -> Item:
    texts = (accepted,) if isinstance(accepted, str) else accepted
    return Item("x", "x", "UK", "test", "?", (), texts[0], accepted=texts, language=language)


@pytest.fixture(scope="module")
def judge() -> AnswerJudge:
    return AnswerJudge()


@pytest.fixture(scope="module")
def bare() -> AnswerJudge:
    """As if no lemmatizer were installed."""
    return AnswerJudge({})


RIGHT = [
    ("en", "apple pie", "I would say: an Apple Pie."),
    ("es", "galleta", "Una galleta, claro."),
    ("ar", "خبز", "خبز فقط"),
    ("fa", "میوه", "یک میوه."),
    ("el", "κουλούρι", "Ένα κουλούρι!"),
    ("id", "salak", "Buah salak."),
    ("zh", "薯片", "他们吃薯片。"),
    ("ko", "사과", "사과"),
    ("ha", "shinkafa", "Shinkafa ce."),
    ("am", "ዳቦ", "ዳቦ ነው።"),
    ("as", "চাহ", "চাহ খায়।"),
    ("az", "isti çay", "İSTİ ÇAY içirlər"),
    ("su", "cilok", "Barudak resep cilok."),
]
INFLECTED = [
    ("en", "sandwich", "Sandwiches", "simplemma"),
    ("es", "galletas", "una galleta", "simplemma"),
    ("ar", "الفاكهة", "يأكلون الفواكه", "qalsadi"),
    ("fa", "کتاب‌ها", "کتاب", "simplemma"),
    ("el", "φρούτο", "φρούτα", "simplemma"),
    ("id", "buah", "buah-buahan", "sastrawi"),
    ("ko", "사과", "사과를 먹어요", "kiwi"),
    ("ha", "littattafai", "littafi", "hausastemmer"),
]
WRONG = [
    ("en", "apple pie", "apple and cherry pie"),
    ("es", "galleta", "una fruta"),
    ("ar", "خبز", "تمر"),
    ("fa", "میوه", "نان"),
    ("el", "κουλούρι", "τοστ"),
    ("id", "salak", "mangga"),
    ("zh", "薯片", "水果"),
    ("ko", "사과", "배"),
    ("ha", "shinkafa", "nama"),
    ("am", "ዳቦ", "ሩዝ"),
    ("as", "চাহ", "ভাত"),
    ("az", "isti çay", "soyuq çay"),
    ("su", "cilok", "endog"),
]


@pytest.mark.parametrize(("language", "accepted", "answer"), RIGHT)
def test_the_same_words_are_right_with_and_without_lemmatizers(judge, bare, language, accepted, answer):
    assert judge.is_right(short(accepted, language), answer)
    assert bare.is_right(short(accepted, language), answer)


@pytest.mark.parametrize(("language", "accepted", "answer", "tool"), INFLECTED)
def test_another_form_of_the_word_is_right_where_a_lemmatizer_is_installed(
    judge, bare, language, accepted, answer, tool
):
    judge.load([short(accepted, language)])
    if judge.tools[language]["lemmatizer"] != tool:
        pytest.skip(f"{tool} is not installed (pip install culnig-engine[lemmatizers])")
    assert judge.is_right(short(accepted, language), answer)
    if language not in ("ko", "id"):  # their words stand apart from particles and copies in writing, too
        assert not bare.is_right(short(accepted, language), answer)


@pytest.mark.parametrize(("language", "accepted", "answer"), WRONG)
def test_other_words_are_wrong(judge, bare, language, accepted, answer):
    assert not judge.is_right(short(accepted, language), answer)
    assert not bare.is_right(short(accepted, language), answer)


@pytest.mark.parametrize(
    ("language", "written"), [("am", "ዳቦዎች"), ("as", "চাহখন"), ("az", "almalar"), ("su", "cilokna")]
)
def test_languages_without_a_lemmatizer_miss_other_forms(judge, language, written):
    accepted = {"am": "ዳቦ", "as": "চাহ", "az": "alma", "su": "cilok"}[language]
    assert not judge.is_right(short(accepted, language), written)


def test_any_accepted_answer_will_do(judge):
    item = short(("tea", "black coffee"), "en")
    assert judge.is_right(item, "A black coffee, please")
    assert not judge.is_right(item, "coffee, black")


def test_every_language_names_its_tool(judge):
    judge.load([short("x", language) for language in LANGUAGES])
    assert set(judge.tools) >= set(LANGUAGES)
    for language in LANGUAGES:
        assert set(judge.tools[language]) == {"lemmatizer", "package", "version", "missing"}
    assert judge.tools["as"] == {**judge.tools["su"], "lemmatizer": NORMALISED, "package": "culnig-engine"}


class Absent(Lemmatizer):
    languages = frozenset({"ko", "xx"})
    package = "culnig-engine"

    def __init__(self, language: str) -> None:
        raise ImportError("no such tool")

    def lemmas(self, text: str) -> list[str]:
        raise AssertionError


class Upper(Lemmatizer):
    languages = frozenset({"xx"})
    package = "culnig-engine"

    def __init__(self, language: str) -> None:
        self.language = language

    def lemmas(self, text: str) -> list[str]:
        return [word[:3].upper() for word in words(text)]


def test_a_missing_tool_is_skipped_and_reported():
    judge = AnswerJudge({"kiwi": Absent})
    assert judge.is_right(short("사과", "ko"), "사과")
    assert judge.tools["ko"]["lemmatizer"] == NORMALISED
    assert judge.tools["ko"]["missing"] == ["kiwi"]
    nothing = AnswerJudge({})
    nothing.load([short("buah", "id")])
    assert nothing.tools["id"]["missing"] == ["sastrawi", "simplemma"]


def test_a_plugin_judges_a_language_without_a_chain():
    judge = AnswerJudge({"absent": Absent, "upper": Upper})
    assert judge.is_right(short("walking", "xx"), "they walked")
    assert judge.tools["xx"]["lemmatizer"] == "upper"
    assert judge.tools["xx"]["missing"] == ["absent"]


def test_chains_name_registered_lemmatizers():
    known = registry.lemmatizers()
    for language, names in CHAINS.items():
        for name in names:
            assert language in known[name].languages


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("es", "cafe\u0301", "CAFÉ"),
        ("ko", "\u1109\u1161\u1100\u116a", "사과"),
        ("fa", "ميوه", "میوه"),
        ("ar", "خُبْز", "خبز"),
        ("am", "ሀገር", "ሐገር"),
        ("az", "İSTİ", "isti"),
        ("az", "qızıl", "QIZIL"),
        ("zh", "ＡＢＣ", "abc"),
        ("de", "STRASSE", "straße"),
    ],
)
def test_spellings_that_are_used_alike_are_folded_into_one(language, one, other):
    assert fold(one, language) == fold(other, language)


def test_folding_keeps_letters_that_differ():
    assert fold("qız", "az") != fold("qiz", "az")
    assert fold("ሰ", "am") != fold("ሸ", "am")


def test_words_keep_marks_and_inner_apostrophes():
    assert words("it's “tea”, ok?") == ["it's", "tea", "ok"]
    assert words("চাহ খায়।") == ["চাহ", "খায়"]
    assert Normalised("zh").lemmas("茶tea水") == ["茶", "tea", "水"]


def test_a_sequence_must_stand_without_a_gap():
    assert contains(["a", "b", "c"], ["b", "c"])
    assert not contains(["a", "b", "c"], ["a", "c"])
    assert not contains(["a"], [])
    assert not contains([], ["a"])
