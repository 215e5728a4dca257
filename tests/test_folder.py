"""The reader of a folder of own recordings, on tables with the errors that people make."""

import os
import re
import shutil

import pytest

from murmur.datasets import folder
from murmur.errors import MurmurError
from murmur.recordings.download import _log_unused_folder
from murmur.recordings.summary import log_rate_differences, summarise_recordings
from murmur.sections.download import Download
from murmur.tables import parquet
from murmur.tables.left_out import LEFT_OUT
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
def test_the_table_is_read_in_all_formats(tmp_path, style):
    table = read(made.folder(tmp_path, **style))
    assert list(table["path"]) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert list(table["recording_id"]) == list(table["patient_id"]) == [*"abcd"]
    assert table["person_id"].isna().all(), "there is no column of persons"
    assert list(table["label"]) == list(table["patient_label"]) == ["ill", "well"] * 2
    assert set(table["site"]) == {"unspecified"} and table[["role", "sex", "age_group"]].isna().all(axis=None)


def test_every_column_is_used_and_missing_values_are_filled(tmp_path):
    known = {"patient_id": "p1", "person_id": "Ann", "site": "AV", "patient_label": "ill", "role": "train"}
    rows = [
        row("one/a.wav", "well", **known, sex="F", age_group="old"),
        row("one/./b.flac", "well", **known, sex="F", age_group="old"),
        row(
            "./c.wav",
            "ill",
            **dict.fromkeys(known, "nan") | {"patient_id": "p3", "person_id": "Eve"},
            sex="",
            age_group="",
        ),
        row(
            "d.wav",
            "well",
            **dict.fromkeys(known, "") | {"patient_id": "p4", "person_id": "Dan", "role": "test"},
            sex="",
            age_group="",
        ),
    ]
    table = read(made.folder(tmp_path, rows))
    assert list(table["recording_id"]) == ["one/a", "one/b", "c", "d"]
    assert list(table["path"]) == ["one/a.wav", "one/b.flac", "c.wav", "d.wav"]
    assert list(table["patient_id"]) == ["p1", "p1", "p3", "p4"]
    assert list(table["person_id"]) == ["Ann", "Ann", "Eve", "Dan"]
    assert list(table["patient_label"]) == ["ill", "ill", "ill", "well"]
    assert list(table["role"].fillna("-")) == ["train", "train", "-", "test"]
    assert list(table["sex"].fillna("-")) == ["F", "F", "-", "-"]


def test_blank_rows_are_skipped_but_counted_in_row_numbers(tmp_path):
    made.folder(tmp_path)
    path = tmp_path / "recordings.csv"
    path.write_text("path,label\na.wav,ill\n\n,\nb.wav,well\n\n\n")
    assert list(read(tmp_path)["path"]) == ["a.wav", "b.wav"]
    path.write_text("path,label\na.wav,ill\n\n,\nb.wav,\n")
    with pytest.raises(
        MurmurError, match=r"recordings\.csv: row 5: label is empty; fill it in or remove the row"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.wav,ill\n", r"no column path; .*\(it is 'file, label'\)"),
        ("path;label\na.wav;ill\n", "no column path, label; .* separated by commas: .*'path;label'"),
        (
            "path,label,lable\na.wav,ill,x\n",
            "unknown column lable; remove it or rename it; the columns are path, label, p",
        ),
        ("path,label,label\na.wav,ill,x\n", "the column label occurs twice; keep one"),
        ("path,label,label \na.wav,ill,x\n", "the column label occurs twice; keep one"),
        ("path,label,\na.wav,ill,x\n", "column 3 has no name"),
        ("path,label\na.wav,ill\n,well\n", "row 3: path is empty"),
        ("path,label\na.wav,nan\n", "row 2: label is empty"),
        ("path,label\na.wav,ill\nb.wav,NA\n", "row 3: label is empty; fill it in or remove the row"),
        ("path,label\na.wav,ill\nb.wav,ill\na.wav,well\n", "row 4: recording a is in two rows; keep one row"),
        ("path,label\na.wav,ill\n./a.wav,ill\n", "row 3: recording a is in two rows"),
        ("path,label\na.wav,ill\na.flac,ill\n", "row 3: recording a is in two rows; .*rename a file"),
        ("path,label\na.wav,ill\n../b.wav,ill\n", r"row 3: \.\./b\.wav is not a path inside the folder"),
        ("path,label\n/tmp/a.wav,ill\n", r"row 2: /tmp/a\.wav is not a path inside the folder"),
        ("path,label\n.,ill\n", r"row 2: \. is not a path inside the folder"),
        ("path,label,role\na.wav,ill,train\nb.wav,ill,Test\n", "row 3: role is not train or test; write one"),
        ("path,label,quality\na.wav,ill,poor\nb.wav,ill,bad\n", "row 3: quality is not good or poor; write"),
        ("path,label,patient_id\na.wav,ill,1\nb.wav,well,1\n", "row 2: .* patient 1 differ .*patient_label"),
        ("path,label,patient_id,patient_label\na,x,1,x\nb,x,2,x\nc,y,2,y\n", "row 3: .* patient 2 differ"),
        (
            "path,label,patient_id,person_id\na,x,1,A\nb,x,1,B\n",
            "row 2: patient 1 has more than one person_id",
        ),
        ("path,label,patient_id,person_id\na,x,1,A\nb,x,1,\n", "row 3: person_id is empty; write the id in"),
        ("path,label,patient_id\na,x,1\nb,x,\nc,y,2\n", "row 3: patient_id is empty; .*cells were merged"),
        ("path,label,patient_id\na,x,1\nb,x,nan\nc,y,2\n", "row 3: patient_id is empty"),
        ("path,label,patient_id\na,x,1\nb,x,N/A\n", "row 3: patient_id is 'N/A', which is not an id; write"),
        ("path,label,patient_id\na,x,1\nb,x,#N/A\n", "row 3: patient_id is #N/A, a spreadsheet's error; wri"),
        ("path,label\na,#REF!\n", "row 2: label is #REF!, a spreadsheet's error"),
        ("path,label\na,=1+1\n", "row 2: label is '=1.1', a spreadsheet's formula; change it"),
        ('path,label,patient_id\na,x,="007"\n', "row 2: patient_id is .*, a spreadsheet's formula"),
        ("path,label,sex\na,x,@SUM(A1)\n", "row 2: sex is '@SUM.A1.', a spreadsheet's formula"),
        ("path,label,source\na,x,-2+cmd|' /C x'!A1\n", "row 2: source is .*, a spreadsheet's formula"),
        (
            "path,label\na.wav,ill,\nb.wav,ill,\n",
            "a row has too many fields: row 2 has 3, not 2; put text with a comma in quotes",
        ),
        ("path,label\na.wav,ill\nb.wav,ill,7\n", "a row has too many fields: row 3 has 3, not 2"),
        ('path,label\n"a.wav,ill\nb.wav,ill\n', "cannot be read .line 3: unexpected end"),
        ("path\tlabel\na\tx\n", "no column path, label; .*commas"),
        (f"path,label\n{'a' * 5000}.wav,ill\n", r"row 2: path has 5004 characters \(a+…\), more than 1000"),
        ("path,label\na\x07.wav,ill\n", "row 2: path holds a control character"),
        ("path,label\n", "has no rows"),
        ("", "cannot be read"),
        ("path,label\na.wav,sténose\n", "cannot be read .*; save it as CSV in UTF-8"),
    ],
)
def test_an_error_in_the_table_is_named(tmp_path, text, words):
    (tmp_path / "recordings.csv").write_text(text, encoding="latin-1")
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/recordings\.csv: {words}"):
        read(tmp_path)


@pytest.mark.parametrize("absolute", [True, False])
def test_recordings_of_every_format_are_imported(tmp_path, monkeypatch, absolute):
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
        MurmurError,
        match=r"own/c\.wav: the table names this file, but it is missing \(1 missing in all\); add",
    ):
        made.download("folder", tmp_path / "out", options={"path": str(root)}, positive=["ill"])


def write_column(root, column, *values, **more):
    """Generate a folder whose table has these values in one column, one recording per value."""
    base = [row(f"{k}.wav", "ill" if k % 2 else "well") | more | {column: v} for k, v in enumerate(values)]
    return made.folder(root, base)


@pytest.mark.parametrize("column", ["patient_id", "label", "site", "sex"])
@pytest.mark.parametrize(
    "spelling", ["p1 ", " p1", "p1\u00a0", "\u200bp1", "\ufeffp1", "p1\t", "\u3000p1\u2009"]
)
def test_white_space_around_a_value_is_ignored(tmp_path, column, spelling):
    table = read(write_column(tmp_path, column, "p1", spelling, patient_label="x"))
    assert list(table[column]) == ["p1", "p1"]


def test_inner_white_space_and_accents_are_normalised(tmp_path):
    table = read(write_column(tmp_path, "site", "upper  left", "upper\u00a0left", "e\u0301", "\u00e9"))
    assert list(table["site"]) == ["upper left"] * 2 + ["\u00e9"] * 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *[("p1", "P1"), ("1", "1.0"), ("7", "007"), ("12", "12."), ("p 1", "p1"), ("Stra\u00dfe", "STRASSE")],
        *[
            ("P1", "P01"),
            ("p-1", "P_1"),
            ("p 01", "P1."),
            ("p7", "P\u0667"),
            ("P1", "\u0420" + "1"),
        ],
        *[("KIZ", "k\u0131z"), ("\u0130z", "iz"), ("a 1", "A-001"), ("No. 7", "no.7"), ("1-1", "01_01")],
        *[("1000", "1e3"), ("1", "\uff11"), ("p-1", "p\u20131"), ("xy", "x\u200cY")],
    ],
)
@pytest.mark.parametrize("column", ["patient_id", "person_id", "label", "patient_label", "sex", "site"])
def test_two_spellings_of_one_name_are_refused(tmp_path, column, first, second):
    more = {} if column == "patient_label" else {"patient_label": "x"}
    root = write_column(tmp_path, column, first, "q", second, **more)
    fault = f"{column} {second!r} differs from {first!r} of row 2 only in how it is written"
    words = f"recordings.csv: row 4: {fault}"
    with pytest.raises(MurmurError, match=re.escape(words)):
        read(root)


@pytest.mark.parametrize(
    "names", [("A1-1", "A11"), ("1.01", "1.1"), ("-1", "1"), ("1-1", "11"), ("p1?", "p1")]
)
def test_ids_that_differ_in_punctuation_are_different(tmp_path, names):
    assert list(read(write_column(tmp_path, "patient_id", *names))["patient_id"]) == list(names)


@pytest.mark.parametrize("value", ["1.23457E+11", "1,2E+05", "5E+15"])
def test_ids_that_a_spreadsheet_rounded_are_refused(tmp_path, value):
    words = re.escape(f"row 3: patient_id is {value}, a number that a spreadsheet has rounded")
    with pytest.raises(MurmurError, match=words):
        read(write_column(tmp_path, "patient_id", "123456", f'"{value}"'))


@pytest.mark.parametrize("missing", ["", "NA", "n/a", "<NA>", "NULL", "nan"])
def test_missing_values_are_recognised(tmp_path, missing):
    columns = ["patient_label", "role", "sex", "age_group", "quality"]
    rows = [row("a.wav", **dict.fromkeys([*columns, "site", "source"], missing)), row("none.wav", "none")]
    made.folder(tmp_path)
    made.write_csv(tmp_path / "recordings.csv", [dict.fromkeys(rows[0], "") | r for r in rows])
    table = read(tmp_path).reset_index()
    assert table.loc[0, ["patient_label", "site", "source"]].to_list() == ["ill", "unspecified", "folder"]
    assert table[["role", "sex", "age_group", "quality"]].isna().all(axis=None)
    assert table["label"][1] == "none"


def test_a_person_has_one_sex_and_one_row_with_it_is_enough(tmp_path):
    ids = {"patient_label": "x", "person_id": "A"}
    table = read(write_column(tmp_path, "sex", "", "F", "", **ids, patient_id="p"))
    assert list(table["sex"]) == ["F"] * 3
    with pytest.raises(MurmurError, match="row 2: the recordings of patient p differ in sex; correct it, or"):
        read(write_column(tmp_path, "sex", "M", "F", **ids, patient_id="p"))
    rows = [row(f"{k}.wav", patient_id=f"p{k}", person_id="A", sex="MF"[k]) for k in range(2)]
    with pytest.raises(MurmurError, match="row 2: the recordings of patient p0 differ in sex"):
        read(made.folder(tmp_path, rows))


@pytest.mark.parametrize("names", [("p1", "p10"), ("1.1", "1.10"), ("1 1", "11"), ("a", "b"), ("1", "2")])
def test_different_names_are_different_patients(tmp_path, names):
    assert list(read(write_column(tmp_path, "patient_id", *names))["patient_id"]) == list(names)


def test_letters_that_look_alike_are_shown_by_their_codes(tmp_path):
    words = r"row 3: .* of row 2 only in how it is written ('\u0440' and 'p'); write both in the same way"
    with pytest.raises(MurmurError, match=re.escape(words).replace(r"\.\*", ".*")):
        read(write_column(tmp_path, "patient_id", "p", "\u0440"))


def test_a_label_is_compared_with_the_patients_labels(tmp_path):
    rows = [row("a.wav", "ill", patient_label="ill"), row("b.wav", "ill", patient_label="Ill")]
    with pytest.raises(MurmurError, match="row 3: patient_label 'Ill' differs from 'ill' of row 2"):
        read(made.folder(tmp_path, rows))


def test_an_empty_column_of_ids_is_ignored(tmp_path):
    table = read(write_column(tmp_path, "patient_id", "", "", person_id=""))
    assert list(table["patient_id"]) == ["0", "1"] and table["person_id"].isna().all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label\na.wav,ill\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04", "a ZIP archive or a workbook"),
        ("path,label\na.wav,ill\n".encode("utf-16-le"), "NUL"),
    ],
)
def test_files_that_are_not_csv_in_utf8_are_refused(tmp_path, content, words):
    (tmp_path / "recordings.csv").write_bytes(content)
    with pytest.raises(MurmurError, match=rf"recordings\.csv: cannot be read \(.*{words}.*save it as CSV"):
        read(tmp_path)


def test_files_are_found_if_accents_or_spaces_differ_in_form(tmp_path):
    made.audio(tmp_path / "e\u0301  1.wav")
    made.write_csv(tmp_path / "recordings.csv", [row("\u00e9 1.wav")])
    assert list(read(tmp_path)["path"]) == ["e\u0301  1.wav"]
    made.audio(tmp_path / "\u00e9 1.wav")
    with pytest.raises(MurmurError, match=r"row 2: path \S 1\.wav matches .*give the files other names"):
        read(tmp_path)


def test_a_table_one_folder_deeper_is_found(tmp_path):
    made.folder(tmp_path / "deep")
    with pytest.raises(
        MurmurError, match=rf"recordings\.csv: cannot .*; it is in {tmp_path}/deep: move its content"
    ):
        read(tmp_path)


def download(root, out, **options):
    keys = {"options": {"path": str(root)} | options, "positive": ["ill"]}
    return made.download("folder", out, **keys)


AUDIO_FOLDER = "file_name,label,patient_id\ntrain/a.wav,ill,p1\ntest/b.wav,well,p2\n"


def test_the_table_of_an_audio_folder_is_read(tmp_path, capsys):
    for name in ("train/a.wav", "test/b.wav"):
        made.audio(tmp_path / "own" / name)
    (tmp_path / "own/metadata.csv").write_text(AUDIO_FOLDER)
    recordings, card, left_out = download(tmp_path / "own", tmp_path / "out")
    assert recordings["path"].tolist() == ["train/a.wav", "test/b.wav"] and left_out.empty
    assert recordings["person_id"].tolist() == ["p1", "p2"] and recordings["role"].isna().all()
    assert card.persons == "each patient_id of metadata.csv is a person"
    words = "the folders test, train are not used as a split; to use them, add a column role (train, test)"
    assert words in capsys.readouterr().out
    (tmp_path / "own/metadata.csv").write_text(
        AUDIO_FOLDER.replace("\n", ",train\n").replace("id,train", "id,role")
    )
    assert set(download(tmp_path / "own", tmp_path / "out")[0]["role"]) == {"train"}
    assert "not used as a split" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\na.wav,ill\n", "no column file_name; .* separated by commas: file_name,label and"),
        (
            "file_name,label,text\na.wav,ill,x\n",
            "unknown column text; remove it or rename it; the columns are file_name, label",
        ),
        ("file_name,label\n,ill\n", "row 2: file_name is empty"),
        ("file_name,label\n../a.wav,ill\n", r"row 2: \.\./a\.wav is not a path inside the folder"),
        ("file_name,label\na.wav,NA\n", "row 2: label is empty"),
    ],
)
def test_an_error_in_the_table_of_an_audio_folder_is_named(tmp_path, text, words):
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/metadata\.csv: {words}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("make_table", "words"),
    [(os.mkfifo, "not an ordinary file"), (lambda p: p.symlink_to("/nix"), "No such")],
)
def test_a_table_that_is_a_pipe_or_a_dangling_link_is_named(tmp_path, make_table, words):
    root = made.folder(tmp_path / "own")
    (root / "recordings.csv").unlink()
    make_table(root / "metadata.csv")
    with pytest.raises(MurmurError, match=rf"own/metadata\.csv: cannot be read \(.*{words}"):
        read(root)


def test_two_tables_or_an_audio_folder_of_another_form_are_refused(tmp_path):
    made.folder(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,label\na.wav,ill\n")
    with pytest.raises(MurmurError, match=r"holds both recordings\.csv and metadata\.csv; delete or"):
        read(tmp_path)
    chosen = folder.Options(path=str(tmp_path), csv="metadata.csv")
    assert folder.read(tmp_path, chosen, "murmur").recordings["path"].tolist() == ["a.wav"]
    (tmp_path / "recordings.csv").unlink()
    (tmp_path / "train").mkdir()
    (tmp_path / "metadata.csv").rename(tmp_path / "train/metadata.csv")
    with pytest.raises(MurmurError, match=r"train/metadata\.csv: the table must be \S+/metadata\.csv; wri"):
        read(tmp_path)
    (tmp_path / "metadata.jsonl").touch()
    with pytest.raises(MurmurError, match=r"metadata\.jsonl: of an AudioFolder only metadata\.csv is read"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["p1/r.dat", "p1/r"])
def test_the_header_of_a_record_must_be_named(tmp_path, name):
    made.record(tmp_path / "p1/r.hea", made.noise()[:, None].astype(int))
    made.write_csv(tmp_path / "recordings.csv", [row("a.wav"), row(name)])
    with pytest.raises(MurmurError, match=r"csv: row 3: name the header of the WFDB record, p1/r\.hea$"):
        read(tmp_path)


def test_links_to_folders_are_refused_since_dvc_ignores_them(tmp_path):
    root = made.folder(tmp_path / "own", [row("deep/a.wav"), row("deep/b.wav", "well")])
    download(root, tmp_path / "out")
    (root / "deep").rename(tmp_path / "other")
    (root / "deep").symlink_to(tmp_path / "other")
    with pytest.raises(MurmurError, match=rf"own/deep: a link to a folder, .*to {tmp_path}/other$"):
        download(root, tmp_path / "out")
    (root / "deep").unlink()
    (root / "deep").mkdir()
    (root / "deep/a.wav").symlink_to(tmp_path / "other/a.wav")  # DVC hashes the target of a link to a file
    (root / "deep/b.wav").hardlink_to(tmp_path / "other/b.wav")
    (tmp_path / "link").symlink_to(root)
    assert len(download(tmp_path / "link", tmp_path / "out")[0]) == 2
    (root / ".dvcignore").write_text("*.wav")
    with pytest.raises(MurmurError, match=r"own/\.dvcignore: hides recordings from DVC; delete it"):
        download(root, tmp_path / "out")


@pytest.mark.parametrize("name", ["../recordings.csv", "/tmp/recordings.csv", ".git/recordings.csv"])
def test_a_table_outside_the_folder_is_refused(tmp_path, name):
    with pytest.raises(MurmurError, match=r"download\.folder\.csv: \S+ is not in the folder .*put the table"):
        download(made.folder(tmp_path / "own"), tmp_path / "out", csv=name)


def test_own_recordings_are_shareable_only_if_their_owner_permits_it(tmp_path):
    root = made.folder(tmp_path / "own")
    _, card, _ = download(root, tmp_path / "out")
    assert not card.shareable and "owner" in card.licence
    keys = {"options": {"path": str(root)}, "positive": ["ill"], "remote": None}
    with pytest.raises(MurmurError, match=r"^download\.remote: .*may_be_passed_on=true$"):
        made.download("folder", tmp_path / "out", **keys)
    keys["options"]["may_be_passed_on"] = True
    assert made.download("folder", tmp_path / "out", **keys)[1].shareable


def test_unknown_persons_are_counted(tmp_path):
    _, card, _ = download(made.folder(tmp_path / "own"), tmp_path / "out")
    assert card.unknown_persons == 4 and "each recording counts as a person" in card.persons
    rows = [values | {"patient_id": str(k)} for k, values in enumerate(made.OWN)]
    _, card, _ = download(made.folder(tmp_path / "own", rows), tmp_path / "out")
    assert card.names_all_persons and card.persons == "each patient_id of recordings.csv is a person"


def test_a_name_that_is_not_utf8_is_listed(tmp_path):
    root = made.folder(tmp_path / "own")
    shutil.copy(root / "a.wav", os.fsencode(root) + b"/Aufnahme_\xe4.wav")
    shutil.copy(root / "a.wav", root / "new\nline.wav")
    _, _, left_out = download(root, tmp_path / "out")
    parquet.write(left_out, tmp_path / "left_out.parquet", LEFT_OUT)
    assert sorted(left_out["item"]) == [r"Aufnahme_\udce4.wav", r"new\nline.wav"]


def test_a_file_whose_name_is_a_formula_is_listed_safely(tmp_path):
    root = made.folder(tmp_path / "own")
    for name in ("=HYPERLINK(1).wav", "-1.wav", "@eaDir.wav"):
        shutil.copy(root / "a.wav", root / name)
    _, _, left_out = download(root, tmp_path / "out")
    assert sorted(left_out["item"]) == ["-1.wav", "./=HYPERLINK(1).wav", "@eaDir.wav"]


@pytest.mark.parametrize("label", ["-1", "+1", "+", "-", "=", "-ve (faint)", "@home", "a=b(c)", "<5"])
def test_labels_that_look_like_formulas_are_allowed(tmp_path, label):
    (tmp_path / "recordings.csv").write_text(f'path,label\na.wav,"{label}"\n')
    (tmp_path / "a.wav").touch()
    assert list(read(tmp_path)["label"]) == [label]


def test_a_folder_without_its_files_is_named(tmp_path):
    root = made.folder(tmp_path / "own")
    (root / "own").mkdir()
    for name in "abcd":
        (root / f"{name}.wav").rename(root / f"own/{name}.wav")
    words = rf"own/a\.wav: none of the files .* \(4\) exists; expected in {root}; .*\(4 in {root}/own\): move"
    with pytest.raises(MurmurError, match=words):
        download(root, tmp_path / "out")


def test_a_sample_rate_that_predicts_the_class_is_noted(tmp_path, capsys):
    root = made.folder(tmp_path / "own")
    recordings, card, left_out = download(root, tmp_path / "out")
    assert len(summarise_recordings(recordings, card, left_out)) == 1
    log_rate_differences(recordings)
    assert "note" not in capsys.readouterr().out
    for name in "ac":
        made.audio(root / f"{name}.wav", rate=1000)
    recordings, card, left_out = download(root, tmp_path / "out")
    log_rate_differences(recordings)
    assert capsys.readouterr().out.endswith(
        "note: recorded rates differ by class: ill 1000 Hz (2); well 4000 Hz (2); predictions from the rate "
        "alone would have an unweighted average recall of 1.00 (0.50 by chance)\n"
    )
    summary = summarise_recordings(recordings, card, left_out)
    assert summary == ["4 recordings, all of unknown persons; 0 left out"]


def test_unused_recordings_in_the_own_folder_are_noted(tmp_path, capsys):
    made.folder(tmp_path / "own")
    section = Download(limit=None, on_bad="error", remote="private", folder={"path": str(tmp_path / "own")})
    _log_unused_folder("folder", section)
    assert capsys.readouterr().out == ""
    _log_unused_folder("synthetic", section)
    assert "own holds 4 recordings, and dvc.lock records its size" in capsys.readouterr().out


def annotate(root, *rows):
    made.folder(root)
    columns = ("path", "start", "end", "event")
    made.write_csv(root / "annotations.csv", [dict(zip(columns, row, strict=True)) for row in rows])
    return folder.read(root, folder.Options(path=str(root)), "murmur").annotations


def test_annotations_are_read(tmp_path):
    table = annotate(tmp_path, ("./b.wav", "0.1", "0.2", "S1"), ("a.wav", "0", "3e-1", "murmur"))
    columns = table[["recording_id", "start", "end", "event"]]
    assert columns.to_numpy().tolist() == [["b", 0.1, 0.2, "S1"], ["a", 0.0, 0.3, "murmur"]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("e.wav", "0", "1", "S1"), "row 3: no recording has the path e.wav; write it as in the other table"),
        (("a.wav", "0", "1", "s1"), "row 3: event is not one of S1, systole, S2, diastole, murmur; correct"),
        (("a.wav", "0", "x", "S1"), "row 3: start and end are not an interval in s; correct or remove"),
        (("a.wav", "1", "1", "S1"), "row 3: start and end are not an interval"),
        (("a.wav", "-1", "1", "S1"), "row 3: start and end are not an interval"),
        (("a.wav", "0", "inf", "S1"), "row 3: start and end are not an interval"),
        (("a.wav", "", "1", "S1"), "row 3: start and end are not an interval"),
    ],
)
def test_wrong_annotations_are_named(tmp_path, row, words):
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/annotations\.csv: {words}"):
        annotate(tmp_path, ("a.wav", "0", "0.1", "S1"), row)
