"""The simulator against its parameters, and the data set against the requirements of a reader."""

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from murmur.datasets import synthetic
from murmur.errors import MurmurError

SYSTOLIC, DIASTOLIC = ("AS", "MR"), ("AR", "MS")
OWN_SITE = {"AS": "AV", "AR": "AV", "MS": "MV", "MR": "MV"}


@pytest.fixture(scope="module")
def options():
    return synthetic.Options(patients=12)


@pytest.fixture(scope="module")
def folder(options, tmp_path_factory):
    return synthetic.fetch(options, tmp_path_factory.mktemp("synthetic"), None)


def table(patients):
    visits = [synthetic.make_visit(0, number) for number in range(patients)]
    return visits, [synthetic._describe_recording(visit, visit.sites[0]) for visit in visits]


def patient_with(disease, number=0):
    visit = synthetic.make_visit(0, number)
    return visit._replace(disease=disease, grade="III", poor=False, rate=75.0, pitch=1.0)


def cycle_times(beats, n_samples):
    """Return for each sample: s since S1, and the systole and period of its beat."""
    time = np.arange(n_samples) / synthetic.SAMPLE_RATE
    beat = np.searchsorted(beats.onset, time, side="right") - 1
    return time - beats.onset[beat], beats.systole[beat], beats.period[beat]


def energy(signal, where):
    return np.sum(signal[where] ** 2) / np.sum(signal**2)


def test_a_seed_gives_the_same_bytes_whatever_the_number_of_patients(folder, tmp_path):
    again = synthetic.fetch(synthetic.Options(patients=13), tmp_path, None)
    names = {path.name for path in folder.glob("*.wav")}
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in names)
    assert {path.name[:4] for path in again.glob("*.wav")} == {name[:4] for name in names} | {"P012"}
    assert (again / "recordings.csv").read_text().startswith((folder / "recordings.csv").read_text())


def test_the_seed_changes_every_recording():
    visit = synthetic.make_visit(0, 3)
    first, second = (synthetic.simulate_recording(seed, visit, "MV") for seed in (0, 1))
    assert len(first) != len(second) or np.any(first != second)
    assert synthetic.make_visit(1, 3).rate != visit.rate


@pytest.mark.parametrize("task", synthetic.TASKS)
def test_the_reader_returns_the_required_columns(folder, options, task):
    reading = synthetic.read(folder, options, task)
    frame = reading.recordings
    assert set(frame.columns) == {
        *("recording_id", "path", "patient_id", "person_id", "site"),
        *("label", "patient_label", "role", "sex", "age_group"),
        *("murmur_timing", "murmur_grade", "murmur_pitch"),
    }
    assert frame.recording_id.is_unique
    assert set(frame.path) == {path.name for path in folder.glob("*.wav")}
    assert set(frame.label) == set(synthetic.TASKS[task].classes)
    assert (frame.label == frame.patient_label).all()
    assert frame.role.isna().all()
    facts = ["murmur_timing", "murmur_grade", "murmur_pitch"]
    assert (
        frame.drop(columns=["role", *facts])
        .map(lambda value: isinstance(value, str) and value != "")
        .all(axis=None)
    )
    assert set(frame.site) <= set(synthetic.SITES)
    assert set(frame.age_group) <= {"Neonate", "Infant", "Child", "Adolescent"}


def test_a_missing_table_is_named(options, tmp_path):
    with pytest.raises(MurmurError, match=r"recordings\.csv"):
        synthetic.read(tmp_path, options, "murmur")


@pytest.mark.parametrize("wrong", [{"patients": 11}, {"seed": -1}, {"patient": 60}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        synthetic.Options(**wrong)


@pytest.mark.parametrize("task", synthetic.TASKS)
def test_every_class_has_enough_persons(task):
    _, rows = table(60)
    persons = {
        label: {r["person_id"] for r in rows if r[task] == label} for label in synthetic.TASKS[task].classes
    }
    assert min(len(members) for members in persons.values()) >= 7
    _, few = table(12)
    assert {row[task] for row in few} == set(synthetic.TASKS[task].classes)


def test_some_persons_have_two_ids_and_some_of_them_two_labels():
    visits, rows = table(60)
    pairs = [(a, b) for a in visits for b in visits if a.person == b.person and a.number < b.number]
    assert len(pairs) == len(synthetic.SECOND_VISITS)
    for a, b in pairs:
        assert (a.disease, a.sex, a.age_group, a.grade) == (b.disease, b.sex, b.age_group, b.grade)
        assert a.rate != b.rate
    labels = [{rows[a.number]["murmur"], rows[b.number]["murmur"]} for a, b in pairs]
    assert {"Present", "Unknown"} in labels
    assert {"Absent"} in labels


def test_the_heart_rate_is_typical_of_the_age():
    visits, _ = table(60)
    for visit in visits:
        low, high = synthetic.HEART_RATES[visit.age_group]
        assert low <= visit.rate <= high


def test_files_are_4_khz_mono_16_bit_and_not_clipped(folder):
    for path in folder.glob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (4000, 1, "PCM_16")
        assert 10 <= info.duration <= 15
        samples, _ = soundfile.read(path, dtype="int16")
        assert 9000 < np.abs(samples.astype(int)).max() < 32000


def test_heart_sounds_follow_the_heart_cycles():
    beats, components = synthetic.simulate_components(0, patient_with("N"), "PV")
    since, systole, _ = cycle_times(beats, len(components["heart"]))
    sounding = (since < 0.15) | ((since > systole) & (since < systole + 0.15))
    assert energy(components["heart"], sounding) > 0.99
    assert not components["murmur"].any()


@pytest.mark.parametrize("disease", OWN_SITE)
def test_a_murmur_is_systolic_or_diastolic_by_its_disease(disease):
    beats, components = synthetic.simulate_components(0, patient_with(disease), OWN_SITE[disease])
    since, systole, _ = cycle_times(beats, len(components["murmur"]))
    in_systole = energy(components["murmur"], since < systole)
    assert in_systole > 0.999 if disease in SYSTOLIC else in_systole < 0.001


@pytest.mark.parametrize(
    ("disease", "thirds"),
    [("AS", "low high low"), ("MR", "high high high"), ("AR", "high low low"), ("MS", "low low high")],
)
def test_a_murmur_has_the_shape_of_its_disease(disease, thirds):
    beats, components = synthetic.simulate_components(0, patient_with(disease), OWN_SITE[disease])
    since, systole, period = cycle_times(beats, len(components["murmur"]))
    position = since / systole if disease in SYSTOLIC else (since - systole) / (period - systole)
    power = [
        np.mean(components["murmur"][(position >= i / 3) & (position < (i + 1) / 3)] ** 2) for i in range(3)
    ]
    assert [p > 0.75 * max(power) for p in power] == [word == "high" for word in thirds.split()]


def test_regurgitation_has_a_higher_pitch_than_stenosis_of_the_same_valve():
    def pitch(disease):
        murmur = synthetic.simulate_components(0, patient_with(disease), OWN_SITE[disease])[1]["murmur"]
        power = np.abs(np.fft.rfft(murmur)) ** 2
        return np.sum(np.fft.rfftfreq(len(murmur), 1 / synthetic.SAMPLE_RATE) * power) / np.sum(power)

    assert pitch("MS") < 130 < pitch("AS") < pitch("MR") < pitch("AR")


@pytest.mark.parametrize("disease", OWN_SITE)
def test_a_murmur_is_loudest_at_its_own_site(disease):
    def loudness(site):
        shares = (synthetic.simulate_components(0, patient_with(disease, n), site)[1] for n in range(4))
        return np.mean([components["murmur"].std() / components["heart"].std() for components in shares])

    assert max(synthetic.SITES, key=loudness) == OWN_SITE[disease]


def test_s1_is_louder_at_the_apex_and_s2_at_the_base():
    def second_to_first(site):
        beats, components = synthetic.simulate_components(0, patient_with("N"), site)
        since, systole, _ = cycle_times(beats, len(components["heart"]))
        return energy(components["heart"], since >= systole) / energy(components["heart"], since < systole)

    assert min(second_to_first(s) for s in ("AV", "PV")) > max(second_to_first(s) for s in ("TV", "MV"))


def annotate(disease, site="MV", **changes):
    """Return the beats and the annotations of a recording of which some components are changed."""
    beats, components = synthetic.simulate_components(0, patient_with(disease), site)
    components = {name: changes.get(name, 1) * signal for name, signal in components.items()}
    return beats, synthetic.annotate_recording(disease, beats, components)


QUIET = {"friction": 0, "speech": 0, "ambient": 0.01}


def test_the_annotations_are_those_of_the_simulated_heart_cycles():
    beats, table = annotate("N", **QUIET)
    starts = table.groupby("event")["start"].apply(list)
    for event, times in (("S1", beats.onset), ("S2", beats.onset + beats.systole)):
        expected = times[(times > 0) & (times < table["end"].max())]
        assert starts[event][-len(expected) :] == pytest.approx(expected)
    assert list(table["start"][1:]) == pytest.approx(list(table["end"][:-1]))
    assert set(table["event"]) == {"S1", "systole", "S2", "diastole"}


@pytest.mark.parametrize(("disease", "state"), [("MR", "systole"), ("AR", "diastole")])
def test_a_murmur_is_annotated_within_its_interval(disease, state):
    _, table = annotate(disease, OWN_SITE[disease], **QUIET)
    murmurs, intervals = table[table["event"] == "murmur"], table[table["event"] == state]
    assert len(murmurs) == len(intervals) > 9
    assert (murmurs["start"].to_numpy() >= intervals["start"].to_numpy() - 1e-3).all()
    assert (murmurs["end"].to_numpy() <= intervals["end"].to_numpy() + 1e-3).all()
    assert "murmur" not in set(annotate(disease, OWN_SITE[disease], **QUIET, murmur=1e-4)[1]["event"])


def test_what_noise_hides_is_not_annotated(folder, options):
    assert annotate("MR", ambient=1000)[1].empty
    reading = synthetic.read(folder, options, "murmur")
    table = reading.recordings
    share = table["recording_id"].isin(reading.annotations["recording_id"]).groupby(table["label"]).mean()
    assert share["Unknown"] < 0.5 < share["Absent"]
    assert dict(table.groupby("label")["murmur_grade"].count().gt(0)) == {
        "Present": True, "Absent": False, "Unknown": False
    }  # fmt: skip
