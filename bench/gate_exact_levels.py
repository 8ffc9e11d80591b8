"""The exact level of Tango's one-sided bound at a margin: every table summed over, no simulation, hence no sampling error."""

from typing import Any

from scipy import stats

from driftloop.evaluation.paired import tango_lower_bound

NEGLIGIBLE = 1e-9


def exact_level(n: int, psi: float, difference: float) -> float:
    """The probability that the lower bound lies above the true `difference`, at n images and discordance psi."""
    gained_share = (psi + difference) / 2 / psi
    total = 0.0
    for discordant in range(n + 1):
        weight = float(stats.binom.pmf(discordant, n, psi))
        if weight > NEGLIGIBLE:
            total += weight * float(stats.binom.sf(first_passing(n, discordant, difference) - 1, discordant, gained_share))
    return total


def first_passing(n: int, discordant: int, difference: float) -> int:
    """The smallest number of gained images, of `discordant` ones, whose lower bound lies above `difference`; bisection, as it rises."""
    low, high = 0, discordant + 1
    while low < high:
        middle = (low + high) // 2
        if tango_lower_bound(middle, discordant - middle, n) > difference:
            high = middle
        else:
            low = middle + 1
    return low


def table(margin: float = 0.02) -> list[dict[str, Any]]:
    """Levels at the margin and at no difference, by n and psi."""
    return [
        {"n": n, "psi": psi, "difference": difference, "level": round(exact_level(n, psi, difference), 4)}
        for difference in (-margin, 0.0)
        for n in (50, 100, 200, 300, 500, 1000, 1500)
        for psi in (0.03, 0.05, 0.10, 0.20)
    ]
