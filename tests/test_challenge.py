"""Files of the 2022 challenge are read and written in its format."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from murmur.errors import MurmurError
from murmur.inference.challenge import predict_challenge, read_patients
from murmur.inference.reading import read_any
from murmur.inference.results import Prediction
from tests import made

CIRCOR = Path(os.environ.get("MURMUR_DATA", "unset")) / "circor/training_data"
MURMUR = ("Absent", "Present", "Unknown")  # in another order than the challenge's


class Model:
    """A model whose probability of the first class is the first sample of the first recording."""

    def __init__(self, classes=MURMUR):
        counts = {c: {"patients": 10 * (k + 1)} for k, c in enumerate(classes)}
        self.info = SimpleNamespace(classes=classes, data=SimpleNamespace(counts=counts))
        self.calls = []

    def predict(self, paths, *, sites, patient_id, check):
        self.calls.append(([path.name for path in paths], sites, patient_id, check))
        samples = [read_any(path)[0] for path in paths]
        if len(samples[0]) < 100:
            return Prediction(patient_id, self.info.classes, None, (), None, None, ())
        p = float(samples[0][0])
        rest = (1 - p) / (len(self.info.classes) - 1)
        probabilities = dict.fromkeys(self.info.classes, rest) | {self.info.classes[0]: p}
        answer = max(probabilities, key=probabilities.get)
        return Prediction(patient_id, self.info.classes, answer, (), probabilities, None, ())


def put(root, number, sites=("AV", "PV"), *, p=0.75, n=2000):
    """Write a patient as CirCor does."""
    root.mkdir(exist_ok=True)
    lines = [f"{number} {len(sites)} 4000"]
    for site in sites:
        name = f"{number}_{site}"
        samples = made.noise(n, seed=len(site))
        samples[0] = p
        made.audio(root / f"{name}.wav", samples, subtype="FLOAT")
        lines.append(f"{site.partition('_')[0]} {name}.hea {name}.wav {name}.tsv")
        (root / f"{name}.hea").write_text(f"{name} 1 4000 {n}\n{name}.wav 16+44 1(0)/mV 16 0 0 0 0 {site}\n")
        (root / f"{name}.tsv").write_text("0\t0.1\t0\n")
    lines += ["#Age: Child", "#Sex: Female", "#Height: 98.0", "#Weight: 15.9", "#Pregnancy status: False"]
    (root / f"{number}.txt").write_text("\n".join(lines) + "\n")
    return root


def load_outputs(files, classes):
    """What evaluate_model.py of the challenge takes from output files: labels and scores, by its classes.

    Line 1 is the id after #, line 2 the classes, line 3 labels (only 1 is positive), line 4 scores (what is
    no number is 0); the classes may be in any order.
    """
    labels, scores = np.zeros((len(files), len(classes)), bool), np.zeros((len(files), len(classes)))
    for i, file in enumerate(files):
        lines = file.read_text().split("\n")
        assert lines[0] == f"#{file.stem}" and len(lines) == 5 and lines[4] == ""
        found = [c.strip().casefold() for c in lines[1].split(",")]
        for j, c in enumerate(classes):
            if c.casefold() in found:
                k = found.index(c.casefold())
                labels[i, j] = float(lines[2].split(",")[k]) == 1
                scores[i, j] = float(lines[3].split(",")[k])
    return labels, scores


def test_outputs_are_in_the_format_of_the_challenge(tmp_path):
    for number, p in (("10", 0.75), ("9", 0.125), ("100", 0.5)):
        put(tmp_path / "in", number, p=p)
    model = Model()
    files = predict_challenge(model, tmp_path / "in", tmp_path / "new/out")
    assert [file.name for file in files] == ["9.csv", "10.csv", "100.csv"]
    assert sorted(files) == sorted((tmp_path / "new/out").iterdir())
    assert files[1].read_text() == "#10\nPresent,Unknown,Absent\n0,0,1\n0.125,0.125,0.75\n"
    labels, scores = load_outputs(files, ["Present", "Unknown", "Absent"])
    assert labels.tolist() == [[True, False, False], [False, False, True], [False, False, True]]
    np.testing.assert_allclose(scores, [[0.4375, 0.4375, 0.125], [0.125, 0.125, 0.75], [0.25, 0.25, 0.5]])
    assert model.calls[0] == (["9_AV.wav", "9_PV.wav"], ["AV", "PV"], "9", False)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(("Normal", "Abnormal"), "Abnormal,Normal"), (("Absent", "Present"), "Present,Absent")],
)
def test_the_classes_are_those_of_the_model(tmp_path, classes, expected):
    (file,) = predict_challenge(Model(classes), put(tmp_path / "in", "1"), tmp_path / "out")
    assert file.read_text() == f"#1\n{expected}\n0,1\n0.25,0.75\n"


def test_a_model_with_other_classes_is_refused(tmp_path):
    for classes in (("normal", "murmur"), ("Present", "Normal")):
        with pytest.raises(
            MurmurError, match=rf"classes {', '.join(classes)}, not those of the challenge \(Pre"
        ):
            predict_challenge(Model(classes), put(tmp_path / "in", "1"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_patient_has_an_answer(tmp_path, capsys):
    root = put(tmp_path / "in", "1", ["AV", "PV_2"])
    put(root, "2", n=50)  # too short
    put(root, "3", sites=())
    put(root, "4", ["Phc"])
    made.cut(root / "4_Phc.wav")
    made.cut(root / "1_AV.wav")
    (root / "notes.csv").write_text("no input")
    model = Model()
    files = predict_challenge(model, root, tmp_path / "out")
    labels, scores = load_outputs(files, ["Present", "Unknown", "Absent"])
    assert labels.argmax(axis=1).tolist() == [2, 1, 1, 1] and (labels.sum(axis=1) == 1).all()
    np.testing.assert_allclose(scores[1:], [[20 / 60, 30 / 60, 10 / 60]] * 3)
    assert (["1_PV_2.wav"], ["PV"], "1", False) in model.calls  # without the damaged one
    output = capsys.readouterr().out
    assert (
        "warning: no usable recording: 3 patients (2, 3, 4); answered Unknown, as in the training" in output
    )
    assert f"not used, because they cannot be read: 2 recordings ({root}/1_AV.wav: cut short: " in output


def test_without_the_class_unknown_the_most_frequent_class_is_the_answer(tmp_path):
    (file,) = predict_challenge(Model(("Present", "Absent")), put(tmp_path / "in", "1", ()), tmp_path / "out")
    assert file.read_text().startswith("#1\nPresent,Absent\n0,1\n0.3333")


def test_an_error_that_is_not_of_a_recording_ends_the_command(tmp_path):
    model = Model()
    model.predict = lambda *_, **__: (_ for _ in ()).throw(MurmurError("no memory"))
    with pytest.raises(MurmurError, match="no memory"):
        predict_challenge(model, put(tmp_path / "in", "1"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_files_of_the_same_patients_are_replaced(tmp_path, capsys):
    root, out = put(tmp_path / "in", "1"), tmp_path / "out"
    out.mkdir()
    predict_challenge(Model(), root, out)
    (out / "1.csv").write_text("before")
    (file,) = predict_challenge(Model(), root, out)
    assert file.read_text().startswith("#1\n")
    assert f"note: {out}: replaced 1 file (1.csv)" in capsys.readouterr().out
    (out / "2.csv").write_text("of another data set")
    for folder in (out, root):
        with pytest.raises(MurmurError, match=r"holds .* files? \(.*of another origin; name a new or empty"):
            predict_challenge(Model(), root, folder)
    with pytest.raises(MurmurError, match="is not a folder"):
        predict_challenge(Model(), root, root / "1.txt")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "line 1 is not `ID n rate`"),
        ("LICENSE of the data\n", "line 1 is not `ID n rate`"),
        ("1 2 4000\nAV 1_AV.hea 1_AV.wav\n#Age: nan\n", "not 2 lines `SITE HEA WAV` after line 1"),
        ("1 99999999999 4000\nAV 1_AV.hea 1_AV.wav\n", "not 99999999999 lines"),
        ("1 1 4000\nAV 1_AV.wav\n", "not 1 lines"),
    ],
)
def test_a_wrong_text_file_is_named(tmp_path, text, error):
    (put(tmp_path / "in", "1") / "2.txt").write_text(text)
    with pytest.raises(MurmurError, match=rf"2\.txt: {error}"):
        predict_challenge(Model(), tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_patients_is_named(tmp_path):
    made.audio(tmp_path / "in/1_AV.wav")
    for name, error in {"in": "holds no ID.txt", "none": "no such folder"}.items():
        with pytest.raises(MurmurError, match=rf"{name}: {error}"):
            read_patients(tmp_path / name)


@pytest.mark.skipif(not CIRCOR.exists(), reason="needs MURMUR_DATA with circor")
def test_real_recordings(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    (wav,) = sorted(CIRCOR.glob("*_AV.wav"))[:1]
    number = wav.stem.partition("_")[0]
    (root / wav.name).symlink_to(wav)
    (root / f"{number}.txt").write_text(
        f"{number} 1 4000\nAV {wav.stem}.hea {wav.name} {wav.stem}.tsv\n#Age: Child\n"
    )
    (file,) = predict_challenge(Model(), root, tmp_path / "out")
    assert file.name == f"{number}.csv" and np.isfinite(load_outputs([file], MURMUR)[1]).all()
