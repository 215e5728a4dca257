"""The log-mel transform gives librosa's values."""

import librosa
import numpy as np
import pytest

from murmur.errors import MurmurError
from murmur.features import log_mel, mel_scale
from tests.spectrograms import LENGTH, change, compute_with_librosa, count_frames, make_log_mel, noise


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize(
    ("rate", "changes"),
    [
        (2000, {}),
        (2000, {"win_length": 256}),
        (2000, {"win_length": 101}),
        (2000, {"win_length": 1}),
        (2000, {"n_fft": 255}),
        (2000, {"hop_length": 77}),
        (2000, {"hop_length": 500}),
        (2000, {"f_min": 0, "f_max": 1000, "n_mels": 12}),
        (2000, {"scale": "ln"}),
        (2000, {"scale": "ln", "reference": 1.0}),
        (2000, {"edges": "reflect"}),
        (2000, {"edges": "reflect", "n_fft": 255, "hop_length": 77}),
        (2000, {"scale": "ln_plus", "edges": "reflect"}),
        (2000, {"scale": "ln_plus"}),
        (2000, {"top_db": None}),
        (2000, {"top_db": 20}),
        (2000, {"reference": 1.0}),
        (2000, {"reference": 0.01, "top_db": None}),
        (2000, {"n_fft": 2048, "win_length": 2048, "n_mels": 40}),
        (8000, {"f_max": 4000, "n_fft": 512}),
        (4000, {"f_min": 1100, "f_max": 2000, "n_mels": 8}),
    ],
)
def test_the_values_are_those_of_librosa(rate, changes):
    options = change(**changes)
    x = noise(5 * LENGTH).reshape(5, LENGTH)
    x += np.sin(2 * np.pi * 150 * np.arange(LENGTH) / rate) * np.arange(LENGTH) / LENGTH  # grows
    expected = np.stack([compute_with_librosa(row, rate, options) for row in x])
    found = make_log_mel(rate, options)(x)
    assert found.shape == (5, options.n_mels, count_frames(LENGTH, options))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{}, {"scale": "ln"}, {"reference": 1.0}, {"top_db": None}, {"scale": "ln_plus"}]
)
def test_silent_frames_have_the_values_of_librosa(changes):
    x = np.zeros((1, LENGTH), np.float32)
    x[0, :100] = 1  # frames with sound and frames without
    expected = compute_with_librosa(x[0], 2000, change(**changes))
    np.testing.assert_allclose(make_log_mel(2000, change(**changes))(x)[0], expected, atol=1e-3)


@pytest.mark.parametrize("level", [0, 0.25, 1e-8])
@pytest.mark.parametrize("edges", ["zeros", "reflect"])
@pytest.mark.parametrize(
    ("changes", "floor"),
    [
        ({}, -80),
        ({"top_db": 40}, -40),
        ({"reference": 1.0}, -100),
        ({"scale": "ln_plus"}, np.log(2**-23)),
        ({"scale": "ln", "reference": 1.0}, np.log(1e-10)),
        ({"scale": "ln"}, None),
        ({"top_db": None}, None),
    ],
)
def test_a_silent_segment_has_the_lowest_value_of_the_scale(changes, floor, edges, level):
    loud = np.sign(np.sin(np.arange(LENGTH))).astype(np.float32)
    loud[LENGTH // 2 :] = 0
    options = change(edges=edges, **changes)
    sound, silence = make_log_mel(2000, options)(np.stack([loud, np.full(LENGTH, level, np.float32)]))
    assert (silence == silence[0, 0]).all() and silence.max() <= sound.min()
    assert floor is None or silence[0, 0] == pytest.approx(floor, abs=1e-4)
    assert (make_log_mel(2000, options)(loud[None])[0] == sound).all()


@pytest.mark.parametrize(("rate", "f_min", "f_max", "n_mels"), [(2000, 25, 800, 40), (16000, 0, 8000, 64)])
def test_the_filters_are_those_of_librosa(rate, f_min, f_max, n_mels):
    options = change(f_min=f_min, f_max=f_max, n_mels=n_mels, n_fft=512)
    bank = librosa.filters.mel(sr=rate, n_fft=512, n_mels=n_mels, fmin=f_min, fmax=f_max)
    np.testing.assert_allclose(log_mel.mel_bank(rate, options), bank, atol=1e-8)
    edges = librosa.mel_frequencies(n_mels=n_mels + 2, fmin=f_min, fmax=f_max)
    np.testing.assert_allclose(mel_scale.mel_frequencies(options), edges)


def test_bands_without_a_frequency_bin_are_counted_and_refused():
    with pytest.raises(MurmurError, match=r"mel\.n_mels 100: bands without an FFT bin: \d+; take fewer"):
        make_log_mel(2000, change(n_mels=100, n_fft=128))
