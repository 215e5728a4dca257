"""A summary of the imported recordings for the console."""

import logging

import pandas as pd

from murmur.tables.recordings import DatasetCard

logger = logging.getLogger(__name__)

MIN_ADVANTAGE = 0.05  # of unweighted average recall over chance


def summarise_recordings(recordings: pd.DataFrame, card: DatasetCard, left_out: pd.DataFrame) -> list[str]:
    """Summarise what was imported and what was left out, with reasons.

    Parameters
    ----------
    recordings, card, left_out
        As `download.import_recordings` returns them.

    Returns
    -------
    list of str
        Lines of text.
    """
    n, unknown = len(recordings), card.unknown_persons
    if unknown:
        persons = f", {'all' if unknown == n else unknown} of unknown persons"
    else:
        persons = f" of {recordings['person_id'].nunique()} persons"
    reasons = left_out["reason"].where(~left_out["reason"].str.contains(": "), "cannot be used")
    counts = reasons.value_counts(sort=False)
    return [
        f"{n} recordings{persons}; {len(left_out)} left out",
        *(f"left out: {count} x {reason}" for reason, count in counts.items()),
    ]


def log_rate_differences(recordings: pd.DataFrame) -> None:
    """Log a note if the sample rate predicts the class: a model could learn the rate instead of the sound."""
    shares = pd.crosstab(recordings["label"], recordings["sample_rate"], normalize="index")
    recall = shares.max().sum() / len(shares)  # the highest that predictions from the rate alone can reach
    chance = 1 / len(shares)
    if recall - chance <= MIN_ADVANTAGE:
        return
    counts = recordings.groupby(["label", "sample_rate"]).size()
    rates = [
        f"{label} {', '.join(f'{rate} Hz ({n})' for rate, n in counts[label].items())}"
        for label in shares.index
    ]
    logger.info(
        f"recorded rates differ by class: {'; '.join(rates)}; predictions from the rate alone would have an "
        f"unweighted average recall of {recall:.2f} ({chance:.2f} by chance)"
    )
