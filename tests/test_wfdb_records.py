"""WFDB records, written by the package wfdb, complete and with errors."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from murmur.errors import MurmurError
from murmur.recordings import audio
from murmur.recordings.containers import wfdb_records
from tests import made

DRAW = np.random.default_rng(0)


def draw(bits=16, channels=1, n=2000):
    limit = 2 ** (bits - 1) - 1
    return DRAW.integers(-limit, limit, (n, channels))


@pytest.mark.parametrize("fmt", ["16", "24", "32", "80", "516"])
def test_a_record_is_read_as_a_wav_with_its_values_would_be(tmp_path, fmt):
    bits = wfdb_records.BITS[fmt]
    values = draw(bits)
    samples, rate = audio.load(made.record(tmp_path / "r.hea", values, fmt=fmt))
    np.testing.assert_array_equal(samples, (values[:, 0] / 2 ** (bits - 1)).astype(np.float32))
    assert (rate, samples.dtype) == (made.RATE, np.float32)
    if fmt == "16":
        wav = made.audio(tmp_path / "r.wav", values.astype(np.int16))
        assert audio.inspect_file(wav) == audio.inspect_file(tmp_path / "r.hea")


def test_two_samples_in_three_bytes_are_read(tmp_path):
    (tmp_path / "r.hea").write_text("r 1 500 4\nr.dat 212 200 12 0 0 0 0 PCG\n")
    (tmp_path / "r.dat").write_bytes(bytes([0x01, 0xF0, 0xFF, 0xFF, 0x17, 0x00]))
    samples, _ = audio.load(tmp_path / "r.hea")
    np.testing.assert_array_equal(samples * 2**11, [1, -1, 2047, 256])


def test_the_signal_named_pcg_is_read_and_its_baseline_subtracted(tmp_path):
    values = draw(channels=3)
    header = made.record(tmp_path / "r.hea", values, names=["ECG", "pcg", "PCG 2"], baseline=7)
    samples, _ = audio.load(header)
    np.testing.assert_array_equal(samples, ((values[:, 1] - 7) / 2**15).astype(np.float32))


def test_several_samples_in_a_frame_give_the_rate_of_the_signal(tmp_path):
    frames = draw(n=60).reshape(20, 3)  # a frame: one sample of the ECG, two of the PCG
    (tmp_path / "r.hea").write_text(
        "r 2 500 20\nr.dat 16 200 16 0 0 0 0 ECG\nr.dat 16x2 200 16 0 0 0 0 PCG\n"
    )
    (tmp_path / "r.dat").write_bytes(frames.astype("<i2").tobytes())
    samples, rate = audio.load(tmp_path / "r.hea")
    assert rate == 1000
    np.testing.assert_array_equal(samples * 2**15, frames[:, 1:].ravel())


def test_a_missing_value_is_reported_with_its_position(tmp_path):
    values = draw()
    values[[12, 15]] = -(2**15)
    words = r"r\.hea: sample 12 has the value -32768, by which WFDB marks a missing sample \(2 in all\); if"
    with pytest.raises(MurmurError, match=words):
        audio.load(made.record(tmp_path / "r.hea", values))


def edit(header, old, new):
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("r.dat", "s.dat", r"its signal file s\.dat is missing; add it to the folder of the header"),
        ("r.dat", "a.wav", r"its signal is in the file a\.wav; name this file in the table, not the header"),
        ("r.dat 16", "r.dat 310", "signals in WFDB format 310 are not read; store them in format 16"),
        ("4000 2000", "4000.5 2000", r"its sample rate, 4000\.5 Hz, is not a whole number; resample"),
        ("4000 2000", "40 2000", "its rate is 40 Hz, not within 100 to"),
        ("4000 2000", "4000", "its header does not state the number of samples; write it after"),
        ("4000 2000", "4000 2001", "cut short: by its header r.dat has 4002 bytes, the file has 4000; fetch"),
        ("4000 2000", "4000 1999", "its header states 1999 samples for each signal, r.dat has 2000; correct"),
        ("4000 2000", "-4000 2000", "its sample rate, -4000, is not a positive number; correct the header"),
        ("dat 16", "dat 16x0", "its header states 0 samples per frame for PCG; correct it"),
        ("r 1", "r 2", "its header describes 1 of 2 signals; replace the file"),
        ("r 1", "r/2 1", "not readable as a WFDB header"),
        ("r 1 4000 2000\nr.dat 16", "r/1 1 4000 2000\nr 2000 #", "of several segments is not read; name the"),
        ("PCG", "PCG\nr.dat 16 200 16 0 0 0 0 ECG\nr.dat 16 200 16 0 0 0 0 PCG", "describes 3 of 1 signals"),
        ("r 1", "\0", r"not readable as a WFDB header \(invalid syntax in record line\); replace the file"),
    ],
)
def test_a_wrong_header_is_named_with_what_to_do(tmp_path, old, new, words):
    header = made.record(tmp_path / "r.hea", draw())
    made.audio(tmp_path / "a.wav")
    edit(header, old, new)
    with pytest.raises(MurmurError, match=rf"^{re.escape(str(header))}: .*{words}"):
        audio.load(header)


@pytest.mark.parametrize("name", ["../r.dat", "/etc/passwd", "http://localhost/r.dat", "memory::r.dat"])
def test_a_signal_file_in_another_place_is_not_opened(tmp_path, name):
    header = made.record(tmp_path / "deep/r.hea", draw())
    (tmp_path / "deep/r.dat").rename(tmp_path / "r.dat")
    edit(header, "r.dat", name)
    with pytest.raises(MurmurError, match=r"r\.hea: not readable as a WFDB header \(invalid syntax"):
        audio.load(header)


@pytest.mark.parametrize("name", ["r", "r.dat"])
def test_the_error_for_a_part_of_a_record_names_its_header(tmp_path, name):
    made.record(tmp_path / "r.hea", draw())
    with pytest.raises(MurmurError, match=rf"/{name}: not the header of .*; name the header, r\.hea$"):
        audio.load(tmp_path / name)


def test_a_record_without_exactly_one_phonocardiogram_is_refused(tmp_path):
    header = made.record(tmp_path / "r.hea", draw(channels=2), names=["ECG", "sound"])
    words = r"holds 2 signals \(ECG, sound\), and not exactly one is named PCG; give this name, in the header"
    with pytest.raises(MurmurError, match=words):
        audio.load(header)


def test_a_file_that_is_cut_short_or_damaged_is_refused(tmp_path):
    header = made.record(tmp_path / "r.hea", draw())
    content = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.dat").write_bytes(content[:1000] + b"\1" + content[1001:])
    with pytest.raises(MurmurError, match=r"r\.hea: damaged: the samples in r\.dat have the checksum"):
        audio.load(header)
    header = made.record(tmp_path / "f.hea", draw(), fmt="516")
    made.cut(tmp_path / "f.dat")
    with pytest.raises(MurmurError, match=r"f\.hea: damaged: f\.dat: "):
        audio.load(header)


def test_a_signal_file_that_is_a_pipe_is_refused(tmp_path):
    header = made.record(tmp_path / "r.hea", draw())
    (tmp_path / "r.dat").unlink()
    os.mkfifo(tmp_path / "r.dat")
    with pytest.raises(MurmurError, match=r"r\.hea: its signal file r\.dat is not an ordinary file; replace"):
        audio.load(header)


def test_records_are_read_in_threads_without_warnings(tmp_path, recwarn):
    headers = [made.record(tmp_path / f"{k}.hea", draw()) for k in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert [len(samples) for samples, _ in threads.map(audio.load, headers)] == [2000] * 4
    assert not list(recwarn)


def download(root, out):
    return made.download("folder", out, options={"path": str(root)}, positive=["ill"])


def test_records_are_imported_with_their_signal_files(tmp_path):
    root = made.folder(tmp_path / "own")
    made.record(root / "p1/a.hea", draw(channels=2), names=["PCG", "ECG"])
    made.record(root / "unnamed.hea", draw())
    made.audio(root / "b.wav")
    (root / "b.hea").write_text("b 1 4000 2000\nb.wav 16+44 1 16 0 0 0 0 AV\n")  # as in CirCor
    rows = [{"path": "p1/a.hea", "label": "ill"}, {"path": "b.wav", "label": "well"}]
    made.write_csv(root / "recordings.csv", rows)
    for name in "acd":
        (root / f"{name}.wav").unlink()
    recordings, _, left_out = download(root, tmp_path / "raw")
    assert recordings["recording_id"].tolist() == ["p1/a", "b"]
    assert left_out["item"].tolist() == ["unnamed.hea"]
    names = sorted(str(path.relative_to(tmp_path / "raw")) for path in (tmp_path / "raw").rglob("*.*"))
    assert names == ["b.wav", "p1/a.dat", "p1/a.hea"]
    for recording in recordings.itertuples():
        samples, _ = audio.load_recording(tmp_path / "raw", recording)
        assert len(samples) == 2000
    (root / "p1/a.dat").unlink()
    with pytest.raises(
        MurmurError, match=r"1 recording cannot be used.*\n.*a\.hea: its signal file a\.dat is mi"
    ):
        download(root, tmp_path / "raw")
