"""The reader of PASCAL, whose tables and files have different names, on generated and on real recordings."""

import os
from collections import Counter
from pathlib import Path

import pytest

from murmur.datasets import pascal
from murmur.errors import MurmurError
from murmur.recordings.summary import summarise_recordings
from tests import made

real = pytest.mark.skipif(
    "MURMUR_DATA" not in os.environ, reason="set MURMUR_DATA to a folder that holds pascal"
)


def read(root, task="sound", **options):
    return pascal.read(root, pascal.Options(**options), task)


def set_b(root, *rows):
    """Generate set B from rows of (name in the table, name of the file or None, label)."""
    (root / "set_b").mkdir(parents=True)
    for _, file, _ in rows:
        if file:
            made.audio(root / f"set_b/{file}.wav")
    lines = [{"dataset": "b", "fname": f"set_b/{f}.wav", "label": x, "sublabel": ""} for f, _, x in rows]
    made.write_csv(root / "set_b.csv", lines)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return made.pascal(tmp_path_factory.mktemp("pascal"))


def test_every_recording_has_its_file(tree):
    found = read(tree)
    table = found.recordings
    assert all((tree / path).is_file() for path in table["path"])
    assert table["recording_id"].is_unique and table["path"].is_unique
    assert Counter(table["label"]) == {
        "normal": 12,
        "murmur": 12,
        "extrastole": 8,
        "extrahls": 4,
        "artifact": 4,
    }
    assert dict(found.left_out) == {
        "set_a/Aunlabelledtest__201102010000.wav": "has no label",
        "set_b/Bunlabelledtest__190_130600_C1.wav": "has no label",
    }
    known = table[table["person_id"].notna()]
    assert set(table["site"]) == {"unspecified"} and (known["person_id"] == known["patient_id"]).all()


def test_persons_are_numbers_in_b_and_unknown_in_a(tree):
    table = read(tree).recordings.set_index("recording_id")["person_id"]
    assert (
        table["set_b/normal__100_1306000000000_A"] == table["set_b/normal_noisynormal_100_1306000000000_B1"]
    )
    assert table["set_b/normal__100_1306000000000_A"] == "b_100"
    assert table[table.index.str.startswith("set_a")].isna().all() and table.nunique() == 12


def test_labels_of_other_tasks_are_left_out(tree):
    found = read(tree, "murmur")
    assert Counter(found.recordings["label"]) == {"normal": 12, "murmur": 12}
    assert Counter(reason for _, reason in found.left_out) == {
        "label extrastole is not a class of task murmur": 8,
        "label extrahls is not a class of task murmur": 4,
        "label artifact is not a class of task murmur": 4,
        "has no label": 2,
    }


def test_one_set_is_read(tree):
    found = read(tree, sets=["b"])
    assert {path.split("/")[0] for path in found.recordings["path"]} == {"set_b"}
    assert Counter(reason for _, reason in found.left_out) == {
        "download.pascal.sets leaves its set out": 17,
        "has no label": 1,
    }


def test_recordings_with_one_id_and_different_labels_have_their_own_files(tmp_path):
    names = [
        ("Btraining_extrastole_237_1308_C", "extrastole__237_1308_C", "extrastole"),
        ("Btraining_normal_237_1308_C", "normal__237_1308_C", "normal"),
        ("Btraining_normal_Btraining_noisynormal_237_1308_C", "normal_noisynormal_237_1308_C", "normal"),
        ("Bunlabelledtest_237_1308_C", "Bunlabelledtest__237_1308_C", ""),
        ("Btraining_murmur_Btraining_noisymurmur_199_1308_B_1", None, "murmur"),
    ]
    found = read(set_b(tmp_path, *names), sets=["b"])
    assert list(found.recordings["path"]) == [
        "set_b/extrastole__237_1308_C.wav",
        "set_b/normal__237_1308_C.wav",
        "set_b/normal_noisynormal_237_1308_C.wav",
        "set_b/Btraining_murmur_Btraining_noisymurmur_199_1308_B_1.wav",  # missing: the name in the table
    ]
    assert found.left_out == [("set_b/Bunlabelledtest__237_1308_C.wav", "has no label")]
    assert list(found.recordings["patient_label"]) == ["extrastole"] * 3 + ["murmur"]


@pytest.mark.parametrize(
    ("labels", "patient"),
    [
        (("normal", "murmur"), "murmur"),
        (("artifact", "normal"), "normal"),
        (("extrahls", "extrastole"), "extrahls"),
        (("murmur", "extrahls"), "murmur"),
    ],
)
def test_a_patient_has_the_most_severe_label_of_its_recordings(tmp_path, labels, patient):
    rows = [(f"{label}__101_13_{site}",) * 2 + (label,) for site, label in zip("AB", labels, strict=True)]
    table = read(set_b(tmp_path, *rows), sets=["b"]).recordings
    assert list(table["label"]) == list(labels) and set(table["patient_label"]) == {patient}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("normal__101_13_A", "Normal"), r"set_b\.csv: row 3: the label is not one of artifact, normal"),
        (("normal", "normal"), r"set_b\.csv: row 3: fname does not end in a recording's id"),
        (("normal__201101", "normal"), r"set_b\.csv: row 3: fname does not end in a recording's id"),
        (("normal__101_13_A", "murmur"), r"set_b\.csv: row 3: fname and label disagree"),
        (("Bunlabelledtest_101_13_A", "murmur"), r"set_b\.csv: row 3: fname and label disagree"),
        (("Btraining_murmur_100_13_A", "murmur"), r"set_b\.csv: row 3: the recording is in two rows; keep"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, words):
    first = ("murmur__100_13_A", "murmur__100_13_A", "murmur")
    with pytest.raises(MurmurError, match=words):
        read(set_b(tmp_path, first, (row[0], None, row[1])), sets=["b"])


def test_bad_tables_and_folders_are_named(tmp_path):
    with pytest.raises(MurmurError, match=r"set_a: no such folder; add it or remove a from download\.pas"):
        read(set_b(tmp_path, ("murmur__100_13_A", None, "murmur")))
    (tmp_path / "set_a").mkdir()
    for content, words in [
        (None, "cannot be read"),
        ("dataset,label\na,normal\n", "no column fname; fetch"),
        ("dataset,fname,label\n", "has no rows; fetch"),
        ("dataset,fname,label\na,,normal\n", "row 2: fname is empty; fill it in"),
        ("fname,label\na,set_a/normal__20110101.wav,normal\n", "a row has too many fields"),
    ]:
        if content is not None:
            (tmp_path / "set_a.csv").write_text(content)
        with pytest.raises(MurmurError, match=rf"set_a\.csv: {words}"):
            read(tmp_path)
    (tmp_path / "set_a.csv").write_text("dataset,fname,label\na,set_a/__20110101.wav,\n")
    with pytest.raises(MurmurError, match="no recording of task sound in set a; add a set"):
        read(tmp_path, sets=["a"])


def test_a_missing_folder_is_named_with_the_web_page(tmp_path, monkeypatch):
    monkeypatch.delenv("MURMUR_DATA", raising=False)
    with pytest.raises(
        MurmurError,
        match=r"^MURMUR_DATA is not set, and pascal .*get it from http.*set_a\.csv.*; then set MURMUR_DATA",
    ):
        made.download("pascal", tmp_path / "out")
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/pascal: no such folder, .*next to them$"):
        made.download("pascal", tmp_path / "out")
    with pytest.raises(MurmurError, match=r"download\.pascal: sets.*at least 1 item"):
        made.download("pascal", tmp_path / "out", options={"sets": []})
    with pytest.raises(MurmurError, match=r"download\.pascal: sets\.0: .*'a' or 'b'"):
        made.download("pascal", tmp_path / "out", options={"sets": ["c"]})


def test_a_part_of_the_data_set_is_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    root = made.pascal(tmp_path / "pascal", without=["set_a/normal__201101010000.wav"])
    made.audio(root / "set_b/stray.wav")
    recordings, card, left_out = made.download("pascal", tmp_path / "out")
    assert len(recordings) == 23 and set(recordings["source"]) == {"pascal"}
    assert (card.classes, card.positive) == (("murmur", "normal"), ("murmur",))
    reasons = dict(left_out[["item", "reason"]].values)
    assert len(reasons) == len(left_out) == 18 + 1 + 1, "each item is listed once"
    assert reasons["set_a/normal__201101010000"] == "the file is missing"
    assert reasons["set_b/stray.wav"] == "no table names this file"
    assert reasons["set_a/Aunlabelledtest__201102010000.wav"] == "has no label"


@real
@pytest.mark.parametrize(
    ("task", "sets", "labels", "persons", "existing", "left_out"),
    [
        ("murmur", ["a"], {"murmur": 34, "normal": 31}, 0, 65, 767),
        ("murmur", ["b"], {"normal": 320, "murmur": 95}, 160, 415, 324),
        ("murmur", ["a", "b"], {"normal": 351, "murmur": 129}, 160, 480, 352),
        ("sound", ["b"], {"normal": 320, "murmur": 95, "extrastole": 46}, 165, 461, 278),
        ("sound", ["a"], {"artifact": 40, "murmur": 34, "normal": 31, "extrahls": 19}, 0, 77, 708),
    ],
)
def test_the_real_recordings(task, sets, labels, persons, existing, left_out):
    root = Path(os.environ["MURMUR_DATA"]) / "pascal"
    found = read(root, task, sets=sets)
    assert Counter(found.recordings["label"]) == labels
    assert found.recordings["person_id"].nunique() == persons
    assert sum((root / path).is_file() for path in found.recordings["path"]) == existing
    assert len(found.left_out) == left_out and found.recordings["recording_id"].is_unique


@real
def test_every_real_file_is_imported_or_listed_with_a_reason(tmp_path):
    recordings, _, left_out = made.download("pascal", tmp_path / "out", task="murmur")
    assert recordings["person_id"].nunique() == 224
    assert "no table names this file" not in set(left_out["reason"])
    assert len(recordings) + len(left_out) == 176 + 656


def test_a_patients_label_comes_from_recordings_whose_files_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    rows = [("Btraining_extrastole_127_13_A", None, "extrastole"), ("normal__127_13_B",) * 2 + ("normal",)]
    rows += [(f"{label}__{k}_13_A",) * 2 + (label,) for k, label in ((128, "murmur"), (129, "normal"))]
    root = set_b(tmp_path / "pascal", *rows)
    table = read(root, sets=["b"]).recordings.set_index("recording_id")
    assert table["patient_label"]["set_b/normal__127_13_B"] == "normal"
    keys = {"task": "sound", "options": {"sets": ["b"]}}
    dropped = dict.fromkeys(("extrahls", "artifact"))
    with pytest.raises(MurmurError, match=r"no recording of class extrastole is left; .*1 x the file is mis"):
        made.download("pascal", tmp_path / "out", class_map=dropped, **keys)
    recordings, card, left_out = made.download(
        "pascal", tmp_path / "out", class_map=dropped | {"extrastole": None}, **keys
    )
    assert (
        len(recordings) == 3 and card.names_all_persons and "set A" not in card.persons and len(left_out) == 1
    )


def test_a_patients_label_does_not_come_from_a_damaged_recording(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    rows = [("murmur", 1), ("normal", 1), ("murmur", 2), ("normal", 3)]
    names = [(f"{label}__10{k}_13_A", label) for label, k in rows]
    root = set_b(tmp_path / "pascal", *((name, name, label) for name, label in names))
    made.cut(root / "set_b/murmur__101_13_A.wav")
    keys = {"options": {"sets": ["b"]}, "on_bad": "leave_out", "class_map": {"murmur": "ill"}}
    recordings, *_ = made.download("pascal", tmp_path / "out", **keys)
    assert list(recordings["label"]) == list(recordings["patient_label"]) == ["normal", "ill", "normal"]


def test_recordings_of_set_a_are_of_unknown_persons(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    made.pascal(tmp_path / "pascal", without=["set_a/normal__201101010000.wav"])
    found = made.download("pascal", tmp_path / "out")
    assert found[1].unknown_persons == 7 and "set A names no person" in found[1].persons
    assert summarise_recordings(*found)[:4] == [
        "23 recordings, 7 of unknown persons; 19 left out, listed in data/left_out/download.parquet",
        "left out: 2 x has no label",
        "left out: 4 x label extrahls is not a class of task murmur",
        "left out: 4 x label artifact is not a class of task murmur",
    ]


def test_an_archive_that_was_unpacked_too_deep_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    made.pascal(tmp_path / "pascal/set_a.zip/x")
    root = tmp_path / "pascal"
    with pytest.raises(
        MurmurError, match=rf"pascal/set_a: no such folder; it is in {root}/set_a\.zip/x: move"
    ):
        made.download("pascal", tmp_path / "out")
    (root / "set_a.zip/x").rename(tmp_path / "whole")
    root.rename(tmp_path / "empty")
    (tmp_path / "whole").rename(root)
    for name in ("set_a", "set_b"):
        (root / name).rename(tmp_path / "inner")
        (root / name).mkdir()
        (tmp_path / "inner").rename(root / name / name)
    where = rf"expected in {root}/set_a; .* in {root}/set_b/set_b.*unpacked too deep"
    words = rf"none of the files .* \(\d+\) exists; {where}"
    with pytest.raises(MurmurError, match=words):
        made.download("pascal", tmp_path / "out")
    monkeypatch.setenv("MURMUR_DATA", str(root))
    with pytest.raises(MurmurError, match=rf"^MURMUR_DATA: {root} is the folder of pascal itself; name the"):
        made.download("pascal", tmp_path / "out")
