"""A folder of one's own, as people really write them."""

import pytest

from murmur.datasets import folder
from murmur.errors import MurmurError
from tests import made


def row(path, label="ill", **more):
    return {"path": path, "label": label} | more


def read(root):
    return folder.read(root, folder.Options(path=str(root)), "murmur").recordings


@pytest.mark.parametrize(
    "style",
    [
        {},
        {"newline": "\r\n"},
        {"encoding": "utf-8-sig"},
        {"encoding": "utf-8-sig", "newline": "\r\n"},
        {"comma": ", "},
    ],
    ids=["plain", "CRLF", "BOM", "Excel", "spaces"],
)
def test_the_table_however_it_was_saved(tmp_path, style):
    table = read(made.folder(tmp_path, **style))
    assert list(table["path"]) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert list(table["recording_id"]) == list(table["patient_id"]) == list(table["person_id"]) == [*"abcd"]
    assert list(table["label"]) == list(table["patient_label"]) == ["ill", "well"] * 2
    assert set(table["site"]) == {"unspecified"} and table[["role", "sex", "age_group"]].isna().all(axis=None)


def test_every_column_is_used_and_gaps_are_filled(tmp_path):
    known = {"patient_id": "p1", "person_id": "Ann", "site": "AV", "patient_label": "ill", "role": "train"}
    rows = [
        row("one/a.wav", "well", **known, sex="F", age_group="old"),
        row("one/./b.flac", "well", **known, sex="F", age_group="old"),
        row("./c.wav", "ill", **{k: "nan" for k in known}, sex="", age_group=""),
        row(
            "d.wav",
            "well",
            **dict.fromkeys(known, "") | {"patient_id": "p4", "role": "test"},
            sex="",
            age_group="",
        ),
    ]
    table = read(made.folder(tmp_path, rows))
    assert list(table["recording_id"]) == ["one/a", "one/b", "c", "d"]
    assert list(table["path"]) == ["one/a.wav", "one/b.flac", "c.wav", "d.wav"]
    assert list(table["patient_id"]) == ["p1", "p1", "c", "p4"]
    assert list(table["person_id"]) == ["Ann", "Ann", "c", "p4"]
    assert list(table["patient_label"]) == ["ill", "ill", "ill", "well"]
    assert list(table["role"].fillna("-")) == ["train", "train", "-", "test"]
    assert list(table["sex"].fillna("-")) == ["F", "F", "-", "-"]


def test_blank_rows_are_passed_over_and_lines_are_counted_with_them(tmp_path):
    made.folder(tmp_path)
    path = tmp_path / "recordings.csv"
    path.write_text("path,label\na.wav,ill\n\n,\nb.wav,well\n\n\n")
    assert list(read(tmp_path)["path"]) == ["a.wav", "b.wav"]
    path.write_text("path,label\na.wav,ill\n\n,\nb.wav,\n")
    with pytest.raises(
        MurmurError, match=r"recordings\.csv: row 5: label is empty; fill it in or take the row out"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    "text, words",
    [
        ("file,label\na.wav,ill\n", r"no column path; .*\(it is 'file, label'\)"),
        ("path;label\na.wav;ill\n", "no column path, label; .* commas between .*'path;label'"),
        ("path,label,lable\na.wav,ill,x\n", "unknown column lable; known are path, label, patient_id"),
        ("path,label,label\na.wav,ill,x\n", "unknown column label.1"),
        ("path,label\na.wav,ill\n,well\n", "row 3: path is empty"),
        ("path,label\na.wav,nan\n", "row 2: label is empty"),
        ("path,label\na.wav,ill\nb.wav,ill\na.wav,well\n", "row 4: recording a is named twice; keep one row"),
        ("path,label\na.wav,ill\n./a.wav,ill\n", "row 3: recording a is named twice"),
        ("path,label\na.wav,ill\na.flac,ill\n", "row 3: recording a is named twice; .*rename a file"),
        ("path,label\na.wav,ill\n../b.wav,ill\n", r"row 3: \.\./b\.wav is not a path inside the folder"),
        ("path,label\n/tmp/a.wav,ill\n", r"row 2: /tmp/a\.wav is not a path inside the folder"),
        ("path,label\n.,ill\n", r"row 2: \. is not a path inside the folder"),
        ("path,label,role\na.wav,ill,train\nb.wav,ill,Test\n", "row 3: role is not train or test; write one"),
        ("path,label,quality\na.wav,ill,poor\nb.wav,ill,bad\n", "row 3: quality is not good or poor; write"),
        ("path,label,patient_id\na.wav,ill,1\nb.wav,well,1\n", "row 2: .* patient 1 differ .*patient_label"),
        ("path,label,patient_id,patient_label\na,x,1,x\nb,x,2,x\nc,y,2,y\n", "row 3: .* patient 2 differ"),
        ("path,label,patient_id,person_id\na,x,1,A\nb,x,1,\n", "row 2: patient 1 is more than one person"),
        ("path,label\na.wav,ill,\nb.wav,ill,\n", "a row has more fields than the first line"),
        ("path,label\na.wav,ill\nb.wav,ill,7\n", "cannot be read .*line 3.*"),
        ("path,label\n", "names no recording"),
        ("", "cannot be read"),
        ("path,label\na.wav,sténose\n", "cannot be read .*; save it as CSV in UTF-8"),
    ],
)
def test_what_is_wrong_in_the_table_is_named(tmp_path, text, words):
    (tmp_path / "recordings.csv").write_text(text, encoding="latin-1")
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/recordings\.csv: {words}"):
        read(tmp_path)


@pytest.mark.parametrize("absolute", [True, False])
def test_recordings_of_every_kind_come_through_the_door(tmp_path, monkeypatch, absolute):
    monkeypatch.chdir(tmp_path)
    rows = [
        row("deep/er/a.wav"),
        row("b.WAV", "well"),
        row("c.flac"),
        row("d.wav", "well"),
        row("e.wav", "mild"),
    ]
    root = made.folder(tmp_path / "own", rows)
    made.audio(root / "b.WAV", made.noise(4410), 44100, subtype="FLOAT")
    made.audio(root / "d.wav", made.noise(3000).reshape(-1, 2), 8000, subtype="PCM_24")
    made.audio(root / "deep/extra.flac")
    options = {"path": str(root) if absolute else "own"}
    recordings, card, left_out = made.download(
        "folder", tmp_path / "out", options=options, positive=["ill"], task="any"
    )
    assert [*recordings["sample_rate"]] == [4000, 44100, 4000, 8000, 4000]
    assert [*recordings["n_samples"]] == [2000, 4410, 2000, 1500, 2000]
    assert (card.task, card.classes, card.positive) == ("any", ("ill", "mild", "well"), ("ill",))
    assert all(
        (tmp_path / "out" / path).read_bytes() == (root / path).read_bytes() for path in recordings["path"]
    )
    assert left_out.values.tolist() == [["deep/extra.flac", "no table names this file", "download"]]


def test_a_missing_file_is_an_error_even_under_murmur_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    root = made.folder(tmp_path / "own")
    (root / "c.wav").unlink()
    with pytest.raises(
        MurmurError, match=r"own/c\.wav: the table names it, but it is not there \(1 missing\); put it"
    ):
        made.download("folder", tmp_path / "out", options={"path": str(root)}, positive=["ill"])
