"""The embedded data set: simulated phonocardiograms, the same bytes for the same seed.

A recording is the sum of five components: heart sounds, a murmur, friction of the stethoscope, speech in the
room and ambient noise. Timing, pitch and site of the murmurs follow Table 1 of
https://doi.org/10.1186/s12938-015-0056-y; the other constants were chosen for this simulator. The data set is
for trying the pipeline: a score on it is no evidence for patients.
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
from murmur.datasets import MURMUR_TASK, Reading, Task
from murmur.errors import MurmurError
from murmur.tables.annotations import STATES

TASKS = {
    "murmur": MURMUR_TASK,
    "disease": Task(("N", "AS", "AR", "MS", "MR"), ("AS", "AR", "MS", "MR")),
}
PERSONS = "person_id is the simulated person; about one in fifteen was recorded under two patient ids."
LICENCE = "Made by a program of this project (MIT); no person was recorded."

SAMPLE_RATE = 4000  # Hz
SITES = ("AV", "PV", "TV", "MV")
RECORDINGS, ANNOTATIONS = "recordings.csv", "annotations.csv"

# Diseases repeat every 15 patients, patients with poor recordings every 7, second visits every 60.
DISEASES = ("N", "AS", "MS", "N", "MR", "AS", "N", "AR", "N", "N", "AR", "N", "MS", "MR", "N")
SECOND_VISITS = {9: 8, 25: 22, 35: 31, 54: 53}  # patient: an earlier patient, the same person

HEART_RATES = {
    "Neonate": (120, 160),
    "Infant": (105, 150),
    "Child": (75, 115),
    "Adolescent": (60, 95),
}  # /min
AGE_SHARES = (0.1, 0.2, 0.4, 0.3)
S1_GAIN = {"AV": 0.6, "PV": 0.6, "TV": 0.9, "MV": 1.0}
S2_GAIN = {"AV": 0.9, "PV": 0.85, "TV": 0.55, "MV": 0.5}
GRADES = {
    "I": -36,
    "II": -30,
    "III": -24,
    "IV": -18,
    "V": -12,
    "VI": -6,
}  # dB, RMS at the peak relative to S1
GRADE_SHARES = (0.15, 0.25, 0.3, 0.2, 0.07, 0.03)
MURMURS = {  # frequency band in Hz, level in dB at each site
    "AS": ((80, 380), {"AV": 0, "PV": -5, "TV": -10, "MV": -8}),
    "AR": ((180, 600), {"AV": 0, "PV": -4, "TV": -6, "MV": -12}),
    "MS": ((35, 120), {"AV": -16, "PV": -14, "TV": -8, "MV": 0}),
    "MR": ((130, 480), {"AV": -12, "PV": -10, "TV": -5, "MV": 0}),
}
TIMING = {"AS": "Mid-systolic", "AR": "Early-diastolic", "MS": "Mid-diastolic", "MR": "Holosystolic"}
PITCH = {"AS": "Medium", "AR": "High", "MS": "Low", "MR": "High"}
S1_LENGTH, S2_LENGTH = 0.1, 0.08  # s, in the annotations
CLEAR = 4  # power of the heart sounds relative to the noise at which a beat is annotated
AUDIBLE = 0.1  # power of a murmur relative to the noise in these beats at which it is annotated
ISOVOLUMIC = 0.04  # s from S1 to the opening of the aortic valve
OPENING = 0.07  # s from A2 to the opening of the mitral valve

Interval = tuple[float, float, str]  # start and end in s, event

_PERSON, _VISIT, _SOUND = range(3)  # separate random streams, so that a change of one keeps the others


class Options(BaseModel, extra="forbid"):
    """The options of this data set.

    Attributes
    ----------
    patients : int
        The number of patients.
    seed : int
        The seed of all random numbers.
    """

    patients: int = Field(60, strict=True, ge=12, le=100_000)
    seed: int = Field(0, strict=True, ge=0, lt=2**32)


class Visit(NamedTuple):
    """One patient id: a person on the day of the recording.

    Attributes
    ----------
    number : int
        The patient, from 0.
    person : int
        The person: another patient may be the same person.
    disease : str
        A class of the task `disease`.
    poor : bool
        Whether most recordings are so noisy that the murmur label is Unknown.
    sex, age_group : str
        Of the person.
    grade : str
        Levine grade of the murmur, I to VI.
    pitch : float
        Factor on all frequencies of the heart sounds and the murmur.
    rate : float
        Heart rate in beats per minute.
    sites : tuple of str
        The sites that were recorded.
    """

    number: int
    person: int
    disease: str
    poor: bool
    sex: str
    age_group: str
    grade: str
    pitch: float
    rate: float
    sites: tuple[str, ...]


class Beats(NamedTuple):
    """The heart cycles of a recording; the first one begins before the recording.

    Attributes
    ----------
    onset : ndarray, shape [n_beats]
        Time of S1 in s.
    period : ndarray, shape [n_beats]
        Time to the next S1 in s.
    systole : ndarray, shape [n_beats]
        Time from S1 to A2 in s.
    breath : ndarray, shape [n_beats]
        Phase of respiration, -1 (expiration) to 1 (inspiration).
    """

    onset: np.ndarray
    period: np.ndarray
    systole: np.ndarray
    breath: np.ndarray


def fetch(options: Options, folder: Path, limit: int | None) -> Path:
    """Write all WAV files, `recordings.csv` and `annotations.csv` into `folder` and return it.

    `limit` is not used.
    """
    rows, annotations = [], []
    for number in range(options.patients):
        visit = make_visit(options.seed, number)
        for site in visit.sites:
            row = _describe_recording(visit, site)
            beats, components = simulate_components(options.seed, visit, site)
            samples = _mix(components, options.seed, visit)
            wav = BytesIO()  # libsndfile would not report why a file cannot be written, such as a full disk
            soundfile.write(wav, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
            (folder / row["path"]).write_bytes(wav.getvalue())
            rows.append(row)
            events = annotate_recording(visit.disease, beats, components)
            annotations.append(events.assign(recording_id=row["recording_id"]))
    for table, name in ((pd.DataFrame(rows), RECORDINGS), (pd.concat(annotations), ANNOTATIONS)):
        table.to_csv(folder / name, index=False, lineterminator="\n", float_format="%.4f")
    return folder


def read(root: Path, options: Options, task: str) -> Reading:
    """Read the tables that `fetch` wrote; a recording has its patient's label.

    Parameters
    ----------
    root : Path
        The folder of the data set.
    options : Options
        The options in params.yaml.
    task : str
        A name in `TASKS`.

    Returns
    -------
    Reading
        The recordings and their annotations.

    Raises
    ------
    MurmurError
        If a table does not exist.
    """
    columns = ["recording_id", "path", "patient_id", "person_id", "site", "sex", "age_group"]
    columns += ["murmur_timing", "murmur_grade", "murmur_pitch"]
    frame = _read_csv(root / RECORDINGS, [*columns, task])
    annotations = _read_csv(root / ANNOTATIONS, ["recording_id", "start", "end", "event"])
    return Reading(
        frame[columns].assign(label=frame[task], patient_label=frame[task], role=None),
        annotations=annotations.astype({"start": float, "end": float}),
    )


def _read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise MurmurError(f"{path}: not found; run the download stage again")
    return input_csv.read_table(path, columns, remedy="run the download stage again")


def _describe_recording(visit: Visit, site: str) -> dict[str, str]:
    name = f"P{visit.number:03d}_{site}"
    murmur = "Unknown" if visit.poor else "Absent" if visit.disease == "N" else "Present"
    is_present = murmur == "Present"
    return {
        "recording_id": name,
        "path": f"{name}.wav",
        "patient_id": f"P{visit.number:03d}",
        "person_id": f"H{visit.person:03d}",
        "site": site,
        "murmur": murmur,
        "disease": visit.disease,
        "murmur_timing": TIMING[visit.disease] if is_present else "",
        "murmur_grade": f"{visit.grade}/VI" if is_present else "",
        "murmur_pitch": PITCH[visit.disease] if is_present else "",
        "sex": visit.sex,
        "age_group": visit.age_group,
    }


def make_visit(seed: int, number: int) -> Visit:
    """Draw the properties of a patient, which do not depend on the size of the data set.

    Parameters
    ----------
    seed : int
        The data set's seed.
    number : int
        The patient, from 0.

    Returns
    -------
    Visit
        The patient.
    """
    position = number % 60
    person = number - position + SECOND_VISITS.get(position, position)
    person_rng = np.random.default_rng([seed, _PERSON, person])
    age = str(person_rng.choice(list(HEART_RATES), p=AGE_SHARES))
    visit_rng = np.random.default_rng([seed, _VISIT, number])
    rate = visit_rng.uniform(*HEART_RATES[age])
    sites = tuple(site for site in SITES if visit_rng.random() < 0.85) or SITES
    return Visit(
        number=number,
        person=person,
        disease=DISEASES[number % len(DISEASES)],
        poor=number % 7 == 4,
        sex=str(person_rng.choice(["Female", "Male"])),
        age_group=age,
        grade=str(person_rng.choice(list(GRADES), p=GRADE_SHARES)),
        pitch=person_rng.uniform(0.85, 1.2),
        rate=rate,
        sites=sites,
    )


def simulate_recording(seed: int, visit: Visit, site: str) -> np.ndarray:
    """Simulate a recording.

    Parameters
    ----------
    seed : int
        The data set's seed.
    visit : Visit
        The patient.
    site : str
        A name in `SITES`.

    Returns
    -------
    ndarray of int16, shape [n_samples]
        10 to 15 s at 4 kHz, not clipped.
    """
    _, components = simulate_components(seed, visit, site)
    return _mix(components, seed, visit)


def _mix(components: dict[str, np.ndarray], seed: int, visit: Visit) -> np.ndarray:
    """Return the sum of the components with the gain of the visit, as 16-bit integers."""
    signal = sum(components.values())
    peak = 0.3 + 0.6 * np.random.default_rng([seed, _SOUND, visit.number, len(SITES)]).random()
    return np.round(signal * (32767 * peak / np.abs(signal).max())).astype(np.int16)


def simulate_components(seed: int, visit: Visit, site: str) -> tuple[Beats, dict[str, np.ndarray]]:
    """Simulate the components of a recording.

    Parameters
    ----------
    seed, visit, site
        As `simulate_recording`.

    Returns
    -------
    beats : Beats
        The heart cycles.
    components : dict of ndarray, shape [n_samples]
        heart, murmur, friction, speech and ambient at 4 kHz; the peak of the loudest S1 is about 1.
    """
    rng = np.random.default_rng([seed, _SOUND, visit.number, SITES.index(site)])
    time = np.arange(int(rng.integers(100, 151)) * SAMPLE_RATE // 10) / SAMPLE_RATE
    beats = simulate_heart_cycles(rng, visit.rate, time[-1])
    poor = rng.random() < (0.85 if visit.poor else 0.06)  # drawn for each site
    contact = _to_amplitude(rng.normal(0, 2) - (11 if poor else 0))
    noise = _to_amplitude(rng.normal(0, 4) + (8 if poor else 0))
    return beats, {
        "heart": contact * _simulate_heart_sounds(rng, visit.pitch, site, beats, time),
        "murmur": contact * _simulate_murmur(rng, visit, site, beats, time),
        "friction": noise * _simulate_friction(rng, time),
        "speech": noise * _simulate_speech(rng, time),
        "ambient": noise * _simulate_ambient_noise(rng, time),
    }


def annotate_recording(disease: str, beats: Beats, components: dict[str, np.ndarray]) -> pd.DataFrame:
    """Annotate the heart cycles of a recording, as a person would who marks only what is clear.

    Parameters
    ----------
    disease : str
        A class of the task `disease`.
    beats, components
        As `simulate_components` returns them.

    Returns
    -------
    DataFrame
        Columns start and end in s, and event: S1, systole, S2 and diastole of each beat whose heart sounds
        have more than `CLEAR` times the power of the noise, and murmur within systole or diastole, if its
        power is more than `AUDIBLE` times that of the noise.
    """
    heart = np.square(components["heart"])
    noise = np.square(components["friction"] + components["speech"] + components["ambient"])
    s2, end = beats.onset + beats.systole, beats.onset + beats.period
    bounds = np.stack([beats.onset, beats.onset + S1_LENGTH, s2, s2 + S2_LENGTH, end], axis=1)
    bounds = bounds.clip(0, len(noise) / SAMPLE_RATE)
    beat_samples = np.round(bounds[:, [0, -1]] * SAMPLE_RATE).astype(int)
    is_clear = [heart[a:b].sum() > CLEAR * noise[a:b].sum() for a, b in beat_samples]
    states = [
        (start, end, event)
        for beat in bounds[is_clear]
        for start, end, event in zip(beat[:-1], beat[1:], STATES, strict=True)
        if start < end
    ]
    murmurs = [] if disease == "N" else _annotate_murmurs(disease, beats, states, components["murmur"], noise)
    table = pd.DataFrame([*states, *murmurs], columns=["start", "end", "event"])
    return table.astype({"start": float, "end": float})


def _annotate_murmurs(
    disease: str, beats: Beats, states: list[Interval], murmur: np.ndarray, noise: np.ndarray
) -> list[Interval]:
    """Return the parts of systole or diastole with a murmur; none where the noise hides it."""
    is_loud = compute_murmur_envelope(disease, beats, np.arange(len(murmur)) / SAMPLE_RATE) > 0.1
    loud = np.flatnonzero(is_loud)
    samples = [
        loud[(loud >= start * SAMPLE_RATE) & (loud < end * SAMPLE_RATE)]
        for start, end, event in states
        if event in ("systole", "diastole")
    ]
    samples = [inside for inside in samples if len(inside)]
    where = np.concatenate([np.empty(0, int), *samples])
    if np.square(murmur[where]).sum() <= AUDIBLE * noise[where].sum():
        return []
    return [(inside[0] / SAMPLE_RATE, (inside[-1] + 1) / SAMPLE_RATE, "murmur") for inside in samples]


def simulate_heart_cycles(rng: Generator, rate: float, seconds: float) -> Beats:
    """Simulate heart cycles, which are shorter in inspiration and vary at random.

    Systole is an isovolumic contraction and the ejection time of [1]_ for men, 413 - 1.7 rate in ms.

    Parameters
    ----------
    rng : Generator
        Random numbers.
    rate : float
        Mean heart rate in beats per minute.
    seconds : float
        Duration.

    Returns
    -------
    Beats
        The heart cycles.

    References
    ----------
    .. [1] Weissler, Harris and Schoenfeld, Circulation 37, 1968.
    """
    index = np.arange(int(seconds * rate / 60 * 1.25) + 4)
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.4) * 60 / rate * index + rng.uniform(0, 2 * np.pi))
    period = 60 / rate * (1 - 0.05 * breath + 0.02 * rng.standard_normal(len(index)).clip(-3, 3))
    onset = np.cumsum(period) - period - period[0] * rng.random()
    systole = ISOVOLUMIC + 0.413 - 0.0017 * 60 / period
    return Beats(onset, period, systole, breath)


def _simulate_heart_sounds(
    rng: Generator, pitch: float, site: str, beats: Beats, time: np.ndarray
) -> np.ndarray:
    loudness = 1 - 0.15 * beats.breath + 0.07 * rng.standard_normal(len(beats.onset))
    first, second = S1_GAIN[site] * rng.uniform(0.8, 1.2), S2_GAIN[site] * rng.uniform(0.8, 1.2)
    aortic = beats.onset + beats.systole
    split = 0.025 + 0.015 * beats.breath  # P2 comes later in inspiration
    low, high = pitch * np.array([33.0, 50.0, 80.0]), pitch * np.array([55.0, 85.0, 140.0])
    p2 = 0.6 if site == "PV" else 0.35
    return (
        _generate_tones(time, beats.onset, low, 0.025, first * loudness)
        + _generate_tones(time, beats.onset + 0.025, 1.3 * low, 0.02, 0.5 * first * loudness)
        + _generate_tones(time, aortic, high, 0.014, second * loudness)
        + _generate_tones(time, aortic + split, 0.9 * high, 0.014, p2 * second * loudness)
    )


def _generate_tones(
    time: np.ndarray, onsets: np.ndarray, frequencies: np.ndarray, decay: float, amplitudes: np.ndarray
) -> np.ndarray:
    """Return damped tones at `onsets` (s): sums of three sines (Hz) with their peak after `decay` (s)."""
    elapsed = np.arange(int(8 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    sines = np.array([0.5, 0.35, 0.15]) @ np.sin(2 * np.pi * frequencies[:, None] * elapsed)
    tone = sines * elapsed / decay * np.exp(1 - elapsed / decay)
    start = np.round(onsets * SAMPLE_RATE).astype(int)
    audible = (start > -SAMPLE_RATE) & (start < len(time))
    padded = np.zeros(len(time) + 2 * SAMPLE_RATE)
    index = start[audible, None] + SAMPLE_RATE + np.arange(len(tone))
    np.add.at(padded, index, amplitudes[audible, None] * tone)
    return padded[SAMPLE_RATE:-SAMPLE_RATE]


def compute_murmur_envelope(disease: str, beats: Beats, time: np.ndarray) -> np.ndarray:
    """Compute the envelope of a murmur.

    AS: in ejection, crescendo and decrescendo. MR: in all of systole, constant. AR: from A2, decrescendo.
    MS: from the opening of the mitral valve, decrescendo, and crescendo before S1.

    Parameters
    ----------
    disease : {"AS", "AR", "MS", "MR"}
        The disease.
    beats : Beats
        The heart cycles.
    time : ndarray, shape [n_samples]
        Time in s.

    Returns
    -------
    ndarray, shape [n_samples]
        0 to about 1.
    """
    beat = np.searchsorted(beats.onset, time, side="right") - 1
    since_s1, systole = time - beats.onset[beat], beats.systole[beat]
    since_a2, diastole = since_s1 - systole, beats.period[beat] - systole
    if disease == "AS":
        return np.sin(np.pi * ((since_s1 - ISOVOLUMIC) / (systole - ISOVOLUMIC)).clip(0, 1))
    if disease == "MR":
        return (np.minimum(since_s1, -since_a2) / 0.015).clip(0, 1)
    if disease == "AR":
        return (since_a2 / 0.01).clip(0, 1) * np.exp(-3.5 * since_a2.clip(0) / diastole)
    filling = ((since_a2 - OPENING) / (diastole - OPENING)).clip(0, 1)
    mid_diastolic = 0.6 * (filling / 0.1).clip(0, 1) * np.exp(-1.5 * filling)
    presystolic = 0.7 * ((filling - 0.7) / 0.3).clip(0)
    return mid_diastolic + presystolic


def _simulate_murmur(rng: Generator, visit: Visit, site: str, beats: Beats, time: np.ndarray) -> np.ndarray:
    """Simulate the murmur at a site: noise in the band and with the envelope of the disease; 0 if healthy."""
    if visit.disease == "N":
        return np.zeros(len(time))
    band, radiation = MURMURS[visit.disease]
    low, high = visit.pitch * np.array(band)
    level = _to_amplitude(GRADES[visit.grade] + radiation[site] + rng.normal(0, 1))
    loudness = np.interp(
        time, beats.onset, 1 - 0.15 * beats.breath
    )  # murmurs of the left heart are softer in inspiration
    noise = _generate_noise(rng, len(time), low=low, high=high)
    return level * loudness * compute_murmur_envelope(visit.disease, beats, time) * noise


def _simulate_friction(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Return bursts of 0.03 to 0.25 s, about one in three seconds."""
    envelope = np.zeros(len(time))
    for _ in range(rng.poisson(time[-1] / 3)):
        burst = np.hanning(int(rng.uniform(0.03, 0.25) * SAMPLE_RATE))
        start = rng.integers(len(time) - len(burst))
        envelope[start : start + len(burst)] += _to_amplitude(rng.uniform(-35, -8)) * burst
    return envelope * _generate_noise(rng, len(time), low=60, high=700)


def _simulate_speech(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Return noise of 150 to 800 Hz that varies about three times a second; it is mostly quiet."""
    syllables = rng.random(int(time[-1] * 6) + 2) ** 3
    envelope = np.interp(time, np.arange(len(syllables)) / 6, syllables)
    return (
        _to_amplitude(rng.uniform(-60, -18)) * envelope * _generate_noise(rng, len(time), low=150, high=800)
    )


def _simulate_ambient_noise(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Return noise whose power falls by 0 to 6 dB per octave."""
    return _to_amplitude(rng.uniform(-45, -28)) * _generate_noise(rng, len(time), slope=rng.uniform(0, 1))


def _generate_noise(
    rng: Generator, n: int, *, low: float = 20, high: float = 1800, slope: float = 0
) -> np.ndarray:
    """Return Gaussian noise [n] of RMS 1 with amplitude 1 / f^slope from `low` to `high` Hz.

    Outside this band it falls by 12 dB per octave more.
    """
    frequency = scipy.fft.rfftfreq(n, 1 / SAMPLE_RATE).clip(1)
    power = 1 / ((1 + (low / frequency) ** 4) * (1 + (frequency / high) ** 4) * frequency ** (2 * slope))
    noise = scipy.fft.irfft(scipy.fft.rfft(rng.standard_normal(n)) * np.sqrt(power), n)
    return noise / noise.std()


def _to_amplitude(level: float) -> float:
    """Return the amplitude of a level in dB."""
    return 10 ** (level / 20)
