"""The reader of BMD-HS, on generated data with the errors of the public copy and on the real recordings."""

import os
from collections import Counter
from pathlib import Path

import pytest

from murmur.datasets import bmd_hs
from murmur.errors import MurmurError
from tests import made
from tests.made import bmd_patient

real = pytest.mark.skipif(
    "MURMUR_DATA" not in os.environ, reason="set MURMUR_DATA to a folder that holds bmd_hs"
)


def read(root):
    return bmd_hs.read(root, bmd_hs.Options(), "disease").recordings


def metadata(root, *rows):
    rows = [dict(zip(("patient_id", "Age", "Gender"), row, strict=True)) for row in rows]
    made.write_csv(root / "additional_metadata.csv", rows)


@pytest.fixture
def import_bmd_hs(tmp_path, monkeypatch):
    """Generate `$MURMUR_DATA/bmd_hs` with two patients per class; return a function that imports it."""
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    made.bmd_hs(tmp_path / "bmd_hs", made.BMD_PATIENTS[:12], seconds=0.05)
    keys = {"task": "disease", "remote": "private"}
    return lambda **changes: made.download("bmd_hs", tmp_path / "out", **keys | changes)


def test_a_patient_has_eight_recordings(tmp_path):
    table = read(made.bmd_hs(tmp_path, made.BMD_PATIENTS[:6], seconds=0.05))
    assert list(table["site"]) == ["MV", "TV", "PV", "AV"] * 12
    assert list(table["recording_id"][:2]) == ["N_000_sup_Mit", "N_000_sup_Tri"]
    assert all((tmp_path / path).is_file() for path in table["path"]) and table["recording_id"].is_unique
    assert list(table.drop_duplicates("patient_id")["label"]) == ["N", "AS", "AR", "MS", "MR", "MD"]
    assert (table["label"] == table["patient_label"]).all()
    assert (table["person_id"] == table["patient_id"]).all()
    assert set(table["sex"]) == {"Female"} and set(table["age_group"]) == {"30-39"}


@pytest.mark.parametrize(
    ("flags", "label"),
    [
        ({"AS": "1", "MS": "1"}, "MD"),
        (dict.fromkeys(("AS", "AR", "MR", "MS"), "1"), "MD"),
        ({"MS": "1"}, "MS"),
    ],
)
def test_a_patient_with_two_diseases_is_md(tmp_path, flags, label):
    row = bmd_patient("001") | {"N": "0"} | flags
    assert set(read(made.bmd_hs(tmp_path, [row], seconds=0.05))["label"]) == {label}


def test_some_or_all_metadata_may_be_missing(tmp_path):
    made.bmd_hs(tmp_path, made.BMD_PATIENTS[:4], seconds=0.05, metadata=False)
    assert read(tmp_path)[["sex", "age_group"]].isna().all(axis=None)
    metadata(tmp_path, ("patient_000", "9", "M"), ("patient_001", "", "F"), ("patient_002", "70.0", ""))
    table = read(tmp_path).drop_duplicates("patient_id")
    assert list(table["sex"]) == ["Male", "Female", None, None]
    assert list(table["age_group"]) == ["0-9", None, "70-79", None]


def test_a_file_with_digits_after_its_name_is_found(tmp_path):
    made.bmd_hs(tmp_path, [bmd_patient("085", "MD")], seconds=0.05)
    (tmp_path / "train/MD_085_sit_Tri.wav").rename(tmp_path / "train/MD_085_sit_Tri6_06.wav")
    made.audio(tmp_path / "train/MD_085_sit_Mit (copy).wav")
    table = read(tmp_path).set_index("recording_id")["path"]
    assert table["MD_085_sit_Tri"] == "train/MD_085_sit_Tri6_06.wav"
    assert table["MD_085_sit_Mit"] == "train/MD_085_sit_Mit.wav"
    made.audio(tmp_path / "train/MD_085_sit_Tri7.wav")  # now two files match
    assert read(tmp_path).set_index("recording_id")["path"]["MD_085_sit_Tri"] == "train/MD_085_sit_Tri.wav"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([bmd_patient("1"), bmd_patient("2", AS="1")], "row 3: both N and a disease are 1; correct"),
        ([bmd_patient("1"), bmd_patient("2", N="0")], "row 3: neither N nor a disease is 1"),
        ([bmd_patient("1"), bmd_patient("2", MR="yes")], "row 3: one of AS, AR, MR, MS, N is not 0 or 1"),
        ([bmd_patient("1"), bmd_patient("2", MR="")], "row 3: one of AS, AR, MR, MS, N is not 0 or 1"),
        ([bmd_patient("1"), bmd_patient("2"), bmd_patient("1")], "row 4: the patient is in two rows"),
        ([bmd_patient("1"), bmd_patient("2"), bmd_patient("1 ")], "row 4: the patient is in two rows"),
        (
            [bmd_patient("1"), bmd_patient("2", patient_id="Patient_1")],
            "row 3: patient_id 'Patient_1' differs from 'patient_1' of row 2",
        ),
        (
            [bmd_patient("1"), bmd_patient("2", recording_3="N_1_sup_Mit")],
            "row 3: a recording is named a sec",
        ),
        (
            [bmd_patient("1"), bmd_patient("02", recording_3="N_3_sup_Pul")],
            "row 3: N_3_sup_Pul is of another patient; correct the row",
        ),
        ([bmd_patient("1", recording_8="../x")], "row 2: a recording is not named like XX_NNN_sup_Mit"),
        (
            [bmd_patient("1"), {k: v if k < "a" else "" for k, v in bmd_patient("2").items()}],
            "row 3: patient_id",
        ),
        ([{k: v for k, v in bmd_patient("1").items() if k not in ("AR", "N")}], "no column AR, N; fetch"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, words):
    made.write_csv(tmp_path / "train.csv", rows)
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/train\.csv: {words}"):
        read(tmp_path)


def test_a_patient_without_recordings_is_named_and_an_empty_cell_is_skipped(tmp_path):
    empty = {f"recording_{k}": "" for k in range(1, 9)}
    made.bmd_hs(tmp_path, [bmd_patient("001"), bmd_patient("002", recording_5="")], seconds=0.05)
    assert len(read(tmp_path)) == 15
    made.write_csv(tmp_path / "train.csv", [bmd_patient("001"), bmd_patient("002", **empty)])
    with pytest.raises(MurmurError, match=r"train\.csv: row 3: names no recording; add one"):
        read(tmp_path)
    (tmp_path / "train.csv").unlink()
    with pytest.raises(MurmurError, match=r"train\.csv: cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("patient_001", "35", "X"), "row 3: Gender is not M or F"),
        (("patient_001", "old", "F"), "row 3: Age is not a number of years"),
        (("patient_001", "-3", "F"), "row 3: Age is not a number of years"),
        (("patient_000", "35", "F"), "row 3: the patient is in two rows"),
        (("Patient_001", "35", "F"), "row 3: patient_id 'Patient_001' is 'patient_001' in the data set"),
    ],
)
def test_bad_metadata_is_named(tmp_path, row, words):
    made.bmd_hs(tmp_path, made.BMD_PATIENTS[:2], seconds=0.05)
    metadata(tmp_path, ("patient_000", "35", "F"), row)
    with pytest.raises(MurmurError, match=rf"additional_metadata\.csv: {words}"):
        read(tmp_path)


def test_a_part_of_the_data_set_is_imported(import_bmd_hs, tmp_path):
    folder = tmp_path / "bmd_hs/train"
    (folder / "N_000_sit_Aor.wav").unlink()
    for site in ("Mit", "Tri"):
        made.audio(folder / f"MD_022_sup_{site}.wav")
    recordings, card, left_out = import_bmd_hs()
    assert len(recordings) == 95 and set(recordings["source"]) == {"bmd_hs"}
    assert (card.classes, card.positive) == (
        ("N", "AS", "AR", "MS", "MR", "MD"),
        ("AS", "AR", "MS", "MR", "MD"),
    )
    assert dict(left_out[["item", "reason"]].values) == {
        "train/MD_022_sup_Mit.wav": "no table names this file",
        "train/MD_022_sup_Tri.wav": "no table names this file",
        "N_000_sit_Aor": "the file is missing",
    }


def test_data_that_must_not_be_shared_need_a_private_remote(import_bmd_hs, tmp_path):
    message = r"bmd_hs's licence \(CC BY-NC-ND 4\.0\) does not permit .*-S download\.remote=private"
    with pytest.raises(MurmurError, match=rf"download\.remote: {message}"):
        import_bmd_hs(remote=None)
    assert not (tmp_path / "out").exists()
    assert len(import_bmd_hs(remote="private")[0]) == 96


def test_a_missing_folder_is_named_with_the_web_page(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    with pytest.raises(
        MurmurError, match=rf"^{tmp_path}/bmd_hs: .*get it from https://github\.com/sani002/BMD"
    ):
        made.download("bmd_hs", tmp_path / "out", task="disease", remote="private")


@real
def test_the_real_recordings():
    root = Path(os.environ["MURMUR_DATA"]) / "bmd_hs"
    table = read(root)
    patients = table.drop_duplicates("patient_id")
    assert (len(table), len(patients)) == (616, 77)
    assert Counter(patients["label"]) == {"MD": 35, "N": 15, "MR": 8, "MS": 8, "AS": 6, "AR": 5}
    assert Counter(table["site"]) == dict.fromkeys(("AV", "PV", "TV", "MV"), 154)
    assert Counter(patients["sex"]) == {"Male": 39, "Female": 38} and patients["age_group"].notna().all()
    assert all((root / path).is_file() for path in table["path"])
    assert all(row.recording_id.startswith(f"{row.label}_") for row in table.itertuples())


@real
def test_the_real_recordings_are_imported(tmp_path):
    keys = {"task": "disease", "remote": "private", "limit": 16, "class_map": {"AR": "MR", "N": None}}
    recordings, _, left_out = made.download("bmd_hs", tmp_path / "out", positive=["MD"], **keys)
    assert recordings["patient_id"].nunique() == 16 and len(recordings) == 128
    assert set(recordings["sample_rate"]) == {4000} and len(left_out) == 616 - 128
