"""The labels of frames against annotations whose states are known at every time."""

import numpy as np
import pandas as pd
import pytest

from murmur.features import frame_labels
from murmur.features.log_mel import LogMel
from murmur.sections.mel import Mel
from murmur.tables import parquet
from murmur.tables.annotations import ANNOTATIONS, NOT_ANNOTATED, PADDING, STATES
from murmur.tables.segments import SEGMENTS
from tests import made

RATE, HOP, LENGTH = 1000, 50, 1000


def events(*rows, name="a"):
    table = pd.DataFrame(rows, columns=["start", "end", "event"])
    return table.astype({"start": float, "end": float}).assign(recording_id=name)


def cycles(n, period=0.8):
    """Cycles of S1 0.1 s, systole 0.2 s, S2 0.1 s, diastole for the rest."""
    ends = np.array([0, 0.1, 0.3, 0.4, period])
    return events(*(
        (k * period + ends[s], k * period + ends[s + 1], STATES[s]) for k in range(n) for s in range(4)
    ))  # fmt: skip


def segment(start, n_samples=LENGTH, *, name="a", reverse=False):
    return {"segment_id": f"{name}@{start}{'r' * reverse}", "recording_id": name, "start": start} | {
        "n_samples": n_samples, "reversed": reverse
    }  # fmt: skip


def label(annotations, *segments, wrap=False, length=LENGTH):
    positions = frame_labels.compute_positions(length, 256, HOP)
    table = pd.DataFrame(segments)
    return frame_labels.label_frames(annotations, table, positions, rate=RATE, length=length, wrap=wrap)


def state_at(time, period=0.8):
    """The state of `cycles` at a time in s."""
    return int(np.searchsorted([0.1, 0.3, 0.4], time % period + 1e-9, side="right"))


def test_a_frame_has_the_state_at_its_centre():
    (labels,) = label(cycles(4), segment(370))
    assert labels.dtype == np.int8 and len(labels) == 1 + LENGTH // HOP
    assert list(labels) == [state_at(0.370 + min(k * HOP, LENGTH - 1) / RATE) for k in range(len(labels))]


def test_a_frame_with_a_murmur_has_the_label_of_its_state_and_4():
    murmur = events((0.1, 0.2, "murmur"), (3.3, 3.4, "murmur"))  # the second is behind the last state
    (labels,) = label(pd.concat([murmur, cycles(4)]), segment(0))
    assert list(labels[:7]) == [0, 0, 5, 5, 1, 1, 2]
    (labels,) = label(pd.concat([murmur, cycles(4)]), segment(3000))
    assert list(labels[4:]) == [NOT_ANNOTATED] * 17


def test_what_is_not_annotated_is_marked():
    annotated = events((0.2, 0.3, "S1"), (0.5, 0.6, "systole"))
    labels = label(annotated, segment(0), segment(0, name="b"))
    assert list(labels[0][:13]) == [-1, -1, -1, -1, 0, 0, -1, -1, -1, -1, 1, 1, -1]
    assert (labels[1] == NOT_ANNOTATED).all()
    assert (label(ANNOTATIONS.empty_table().to_pandas(), segment(0)) == NOT_ANNOTATED).all()


def test_of_two_states_that_overlap_the_later_one_counts():
    (labels,) = label(events((0.3, 0.6, "systole"), (0, 0.4, "S1")), segment(0))
    assert list(labels[:13]) == [0] * 6 + [1] * 6 + [-1]


def test_the_end_of_a_short_segment_is_padding_or_its_beginning_again():
    padded = label(cycles(4), segment(400, 320))[0]
    assert list(padded) == [state_at(0.4 + k * 0.05) for k in range(7)] + [PADDING] * 14
    wrapped = label(cycles(4), segment(400, 320), wrap=True)[0]
    assert list(wrapped) == [state_at(0.4 + min(k * HOP, 999) % 320 / RATE) for k in range(21)]


def test_a_reversed_segment_has_the_labels_of_the_reversed_samples():
    forward, backward = label(cycles(4), segment(0), segment(0, reverse=True))
    assert list(backward) == [state_at(max(999 - k * HOP, 0) / RATE) for k in range(21)]
    assert np.mean(backward == forward[::-1]) > 0.7
    assert list(label(cycles(4), segment(0, 320, reverse=True))[0]) == [PADDING] * 14 + [
        state_at((999 - k * HOP) / RATE) for k in range(14, 20)
    ] + [0]


@pytest.mark.parametrize(
    ("length", "n_fft", "hop"), [(1000, 256, 50), (1001, 255, 50), (8000, 257, 64), (999, 64, 7)]
)
def test_there_is_a_label_for_each_frame_of_the_spectrogram(length, n_fft, hop):
    options = made.changed({"mel.n_fft": n_fft, "mel.win_length": 64, "mel.hop_length": hop, "mel.n_mels": 4})
    log_mel = LogMel(2000, Mel(**options["mel"]), 64, hop)
    frames = log_mel(np.ones((1, length), np.float32)).shape[2]
    assert len(frame_labels.compute_positions(length, n_fft, hop)) == frames


def test_a_click_is_in_the_frame_that_its_annotation_labels():
    rate, hop, length = 2000, 40, 4000
    samples = np.zeros((1, length), np.float32)
    samples[0, 1234:1240] = 1
    options = Mel(**made.changed({"mel.n_fft": 128, "mel.win_length": 80, "mel.hop_length": hop})["mel"])
    loudest = LogMel(rate, options, 80, hop)(samples)[0].sum(axis=0).argmax()
    positions = frame_labels.compute_positions(length, 128, hop)
    click = events((1220 / rate, 1260 / rate, "S1"))
    (labels,) = frame_labels.label_frames(
        click, pd.DataFrame([segment(0, length)]), positions, rate=rate, length=length, wrap=False
    )
    assert list(np.flatnonzero(labels == 0)) == [loudest]


@pytest.mark.parametrize("block", [1, 2**14])
def test_the_labels_of_a_data_folder_are_written(tmp_path, monkeypatch, block):
    monkeypatch.setattr(frame_labels, "BLOCK", block)
    segments = pd.DataFrame([segment(0), segment(500)])
    parquet.write(cycles(2), tmp_path / "annotations.parquet", ANNOTATIONS)
    parquet.write(segments, tmp_path / "segments.parquet", SEGMENTS)
    options = {"n_fft": 256, "hop": HOP, "rate": RATE, "seconds": 1.0, "wrap": False}
    labels = frame_labels.write_frame_labels(tmp_path, **options)
    assert np.array_equal(np.load(tmp_path / "frame_labels.npy"), labels) and labels.shape == (2, 21)
    positions = frame_labels.compute_positions(RATE, 256, HOP)
    at_once = frame_labels.label_frames(cycles(2), segments, positions, rate=RATE, length=RATE, wrap=False)
    assert np.array_equal(labels, at_once) and (labels >= 0).any()
