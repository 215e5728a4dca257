"""The embedded data set: phonocardiograms made by a simulator, the same bytes for the same seed.

A recording is the sum of five parts, made one by one by `parts` and mixed by `record`: heart sounds, a
murmur, friction of the stethoscope, speech in the room and ambient noise. The murmurs' timing, pitch and
place are those of the textbooks (Table 1 of https://doi.org/10.1186/s12938-015-0056-y); the figures that
make them so are this simulator's own. It is for trying the pipeline: a score on it says nothing of patients.
"""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.fft
import soundfile
from numpy.random import Generator
from pydantic import BaseModel, Field

from murmur import input_csv
from murmur.datasets import MURMUR, Reading, Task
from murmur.errors import MurmurError

TASKS = {
    "murmur": MURMUR,
    "disease": Task(("N", "AS", "AR", "MS", "MR"), ("AS", "AR", "MS", "MR")),
}
PERSONS = "person_id is the simulated person; about one in fifteen was recorded under two patient ids."
LICENCE = "Made by a program of this project (MIT); nobody was recorded."

SAMPLE_RATE = 4000  # Hz
SITES = ("AV", "PV", "TV", "MV")
RECORDINGS = "recordings.csv"

# The roster repeats: diseases every 15 patients, a poor recording every 7, second visits every 60.
DISEASES = ("N", "AS", "MS", "N", "MR", "AS", "N", "AR", "N", "N", "AR", "N", "MS", "MR", "N")
SECOND_VISITS = {9: 8, 25: 22, 35: 31, 54: 53}  # patient: the earlier patient who is the same person

HEART_RATES = {
    "Neonate": (120, 160),
    "Infant": (105, 150),
    "Child": (75, 115),
    "Adolescent": (60, 95),
}  # /min
AGE_SHARES = (0.1, 0.2, 0.4, 0.3)
S1_GAIN = {"AV": 0.6, "PV": 0.6, "TV": 0.9, "MV": 1.0}
S2_GAIN = {"AV": 0.9, "PV": 0.85, "TV": 0.55, "MV": 0.5}
GRADES = {"I": -36, "II": -30, "III": -24, "IV": -18, "V": -12, "VI": -6}  # dB, RMS at the peak against S1
GRADE_SHARES = (0.15, 0.25, 0.3, 0.2, 0.07, 0.03)
MURMURS = {  # Hz, and dB at each site
    "AS": ((80, 380), {"AV": 0, "PV": -5, "TV": -10, "MV": -8}),
    "AR": ((180, 600), {"AV": 0, "PV": -4, "TV": -6, "MV": -12}),
    "MS": ((35, 120), {"AV": -16, "PV": -14, "TV": -8, "MV": 0}),
    "MR": ((130, 480), {"AV": -12, "PV": -10, "TV": -5, "MV": 0}),
}
ISOVOLUMIC = 0.04  # s from S1 to the opening of the aortic valve
OPENING = 0.07  # s from A2 to the opening of the mitral valve

_PERSON, _VISIT, _SOUND = range(3)  # streams of random numbers, so that one part never shifts another


class Options(BaseModel, extra="forbid"):
    """The data set's size and the seed of every random draw."""

    patients: int = Field(60, strict=True, ge=12, le=100_000)
    seed: int = Field(0, strict=True, ge=0, lt=2**32)


class Visit(NamedTuple):
    """One patient id: a person, and how they were recorded that day."""

    number: int
    person: int
    disease: str
    poor: bool  # most sites so noisy that the murmur label is Unknown
    sex: str
    age_group: str
    grade: str
    pitch: float  # of this heart's sounds and murmur, against the ordinary one
    rate: float  # beats a minute
    sites: tuple[str, ...]


class Beats(NamedTuple):
    """The heart cycles of a recording: arrays [beats], the first begins before the recording does."""

    onset: np.ndarray  # s, of S1
    period: np.ndarray  # s, to the next S1
    systole: np.ndarray  # s, from S1 to A2
    breath: np.ndarray  # -1 (expiration) to 1 (inspiration)


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Write the WAV files and `recordings.csv` into `folder` and return it.

    `limit` is ignored: the data are small, and the caller takes what it wants of them.
    """
    rows = []
    for number in range(options.patients):
        visit = make_visit(options.seed, number)
        for site in visit.sites:
            row = _row(visit, site)
            samples = record(options.seed, visit, site)
            wav = BytesIO()  # written to a file, libsndfile would hide why it cannot, such as a full disk
            soundfile.write(wav, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
            (folder / row["path"]).write_bytes(wav.getvalue())
            rows.append(row)
    pd.DataFrame(rows).to_csv(folder / RECORDINGS, index=False, lineterminator="\n")
    return folder


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the table that `fetch` wrote; a recording's label is its patient's.

    Raises
    ------
    MurmurError
        If the table is not there.
    """
    path = root / RECORDINGS
    if not path.is_file():
        raise MurmurError(f"{path}: not found; run the download stage again")
    columns = ["recording_id", "path", "patient_id", "person_id", "site", "sex", "age_group"]
    frame = input_csv.read(path, [*columns, task], remedy="run the download stage again")
    return Reading(frame[columns].assign(label=frame[task], patient_label=frame[task], role=None))


def _row(visit: Visit, site: str) -> dict[str, str]:
    name = f"P{visit.number:03d}_{site}"
    present = "Absent" if visit.disease == "N" else "Present"
    return {
        "recording_id": name,
        "path": f"{name}.wav",
        "patient_id": f"P{visit.number:03d}",
        "person_id": f"H{visit.person:03d}",
        "site": site,
        "murmur": "Unknown" if visit.poor else present,
        "disease": visit.disease,
        "grade": visit.grade if visit.disease != "N" else "",
        "sex": visit.sex,
        "age_group": visit.age_group,
    }


def make_visit(seed: int, number: int) -> Visit:
    """Patient `number` (from 0), whoever else is in the data set."""
    block = number % 60
    person = number - block + SECOND_VISITS.get(block, block)
    who = np.random.default_rng([seed, _PERSON, person])
    age = str(who.choice(list(HEART_RATES), p=AGE_SHARES))
    day = np.random.default_rng([seed, _VISIT, number])
    rate = day.uniform(*HEART_RATES[age])
    sites = tuple(site for site in SITES if day.random() < 0.85) or SITES
    return Visit(
        number=number,
        person=person,
        disease=DISEASES[number % len(DISEASES)],
        poor=number % 7 == 4,
        sex=str(who.choice(["Female", "Male"])),
        age_group=age,
        grade=str(who.choice(list(GRADES), p=GRADE_SHARES)),
        pitch=who.uniform(0.85, 1.2),
        rate=rate,
        sites=sites,
    )


def record(seed: int, visit: Visit, site: str) -> np.ndarray:
    """The recording of `visit` at `site`: int16 [samples], 10 to 15 s at 4 kHz, never clipped."""
    _, part = parts(seed, visit, site)
    signal = sum(part.values())
    peak = 0.3 + 0.6 * np.random.default_rng([seed, _SOUND, visit.number, len(SITES)]).random()
    return np.round(signal * (32767 * peak / np.abs(signal).max())).astype(np.int16)


def parts(seed: int, visit: Visit, site: str) -> tuple[Beats, dict[str, np.ndarray]]:
    """The heart cycles and the parts of a recording, each [samples] at 4 kHz; the loudest S1 is about 1."""
    rng = np.random.default_rng([seed, _SOUND, visit.number, SITES.index(site)])
    time = np.arange(int(rng.integers(100, 151)) * SAMPLE_RATE // 10) / SAMPLE_RATE
    beats = heart_cycles(rng, visit.rate, time[-1])
    poor = rng.random() < (0.85 if visit.poor else 0.06)  # a patient's sites need not be alike
    contact = _decibel(rng.normal(0, 2) - (11 if poor else 0))
    noise = _decibel(rng.normal(0, 4) + (8 if poor else 0))
    return beats, {
        "heart": contact * _heart_sounds(rng, visit.pitch, site, beats, time),
        "murmur": contact * _murmur(rng, visit, site, beats, time),
        "friction": noise * _friction(rng, time),
        "speech": noise * _speech(rng, time),
        "ambient": noise * _ambient(rng, time),
    }


def heart_cycles(rng: Generator, rate: float, seconds: float) -> Beats:
    """Heart cycles at `rate` a minute over `seconds`, faster in inspiration, with some chance besides.

    Systole is the ejection time of Weissler, Harris and Schoenfeld (Circulation 1968), 413 - 1.7 rate in
    ms for men, after an isovolumic contraction.
    """
    index = np.arange(int(seconds * rate / 60 * 1.25) + 4)
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.4) * 60 / rate * index + rng.uniform(0, 2 * np.pi))
    period = 60 / rate * (1 - 0.05 * breath + 0.02 * rng.standard_normal(len(index)).clip(-3, 3))
    onset = np.cumsum(period) - period - period[0] * rng.random()
    systole = ISOVOLUMIC + 0.413 - 0.0017 * 60 / period
    return Beats(onset, period, systole, breath)


def _heart_sounds(rng: Generator, pitch: float, site: str, beats: Beats, time: np.ndarray) -> np.ndarray:
    loudness = 1 - 0.15 * beats.breath + 0.07 * rng.standard_normal(len(beats.onset))
    first, second = S1_GAIN[site] * rng.uniform(0.8, 1.2), S2_GAIN[site] * rng.uniform(0.8, 1.2)
    aortic = beats.onset + beats.systole
    split = 0.025 + 0.015 * beats.breath  # P2 comes later in inspiration
    low, high = pitch * np.array([33.0, 50.0, 80.0]), pitch * np.array([55.0, 85.0, 140.0])
    p2 = 0.6 if site == "PV" else 0.35
    return (
        _tones(time, beats.onset, low, 0.025, first * loudness)
        + _tones(time, beats.onset + 0.025, 1.3 * low, 0.02, 0.5 * first * loudness)
        + _tones(time, aortic, high, 0.014, second * loudness)
        + _tones(time, aortic + split, 0.9 * high, 0.014, p2 * second * loudness)
    )


def _tones(
    time: np.ndarray, onsets: np.ndarray, frequencies: np.ndarray, decay: float, amplitudes: np.ndarray
) -> np.ndarray:
    """A damped sum of three sines (Hz) at each of `onsets` (s), its envelope at most 1 after `decay` s."""
    since = np.arange(int(8 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    sines = np.array([0.5, 0.35, 0.15]) @ np.sin(2 * np.pi * frequencies[:, None] * since)
    wave = sines * since / decay * np.exp(1 - since / decay)
    start = np.round(onsets * SAMPLE_RATE).astype(int)
    keep = (start > -SAMPLE_RATE) & (start < len(time))
    padded = np.zeros(len(time) + 2 * SAMPLE_RATE)
    index = start[keep, None] + SAMPLE_RATE + np.arange(len(wave))
    np.add.at(padded, index, amplitudes[keep, None] * wave)
    return padded[SAMPLE_RATE:-SAMPLE_RATE]


def murmur_envelope(disease: str, beats: Beats, time: np.ndarray) -> np.ndarray:
    """How loud the murmur of `disease` is at each `time` (s), 0 to about 1.

    AS: ejection, crescendo and decrescendo. MR: all of systole, level. AR: from A2, decrescendo.
    MS: from the opening of the mitral valve, louder again before S1.
    """
    beat = np.searchsorted(beats.onset, time, side="right") - 1
    since, systole = time - beats.onset[beat], beats.systole[beat]
    after, diastole = since - systole, beats.period[beat] - systole
    if disease == "AS":
        return np.sin(np.pi * ((since - ISOVOLUMIC) / (systole - ISOVOLUMIC)).clip(0, 1))
    if disease == "MR":
        return (np.minimum(since, -after) / 0.015).clip(0, 1)
    if disease == "AR":
        return (after / 0.01).clip(0, 1) * np.exp(-3.5 * after.clip(0) / diastole)
    filling = ((after - OPENING) / (diastole - OPENING)).clip(0, 1)
    middle = 0.6 * (filling / 0.1).clip(0, 1) * np.exp(-1.5 * filling)
    presystolic = 0.7 * ((filling - 0.7) / 0.3).clip(0)
    return middle + presystolic


def _murmur(rng: Generator, visit: Visit, site: str, beats: Beats, time: np.ndarray) -> np.ndarray:
    if visit.disease == "N":
        return np.zeros(len(time))
    band, radiation = MURMURS[visit.disease]
    low, high = visit.pitch * np.array(band)
    level = _decibel(GRADES[visit.grade] + radiation[site] + rng.normal(0, 1))
    loudness = np.interp(time, beats.onset, 1 - 0.15 * beats.breath)  # left-sided: softer in inspiration
    noise = _noise(rng, len(time), low=low, high=high)
    return level * loudness * murmur_envelope(visit.disease, beats, time) * noise


def _friction(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Rubs of 0.03 to 0.25 s, one in three seconds or so."""
    envelope = np.zeros(len(time))
    for _ in range(rng.poisson(time[-1] / 3)):
        rub = np.hanning(int(rng.uniform(0.03, 0.25) * SAMPLE_RATE))
        start = rng.integers(len(time) - len(rub))
        envelope[start : start + len(rub)] += _decibel(rng.uniform(-35, -8)) * rub
    return envelope * _noise(rng, len(time), low=60, high=700)


def _speech(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Noise of 150 to 800 Hz that comes and goes about three times a second; most rooms are nearly silent."""
    syllables = rng.random(int(time[-1] * 6) + 2) ** 3
    envelope = np.interp(time, np.arange(len(syllables)) / 6, syllables)
    return _decibel(rng.uniform(-60, -18)) * envelope * _noise(rng, len(time), low=150, high=800)


def _ambient(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Noise whose power falls by 0 to 6 dB an octave."""
    return _decibel(rng.uniform(-45, -28)) * _noise(rng, len(time), slope=rng.uniform(0, 1))


def _noise(rng: Generator, n: int, *, low: float = 20, high: float = 1800, slope: float = 0) -> np.ndarray:
    """Gaussian noise [n] of RMS 1: amplitude 1 / f^slope from `low` to `high` Hz, 12 dB an octave beyond."""
    frequency = scipy.fft.rfftfreq(n, 1 / SAMPLE_RATE).clip(1)
    power = 1 / ((1 + (low / frequency) ** 4) * (1 + (frequency / high) ** 4) * frequency ** (2 * slope))
    noise = scipy.fft.irfft(scipy.fft.rfft(rng.standard_normal(n)) * np.sqrt(power), n)
    return noise / noise.std()


def _decibel(level: float) -> float:
    return 10 ** (level / 20)
