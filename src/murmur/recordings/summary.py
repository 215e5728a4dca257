"""A summary of the imported recordings for the console."""

import logging

import pandas as pd

from murmur.tables.left_out import UNUSABLE, shorten_reason
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
        n_persons = recordings["person_id"].nunique()
        persons = f" of {n_persons} person{'s' * (n_persons != 1)}"
    is_unusable = left_out["reason"].map(shorten_reason) == UNUSABLE
    counts = left_out["reason"].mask(is_unusable, UNUSABLE).value_counts(sort=False)
    where = ", listed in data/left_out/download.parquet" if len(left_out) else ""
    return [
        f"{n} recording{'s' * (n != 1)}{persons}; {len(left_out)} left out{where}",
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
