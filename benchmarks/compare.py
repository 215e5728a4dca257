"""How often `murmur compare` finds a difference where there is none, and one of .03, by simulation.

    PYTHONPATH=src python benchmarks/compare.py [COMPARISONS, 2000]

Each comparison draws persons of two classes and two sets of Gaussian features for them, fits a nearest-mean
classifier on each set in every fold of every run, and tests the two UARs of the folds as `murmur compare`
does. Both sets have the same distribution, so both classifiers have the same expected UAR: p < .05 is a false
alarm. For the power, the class means of the second set are further apart, so that its expected UAR is .03
higher.
"""

import sys
import time
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from murmur.experiments.comparison import LEVEL, compute_paired_tests

ADVANTAGE = 0.03  # in UAR, for the power
BATCH = 100  # comparisons in memory at once


class Setting(NamedTuple):
    """A protocol and a population.

    Attributes
    ----------
    runs, folds : int
        Of cross-validation.
    tested_folds : int
        The number of folds of each run that are tested; 1 of 5 is hold-out of a fifth.
    persons : tuple of two ints
        In each class.
    features : int
        The number of features.
    correlation : float
        Between the two sets of features.
    distance : float
        Between the class means, in standard deviations.
    """

    runs: int = 10
    folds: int = 5
    tested_folds: int = 5
    persons: tuple[int, int] = (200, 50)
    features: int = 10
    correlation: float = 0.0
    distance: float = 1.6


MAIN = Setting()
SETTINGS = {
    "10 x 5, 250 persons": MAIN,
    "1 x 5": Setting(runs=1),
    "2 x 5": Setting(runs=2),
    "10 x 10": Setting(folds=10, tested_folds=10),
    "10 hold-outs of 1/5": Setting(tested_folds=1),
    "10 x 5, 60 persons": Setting(persons=(48, 12)),
    "1 x 5, 60 persons": Setting(runs=1, persons=(48, 12)),
    "10 x 5, correlation .9": Setting(correlation=0.9),
    "the same, 942 persons": Setting(persons=(763, 179), correlation=0.9),  # as many as in CirCor
    "10 x 5, 100 features": Setting(features=100),
}


def simulate_differences(setting: Setting, comparisons: int, seed: int, advantage: float = 0.0) -> np.ndarray:
    """UAR of the second classifier minus that of the first, shape [comparisons, runs * tested_folds].

    Parameters
    ----------
    setting : Setting
        The protocol and the population.
    comparisons : int
        The number of comparisons.
    seed : int
        Of all random draws.
    advantage : float
        By how much the expected UAR of the second classifier is higher.
    """
    rng = np.random.default_rng(seed)
    second = find_distance(setting, advantage) if advantage else setting.distance
    distances = np.array([setting.distance, second])
    batches = [
        simulate_batch(setting, min(BATCH, comparisons - start), distances, rng)
        for start in range(0, comparisons, BATCH)
    ]
    return np.concatenate(batches)


def simulate_batch(setting: Setting, n: int, distances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `simulate_differences`; `distances` [2] are those of both classifiers."""
    x = [draw_features(setting, k, n, distances, rng) for k in (0, 1)]
    tested = [draw_test_parts(setting, features.shape[2], n, rng) for features in x]
    means = []
    for features, test in zip(x, tested, strict=True):
        training_sum = features.sum(2, keepdims=True) - test[:, None] @ features
        means.append(training_sum / (features.shape[2] - test.sum(-1)[:, None, :, None]))
    weight = means[1] - means[0]  # [comparisons, classifiers, folds, features]
    threshold = (weight * (means[0] + means[1]) / 2).sum(-1, keepdims=True)
    recall = []
    for k, (features, test) in enumerate(zip(x, tested, strict=True)):
        is_correct = (weight @ features.swapaxes(-1, -2) > threshold) == k
        recall.append((is_correct * test[:, None]).sum(-1) / test.sum(-1)[:, None])
    uar = (recall[0] + recall[1]) / 2
    return uar[:, 1] - uar[:, 0]


def draw_features(
    setting: Setting, k: int, n: int, distances: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Both sets of features of the persons of class k, shape [n, 2, persons, features]."""
    shape = (setting.persons[k], setting.features)
    separate, common = rng.standard_normal((n, 2, *shape)), rng.standard_normal((n, 1, *shape))
    x = np.sqrt(1 - setting.correlation) * separate + np.sqrt(setting.correlation) * common
    x[..., 0] += (k - 0.5) * distances[:, None]
    return x.astype(np.float32)


def draw_test_parts(setting: Setting, persons: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Whether each tested fold tests each person of a class, shape [n, runs * tested_folds, persons]."""
    folds = np.tile(np.arange(persons) % setting.folds, (n, setting.runs, 1))
    is_tested = rng.permuted(folds, axis=-1)[:, :, None] == np.arange(setting.tested_folds)[:, None]
    return is_tested.reshape(n, -1, persons).astype(np.float32)


def compute_expected_uar(setting: Setting, distance: float, draws: int = 20_000) -> float:
    """The expected UAR after training on the training part of a fold, averaged over drawn training parts."""
    rng = np.random.default_rng(0)
    centres = np.zeros((2, 1, setting.features))
    centres[:, 0, 0] = -distance / 2, distance / 2
    n = np.array(setting.persons)[:, None, None] * (1 - 1 / setting.folds)
    means = centres + rng.standard_normal((2, draws, setting.features)) / np.sqrt(n)
    weight = means[1] - means[0]
    margin = ((centres - means.mean(0)) * weight).sum(-1) / np.linalg.norm(weight, axis=-1)
    return float((stats.norm.cdf(-margin[0]) + stats.norm.cdf(margin[1])).mean() / 2)


def find_distance(setting: Setting, advantage: float) -> float:
    """The distance of the class means for which the expected UAR is higher by `advantage`."""
    target = compute_expected_uar(setting, setting.distance) + advantage

    def exceed(distance: float) -> float:
        return compute_expected_uar(setting, distance) - target

    return optimize.brentq(exceed, setting.distance, 2 * setting.distance)


def count_significant(differences: np.ndarray, setting: Setting) -> tuple[float, float, float]:
    """Shares with p < .05 by the corrected and the plain paired t-test, and the corrected standard error."""
    corrected = compute_paired_tests(differences, 1 / (setting.folds - 1))
    plain = compute_paired_tests(differences, 0.0)
    shares = [float((tests["p"] < LEVEL).mean()) for tests in (corrected, plain)]
    return shares[0], shares[1], float(np.sqrt(np.nanmean(corrected["error"] ** 2)))


def compute_power(difference: float, error: float, df: int) -> float:
    """Probability of p < .05 for a true difference and a correct standard error, by the noncentral t."""
    critical = stats.t.ppf(1 - LEVEL / 2, df)
    noncentral = stats.nct(df, difference / error)
    return float(noncentral.sf(critical) + noncentral.cdf(-critical))


def main() -> None:
    comparisons = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    start = time.perf_counter()
    print(
        f"{comparisons} comparisons in each row; SD: of the mean difference in UAR; SE: as the test estimates"
    )
    print("it; 80 %: the true difference that would be found in 80 % of comparisons, by theory\n")
    print(f"{'':28} no difference: p < .05           difference {ADVANTAGE}: p < .05")
    print(f"{'':28} corrected  plain     SD     SE   corrected  theory   drawn   80 %")
    for name, setting in SETTINGS.items():
        print(f"{name:28} {format_row(setting, comparisons)}", flush=True)
    half_width = 1.96 * np.sqrt(LEVEL * (1 - LEVEL) / comparisons)
    print(f"\n{time.perf_counter() - start:.0f} s; a true rate of 5 % is measured to ±{half_width:.1%}")


def format_row(setting: Setting, comparisons: int) -> str:
    """The figures of a setting."""
    without = simulate_differences(setting, comparisons, seed=1)
    alarms, plain, error = count_significant(without, setting)
    with_advantage = simulate_differences(setting, comparisons, seed=2, advantage=ADVANTAGE)
    detected, _, error_then = count_significant(with_advantage, setting)
    df = with_advantage.shape[1] - 1
    theory = compute_power(ADVANTAGE, error_then, df)
    needed = optimize.brentq(lambda d: compute_power(d, error_then, df) - 0.8, 0, 6 * error_then)
    rates = f"{alarms:9.1%} {plain:6.1%} {without.mean(1).std():6.4f} {error:6.4f}"
    return f"{rates} {detected:11.1%} {theory:7.1%} {with_advantage.mean():+7.4f} {needed:6.2f}"


if __name__ == "__main__":
    main()
