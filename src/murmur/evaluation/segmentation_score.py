"""How well the heart sounds of a recording are found: onsets and heart rate against the annotated ones.

References
----------
Springer et al., Logistic regression-HSMM-based heart sound segmentation, IEEE Transactions on Biomedical
Engineering 63, 2016.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from murmur.evaluation.results import Results
from murmur.features.heart_cycles import compute_heart_rate

TOLERANCE = 0.06  # s between the found and the annotated onset of a heart sound
SOUNDS = ("S1", "S2")
COUNTS = ("matched", "annotated", "found")
SCORES = (
    *("run", "f1_S1", "f1_S2", "f1", "sensitivity", "precision", "f1_recordings"),
    *("heart_rate_error", "heart_rates", "n_recordings", "hours"),
)  # columns of metrics/segmentation.csv
PHASES = {  # of the heart cycle: state, and column of the table of cycles
    "S1": ("S1", "murmur"),
    "early_systole": ("systole", "early"),
    "mid_systole": ("systole", "middle"),
    "late_systole": ("systole", "late"),
    "S2": ("S2", "murmur"),
    "early_diastole": ("diastole", "early"),
    "mid_diastole": ("diastole", "middle"),
    "late_diastole": ("diastole", "late"),
}


def match_onsets(annotated: np.ndarray, found: np.ndarray, tolerance: float = TOLERANCE) -> int:
    """Count the pairs of onsets that are at most `tolerance` apart; each onset is in at most one pair.

    Parameters
    ----------
    annotated, found : np.ndarray
        Onsets, s, in ascending order.
    tolerance : float
        Largest distance, s.
    """
    pairs = i = j = 0
    while i < len(annotated) and j < len(found):
        distance = found[j] - annotated[i]
        if abs(distance) <= tolerance:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif distance > 0:
            i += 1
        else:
            j += 1
    return pairs


def score_recording(annotated: pd.DataFrame, found: pd.DataFrame) -> dict[str, float]:
    """Count the onsets of one recording and compare its heart rates, within its annotated parts.

    Parameters
    ----------
    annotated, found : DataFrame
        Intervals with the columns start, end (s) and event (one of `STATES`), in time order.

    Returns
    -------
    dict
        The `COUNTS` of S1 and S2, such as S1_matched; seconds, the length of the annotated parts;
        annotated_rate and found_rate, per minute, NaN if unreliable.
    """
    found = _select_annotated(annotated, found)
    result = {"seconds": float((annotated["end"] - annotated["start"]).sum())}
    for sound in SOUNDS:
        truth, onsets = (t.loc[t["event"] == sound, "start"].to_numpy() for t in (annotated, found))
        numbers = match_onsets(truth, onsets), len(truth), len(onsets)
        result |= {f"{sound}_{name}": n for name, n in zip(COUNTS, numbers, strict=True)}
    rates = {"annotated_rate": compute_heart_rate(annotated), "found_rate": compute_heart_rate(found)}
    return result | {name: np.nan if rate is None else rate for name, rate in rates.items()}


def _select_annotated(annotated: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Select the found intervals that begin in an annotated one, or within `TOLERANCE` of it."""
    onsets = found["start"].to_numpy()[:, None]
    after = onsets >= annotated["start"].to_numpy() - TOLERANCE
    before = onsets <= annotated["end"].to_numpy() + TOLERANCE
    return found[(after & before).any(axis=1)]


def score_segmentation(
    cycles: Mapping[int, pd.DataFrame], annotations: pd.DataFrame, folds: Mapping[int, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score the heart cycles of each run on the annotated recordings of its test parts.

    Parameters
    ----------
    cycles, folds : dict of int to DataFrame
        The heart cycles and the folds of each run.
    annotations : DataFrame
        The annotated intervals of all recordings.

    Returns
    -------
    scores : DataFrame
        A row for each run, with the columns `SCORES`; no row if no network labels frames or nothing is
        annotated. F1, sensitivity and precision are of the onsets of all recordings together;
        f1_recordings is the mean F1 of a recording. heart_rate_error is the median absolute error, per
        minute, in the share heart_rates of the recordings with an annotated rate in which one is found.
    recordings : DataFrame
        A row for each recording of each test part: run, fold, recording_id and `score_recording`.
    """
    states = annotations[annotations["event"] != "murmur"].sort_values("start", kind="stable")
    truth = dict(iter(states.groupby("recording_id")))
    rows = [
        {"run": run, "fold": fold, "recording_id": name, **score_recording(truth[name], found)}
        for run, table in cycles.items()
        if len(table)
        for fold, name, found in _list_test_recordings(table, folds[run])
        if name in truth
    ]
    recordings = pd.DataFrame(rows)
    scores = [_score_run(int(run), table) for run, table in recordings.groupby("run")] if rows else []
    return pd.DataFrame(scores, columns=list(SCORES)), recordings


def _list_test_recordings(cycles: pd.DataFrame, folds: pd.DataFrame) -> list[tuple[int, str, pd.DataFrame]]:
    """List fold, name and heart cycles of each recording of the test parts of a run."""
    found = dict(iter(cycles.groupby(["fold", "recording_id"])))
    tested = folds.loc[folds["role"] == "test", ["fold", "recording_id"]].drop_duplicates()
    return [(int(fold), name, found.get((fold, name), cycles[:0])) for fold, name in tested.to_numpy()]


def _score_run(run: int, table: pd.DataFrame) -> dict[str, float]:
    counts = table[[f"{sound}_{name}" for sound in SOUNDS for name in COUNTS]]
    both = pd.DataFrame(
        {name: counts[[f"{sound}_{name}" for sound in SOUNDS]].sum(axis=1) for name in COUNTS}
    )
    matched, annotated, found = both.sum()
    has_rate = table["annotated_rate"].notna()
    errors = (table["found_rate"] - table["annotated_rate"]).abs()[has_rate]
    return {
        "run": run,
        **{
            f"f1_{sound}": _compute_f1(*(counts[f"{sound}_{name}"].sum() for name in COUNTS))
            for sound in SOUNDS
        },
        "f1": _compute_f1(matched, annotated, found),
        "sensitivity": matched / annotated if annotated else np.nan,
        "precision": matched / found if found else np.nan,
        "f1_recordings": float(np.nanmean([_compute_f1(*row) for row in both.to_numpy()])),
        "heart_rate_error": errors.median(),
        "heart_rates": errors.notna().mean(),
        "n_recordings": len(table),
        "hours": table["seconds"].sum() / 3600,
    }


def _compute_f1(matched: int, annotated: int, found: int) -> float:
    """Compute the harmonic mean of sensitivity and precision, NaN without any onset."""
    return 2 * matched / (annotated + found) if annotated + found else np.nan


def locate_murmurs(cycles: Mapping[int, pd.DataFrame], recordings: pd.DataFrame) -> pd.DataFrame:
    """Average the probability of a murmur in each phase of the heart cycle.

    Parameters
    ----------
    cycles : dict of int to DataFrame
        The heart cycles of the test parts of each run.
    recordings : DataFrame
        The table of recordings: label and murmur_timing.

    Returns
    -------
    DataFrame
        A row for each label, and for each label and annotated timing of the patient's murmur: label, timing
        ("all", or the timing), n_recordings, and the mean probability of each of the `PHASES`, over cycles,
        then over runs, then over recordings. No row if no network labels frames.
    """
    table = pd.concat(cycles.values())
    means = {
        phase: table[table["event"] == state].groupby(["recording_id", "run"])[column].mean()
        for phase, (state, column) in PHASES.items()
    }
    each = pd.DataFrame(means).groupby("recording_id").mean()
    facts = recordings.set_index("recording_id")[["label", "murmur_timing"]]
    each = each.join(facts).rename(columns={"murmur_timing": "timing"})
    with_timing = each.dropna(subset="timing")
    both = pd.concat([each.assign(timing="all"), with_timing])
    groups = both.groupby(["label", "timing"], sort=True)
    table = groups[list(PHASES)].mean()
    table.insert(0, "n_recordings", groups.size())
    return table.reset_index()


def add_segmentation(
    results: Results,
    cycles: Mapping[int, pd.DataFrame],
    annotations: pd.DataFrame,
    folds: Mapping[int, pd.DataFrame],
    recordings: pd.DataFrame,
) -> pd.DataFrame:
    """Add the tables segmentation and murmur_location to the results, and the means over runs to the details.

    Parameters
    ----------
    results : Results
        The results, which are changed.
    cycles, annotations, folds
        As for `score_segmentation`.
    recordings : DataFrame
        As for `locate_murmurs`.

    Returns
    -------
    DataFrame
        The recordings that `score_segmentation` returns.
    """
    scores, scored = score_segmentation(cycles, annotations, folds)
    results.tables["segmentation"] = scores
    results.tables["murmur_location"] = locate_murmurs(cycles, recordings)
    if len(scores):
        means = scores.drop(columns="run").mean().to_dict()
        results.details["segmentation"] = means | {"runs": len(scores), "tolerance": TOLERANCE}
        results.summary["segmentation"] = {"f1": means["f1"]}
    return scored
