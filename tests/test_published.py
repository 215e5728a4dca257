"""Published splits: every row of the file is used, or the error names it."""

import numpy as np
import pytest

from murmur.errors import MurmurError
from murmur.splits.audit import audit_folds, check_audit
from murmur.splits.published import read_published_split
from tests import made
from tests.cohort import NO_PAIRS, make_recordings, split


def write(path, rows):
    made.write_csv(path, [{k: str(v) for k, v in row.items()} for row in rows])
    return str(path)


def make_roles(table, key="patient_id", runs=(0,), **more):
    """Rows of a split: every fifth patient, beginning with the number of the run, is in the test part."""
    names = table[key].unique()
    return [
        {key: name, "run": run, "role": "test" if k % 5 == run else "train"} | more
        for run in runs
        for k, name in enumerate(names)
    ]


@pytest.mark.parametrize("key", ["patient_id", "recording_id"])
def test_the_test_part_is_that_of_the_file(tmp_path, key):
    table = make_recordings(linked=0)
    rows = make_roles(table, key, runs=(0, 3))
    found = split(table, method="file", file=write(tmp_path / "s.csv", rows), runs=[3, 0])
    for run in (0, 3):
        test_ids = {row[key] for row in rows if row["run"] == run and row["role"] == "test"}
        part = found[run].merge(table, on="recording_id")
        assert set(part.loc[part["role_x"] == "test", key]) == test_ids
        assert set(part["role_x"]) == {"train", "validation", "test"} and len(part) == len(table)
    parts = [set(found[0].loc[found[0]["role"] == r, "recording_id"]) for r in ("train", "validation")]
    persons_of = [set(table.loc[table["recording_id"].isin(part), "person_id"]) for part in parts]
    assert not set.intersection(*persons_of) or key == "recording_id"


def test_a_validation_part_in_the_file_is_used_and_none_is_drawn(tmp_path):
    table = make_recordings(linked=0)
    rows = make_roles(table)
    for row in rows[1:20:5]:
        row["role"] = "validation"
    found = split(table, method="file", file=write(tmp_path / "s.csv", rows)).merge(table, on="recording_id")
    validation = {row["patient_id"] for row in rows if row["role"] == "validation"}
    assert set(found.loc[found["role_x"] == "validation", "patient_id"]) == validation
    found = split(table, method="file", file=write(tmp_path / "s.csv", make_roles(table)), validate_on="test")
    assert set(found["role"]) == {"train", "test"}


def test_a_file_may_have_folds(tmp_path):
    table = make_recordings(linked=0)
    rows = [row | {"run": 0, "fold": row["run"]} for row in make_roles(table, runs=range(5))]
    found = split(table, method="file", file=write(tmp_path / "s.csv", rows))
    tested = found[found["role"] == "test"]
    assert sorted(found["fold"].unique()) == list(range(5))
    assert sorted(tested["recording_id"]) == sorted(table["recording_id"])


def test_recordings_that_are_not_in_the_file_are_in_no_part_and_are_counted(tmp_path, capsys):
    table = make_recordings(linked=0)
    rows = [row for row in make_roles(table) if row["patient_id"] not in ("1", "2")]
    found = split(table, method="file", file=write(tmp_path / "s.csv", rows))
    missing = set(table.loc[table["patient_id"].isin(["1", "2"]), "recording_id"])
    assert set(found["recording_id"]) == set(table["recording_id"]) - missing
    assert (
        f"names no role for {len(missing)} of {len(table)} recordings in run 0, fold 0"
        in capsys.readouterr().out
    )


def test_a_row_with_the_wrong_patient_is_named(tmp_path):
    table = make_recordings(linked=0)
    rows = [row | {"patient_id": ""} for row in make_roles(table, "recording_id")]
    split(table, method="file", file=write(tmp_path / "s.csv", rows))
    patient_of = dict(zip(table["recording_id"], table["patient_id"], strict=True))
    rows = [row | {"patient_id": patient_of[row["recording_id"]]} for row in rows]
    split(table, method="file", file=write(tmp_path / "s.csv", rows))
    rows[3]["patient_id"] = rows[-1]["patient_id"]
    patient = patient_of[rows[3]["recording_id"]]
    with pytest.raises(MurmurError, match=f"row 5: the recording is of patient {patient} in the data set"):
        split(table, method="file", file=write(tmp_path / "s.csv", rows))


def test_a_person_with_two_ids_in_two_parts_is_found(tmp_path):
    table = make_recordings(linked=8)  # patients 0 to 7 are the persons 52 to 59
    found = split(table, method="file", file=write(tmp_path / "s.csv", make_roles(table)))
    audit = audit_folds(found, table, NO_PAIRS)
    test_patients = set(table["patient_id"].unique()[::5])
    pairs = [(str(k), str(52 + k)) for k in range(8)]
    assert audit["shared_persons"].tolist() == [
        sum((a in test_patients) != (b in test_patients) for a, b in pairs)
    ]
    assert audit["shared_persons"].iloc[0] > 0
    words = r"\d+ persons, such as \w+ of patient \d+ \(test\) and \w+ of patient"
    with pytest.raises(MurmurError, match=words):
        check_audit(audit, found, table, NO_PAIRS, "error")


GOOD = [{"patient_id": "1", "run": 0, "role": "test"}, {"patient_id": "2", "run": 0, "role": "train"}]


def changed(**cells):
    return [GOOD[0], GOOD[1] | cells]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (changed(patient_id="x7"), r"row 3: the data set has no such patient_id \(such rows: 1\)"),
        (changed(patient_id=""), "row 3: patient_id is empty"),
        (changed(role=""), "row 3: role is not train, validation or test; fill it in"),
        (changed(role="Test"), "row 3: role is not train, validation or test"),
        (changed(run=""), "row 3: run is empty"),
        (changed(run="first"), "row 3: run is not a number from 0"),
        (changed(patient_id="1"), "row 3: patient_id has a role in this run and fold already"),
        (changed(patient_id="02"), "row 3: patient_id '02' is '2' in the data set; use this spelling"),
        (changed(patient_id="2.0"), "row 3: patient_id '2.0' is '2' in the data set"),
        (changed(patient_id="#N/A"), "row 3: patient_id is #N/A, a spreadsheet's error"),
        (changed(patient_id="x" * 5000), "row 3: patient_id has 5000 characters"),
        (changed(run="9" * 40), "row 3: run is not a number from 0"),
        (changed(run=1), "run 0, fold 0 has no train part"),
        ([row | {"run": 4} for row in GOOD], "has no run 0; it has 4: name those in split.runs"),
        (
            [{k: v for k, v in row.items() if k != "role"} for row in GOOD],
            "no column role; it needs the columns",
        ),
        (
            [{k: v for k, v in row.items() if k != "patient_id"} for row in GOOD],
            "no column patient_id or rec",
        ),
        ([row | {"fold": "a"} for row in GOOD], "row 2: fold is not a number from 0"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, rows, words):
    path = write(tmp_path / "split.csv", rows)
    with pytest.raises(MurmurError, match=rf"split\.csv: .*{words}"):
        read_published_split(path, make_recordings(), [0])


def test_whitespace_around_cells_is_ignored(tmp_path):
    rows = [{f"{k} ": f"\u00a0{v}\t" for k, v in row.items()} for row in GOOD]
    found = read_published_split(write(tmp_path / "split.csv", rows), make_recordings(), [0])
    assert set(found["role"]) == {"train", "test"}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MurmurError, match=r"none\.csv: cannot be read"):
        read_published_split(tmp_path / "none.csv", make_recordings(), [0])


def test_the_embedded_split_fits_the_embedded_data_set(tmp_path):
    recordings, *_ = made.download("synthetic", tmp_path / "raw", options={"patients": 60, "seed": 0})
    found = read_published_split(made.ROOT / "data/splits/synthetic.csv", recordings, [0])
    assert set(found["recording_id"]) == set(recordings["recording_id"])
    folds = found.assign(segment_id=None, inner=None)
    audit = audit_folds(folds, recordings, NO_PAIRS)
    assert not audit.filter(like="shared_").to_numpy().any() and np.all(audit["n_test"] > 20)
