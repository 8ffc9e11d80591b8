"""Tags in their stored form, and their limits."""

import json
import math

from driftloop.tags import MOST_LEVELS, MOST_TAGS, levels_by_tag, read_tags_text, tag_names, tag_problem, tags_problem, tags_text


def test_the_stored_form_is_that_of_the_log_and_comes_back() -> None:
    tags = {"ward": "Öl 3", "site": "B"}
    assert tags_text(tags) == json.dumps(tags, sort_keys=True)
    assert read_tags_text(tags_text(tags)) == tags
    assert tags_text({}) == ""
    assert [read_tags_text(nothing) for nothing in ("", None, math.nan)] == [{}, {}, {}]


def test_each_tag_has_a_level_in_each_row_or_none() -> None:
    found = levels_by_tag([tags_text({"site": "A"}), None, tags_text({"site": "B", "ward": "3"}), "", math.nan])
    assert {name: levels.tolist() for name, levels in found.items()} == {"site": ["A", "", "B", "", ""], "ward": ["", "", "3", "", ""]}
    assert levels_by_tag([None, ""]) == {}
    assert levels_by_tag([tags_text({"site": "A", "ward": "3"}), None], ["ward", "x"])["ward"].tolist() == ["3", ""]
    assert tag_names([tags_text({"site": "A"}), None, tags_text({"site": "A"}), tags_text({"site": "B", "ward": "3"})]) == {
        "site": 3,
        "ward": 1,
    }


def test_names_and_values_are_bounded() -> None:
    assert tag_problem("site", "B 2") == ""
    for name, value in (("Site", "B"), ("1st", "B"), ("site", ""), ("site", "x" * 65), ("site", "a\nb"), ("x" * 33, "B")):
        assert "a name of lower-case letters" in tag_problem(name, value)


def test_a_source_has_few_tags_of_few_levels() -> None:
    most = [{f"tag{number}": str(level) for number in range(MOST_TAGS)} for level in range(MOST_LEVELS)]
    assert tags_problem(most) == ""
    assert tags_problem([*most, {"one-more": "x"}]).startswith("5 tags (one-more, tag0, ")
    assert tags_problem([*most, {"tag0": "x"}]).startswith("tag 'tag0' has 11 different values, 10 are allowed")
