"""What a number of test sentences can show: the smallest change a paired test finds, and the
sentences a change needs. Needs no torch.

Connor (1987, Biometrics 43:207-211), after Miettinen (1968): a two-sided McNemar test at level
alpha finds a change d of the share of right answers with the power 1 - beta, if of n sentences the
share psi flips (is lost or gained), when

    n d^2 = (z_{1-alpha/2} sqrt(psi) + z_{1-beta} sqrt(psi - d^2))^2
"""

from __future__ import annotations

import math
from statistics import NormalDist

POWER, LEVEL = 0.8, 0.05


def _quantiles(power: float, level: float) -> tuple[float, float]:
    return NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(power)


def smallest_change(n: int, flipping: float, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest change (share of sentences, 0..1) that McNemar's test finds with this power,
    when the share `flipping` of n sentences flips.

    n: sentences, at least 1
    flipping: share of them that flips, 0..1
    power: share of tests that find it, 0..1
    level: of the two-sided test, 0..1

    It cannot be larger than that share: where the formula says so, all flips would have to go one
    way, and it is solved for a share as large as the change. ValueError without sentences.
    """
    if n < 1:
        raise ValueError(f"n must be at least one sentence, got {n}")
    a, b = _quantiles(power, level)
    # the formula solved for d is slope * sqrt(psi)
    slope = (a * math.sqrt(n) + b * math.sqrt(max(0.0, n + b**2 - a**2))) / (n + b**2)
    return min(1.0, slope * math.sqrt(max(flipping, slope**2)))


def of_error(error: float, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest change that any test with this standard error finds, by the normal
    approximation; in the unit of the error.

    error: standard error, >= 0
    power, level: as of `smallest_change`
    """
    return sum(_quantiles(power, level)) * error
