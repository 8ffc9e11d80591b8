"""Files of the log are covered once, by their writers' numbers, whenever they come."""

from datetime import UTC, datetime, timedelta

import pytest

from driftloop.inference.log_files import LogCoverage, LogFile, hour_folder

NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATE = timedelta(hours=6)


def file(writer: str, number: int | None, hours: float = 0) -> LogFile:
    folder = hour_folder(NOON + hours * HOUR)
    return LogFile(f"{folder}{writer}-{number}.parquet", folder, writer, number)


def advance(coverage: LogCoverage, listed: list[LogFile], left: list[LogFile] | None = None, *, hours: float = 0) -> LogCoverage:
    now = NOON + hours * HOUR
    seen = [file for file in listed if file.folder >= coverage.since]
    return coverage.advanced(seen, left or [], now=now, until=now, late=LATE)


def test_numbers_are_kept_as_ranges_by_writer() -> None:
    coverage = advance(LogCoverage(), [file("a", number) for number in (1, 2, 3, 5, 9, 10)] + [file("b", 4)])
    assert coverage.files == {"a": "1-3,5,9-10", "b": "4"}
    assert [number for number in range(12) if coverage.covers(file("a", number))] == [1, 2, 3, 5, 9, 10]
    assert LogCoverage.model_validate_json(coverage.model_dump_json()).covers(file("b", 4))


def test_a_file_that_comes_late_is_not_covered_and_then_it_is() -> None:
    first = [file("a", 1), file("a", 3)]
    coverage = advance(LogCoverage(), first)
    late = file("a", 2)
    assert not coverage.covers(late)
    again = advance(coverage, [*first, late], hours=1)
    assert again.covers(late)
    assert again.files == {"a": "1-3"}


def test_what_is_left_stays_to_be_covered_however_old_it_grows() -> None:
    left = file("a", 2)
    coverage = advance(LogCoverage(), [file("a", 1), left], [left])
    for hours in (10, 20, 100):
        coverage = advance(coverage, [file("a", 1), left, file("b", 1, hours)], [left], hours=hours)
        assert not coverage.covers(left)
        assert coverage.since <= left.folder
    assert advance(coverage, [left], hours=101).covers(left)


def test_folders_that_are_done_with_are_not_named_any_more() -> None:
    coverage = advance(LogCoverage(), [file("a", number, hours=number) for number in range(20)], hours=20)
    assert coverage.since == hour_folder(NOON + 13 * HOUR)
    assert coverage.files == {"a": "13-19"}


def test_the_mark_never_goes_back_and_a_quiet_night_does_not_move_it() -> None:
    coverage = advance(LogCoverage(), [file("a", 1)])
    assert advance(coverage, [file("a", 1)], hours=48) == coverage.model_copy(update={"until": (NOON + 48 * HOUR).isoformat()})
    assert advance(coverage, [file("a", 1)], hours=-48).since == coverage.since


@pytest.mark.parametrize("skew", [-72, -1, 1, 72])
def test_a_watch_whose_clock_is_off_neither_skips_nor_repeats(skew: float) -> None:
    """One watch with a wrong clock among others, whose every file must be covered by exactly one of them."""
    coverage, files, covered = LogCoverage(), [], []
    for hour in range(12):
        files += [file("a", hour + 1, hour), file("b", hour + 1, hour - 1)]  # the second writer's clock is an hour slow
        fresh = [one for one in files if one.folder >= coverage.since and not coverage.covers(one)]
        covered += fresh
        coverage = advance(coverage, files, hours=hour + (skew if hour == 5 else 0))
    assert sorted(one.key for one in covered) == sorted(one.key for one in files)


def test_files_of_the_first_release_are_never_covered_as_a_whole() -> None:
    coverage = advance(LogCoverage(), [file("a", None), file("a", 1)], hours=2)
    assert not coverage.covers(file("a", None))
    assert coverage.until == (NOON + 2 * HOUR).isoformat()


def test_a_log_without_files_is_waited_for_from_now_on() -> None:
    coverage = advance(LogCoverage(), [])
    assert (coverage.since, coverage.files) == (hour_folder(NOON - LATE), {})
    assert advance(coverage, [], hours=5).since == coverage.since
