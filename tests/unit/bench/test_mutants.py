"""Which faults count: those that change behaviour, and not those that change the words of a message alone."""

import ast

import pytest

from bench.mutants import difference, without_words

ORIGINAL = """
def f(store, key, newest=True):
    if store["state"] == "open":
        raise NotFound(f"{key}: no such state")
    said = "it is closed, " + f"{key[:9]} stays"
    store[f"{key[:9]}/{said}"] = Conflict(f"{key}: closed")
    return said
"""
ORIG, FAULT = "def x_f__mutmut_orig", "def x_f__mutmut_3"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"state"', '"STATE"', False),
        ('"open"', '"XXopenXX"', False),
        ('f"{key[:9]}/', 'f"{key[:10]}/', False),
        ("newest=True", "newest=False", False),
        ("return said", "return None", False),
        ("raise NotFound", "raise Conflict", False),
        ('"it is closed, "', '"IT IS CLOSED, "', True),
        ('f"{key[:9]} stays"', 'f"{key[:10]} stays"', True),
        ('NotFound(f"{key}: no such state")', "NotFound(None)", True),
        ('Conflict(f"{key}: closed")', "Conflict(None)", True),
    ],
)
def test_a_fault_in_words_alone_is_told_from_one_in_behaviour(before: str, after: str, words: bool) -> None:
    assert ORIGINAL.count(before) == 1
    original, changed = (function(ORIGINAL.replace(before, text).replace("def f", name)) for text, name in ((before, ORIG), (after, FAULT)))
    assert (without_words(original) == without_words(changed)) is words
    said = difference(original, changed)
    assert said.startswith("f: ")
    assert said.count(" -> ") == 1


def function(source: str) -> ast.FunctionDef:
    (parsed,) = ast.parse(source).body
    assert isinstance(parsed, ast.FunctionDef)
    return parsed


def test_a_fault_in_a_default_is_named() -> None:
    original, changed = function("def x_f__mutmut_orig(a=1):\n    pass"), function("def x_f__mutmut_1(a=2):\n    pass")
    assert difference(original, changed) == "f: def f(a=1): -> def f(a=2):"
