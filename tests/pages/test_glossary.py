"""The words of the glossary: the same in every language, and linked under names that there are."""

import ast
from pathlib import Path

import pytest

from pages.common import glossary_links, learn_glossary
from pruning_core.lessons import LESSONS
from pruning_core.lessons.texts import LANGUAGES

PAGES = Path(__file__).parents[2] / "pages"
LINKING = {"explained": 1, "linked": 0, "address": 0}  # name of a function, place of the first word
WORDS = {entry.term for entry in learn_glossary.words()}


def linked_words():
    """Words that some page links, as far as they are written out there, by file."""
    for path in sorted(PAGES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in LINKING:
                given = node.args[LINKING[node.func.id] :]
                given = given if node.func.id == "explained" else given[:1]
                parts = [part for one in given for part in ast.walk(one)]
                for part in parts:
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield path.name, part.value


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "en"])
def test_every_term_has_a_name_and_a_meaning_in_every_language(language):
    english = {entry.term: entry for entry in learn_glossary.words()}
    for entry in learn_glossary.words(language):
        assert entry.local, f"docs/glossary.{language}.md has no row for '{entry.term}'"
        assert entry.meaning != english[entry.term].meaning
    for name in ("criteria", "granularities", "penalties"):
        for entry in learn_glossary.registered(name, language):
            assert entry.local, f"docs/glossary.{language}.md has no row for {name} '{entry.key}'"
    assert set(learn_glossary.translated("words", language)) == WORDS


def test_links_lead_to_words_that_there_are():
    found = list(linked_words())
    assert len({file for file, _ in found}) >= 8
    for file, word in found:
        assert word in WORDS, f"{file} links '{word}'"


def test_main_words_are_linked_and_explained_by_a_lesson():
    linked = {word for _, word in linked_words()}
    assert {"criterion", "granularity", "threshold", "keep ratio", "coupled"} <= linked
    assert {"calibration data", "distillation"} <= linked
    assert set(learn_glossary.LESSONS) <= WORDS
    assert set(learn_glossary.LESSONS.values()) <= set(LESSONS)


def test_a_search_finds_the_very_word_first():
    entries = learn_glossary.words("zh")
    best = max(entries, key=lambda entry: entry.nearness("unit"))
    assert best.term == "unit"
    assert max(entries, key=lambda entry: entry.nearness("稀疏度")).term == "sparsity"


def test_a_link_names_the_word_and_the_language():
    assert "term=N%3AM%20pattern" in glossary_links.address("N:M pattern")
