"""Heart cycles from the probabilities of the states of each frame, and the heart rate."""

import numpy as np
import pandas as pd

from murmur.tables.annotations import STATES

# more than 99 % of the annotated intervals of CirCor are within; heart rates of 30 to 270 per minute
SHORTEST = (0.04, 0.06, 0.04, 0.08)  # s, of S1, systole, S2 and diastole
LONGEST = (0.24, 0.5, 0.24, 1.2)  # s
VARIATION = (0.15, 0.15, 0.15, 0.2)  # SD of the logarithm of the durations within a recording
MIN_ANNOTATED = 0.1  # least mean probability of being annotated of an interval that is kept
THIRDS = {"early": 1 / 6, "middle": 1 / 2, "late": 5 / 6}  # their middle, as a share of the interval
MIN_CYCLES = 3  # that a heart rate needs
MAX_SPREAD = 0.2  # median absolute deviation of the lengths of the cycles by their median, for a heart rate


def find_cycles(
    states: np.ndarray, murmur: np.ndarray, annotated: np.ndarray, step_seconds: float
) -> pd.DataFrame:
    """Find the heart cycles of a recording.

    The Viterbi algorithm of a hidden semi-Markov model finds the most probable sequence of intervals in the
    order S1, systole, S2, diastole. It runs twice: first all durations from `SHORTEST` to `LONGEST` are
    equally probable, then the durations of each state have a log-normal distribution, with the median of the
    first result in this recording and the SD `VARIATION`. The first and the last interval may be cut off.
    A boundary is placed between two steps, where the probabilities of both states are equal.

    Parameters
    ----------
    states : np.ndarray, shape [steps, 4]
        Probabilities of `STATES`.
    murmur : np.ndarray, shape [steps]
        Probability of a murmur.
    annotated : np.ndarray, shape [steps]
        Probability that an annotator marks heart sounds here. Intervals in which its mean is below
        `MIN_ANNOTATED` are left out: the recording is too noisy there.
    step_seconds : float
        Time from one step to the next, s. Step k is centred at ``k * step_seconds``.

    Returns
    -------
    DataFrame
        A row for each interval, in time order: start, end (s), event (one of `STATES`), murmur (mean
        probability of a murmur in it), early, middle, late (that in the middle of each third).

    References
    ----------
    Schmidt et al., Segmentation of heart sound recordings by a duration-dependent hidden Markov model,
    Physiological Measurement 31, 2010. Springer et al., Logistic regression-HSMM-based heart sound
    segmentation, IEEE Transactions on Biomedical Engineering 63, 2016.
    """
    if not len(states):
        return pd.DataFrame({name: [] for name in ("start", "end", "event", "murmur", *THIRDS)})
    scores = np.log(np.maximum(states.astype(np.float64), 1e-6))
    durations = np.arange(1, max(1, round(max(LONGEST) / step_seconds)) + 1)
    penalty = _limit_durations(durations, step_seconds)
    starts, order = _find_sequence(scores, penalty)
    penalty += _compare_durations(durations, starts, order)
    starts, order = _find_sequence(scores, penalty)
    sizes = np.diff(starts, append=len(states))
    places = _place_boundaries(scores, starts, order)
    ends = np.append(places[1:], len(states))
    table = pd.DataFrame(
        {
            "start": places * step_seconds,
            "end": ends * step_seconds,
            "event": np.take(STATES, order),
            "murmur": np.add.reduceat(murmur, starts) / sizes,
        }
    )
    for name, share in THIRDS.items():
        table[name] = np.interp(places + share * (ends - places), np.arange(len(murmur)), murmur)
    is_kept = np.add.reduceat(annotated, starts) / sizes >= MIN_ANNOTATED
    return table[is_kept].reset_index(drop=True)


def _limit_durations(durations: np.ndarray, step_seconds: float) -> np.ndarray:
    """Return 0 for each state and possible duration, in steps, and -inf for an impossible one."""
    shortest, longest = (np.rint(np.divide(limits, step_seconds)) for limits in (SHORTEST, LONGEST))
    is_possible = (durations >= np.maximum(shortest, 1)[:, None]) & (
        durations <= np.maximum(longest, 1)[:, None]
    )
    return np.where(is_possible, 0.0, -np.inf)


def _compare_durations(durations: np.ndarray, starts: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the log-density, less its maximum, of each state and duration, around the found median."""
    found, states = np.diff(starts)[1:], order[1:-1]
    density = np.zeros((4, len(durations)))
    for state in np.unique(states):
        ratio = np.log(durations / np.median(found[states == state]))
        density[state] = -0.5 * (ratio / VARIATION[state]) ** 2
    return density


def _find_sequence(scores: np.ndarray, penalty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the most probable sequence of intervals: the first step of each, and the index of its state.

    Parameters
    ----------
    scores : np.ndarray, shape [steps, 4]
        Logarithm of the probability of each state.
    penalty : np.ndarray, shape [4, durations]
        Added for an interval of each state and duration, of 1, 2, ... steps.
    """
    width = penalty.shape[1]
    # steps without preference at both ends, so that the first and the last interval may be cut off
    total = np.pad(scores, ((width + 1, width), (0, 0))).cumsum(axis=0).T  # [states, steps + 1]
    steps = total.shape[1] - 1
    begin = np.full(
        (4, width + steps + 1), -np.inf
    )  # score if a state begins `width` columns before, less total
    begin[:, width : 2 * width + 1] = 0.0
    best, ended = np.zeros((steps + 1, 4), int), np.full((steps + 1, 4), -np.inf)
    penalty, rows, previous = penalty[:, ::-1].copy(), np.arange(4), np.array([3, 0, 1, 2])
    gain = total[previous] - total  # of beginning a state at each step, after the previous state
    for t in range(width + 1, steps + 1):
        window = begin[:, t : t + width] + penalty
        best[t] = window.argmax(axis=1)
        ended[t] = window[rows, best[t]]  # score of the sequences at whose end each state ends, less total
        begin[:, width + t] = ended[t, previous] + gain[:, t]
    last = (ended + total.T)[-width - 1 :]
    step, state = np.unravel_index(last.argmax(), last.shape)
    starts, order = _trace_back(width - best, steps - width + int(step), int(state), width)
    starts = starts - width
    is_inside = (np.append(starts[1:], steps) > 0) & (starts < len(scores))
    return np.maximum(starts[is_inside], 0), order[is_inside]


def _trace_back(chosen: np.ndarray, step: int, state: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """List the first step and the state of each interval.

    Parameters
    ----------
    chosen : np.ndarray of int, shape [steps + 1, 4]
        The duration of each state if it ends before each step.
    step, state : int
        The end of the last interval, and its state.
    first : int
        The step up to which the first interval begins.
    """
    intervals = []
    while step > first:
        step -= chosen[step, state]
        intervals.append((step, state))
        state = (state - 1) % 4
    starts, order = np.array(intervals[::-1]).T
    return starts, order


def _place_boundaries(scores: np.ndarray, starts: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Place the start of each interval, in steps, where its state becomes as probable as the one before.

    The place is interpolated between the last step of the interval before and the first one of the interval.
    """
    places = np.maximum(starts - 0.5, 0.0)
    steps, before, after = starts[1:], order[:-1], order[1:]
    last = scores[steps - 1, after] - scores[steps - 1, before]
    first = scores[steps, after] - scores[steps, before]
    crosses = (last < 0) & (first > 0)
    places[1:][crosses] = (steps - 1 - last / np.where(crosses, first - last, 1))[crosses]
    return places


def compute_heart_rate(cycles: pd.DataFrame) -> float | None:
    """Compute the heart rate from the intervals between the starts of successive first heart sounds.

    Parameters
    ----------
    cycles : DataFrame
        Intervals from `find_cycles`, or annotated ones, with the columns start, end (s) and event.

    Returns
    -------
    float or None
        60 / median length of the cycles, per minute. None if it is unreliable: fewer than `MIN_CYCLES` whole
        cycles, or cycles whose median absolute deviation is more than `MAX_SPREAD` of their median.
    """
    lengths = _measure_cycles(cycles)
    if len(lengths) < MIN_CYCLES:
        return None
    median = np.median(lengths)
    spread = np.median(np.abs(lengths - median))
    return float(60 / median) if spread <= MAX_SPREAD * median else None


def _measure_cycles(cycles: pd.DataFrame) -> np.ndarray:
    """Measure the cycles, s: S1, systole, S2, diastole and the start of the next S1, without a gap."""
    events, starts = cycles["event"].to_numpy(), cycles["start"].to_numpy()
    is_next = np.append(np.abs(starts[1:] - cycles["end"].to_numpy()[:-1]) < 0.02, False)
    first = np.flatnonzero(events[:-4] == "S1")
    states = np.array((*STATES, "S1"))
    whole = np.array([(events[k : k + 5] == states).all() and is_next[k : k + 4].all() for k in first], bool)
    first = first[whole] if len(first) else first
    return starts[first + 4] - starts[first]
