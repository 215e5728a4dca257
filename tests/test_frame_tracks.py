"""Tracks of a recording joined from those of its segments."""

import numpy as np
import pytest

from murmur.features.frame_tracks import join_tracks


@pytest.mark.parametrize("starts", [[0.0, 0.3, 0.6], [0.0, 0.25, 0.57]], ids=["on steps", "between steps"])
def test_a_linear_track_is_joined_without_a_change(starts):
    """Segments of 6 steps of 0.1 s of the lines 2 t and 1 - t."""
    times = np.array(starts)[:, None] + 0.1 * np.arange(6)
    tracks = np.stack([2 * times, 1 - times], axis=2)
    joined = join_tracks(tracks, np.array(starts), 0.1, 11)
    expected = np.stack([0.2 * np.arange(11), 1 - 0.1 * np.arange(11)], axis=1)
    assert joined.dtype == np.float32 and joined.shape == (11, 2)
    np.testing.assert_allclose(joined, expected, atol=1e-6)


def test_the_ends_of_a_segment_count_less_than_its_middle():
    tracks = np.stack([np.zeros(5), np.ones(5)])  # weights 1/3, 2/3, 1, 2/3, 1/3
    joined = join_tracks(tracks, np.array([0.0, 0.2]), 0.1, 8)
    np.testing.assert_allclose(joined, [0, 0, 0.25, 0.5, 0.75, 1, 1, 0], atol=1e-6)


def test_segments_without_overlap_leave_no_gap_between_their_steps():
    joined = join_tracks(np.array([[1.0, 2.0], [5.0, 6.0]]), np.array([0.05, 0.25]), 0.1, 5)
    np.testing.assert_allclose(joined, [0, 1.5, 2, 5.5, 6], atol=1e-6)


def test_steps_without_a_segment_are_0_and_those_after_the_end_are_left_out():
    joined = join_tracks(np.ones((2, 3)), np.array([0.0, 0.5]), 0.1, 7)
    np.testing.assert_array_equal(joined, [1, 1, 1, 0, 0, 1, 1])
    assert (join_tracks(np.empty((0, 3)), np.empty(0), 0.1, 2) == 0).all()
