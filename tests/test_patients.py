"""Paths name patients: files, folders with their subfolders, and CSV files."""

import os
from pathlib import Path

import pytest

from murmur.errors import MurmurError
from murmur.inference.patients import find_patients
from tests import made

CIRCOR = Path(os.environ.get("MURMUR_DATA", "unset")) / "circor"


def put(root, *names):
    """Write a recording of each name (other audio for each), or a text."""
    for name in names:
        path = root / name
        if path.suffix in {".wav", ".flac", ".ogg", ".mp3"}:
            made.audio(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")
    return root


def show(patients):
    """{patient: [name, or site:name]}."""
    return {
        p.patient_id: [f"{r.site}:{r.name}" if r.site else r.name for r in p.recordings] for p in patients
    }


def test_files_with_the_same_id_in_the_same_folder_are_of_one_patient(tmp_path):
    names = (
        "p1_AV.wav",
        "p1_phc_2.flac",
        "p1_MV_1.wav",
        "p_1_TV.ogg",
        "p2_AV.wav",
        "rest.flac",
        "p1_XX.wav",
        "_AV.wav",
    )
    patients = find_patients([put(tmp_path, *names)])
    assert show(patients) == {
        "_AV": ["_AV.wav"],
        "p1": ["AV:p1_AV.wav", "MV:p1_MV_1.wav", "Phc:p1_phc_2.flac"],
        "p1_XX": ["p1_XX.wav"],
        "p2": ["AV:p2_AV.wav"],
        "p_1": ["TV:p_1_TV.ogg"],
        "rest": ["rest.flac"],
    }
    assert patients[1].recordings[0].path == tmp_path / "p1_AV.wav"
    files = [tmp_path / "p2_AV.wav", str(tmp_path / "p1_MV_1.wav"), tmp_path / "p1_AV.wav"]
    assert show(find_patients(files)) == {"p2": ["AV:p2_AV.wav"], "p1": ["MV:p1_MV_1.wav", "AV:p1_AV.wav"]}


def test_patients_with_the_same_id_in_two_folders_stay_apart(tmp_path):
    put(tmp_path, "a/1_AV.wav", "a/1_MV.wav", "b/c/1_PV.wav", "1.ogg", "2.ogg")
    assert show(find_patients([tmp_path])) == {
        str(tmp_path / "1.ogg"): ["1.ogg"],
        "2": ["2.ogg"],
        str(tmp_path / "a/1"): ["AV:1_AV.wav", "MV:1_MV.wav"],
        str(tmp_path / "b/c/1"): ["PV:1_PV.wav"],
    }


def test_what_is_not_audio_is_not_used_and_counted_on_one_line(tmp_path, capsys):
    put(tmp_path, "1_AV.wav", "1.txt", "1_AV.tsv", ".hidden.wav", ".git/2_AV.wav")
    assert show(find_patients([tmp_path])) == {"1": ["AV:1_AV.wav"]}
    assert capsys.readouterr().out == ""
    (tmp_path / "1_AV.hea").write_text("1_AV 1 4000 2000\n1_AV.wav 16+44 1(0)/mV 16 0 0 0 0 AV\n")
    put(tmp_path, "LICENSE", "notes.pdf", "more/1_AV.txt", "more/z.json", "text.wav")
    (tmp_path / "text.wav").write_text("text")
    (tmp_path / "no_suffix").write_bytes(made.audio(tmp_path / "x/a.wav").read_bytes())
    (tmp_path / "x/a.wav").unlink()
    assert list(show(find_patients([tmp_path]))) == ["1", "no_suffix", "text"]
    note = f"{tmp_path}: not used, because it is not audio: 4 files (LICENSE, more/1_AV.txt, more/z.json, …)"
    assert capsys.readouterr().out == f"note: {note}\n"


def test_a_folder_without_audio_is_refused(tmp_path):
    with pytest.raises(
        MurmurError, match=r"no audio in this folder; name an audio file or a folder with some"
    ):
        find_patients([tmp_path])
    put(tmp_path, *(f"{k}.txt" for k in range(5)))
    with pytest.raises(MurmurError, match=r"\(it holds 5 files \(0\.txt, 1\.txt, 2\.txt, …\)\)"):
        find_patients([tmp_path])
    with pytest.raises(MurmurError, match="an empty path"):
        find_patients([""])


def test_records_are_found_by_their_header(tmp_path):
    made.record(tmp_path / "1_AV.hea", (made.noise(seed=1)[:, None] * 2**15).astype(int))
    made.audio(tmp_path / "1_PV.wav")
    (tmp_path / "1_PV.hea").write_text("1_PV 1 4000 2000\n1_PV.wav 16+44 1(0)/mV 16 0 0 0 0 PV\n")
    assert show(find_patients([tmp_path])) == {"1": ["AV:1_AV.hea", "PV:1_PV.wav"]}
    headers = [tmp_path / "1_AV.hea", tmp_path / "1_PV.hea"]
    assert show(find_patients(headers)) == {"1": ["AV:1_AV.hea", "PV:1_PV.wav"]}


def test_a_file_that_is_named_twice_is_used_once(tmp_path, monkeypatch, capsys):
    put(tmp_path, "d/1_AV.wav", "d/b.wav")
    (tmp_path / "link").symlink_to("d")
    monkeypatch.chdir(tmp_path)
    paths = ["d/b.wav", "d", "link/1_AV.wav", tmp_path / "d/../d/b.wav", "./d/"]
    assert show(find_patients(paths)) == {"b": ["b.wav"], "1": ["AV:1_AV.wav"]}
    assert "note: named twice and used once: 5 files (d/b.wav, link/1_AV.wav, " in capsys.readouterr().out


def test_the_same_audio_is_used_once_unless_two_patients_have_it(tmp_path, capsys):
    x = made.noise()
    for name in ("1_AV.wav", "1_AV.flac", "1_PV.wav", "2_AV.wav", "copy.wav", "other copy.flac"):
        made.audio(tmp_path / name, x)
    made.audio(tmp_path / "3_AV.wav", made.noise(seed=5))
    made.audio(tmp_path / "cut.wav", x)
    made.cut(tmp_path / "cut.wav")
    assert show(find_patients([tmp_path])) == {
        "1": ["AV:1_AV.flac"],
        "2": ["AV:2_AV.wav"],
        "3": ["AV:3_AV.wav"],
        "cut": ["cut.wav"],  # the error is found when it is read
    }
    output = capsys.readouterr().out
    assert "not used, because another has the same audio: 4 recordings (" in output
    assert f"warning: two patients have the same audio: 1 recording ({tmp_path}/2_AV.wav = " in output


def test_links_and_names_that_are_not_utf8(tmp_path, capsys):
    put(tmp_path, "d/a.wav", "outside/1_AV.wav")
    (tmp_path / "d/loop").symlink_to(tmp_path / "d")
    (tmp_path / "d/more").symlink_to(tmp_path / "outside")
    (tmp_path / "d/broken.wav").symlink_to("nothing.wav")
    (tmp_path / "d/other.txt").symlink_to("nothing.txt")
    os.mkfifo(tmp_path / "d/pipe.wav")
    name = os.fsdecode(b"\xff\xfe.wav")
    made.audio(tmp_path / "b.wav").rename(tmp_path / "d" / name)
    patients = show(find_patients([tmp_path / "d"]))
    assert patients == {"a": ["a.wav"], "broken": ["broken.wav"], name[:-4]: [name], "1": ["AV:1_AV.wav"]}
    assert "not used, because it is not audio: 2 files (other.txt, pipe.wav)" in capsys.readouterr().out


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, capsys):
    put(tmp_path, "a.wav", "closed/b.wav")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert show(find_patients([tmp_path])) == {"a": ["a.wav"]}
    assert f"warning: {tmp_path}/closed: Permission denied; " in capsys.readouterr().out


def write_table(root, text):
    put(root, "d/a.wav", "d/b.flac", "c é.wav")
    (root / "t.csv").write_text(text, encoding="utf-8")
    return [root / "t.csv"]


@pytest.mark.parametrize("column", ["path", "recording", "file_name"])
def test_a_csv_names_patients(tmp_path, column):
    text = f"site,patient_id,{column},age\nAV,p1,d/a.wav,3\n,p2,c é.wav,\nPV, p1 ,{tmp_path}/d/b.flac,3\n"
    assert show(find_patients(write_table(tmp_path, text))) == {
        "p1": ["AV:a.wav", "PV:b.flac"],
        "p2": ["c é.wav"],
    }


def test_a_csv_need_not_have_sites(tmp_path):
    paths = write_table(tmp_path, "patient_id,path\n1,d/a.wav\n")
    assert show(find_patients(paths)) == {"1": ["a.wav"]}
    made.audio(tmp_path / "1_AV.wav")
    both = show(find_patients([*paths, tmp_path / "1_AV.wav"]))
    assert both == {f"{tmp_path}/t.csv:1": ["a.wav"], f"{tmp_path}/1": ["AV:1_AV.wav"]}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("path\na.wav\n", "no column patient_id; save a CSV"),
        ("patient_id,file\n1,a.wav\n", "has no column path; save a CSV"),
        ("patient_id,path,recording\n1,a,b\n", "has both path and recording"),
        ("patient_id,path\n1,d/a.wav\n1,d/x.wav\n", "row 3: no file .*d/x.wav; correct the path"),
        ("patient_id,path\n1,d\n", "row 2: no file .*/d; correct"),
        ("patient_id,path\n1,d/a.wav\n2,./d/a.wav\n", "row 3: ./d/a.wav is also in a row before"),
        ("patient_id,path\np1,d/a.wav\nP-1,d/b.flac\n", "row"),
        ("patient_id,path\n1,\n", "row 2: path is empty"),
        (",path\n1,d/a.wav\n", "no column patient_id"),
    ],
)
def test_errors_of_a_csv_name_the_row(tmp_path, text, error):
    with pytest.raises(MurmurError, match=rf"t\.csv: .*{error}"):
        find_patients(write_table(tmp_path, text))


def test_a_missing_file_is_a_patient_whose_recording_cannot_be_read(tmp_path):
    assert show(find_patients([put(tmp_path, "a.wav") / "a.wav", tmp_path / "b.wav"])) == {
        "a": ["a.wav"],
        "b": ["b.wav"],
    }


@pytest.mark.skipif(not CIRCOR.exists(), reason="needs MURMUR_DATA with circor")
def test_circor():
    patients = find_patients([CIRCOR])
    assert len({p.patient_id for p in patients}) == len(patients)
    assert all(r.name.startswith(f"{p.patient_id}_{r.site}") for p in patients for r in p.recordings)
    assert sum(len(p.recordings) for p in patients) == len([*CIRCOR.rglob("*.wav")])
