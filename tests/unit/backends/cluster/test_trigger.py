"""When a schedule fires."""

import pytest

from driftloop.backends.cluster.schedules import Trigger
from driftloop.errors import InputError


@pytest.mark.parametrize(("every", "seconds"), [("1m", 60), ("90m", 5400), ("6h", 21600), ("1d", 86400)])
def test_an_interval_is_sent_in_seconds(every: str, seconds: int) -> None:
    trigger = Trigger.parse(every, None)
    assert trigger.to_api() == {"periodic_schedule": {"interval_second": str(seconds)}}
    assert Trigger.from_api(trigger.to_api()) == trigger


@pytest.mark.parametrize("cron", ["0 0 */6 * * *", "30 15,45 8-18 * JAN-MAR mon-fri", "0 0 3 1 * ?", "0 5/10 * * * *"])
def test_a_cron_of_six_fields_is_sent_as_it_is(cron: str) -> None:
    trigger = Trigger.parse(None, cron)
    assert trigger.to_api() == {"cron_schedule": {"cron": cron}}
    assert Trigger.from_api(trigger.to_api()) == trigger


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 */6 * * *", "write '0 0 */6 * * *'"),
        ("* * * * * *", "more than once a minute"),
        ("*/30 * * * * *", "more than once a minute"),
        ("0 0 25 * * *", "'25' is not a valid hour"),
        ("0 0 0 * * 7", "'7' is not a valid day of the week"),
        ("0 0 0 31-1 * *", "'31-1' is not a valid day of the month"),
        ("0 */0 * * * *", "'*/0' is not a valid minute"),
        ("0 0 0 * FEBRUARY *", "'FEBRUARY' is not a valid month"),
        ("hourly", "not the six fields"),
        ("@every 6h", "not the six fields"),
    ],
)
def test_any_other_cron_is_refused_with_the_field_that_is_wrong(cron: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Trigger.parse(None, cron)
    assert said in str(caught.value)


@pytest.mark.parametrize("every", ["0m", "30s", "6", "six hours", "-1h"])
def test_an_interval_below_a_minute_or_none_at_all_is_refused(every: str) -> None:
    with pytest.raises(InputError, match="--every"):
        Trigger.parse(every, None)


@pytest.mark.parametrize(("every", "cron"), [(None, None), ("6h", "0 0 * * * *")])
def test_one_of_the_two_is_wanted(every: str | None, cron: str | None) -> None:
    with pytest.raises(InputError, match="either --every"):
        Trigger.parse(every, cron)
