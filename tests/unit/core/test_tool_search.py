"""Finding tools by words."""

import pytest

from fairlead.core import tool_search
from fairlead.core.tool_search import ToolIndex, words

TOOLS = {
    "filesystem__read_text_file": "Read the complete contents of a file as text.",
    "filesystem__write_file": "Create a new file or overwrite an existing one.",
    "filesystem__list_directory": "List everything in a folder.",
    "git__log": "Show the history of commits. Reads no file of the working tree.",
    "git__create_branch": "Make a branch.",
    "notes__search": "메모를 검색한다. 파일을 읽지 않는다.",
    "web__fetchURL": "Fetch a page of the web.",
}
NAMES = list(TOOLS)


@pytest.fixture
def index():
    return ToolIndex(NAMES, [[(4.0, name), (1.0, text)] for name, text in TOOLS.items()])


def best(index, query, limit=3):
    return [NAMES[place] for place in index.best(query, limit)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("readFiles read_file", ["read", "fil", "read", "fil"]),
        ("HTTPServer v2", ["http", "server", "v", "2"]),
        ("reading searches created", ["read", "search", "creat"]),
        ("naïve Überfluß", ["naiv", "uberflu", "ß"]),
        ("파일을", ["파일", "일을"]),
        ("a 는 !?", ["a", "는"]),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("reading files", "filesystem__read_text_file"),
        ("folder", "filesystem__list_directory"),
        ("history of commits", "git__log"),
        ("fetch url", "web__fetchURL"),
        ("메모 검색", "notes__search"),
        ("direct", "filesystem__list_directory"),
        ("GIT__LOG", "git__log"),
    ],
)
def test_what_is_meant_comes_first(index, query, first):
    assert best(index, query)[0] == first


def test_a_word_of_the_name_counts_for_more_than_one_of_the_description(index):
    assert best(index, "file", 10)[:2] == ["filesystem__write_file", "filesystem__read_text_file"]
    assert "git__log" in best(index, "file", 10)


def test_a_whole_name_is_first_whatever_else_matches():
    names = ["a__read", "a__read_read_read", "b__read"]
    index = ToolIndex(names, [[(1.0, name)] for name in names])
    assert names[index.best("b__read", 1)[0]] == "b__read"


def test_nothing_matches(index):
    assert best(index, "zebra") == []


@pytest.mark.parametrize("query", ["", "  ", "?!"])
def test_without_words_the_first_tools_come(index, query):
    assert best(index, query, 2) == NAMES[:2]
    assert best(index, query, 100) == NAMES


def test_no_tools_at_all():
    index = ToolIndex([], [])
    assert (index.best("x", 5), index.best("", 5), len(index)) == ([], [], 0)
    assert "tools=0" in repr(index)


def test_tools_without_words_are_no_trouble():
    index = ToolIndex(["", "x"], [[], [(1.0, "!")]])
    assert index.best("x", 5) == [1], "by its whole name"


def test_a_very_long_query_is_cut(index):
    assert best(index, "x" * 2000 + " folder") == []


def test_a_query_is_bounded_and_its_rarest_words_count_first(monkeypatch):
    names = [f"a{number}" for number in range(50)]
    index = ToolIndex(names, [[(1.0, "common" if number else "common rare")] for number in range(50)])
    monkeypatch.setattr(tool_search, "MAX_POSTINGS", 20)
    assert index.best("common rare", 5) == [0], "there was no room for the word that all have"
    assert len(index.best("common", 5)) == 5, "one word is always looked at"
    assert len(index.best("comm", 5)) == 5
