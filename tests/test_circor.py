"""The reader of CirCor, on generated data with the errors of public copies and on the real recordings."""

import os
from pathlib import Path

import pytest

from murmur.datasets import circor
from murmur.errors import MurmurError
from murmur.tables.left_out import classify_reasons
from tests import made
from tests.made import patient

REAL = os.environ.get("MURMUR_DATA")
real = pytest.mark.skipif(not REAL, reason="set MURMUR_DATA to a folder that holds circor")


def read(root, task="murmur", **options):
    return circor.read(root, circor.Options(**options), task).recordings


def linked(number, other, **more):
    return patient(number, "AV", **{"Additional ID": other}, **more)


@pytest.fixture
def tree(tmp_path):
    return made.circor(tmp_path / "circor")


@pytest.fixture
def import_circor(tmp_path, monkeypatch):
    """Generate `$MURMUR_DATA/circor`; return a function that imports it."""
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    made.circor(tmp_path / "circor")
    return lambda **keys: made.download("circor", tmp_path / "out", **keys)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("sites", ["Locations", "Recording locations:"])
def test_all_spellings_of_the_table_are_read(tmp_path, newline, sites):
    rows = [{sites if k == "Recording locations:" else k: v for k, v in row.items()} for row in made.PATIENTS]
    made.circor(tmp_path, sums=False)
    made.write_csv(tmp_path / "training_data.csv", rows, newline=newline)
    table = read(tmp_path).set_index("recording_id")
    assert list(table.index) == ["1001_AV", "1001_PV", "1002_AV_1", "1002_AV_2", "1002_PV", "1003_MV"]
    assert list(table["site"]) == ["AV", "PV", "AV", "AV", "PV", "MV"]
    assert list(table["label"]) == ["Present"] * 2 + ["Absent"] * 3 + ["Unknown"]
    assert all((tmp_path / path).is_file() for path in table["path"])
    assert table.loc["1002_PV", "person_id"] == "1002"


def test_nan_is_a_missing_value(tmp_path):
    table = read(made.circor(tmp_path, [patient("1", Age="nan", Sex=""), *made.PATIENTS]))
    assert table.loc[table["patient_id"] == "1", ["sex", "age_group"]].isna().all(axis=None)
    assert set(table.loc[table["patient_id"] != "1", "age_group"]) == {"Child"}


@pytest.mark.parametrize(
    ("links", "persons"),
    [
        ({"85119": "49821", "49821": "85119"}, {"85119": "49821", "49821": "49821"}),
        ({"85119": "49821", "49821": "nan"}, {"85119": "49821", "49821": "49821"}),
        ({"49821": "85119.0", "85119": "49821.0"}, {"85119": "49821", "49821": "49821"}),
        ({"9979": "49821", "49821": "nan"}, {"9979": "9979", "49821": "9979"}),  # 9979 is the smaller number
        ({"1": "2", "3": "2", "2": "nan", "4": "nan"}, {"1": "1", "3": "1", "2": "1", "4": "4"}),
        ({"1": "2", "3": "4", "4": "1", "2": "nan"}, dict.fromkeys("1234", "1")),  # a chain
        ({"5": "7", "6": "7"}, {"5": "5", "6": "5"}),  # the table has no 7
        ({"5": "3", "6": "3", "8": "8"}, {"5": "3", "6": "3", "8": "8"}),
        ({" 85119": "49821.0 ", "49821.0": "nan"}, {"85119": "49821", "49821": "49821"}),
    ],
)
def test_linked_ids_are_one_person(tmp_path, links, persons):
    made.circor(tmp_path, [linked(one, other) for one, other in links.items()])
    table = read(tmp_path).set_index("patient_id")["person_id"]
    assert dict(table) == persons


@pytest.mark.parametrize(
    ("option", "murmur_sites", "labels"),
    [
        ("patient", "AV", ["Present", "Present"]),
        ("site", "AV", ["Present", "Absent"]),
        ("site", "PV+AV", ["Present", "Present"]),
        ("site", "nan", ["Present", "Present"]),  # the sites are not known
    ],
)
def test_recordings_are_labelled_by_patient_or_by_site(tmp_path, option, murmur_sites, labels):
    rows = [
        patient("1", "AV+PV", "Present", **{"Murmur locations": murmur_sites}),
        patient("2", "AV", "Unknown"),
    ]
    table = read(made.circor(tmp_path, rows), recording_label=option)
    assert list(table["label"]) == [*labels, "Unknown"]
    assert list(table["patient_label"]) == ["Present", "Present", "Unknown"]


def test_the_outcome_is_read(tree, tmp_path):
    assert list(read(tree, "outcome", recording_label="site")["label"]) == ["Abnormal"] * 2 + [
        "Normal"
    ] * 3 + ["Abnormal"]
    older = made.circor(tmp_path / "older", without=["Outcome"])
    assert len(read(older)) == 6
    with pytest.raises(MurmurError, match=r"training_data\.csv: no column Outcome, which task outcome needs"):
        read(older, "outcome")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([patient("1"), patient("2"), patient("1")], "row 4: the patient is in two rows; keep one"),
        ([patient("1"), patient("2", Murmur="present")], "patient 2: Murmur is 'present', expected one of"),
        ([patient("1"), patient("2", Murmur="nan")], "patient 2: Murmur is None, .*; correct or remove"),
        ([patient("1"), patient("")], "row 3: Patient ID is empty; fill it in"),
        ([patient("1"), patient("1.0")], "row 3: the patient is in two rows; keep one"),
        ([patient("1", "av")], "row 2: Locations is not AV, PV, TV, MV or Phc, joined by"),
        ([patient("1", "AV+../PV")], "row 2: Locations is not AV, PV"),
        ([patient("1", **{"Murmur locations": "Av"})], "row 2: Murmur locations is not AV, PV"),
        ([patient("1"), patient("2x")], "row 3: Patient ID is not a whole number; fetch"),
        (
            [patient("12"), linked("3", "012")],
            r"row 3: Additional ID '012' differs from '12' of row 2 only in how",
        ),
        ([patient("12"), linked("3", "yes")], "row 3: Additional ID is not a whole number"),
        ([patient("1"), patient("2") | {"Recording locations:": "nan"}], "row 3: Locations is empty; fill"),
        ([{"Patient ID": "1", "Recording locations:": "AV"}], "no column Age, Sex, Murmur, .*; fetch"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, words):
    made.write_csv(tmp_path / "training_data.csv", rows)
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/training_data\.csv: {words}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), (b"", "cannot be read"), (b"\xff\xfe,", "cannot be")]
)
def test_an_unreadable_or_empty_table_is_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "training_data.csv").write_bytes(content)
    with pytest.raises(MurmurError, match=rf"training_data\.csv: {words}.*; fetch the data set's own table"):
        read(tmp_path)
    header = ",".join(patient("1")) + "\n"
    (tmp_path / "training_data.csv").write_text(header)
    with pytest.raises(MurmurError, match=r"training_data\.csv: has no rows"):
        read(tmp_path)


def test_the_data_set_is_imported(import_circor, tmp_path):
    recordings, card, left_out = import_circor()
    assert len(recordings) == 6 and left_out.empty
    assert (card.classes, card.positive) == (("Present", "Unknown", "Absent"), ("Present",))
    assert card.weights == (5 * 179, 3 * 68, 695)
    assert {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.wav")} == {
        *recordings["path"]
    }
    assert set(recordings["n_samples"]) == {2000} and recordings["audio_sha256"].is_unique


def test_missing_and_unnamed_files_are_listed(import_circor, tmp_path):
    folder = tmp_path / "circor/training_data"
    (folder / "1002_AV_2.wav").unlink()
    made.audio(folder / "9999_AV.wav")
    made.audio(folder / "9999_PV.WAV")
    (folder / "1001_AV.tsv").write_text("0\t0.1\t1\n")  # other recordings need no such file
    recordings, _, left_out = import_circor()
    assert len(recordings) == 5
    assert dict(left_out[["item", "reason"]].values) == {
        "training_data/9999_AV.wav": "no table names this file",
        "training_data/9999_PV.WAV": "no table names this file",
        "1002_AV_2": "the file is missing",
    }
    assert "another reason" not in classify_reasons(left_out["reason"])


def test_checksums_are_verified(import_circor, tmp_path):
    made.audio(tmp_path / "circor/training_data/1001_AV.wav", made.noise())
    with pytest.raises(
        MurmurError, match=r"1 recording cannot be used[^\n]*\n *\S+/1001_AV\.wav: its sha256 is not"
    ):
        import_circor()
    recordings, _, left_out = import_circor(on_bad="leave_out")
    assert len(recordings) == 5 and list(left_out["item"]) == ["1001_AV"]
    with (tmp_path / "circor/training_data.csv").open("a") as file:
        file.write(",".join(patient("1004").values()) + "\n")
    with pytest.raises(MurmurError, match=r"training_data\.csv: its sha256 is not the data set's; fetch"):
        import_circor()
    (tmp_path / "circor/training_data.csv").unlink()
    with pytest.raises(MurmurError, match=r"training_data\.csv: cannot be read.*; fetch"):
        import_circor()
    with (tmp_path / "circor/SHA256SUMS.txt").open("a") as file:
        file.write("\n<html>not found</html>\n")
    with pytest.raises(MurmurError, match=r"SHA256SUMS\.txt: line 8 is not 'sha256 name'; delete the file"):
        import_circor()


def test_the_limit_keeps_the_first_patients(import_circor):
    recordings, _, left_out = import_circor(limit=2, class_map={"Unknown": None})
    assert list(recordings["patient_id"].unique()) == ["1001", "1002"]
    assert dict(left_out[["item", "reason"]].values) == {"1003_MV": "beyond download.limit 2"}
    with pytest.raises(
        MurmurError, match=r"no recording of class Unknown is left; .*Unknown: null.*raise download\.lim"
    ):
        import_circor(limit=2)


@pytest.mark.parametrize(
    ("class_map", "positive", "classes", "expected", "labels"),
    [
        ({}, ["Unknown", "Present"], "Present Unknown Absent", "Unknown Present", "Present Absent Unknown"),
        ({"Unknown": "Present"}, None, "Present Absent", "Present", "Present Absent Present"),
        ({"Present": "Sick", "Unknown": "Sick"}, None, "Sick Absent", "Sick", "Sick Absent Sick"),
        ({"Unknown": None}, None, "Present Absent", "Present", "Present Absent"),
        ({"Unknown": None}, ["Absent"], "Present Absent", "Absent", "Present Absent"),
    ],
)
def test_classes_are_merged_and_left_out(import_circor, class_map, positive, classes, expected, labels):
    recordings, card, left_out = import_circor(class_map=class_map, positive=positive)
    assert (card.classes, card.positive) == (tuple(classes.split()), tuple(expected.split()))
    assert list(recordings.drop_duplicates("patient_id")["label"]) == labels.split()
    is_dropped = None in class_map.values()
    assert list(left_out["reason"]) == ["class Unknown is left out by class_map"] * is_dropped
    assert sum(card.weights) == 5 * 179 + 695 + 3 * 68 * (not is_dropped)


def test_the_reason_names_the_class_that_was_left_out(import_circor):
    *_, left_out = import_circor(
        class_map={"Present": None}, positive=["Unknown"], options={"recording_label": "site"}
    )
    assert dict(left_out[["item", "reason"]].values) == dict.fromkeys(
        ["1001_AV", "1001_PV"], "class Present is left out by class_map"
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"class_map": {"present": None}},
            "class_map: no class present; the classes are Present, Unknown, Absent",
        ),
        ({"positive": ["Presnt"]}, r"positive: \['Presnt'\] is not a choice; name some, not all"),
        (
            {"positive": []},
            r"positive: no class is named; name some, not all, of the classes Present, Unknown",
        ),
        ({"positive": ["Present", "Unknown", "Absent"]}, "positive: .* name some, not all"),
        ({"class_map": {"Present": None}}, "positive: no class is named"),
        ({"task": "murmurs"}, "task: circor has no task 'murmurs'; it has murmur, outcome"),
        (
            {"options": {"recording_lable": "site"}},
            "download.circor: unknown key recording_lable; did you mean recording_label",
        ),
        ({"options": {"recording_label": "sites"}}, "download.circor: recording_label: .*'patient' or"),
    ],
)
def test_bad_keys_are_named(import_circor, tmp_path, keys, words):
    with pytest.raises(MurmurError, match=words):
        import_circor(**keys)
    assert not list(tmp_path.glob("out*"))


@real
def test_the_real_recordings():
    root = Path(REAL) / "circor"
    table = read(root)
    patients = table.drop_duplicates("patient_id")
    assert (len(table), len(patients), table["person_id"].nunique()) == (902, 272, 253)
    assert dict(patients["patient_label"].value_counts()) == {"Present": 114, "Unknown": 23, "Absent": 135}
    assert table["recording_id"].is_unique and table[["sex", "label", "site"]].notna().all(axis=None)
    assert all((root / path).is_file() for path in table["path"])
    by_site = read(root, recording_label="site")
    changed = by_site["label"] != table["label"]
    assert set(table["label"][changed]) == {"Present"} and set(by_site["label"][changed]) == {"Absent"}
    assert 0 < changed.sum() < (table["label"] == "Present").sum()


@real
def test_the_real_recordings_are_imported(tmp_path):
    recordings, _, left_out = made.download(
        "circor", tmp_path / "out", limit=9, class_map={"Unknown": "Absent"}
    )
    assert recordings["patient_id"].nunique() == 9 and len(left_out) + len(recordings) == 902
    assert (
        set(recordings["sample_rate"]) == {4000}
        and recordings["n_samples"].between(4000 * 5, 4000 * 65).all()
    )


def test_a_data_set_without_its_recordings_is_named(import_circor, tmp_path):
    root = tmp_path / "circor"
    for path in root.rglob("*.wav"):
        path.unlink()
    words = rf"1001_AV\.wav: none of the files .* \(6\) exists; expected in {root}/training_data;"
    with pytest.raises(MurmurError, match=words):
        import_circor()


def test_murmur_data_must_not_be_the_data_set_itself(import_circor, tmp_path, monkeypatch):
    for base in (tmp_path / "circor", (tmp_path / "circor").rename(tmp_path / "circor-1.0.3")):
        monkeypatch.setenv("MURMUR_DATA", str(base))
        if base.is_dir():
            with pytest.raises(
                MurmurError, match=rf"^MURMUR_DATA: {base} is the folder of circor itself; name"
            ):
                import_circor()


def test_a_copy_one_folder_too_deep_is_found(import_circor, tmp_path):
    (tmp_path / "circor").rename(tmp_path / "whole")
    (tmp_path / "circor").mkdir()
    (tmp_path / "whole").rename(tmp_path / "circor/1.0.3")
    words = rf"training_data\.csv: cannot .*; it is in {tmp_path}/circor/1\.0\.3: move its content to"
    with pytest.raises(MurmurError, match=words):
        import_circor()


def annotated(root, *, murmur_sites="nan", **timings):
    """Read the annotations of one patient with a murmur, recorded at AV and PV."""
    row = patient("1", "AV+PV", "Present", **{"Murmur locations": murmur_sites})
    row |= {f"{phase} murmur timing": timings.get(phase, "nan") for phase in ("Systolic", "Diastolic")}
    table = circor.read(made.circor(root, [row], tsv=made.CYCLE), circor.Options(), "murmur").annotations
    return [tuple(row) for row in table.itertuples(index=False)]


def test_heart_cycles_are_read(tmp_path):
    cycle = [(0, 0.1, "S1"), (0.1, 0.2, "systole"), (0.2, 0.25, "S2"), (0.25, 0.4, "diastole")]
    assert annotated(tmp_path) == [(f"1_{site}", *row) for site in ("AV", "PV") for row in cycle]


@pytest.mark.parametrize(
    ("timings", "intervals"),
    [
        ({"Systolic": "Holosystolic"}, [(0.1, 0.2)]),
        ({"Systolic": "Early-systolic"}, [(0.1, 0.15)]),
        ({"Systolic": "Mid-systolic"}, [(0.125, 0.175)]),
        ({"Systolic": "Late-systolic"}, [(0.15, 0.2)]),
        ({"Diastolic": "Holodiastolic"}, [(0.25, 0.4)]),
        ({"Systolic": "Holosystolic", "Diastolic": "Early-diastolic"}, [(0.1, 0.2), (0.25, 0.325)]),
        ({}, []),
    ],
)
def test_murmurs_are_placed_by_their_timing_at_their_sites(tmp_path, timings, intervals):
    rows = annotated(tmp_path, murmur_sites="PV", **timings)
    murmurs = [(start, end) for name, start, end, event in rows if event == "murmur"]
    assert murmurs == [pytest.approx(interval) for interval in intervals]
    assert {name for name, _, _, event in rows if event == "murmur"} <= {"1_PV"}
    everywhere = annotated(tmp_path / "all", **timings)
    assert len(everywhere) - 8 == 2 * len(intervals)  # the sites are not known


def test_murmurs_are_described(tmp_path):
    facts = {"Systolic murmur timing": "Late-systolic", "Systolic murmur grading": "II/VI"}
    facts |= {"Diastolic murmur timing": "Holodiastolic", "Systolic murmur pitch": "nan"}
    table = read(made.circor(tmp_path, [patient("1", murmur="Present") | facts]))
    columns = table[["murmur_timing", "murmur_grade", "murmur_pitch"]]
    assert list(columns.iloc[0]) == ["Late-systolic+Holodiastolic", "II/VI", None]
    made.write_csv(tmp_path / "training_data.csv", [patient("1") | {"Systolic murmur timing": "late"}])
    (tmp_path / "SHA256SUMS.txt").unlink()
    with pytest.raises(MurmurError, match=r"row 2: Systolic murmur timing is not Holosystolic, Early-sys"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("tsv", "words"),
    [
        ("", "has no rows"),
        ("0\t0.1\t1\n0.1\t0.2\n", "row 2 is not 'start end state' in numbers"),
        ("0\t0.1\t1\t1\n", "row 1 is not 'start end state'"),
        ("start\tend\tstate\n", "row 1 is not 'start end state'"),
        ("0\tnan\t1\n", "row 1: 0 to nan s is not an interval"),
        ("0.2\t0.1\t1\n", "row 1: 0.2 to 0.1 s is not an interval"),
        ("-1\t0.1\t1\n", "row 1: -1 to 0.1 s is not an interval"),
        ("0\t0.1\t7\n", "row 1: state 7 is not one of 0 to 4"),
        ("0\t0.1\t1.5\n", "row 1: state 1.5 is not one of 0 to 4"),
    ],
)
def test_a_broken_file_of_heart_cycles_is_named(tmp_path, tsv, words):
    made.circor(tmp_path, [patient("1", "AV")], tsv=tsv)
    remedy = "; fetch the file again, or delete it: then its recording is not annotated"
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/training_data/1_AV\.tsv: {words}.*{remedy}"):
        read(tmp_path)


def test_what_is_unusual_in_the_published_heart_cycles_is_kept_or_left_out_and_logged(tmp_path, caplog):
    caplog.set_level("INFO")
    made.circor(tmp_path, [patient("1", "AV+MV+PV")], sums=False, tsv=made.CYCLE.replace("\n", "\r\n"))
    (tmp_path / "training_data/1_MV.tsv").unlink()
    (tmp_path / "training_data/1_PV.tsv").write_text("0\t0.1\t1\n0.1\t0.1\t2\n0.1\t0.2\t4\n")
    table = circor.read(tmp_path, circor.Options(), "murmur").annotations
    assert list(table["event"][table["recording_id"] == "1_PV"]) == ["S1", "diastole"]
    assert [record.getMessage().removeprefix(f"{tmp_path}: ") for record in caplog.records] == [
        "recordings without a .tsv file, so without annotations: 1",
        ".tsv files with states in another order than S1, systole, S2, diastole, used as published: 1",
        "training_data.csv has no column Systolic murmur timing: no murmur is annotated",
    ]


def test_only_annotations_of_imported_recordings_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    root = made.circor(tmp_path / "circor", tsv=made.CYCLE)
    *_, annotations = made.download_all("circor", tmp_path / "out", class_map={"Unknown": None})
    assert list(annotations["recording_id"].unique()) == [
        *("1001_AV", "1001_PV", "1002_AV_1", "1002_AV_2", "1002_PV")
    ]
    (root / "SHA256SUMS.txt").unlink()
    made.audio(root / "training_data/1002_PV.wav", seconds=0.3)
    words = "1002_PV has diastole from 0.25 to 0.4 s in its annotations, but it is 0.3 s long; correct or"
    with pytest.raises(MurmurError, match=words):
        made.download("circor", tmp_path / "out2")
    (root / "SHA256SUMS.txt").write_text(f"{'0' * 64} training_data/1001_PV.tsv\n")
    with pytest.raises(MurmurError, match=r"1001_PV\.tsv: its sha256 is not the data set's; fetch the file"):
        made.download("circor", tmp_path / "out2")
