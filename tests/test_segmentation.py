"""Positions and lengths of segments, and what is left out. The sample rate is 10 Hz."""

import numpy as np
import pandas as pd
import pytest

from murmur.errors import MurmurError
from murmur.features.segmentation import cut_segments
from murmur.sections.segment import Segment
from murmur.tables import parquet
from murmur.tables.left_out import LEFT_OUT
from murmur.tables.segments import SEGMENTS

RATE = 10
OPTIONS = Segment(length=4, overlap=0.5, short="pad", min_length=1, first=None, first_of=[], mirror=False)


def cut(n_samples, labels=None, **changes):
    """Segments of recordings a, b, … with these numbers of samples and labels, and what is left out."""
    names = [chr(ord("a") + k) for k in range(len(n_samples))]
    offsets = np.cumsum([0, *n_samples[:-1]])
    signals = pd.DataFrame({"recording_id": names, "offset": offsets, "n_samples": n_samples})
    labels = pd.Series(labels or ["ill"] * len(names), index=names)
    return cut_segments(signals, labels, RATE, OPTIONS.model_copy(update=changes))


def list_segments(table, name="a"):
    rows = table[table["recording_id"] == name]
    return list(zip(rows["start"], rows["n_samples"], strict=True))


@pytest.mark.parametrize("short", ["drop", "pad", "wrap"])
@pytest.mark.parametrize(
    ("n", "overlap", "expected"),
    [
        (40, 0.5, [(0, 40)]),
        (60, 0.5, [(0, 40), (20, 40)]),
        (80, 0.0, [(0, 40), (40, 40)]),
        (50, 0.75, [(0, 40), (10, 40)]),
    ],
)
def test_a_recording_that_ends_with_a_segment_has_nothing_left_out(short, n, overlap, expected):
    segments, left_out = cut([n], short=short, overlap=overlap)
    assert list_segments(segments) == expected
    assert left_out.empty


@pytest.mark.parametrize("short", ["pad", "wrap"])
def test_pad_and_wrap_keep_a_shorter_last_segment(short):
    assert list_segments(cut([41], short=short)[0]) == [(0, 40), (20, 21)]
    assert list_segments(cut([39], short=short)[0]) == [(0, 39)]
    assert list_segments(cut([50], short=short, overlap=0)[0]) == [(0, 40), (40, 10)]


def test_drop_leaves_out_a_shorter_last_segment_and_lists_it():
    segments, left_out = cut([41, 40, 39], short="drop")
    assert [list_segments(segments, name) for name in "abc"] == [[(0, 40)], [(0, 40)], []]
    assert list(left_out["item"]) == ["a", "c"]
    why = "is too short for a segment: segment.length 4 s (short: drop)"
    assert list(left_out["reason"]) == [f"last piece of 2.10 s {why}", f"whole recording of 3.90 s {why}"]


def test_a_segment_of_min_length_is_kept_and_a_shorter_one_is_not():
    segments, left_out = cut([10, 9, 50, 49], overlap=0)
    assert [list_segments(segments, name) for name in "abcd"] == [
        [(0, 10)],
        [],
        [(0, 40), (40, 10)],
        [(0, 40)],
    ]
    assert list(left_out["item"]) == ["b", "d"]
    why = "is too short for a segment: segment.min_length 1 s"
    assert list(left_out["reason"]) == [f"whole recording of 0.90 s {why}", f"last piece of 0.90 s {why}"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"short": "pad"}, r"segment\.min_length 1 s: the longest recording has 0\.90 s"),
        ({"short": "wrap"}, r"segment\.min_length 1 s: the longest recording has 0\.90 s"),
        ({"short": "pad", "min_length": 4}, r"segment\.length 4 s \(short: pad\): the longest recording"),
        ({"short": "drop"}, r"segment\.length 4 s \(short: drop\): the longest recording has 0\.90 s"),
    ],
)
def test_if_all_are_too_short_the_parameter_to_lower_is_named(changes, words):
    with pytest.raises(MurmurError, match=words):
        cut([9, 5], **changes)


def test_a_min_length_above_the_length_of_a_segment_means_that_length():
    assert list_segments(cut([41], min_length=9)[0]) == [(0, 40)]


def test_without_min_length_a_segment_of_one_sample_is_kept():
    assert list_segments(cut([41], min_length=0, overlap=0)[0]) == [(0, 40), (40, 1)]


def test_no_segment_at_all_is_an_error():
    with pytest.raises(MurmurError, match=r"segment\.length 4 s .*longest recording has 3\.90 s"):
        cut([39, 12], short="drop")


def test_the_tables_have_their_schemas(tmp_path):
    segments, left_out = cut([100, 39], short="drop")
    parquet.write(segments, tmp_path / "segments.parquet", SEGMENTS)
    parquet.write(left_out, tmp_path / "left_out.parquet", LEFT_OUT)
    pd.testing.assert_frame_equal(parquet.read(tmp_path / "segments.parquet", SEGMENTS), segments)
    assert set(left_out["stage"]) == {"segment"}
    assert not segments["reversed"].any()


def test_first_keeps_the_first_segments_and_lists_the_others():
    segments, left_out = cut([200, 60, 40], first=2, overlap=0)
    assert [list_segments(segments, name) for name in "abc"] == [
        [(0, 40), (40, 40)],
        [(0, 40), (40, 20)],
        [(0, 40)],
    ]
    assert left_out.values.tolist() == [["a", "3 segments after the first 2", "segment"]]


def test_first_of_does_not_apply_to_other_labels():
    segments, left_out = cut([200, 200, 200], ["well", "ill", "well"], first=1, first_of=["well"], overlap=0)
    assert [len(list_segments(segments, name)) for name in "abc"] == [1, 5, 1]
    assert list(left_out["item"]) == ["a", "c"]


def test_first_of_without_first_has_no_effect_and_is_noted(capsys):
    table, left_out = cut([200], ["ill"], first_of=["ill"])
    assert table.equals(cut([200], ["ill"])[0]) and left_out.empty
    assert capsys.readouterr().out == "note: segment.first_of has no effect: segment.first is null\n"


def test_first_of_an_unknown_label_is_refused():
    words = r"segment\.first_of: no recording is labelled Ill, wel; there are ill, well"
    with pytest.raises(MurmurError, match=words):
        cut([200, 200], ["well", "ill"], first=1, first_of=["wel", "Ill"])


def test_mirrored_copies_are_after_all_segments(tmp_path):
    plain, _ = cut([100, 70])
    segments, left_out = cut([100, 70], mirror=True)
    originals, copies = segments[: len(plain)], segments[len(plain) :].reset_index(drop=True)
    pd.testing.assert_frame_equal(originals, plain)
    assert copies["reversed"].all() and list(copies["segment_id"]) == list(plain["segment_id"] + "r")
    position = ["recording_id", "start", "n_samples"]
    pd.testing.assert_frame_equal(copies[position], plain[position])
    assert list(segments.index) == list(range(2 * len(plain))) and left_out.empty
    parquet.write(segments, tmp_path / "segments.parquet", SEGMENTS)


def test_segments_after_the_first_have_no_mirrored_copy():
    segments, _ = cut([200], mirror=True, first=1)
    assert list(segments["segment_id"]) == ["a@0", "a@0r"]
