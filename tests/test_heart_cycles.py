"""Heart cycles from the probabilities of the frames: intervals, durations and heart rate."""

import numpy as np
import pandas as pd
import pytest

from murmur.features.heart_cycles import (
    LONGEST,
    MIN_CYCLES,
    SHORTEST,
    compute_heart_rate,
    find_cycles,
)
from murmur.tables.annotations import STATES

STEP = 0.04  # s
CYCLE = (3, 4, 2, 9)  # steps of S1, systole, S2 and diastole: 83 cycles per minute


def make_order(cycles=6, first=2):
    """The state of each step; the first cycle is cut off."""
    return np.repeat(np.tile(np.arange(4), cycles), np.tile(CYCLE, cycles))[first:]


def make_posteriors(order, certainty=0.97):
    states = np.full((len(order), 4), (1 - certainty) / 3)
    states[np.arange(len(order)), order] = certainty
    return states


def find(states, murmur=0.0, annotated=1.0, step=STEP):
    shape = len(states)
    return find_cycles(states, np.broadcast_to(murmur, shape), np.broadcast_to(annotated, shape), step)


@pytest.mark.parametrize("first", range(sum(CYCLE)))
def test_certain_probabilities_give_back_the_intervals(first):
    order = make_order(first=first)
    found = find(make_posteriors(order))
    changes = np.flatnonzero(np.diff(order)) + 1
    assert found["event"].tolist() == [STATES[k] for k in order[np.append(0, changes)]]
    np.testing.assert_allclose(found["start"][1:], (changes - 0.5) * STEP)  # between two steps
    assert (found["start"].iloc[0], found["end"].iloc[-1]) == (0, pytest.approx(len(order) * STEP))
    np.testing.assert_array_equal(found["end"][:-1], found["start"][1:])


def test_states_follow_each_other_and_have_possible_durations_in_noise():
    found = find(np.random.default_rng(3).dirichlet(np.ones(4) / 3, 700))
    order = found["event"].map(STATES.index).to_numpy()
    assert ((order[1:] - order[:-1]) % 4 == 1).all()
    lengths = (found["end"] - found["start"]).to_numpy()[1:-1]
    shortest, longest = (np.take(limits, order[1:-1]) for limits in (SHORTEST, LONGEST))
    assert (lengths > shortest - STEP).all() and (lengths < longest + STEP).all()  # ends are interpolated


def test_a_short_gap_in_the_evidence_is_filled_with_the_cycle():
    order = make_order(cycles=10)
    states = make_posteriors(order)
    states[60:85] = 0.25  # more than a cycle without evidence
    expected = find(make_posteriors(order))
    found = find(states)
    assert found["event"].tolist() == expected["event"].tolist()
    np.testing.assert_allclose(found["start"], expected["start"], atol=2 * STEP)


def test_a_boundary_is_where_both_states_are_equally_probable():
    states = make_posteriors(make_order(first=0), certainty=0.999)
    states[2] = (0.75, 0.25 - 2e-3, 1e-3, 1e-3)  # the last step of S1
    states[3] = (0.1, 0.9 - 2e-3, 1e-3, 1e-3)  # the first of systole
    last, first = np.log(states[2, 0] / states[2, 1]), np.log(states[3, 1] / states[3, 0])
    assert find(states)["start"][1] == pytest.approx((2 + last / (last + first)) * STEP)


def test_murmur_is_averaged_over_an_interval_and_given_for_its_thirds():
    order = make_order(first=0)
    murmur = np.where(order == 1, 0.8, 0.1)
    murmur[3:7] = 0.9, 0.9, 0.2, 0.2  # the first systole: early
    found = find(make_posteriors(order), murmur)
    systole = found[found["event"] == "systole"]
    assert systole["murmur"].tolist() == pytest.approx([0.55, *[0.8] * 5])
    assert systole["early"].iloc[0] > 0.8 > systole["middle"].iloc[0] > systole["late"].iloc[0]
    assert found.loc[found["event"] == "diastole", "middle"].tolist() == pytest.approx([0.1] * 6)


def test_intervals_that_are_not_annotated_are_left_out():
    order = make_order(first=0)
    annotated = np.where(np.arange(len(order)) < 2 * sum(CYCLE), 0.0, 0.9)
    found = find(make_posteriors(order), annotated=annotated)
    assert len(found) == 4 * 4
    assert found["start"].iloc[0] == pytest.approx((2 * sum(CYCLE) - 0.5) * STEP)


@pytest.mark.parametrize("n", range(5))
def test_recordings_of_few_steps(n):
    assert find(make_posteriors(make_order()[:n]))["end"].max() == pytest.approx(n * STEP) or n == 0


@pytest.mark.parametrize("step", [0.01, 0.064, 0.5])
def test_other_lengths_of_a_step(step):
    found = find(np.random.default_rng(0).dirichlet(np.ones(4), 100), step=step)
    assert found["end"].iloc[-1] == pytest.approx(100 * step)


def test_heart_rate_is_that_of_the_median_cycle():
    found = find(make_posteriors(make_order(cycles=6, first=0)))
    assert compute_heart_rate(found) == pytest.approx(60 / (sum(CYCLE) * STEP))


def test_the_heart_rate_needs_enough_whole_cycles_of_similar_length():
    found = find(make_posteriors(make_order(cycles=MIN_CYCLES + 1, first=0)))
    assert compute_heart_rate(found) is not None
    assert compute_heart_rate(found[found["start"] < MIN_CYCLES * sum(CYCLE) * STEP - 0.1]) is None
    with_gap = found.drop(index=range(5, 8))
    assert compute_heart_rate(with_gap) is None  # a cycle across the gap does not count
    assert compute_heart_rate(found[:0]) is None
    ends = np.cumsum(np.repeat([0.4, 0.8, 1.2, 0.5, 0.9, 1.1], 4) / 4)
    uneven = pd.DataFrame({"start": [0, *ends[:-1]], "end": ends, "event": [*STATES] * 6})
    assert compute_heart_rate(uneven) is None
