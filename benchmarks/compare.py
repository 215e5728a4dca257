"""How often `murmur compare` finds a difference where there is none, and how often one of .03, by simulation.

    PYTHONPATH=src python benchmarks/compare.py [COMPARISONS, 2000]

Each comparison draws persons of two classes and two sets of Gaussian features of them, fits a nearest-mean
classifier on either set in every fold of every run, and tests the two UARs of each fold as `murmur compare`
does. The sets are exchangeable, so both learners are worth exactly the same: p < .05 is a false alarm. For
the power, the second set's classes lie as much further apart as makes its expected UAR .03 higher.
"""

import sys
import time
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from murmur.experiments.comparison import LEVEL, compute_paired_tests

EDGE = 0.03
AT_ONCE = 100  # comparisons held at once


class Setting(NamedTuple):
    """A protocol and a population; `kept` folds of each deal are tested (1 of 5: hold-out of a fifth)."""

    runs: int = 10
    folds: int = 5
    kept: int = 5
    persons: tuple[int, int] = (200, 50)
    features: int = 10
    alike: float = 0.0  # correlation of the two sets
    apart: float = 1.6  # how far apart the classes are, in standard deviations


MAIN = Setting()
SETTINGS = {
    "10 x 5, 250 persons": MAIN,
    "1 x 5": Setting(runs=1),
    "2 x 5": Setting(runs=2),
    "10 x 10": Setting(folds=10, kept=10),
    "10 hold-outs of 1/5": Setting(kept=1),
    "10 x 5, 60 persons": Setting(persons=(48, 12)),
    "1 x 5, 60 persons": Setting(runs=1, persons=(48, 12)),
    "10 x 5, learners alike (.9)": Setting(alike=0.9),
    "the same, 942 persons": Setting(persons=(763, 179), alike=0.9),  # as many as in CirCor
    "10 x 5, 100 features": Setting(features=100),
}


def differences(setting: Setting, comparisons: int, seed: int, edge: float = 0.0) -> np.ndarray:
    """UAR of the second learner less that of the first, in each fold: [comparisons, runs * kept]."""
    rng = np.random.default_rng(seed)
    apart = np.array([setting.apart, calibrated(setting, edge) if edge else setting.apart])
    parts = [
        one_batch(setting, min(AT_ONCE, comparisons - done), apart, rng)
        for done in range(0, comparisons, AT_ONCE)
    ]
    return np.concatenate(parts)


def one_batch(setting: Setting, n: int, apart: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `differences`; `apart` is of either learner."""
    x = [persons(setting, k, n, apart, rng) for k in (0, 1)]
    tested = [deal(setting, len(one[0, 0]), n, rng) for one in x]
    means = []
    for features, test in zip(x, tested, strict=True):
        left = features.sum(2, keepdims=True) - test[:, None] @ features
        means.append(left / (features.shape[2] - test.sum(-1)[:, None, :, None]))
    weight = means[1] - means[0]  # [comparisons, learners, folds, features]
    threshold = (weight * (means[0] + means[1]) / 2).sum(-1, keepdims=True)
    recall = []
    for k, (features, test) in enumerate(zip(x, tested, strict=True)):
        right = (weight @ features.swapaxes(-1, -2) > threshold) == k
        recall.append((right * test[:, None]).sum(-1) / test.sum(-1)[:, None])
    uar = (recall[0] + recall[1]) / 2
    return uar[:, 1] - uar[:, 0]


def persons(setting: Setting, k: int, n: int, apart: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of the persons of class k for either learner: [n, 2, persons, features]."""
    shape = (setting.persons[k], setting.features)
    own, common = rng.standard_normal((n, 2, *shape)), rng.standard_normal((n, 1, *shape))
    x = np.sqrt(1 - setting.alike) * own + np.sqrt(setting.alike) * common
    x[..., 0] += (k - 0.5) * apart[:, None]
    return x.astype(np.float32)


def deal(setting: Setting, persons: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Which persons of a class each kept fold tests, as 0 and 1: [n, runs * kept, persons]."""
    dealt = np.tile(np.arange(persons) % setting.folds, (n, setting.runs, 1))
    dealt = rng.permuted(dealt, axis=-1)[:, :, None] == np.arange(setting.kept)[:, None]
    return dealt.reshape(n, -1, persons).astype(np.float32)


def expected(setting: Setting, apart: float, draws: int = 20_000) -> float:
    """The UAR to be expected after training on a fold's training part: exact for each of many drawn."""
    rng = np.random.default_rng(0)
    centres = np.zeros((2, 1, setting.features))
    centres[:, 0, 0] = -apart / 2, apart / 2
    n = np.array(setting.persons)[:, None, None] * (1 - 1 / setting.folds)
    means = centres + rng.standard_normal((2, draws, setting.features)) / np.sqrt(n)
    weight = means[1] - means[0]
    margin = ((centres - means.mean(0)) * weight).sum(-1) / np.linalg.norm(weight, axis=-1)
    return float((stats.norm.cdf(-margin[0]) + stats.norm.cdf(margin[1])).mean() / 2)


def calibrated(setting: Setting, edge: float) -> float:
    """How far apart the classes must be for an expected UAR `edge` higher than the setting's."""
    goal = expected(setting, setting.apart) + edge
    return optimize.brentq(lambda apart: expected(setting, apart) - goal, setting.apart, 2 * setting.apart)


def found(d: np.ndarray, setting: Setting) -> tuple[float, float, float]:
    """Shares with p < .05 by the corrected and by the plain paired t-test; the test's standard error."""
    test, plain = compute_paired_tests(d, 1 / (setting.folds - 1)), compute_paired_tests(d, 0.0)
    shares = [float((figures["p"] < LEVEL).mean()) for figures in (test, plain)]
    return shares[0], shares[1], float(np.sqrt(np.nanmean(test["error"] ** 2)))


def power(difference: float, error: float, df: int) -> float:
    """Chance of p < .05 at a true difference if `error` is what it is taken for: by the noncentral t."""
    critical = stats.t.ppf(1 - LEVEL / 2, df)
    noncentral = stats.nct(df, difference / error)
    return float(noncentral.sf(critical) + noncentral.cdf(-critical))


def main() -> None:
    comparisons = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    start = time.perf_counter()
    print(f"{comparisons} comparisons a row; SD is that of the mean difference in UAR, SE what the test")
    print("takes it for; 80 %: the true difference that would be found so often, by theory\n")
    print(f"{'':28} no difference: p < .05           difference {EDGE}: p < .05")
    print(f"{'':28} corrected  plain     SD     SE   corrected  theory   drawn   80 %")
    for name, setting in SETTINGS.items():
        print(f"{name:28} {row(setting, comparisons)}", flush=True)
    sure = 1.96 * np.sqrt(LEVEL * (1 - LEVEL) / comparisons)
    print(f"\n{time.perf_counter() - start:.0f} s; a true rate of 5 % is counted to +-{sure:.1%}")


def row(setting: Setting, comparisons: int) -> str:
    """A setting's figures, in words."""
    none = differences(setting, comparisons, seed=1)
    alarms, plain, error = found(none, setting)
    some = differences(setting, comparisons, seed=2, edge=EDGE)
    seen, _, error_then = found(some, setting)
    df = some.shape[1] - 1
    enough = optimize.brentq(lambda difference: power(difference, error_then, df) - 0.8, 0, 6 * error_then)
    rates = f"{alarms:9.1%} {plain:6.1%} {none.mean(1).std():6.4f} {error:6.4f}"
    return f"{rates} {seen:11.1%} {power(EDGE, error_then, df):7.1%} {some.mean():+7.4f} {enough:6.2f}"


if __name__ == "__main__":
    main()
