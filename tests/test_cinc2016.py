"""The reader of the challenge's six sets, on generated data with the errors of the public copy."""

import shutil
import zipfile
from collections import Counter

import pytest

from murmur.datasets import _checksums, _fetch, _locations, cinc2016
from murmur.errors import MurmurError
from murmur.recordings.summary import summarise_recordings
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from tests import made

APPENDIX = "annotations/Online_Appendix_training_set.csv"


FLAGS = "annotations/updated/training-{}/REFERENCE_withSQI.csv"


def write_flags(root, name, text):
    """Write a set's quality flags to the file that PhysioNet has."""
    path = root / FLAGS.format(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read(root, **options):
    return cinc2016.read(root, cinc2016.Options(**options), "abnormal")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return made.cinc2016(tmp_path_factory.mktemp("cinc2016"), seconds=0.05)


@pytest.fixture
def import_cinc2016(tmp_path, monkeypatch):
    """Generate sets a and e in `$MURMUR_DATA/cinc2016`; return a function that imports them."""
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    made.cinc2016(tmp_path / "cinc2016", "ae", seconds=0.05)
    keys = {"task": "abnormal", "options": {"sets": ["a", "e"]}}
    return lambda **changes: made.download("cinc2016", tmp_path / "out", **keys | changes)


def test_every_set_is_a_source(tree):
    found = read(tree)
    table = found.recordings
    assert Counter(table["source"]) == {f"cinc2016/{name}": 4 for name in "abcdef"}
    assert list(table["label"][:4]) == ["abnormal", "normal"] * 2
    assert all((tree / path).is_file() for path in table["path"]) and found.left_out == []
    assert {"a0001", "e00001"} < set(table["recording_id"]) and table["recording_id"].is_unique
    assert (table["patient_id"] == table["recording_id"]).all()
    assert (table["patient_label"] == table["label"]).all()


def test_the_original_name_identifies_the_person(tree):
    persons = read(tree).recordings.set_index("recording_id")["person_id"]
    assert list(persons[["a0001", "a0002", "a0003"]]) == ["a_C0", "a_C0", "a_C1"]
    assert list(persons[["b0002", "b0003", "b0004"]]) == ["b_S0", "b_S1", "b_S1"]
    assert list(persons[["c0001", "c0004"]]) == ["c_id0", "c_id1"]
    assert persons[["d0001", "d0002", "f0001"]].isna().all(), "no person is named"
    # raw record 0 of the normal group and raw record 0 of the others are two persons
    assert persons["e00001"] == persons["e00003"] != persons["e00002"] == persons["e00004"]


def test_without_an_original_name_the_person_is_unknown(tmp_path):
    root = made.cinc2016(tmp_path, "ab", seconds=0.05)
    rows = (root / APPENDIX).read_text(encoding="utf-8").splitlines(keepends=True)
    (root / APPENDIX).write_text("".join([*rows[:2], rows[2].replace("C0S1b", "")]), encoding="utf-8")
    found = read(root, sets=["a"])
    assert list(found.recordings["person_id"].fillna("?")) == ["a_C0", "?", "?", "?"]
    assert found.persons == (
        f"the subject in the original name in {APPENDIX} (set a); no person is named and each "
        "recording counts as one (set part of a)"
    )
    (root / APPENDIX).unlink()
    found = read(root, sets=["a"])
    assert found.recordings["person_id"].isna().all() and found.persons.startswith(f"{APPENDIX} is missing")
    made.write_csv(root / APPENDIX, [{"Challenge record name": "a0001"}])
    with pytest.raises(MurmurError, match=r"training_set\.csv: no column Original record name, # Raw record"):
        read(root, sets=["a"])


def test_the_quality_comes_from_the_flags(tmp_path, capsys):
    root = made.cinc2016(tmp_path, "ab", seconds=0.05)
    assert read(root, sets=["a"]).recordings["quality"].isna().all()
    write_flags(root, "a", "a0003,1,1\na0001,1,1\na0002,-1,0\na0999,1,0\n")
    table = read(root, sets=["a", "b"]).recordings.set_index("recording_id")
    assert table["quality"].dropna().to_dict() == {"a0001": "good", "a0002": "poor", "a0003": "good"}
    notes = capsys.readouterr().out
    assert notes.endswith("SQI.csv: no quality flag for 1 of 4 recordings; they are used all the same\n")
    write_flags(root, "a", "a0001,-1,1\na0002,1,0\na0003,1,1\n")
    table = read(root, sets=["a"]).recordings
    assert list(table["label"]) == ["abnormal", "normal"] * 2
    assert (
        "REFERENCE_withSQI.csv: labels that differ from those of REFERENCE.csv, which are used: 2"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a0001,1,1\na0002,-1,2\n", r"row 2: the flag is not 1 \(good\) or 0 \(poor\)"),
        ("a0001,1,-1\n", "row 1: the flag is not 1"),
        ("a0001,1,1\na0002,-1\n", "row 2: the flag is not 1"),
        ("a0001,1\n", "row 1: the flag is not 1"),
        ("a0001,0,1\n", r"row 1: the value is not 1 \(abnormal\)"),
        ("a0001,1,1\na0001,1,0\n", "row 2: the recording is in two rows"),
        ("b0001,1,1\n", "row 1: the name is not a and a number"),
        ("name,label,SQI\na0001,1,1\n", "row 1: the name is not a and a number"),
        ("a0001,1,1,1\n", "a row has too many fields"),
        ("", "has no rows"),
    ],
)
def test_bad_flags_are_named(tmp_path, text, words):
    root = made.cinc2016(tmp_path, "a", seconds=0.05)
    write_flags(root, "a", text)
    with pytest.raises(MurmurError, match=rf"updated/training-a/REFERENCE_withSQI\.csv: {words}"):
        read(root, sets=["a"])


def test_the_quality_is_written_to_the_table(import_cinc2016, tmp_path):
    write_flags(tmp_path / "cinc2016", "e", "e00001,1,0\ne00002,-1,1\n")
    recordings, *_ = import_cinc2016()
    parquet.write(recordings, tmp_path / "recordings.parquet", RECORDINGS)
    table = parquet.read(tmp_path / "recordings.parquet", RECORDINGS).set_index("recording_id")
    assert table["quality"].dropna().to_dict() == {"e00001": "poor", "e00002": "good"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a0001,1\na0002,0\n", r"row 2: the value is not 1 \(abnormal\) or -1 \(normal\)"),
        ("a0001,1\na0002\n", "row 2: the value is not 1"),
        ("a0001,1\n\na0001,-1\n", "row 3: the recording is in two rows; keep one"),
        ("name,label\na0001,1\n", "row 1: the name is not a and a number"),
        ("a0001,1\nb0001,1\n", "row 2: the name is not a and a number"),
        ("a0001,1\n../a0001,1\n", "row 2: the name is not a and a number"),
        ("a0001,1,0\na0002,1,1\n", "a row has too many fields"),
        (",1\n", "row 1: recording_id is empty"),
        ("\n\n", "has no rows"),
        ("", "has no rows"),
        (None, "cannot be read"),
    ],
)
def test_bad_rows_are_named(tmp_path, text, words):
    (tmp_path / "training-a").mkdir()
    if text is not None:
        (tmp_path / "training-a/REFERENCE.csv").write_text(text)
    with pytest.raises(MurmurError, match=rf"training-a/REFERENCE\.csv: {words}"):
        read(tmp_path, sets=["a"])


def test_a_missing_set_is_named(import_cinc2016, tmp_path):
    with pytest.raises(MurmurError, match=r"cinc2016/training-b: no such folder; add it or remove b from"):
        import_cinc2016(options={})
    with pytest.raises(MurmurError, match=r"download\.cinc2016: sets\.0: .*'g'"):
        import_cinc2016(options={"sets": ["g"]})


def test_a_part_of_the_data_set_is_imported(import_cinc2016, tmp_path):
    root = tmp_path / "cinc2016"
    (root / "training-a/a0001.wav").unlink()
    made.audio(root / "training-a/a0009.wav")
    made.audio(root / "training-a/stray.wav")
    made.audio(root / "validation/a0002.wav")
    (root / "training-a/a0002.hea").write_text("a0002 2 2000 71332\na0002.wav 16+44\na0002.dat 16\n")
    recordings, card, left_out = import_cinc2016(options={"sets": ["a"]})
    assert list(recordings["recording_id"]) == ["a0002", "a0003", "a0004"]
    assert set(recordings["source"]) == {"cinc2016/a"} and set(recordings["sample_rate"]) == {2000}
    assert (card.classes, card.positive) == (("abnormal", "normal"), ("abnormal",))
    assert dict(left_out[["item", "reason"]].values) == {
        **{f"training-e/e0000{k}.wav": "download.cinc2016.sets leaves its set out" for k in range(1, 5)},
        "training-a/a0009.wav": "training-a/REFERENCE.csv has no row for it",
        "training-a/stray.wav": "no table names this file",
        "validation/a0002.wav": "validation/ holds copies of training recordings",
        "a0001": "the file is missing",
    }


def test_checksums_are_verified(import_cinc2016, tmp_path):
    (tmp_path / "cinc2016/SHA256SUMS.txt").write_text(f"{'0' * 64} training-a/a0001.wav\n")
    with pytest.raises(MurmurError, match=r"training-a/a0001\.wav: its sha256 is not the data set's"):
        import_cinc2016()


@pytest.fixture
def published(tree, tmp_path, monkeypatch):
    """Publish six ZIP files; return their folder, the list of requests, and a function that imports sets."""
    web, requests = tmp_path / "web", []
    shutil.copytree(tree / "annotations", web / "annotations")
    for name in "abcdef":
        shutil.make_archive(web / f"training-{name}", "zip", tree, f"training-{name}")
    sums = [f"{_checksums.file_sha256(p)} {p.relative_to(web)}\n" for p in web.rglob("*") if p.is_file()]
    (web / "SHA256SUMS.txt").write_text("".join(sums))

    def fetch_from_folder(address, files, folder):
        for name, checksum in files.items():
            requests.append(name)
            assert checksum == _checksums.file_sha256(web / name)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(web / name, folder / name)

    monkeypatch.delenv("MURMUR_DATA", raising=False)

    def fetch_checksums(address, folder):
        fetch_from_folder(address, {"SHA256SUMS.txt": _checksums.file_sha256(web / "SHA256SUMS.txt")}, folder)
        return _checksums.read_checksums(folder / "SHA256SUMS.txt")

    monkeypatch.setattr(_fetch, "fetch_files", fetch_from_folder)
    monkeypatch.setattr(_fetch, "fetch_checksums", fetch_checksums)
    monkeypatch.setattr(_locations, "cache_folder", lambda name: tmp_path / "cache" / name)
    return (
        web,
        requests,
        lambda *sets: made.download("cinc2016", tmp_path / "out", task="abnormal", options={"sets": sets}),
    )


def test_only_the_selected_sets_are_fetched(published, tmp_path):
    _, requests, import_sets = published
    recordings, *_ = import_sets("b")
    assert requests == ["SHA256SUMS.txt", "training-b.zip", APPENDIX]
    assert set(recordings["person_id"]) == {"b_S0", "b_S1"} and len(recordings) == 4
    cache = tmp_path / "cache/cinc2016"
    assert sorted(p.name for p in cache.iterdir()) == ["SHA256SUMS.txt", "annotations", "training-b"]
    assert (cache / "training-b/REFERENCE.csv").is_file(), "the archive's top folder is not repeated"
    recordings, _, left_out = import_sets("d", "b", "d")
    assert requests.count("training-b.zip") == requests.count("training-d.zip") == 1
    assert len(recordings) == 8 and left_out.empty


def test_published_flags_of_the_selected_sets_are_fetched(published, tmp_path):
    web, requests, import_sets = published
    for name in "bd":
        write_flags(web, name, f"{name}0001,1,1\n{name}0002,-1,0\n")
    with (web / "SHA256SUMS.txt").open("a") as sums:
        sums.writelines(f"{_checksums.file_sha256(web / f)} {f}\n" for f in map(FLAGS.format, "bd"))
    recordings, *_ = import_sets("b", "c")
    assert list(recordings["quality"].dropna()) == ["good", "poor"]
    zips = ["training-b.zip", "training-c.zip"]
    assert requests == ["SHA256SUMS.txt", *zips, APPENDIX, FLAGS.format("b")]


def test_a_bad_archive_leaves_no_output(published, tmp_path):
    web, _, import_sets = published
    path = web / "training-c.zip"

    def publish_sums():
        (web / "SHA256SUMS.txt").write_text(f"{_checksums.file_sha256(path)} training-c.zip\n")

    made.cut(path)
    publish_sums()
    with pytest.raises(MurmurError, match=r"training-c\.zip: cannot be unpacked"):
        import_sets("c")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("training-c/a.wav", "x")
        archive.writestr("training-c/../../escaped.wav", "x")
    publish_sums()
    with pytest.raises(
        MurmurError, match=r"training-c\.zip: .*escaped\.wav leads out of the folder; delete it"
    ):
        import_sets("c")
    assert not list(tmp_path.rglob("escaped.wav")) and not list((tmp_path / "cache").rglob("training-c*/*"))
    assert not (tmp_path / "out").exists()


def test_persons_and_licence_are_described():
    assert "counts as a person" in cinc2016.PERSONS and cinc2016.LICENCE == "ODC-By 1.0"


def test_unknown_persons_are_counted(import_cinc2016, tmp_path):
    _, card, _ = import_cinc2016()
    assert card.names_all_persons and card.persons.startswith("the subject") and "(set a, e)" in card.persons
    (tmp_path / "cinc2016" / APPENDIX).unlink()
    recordings, card, left_out = import_cinc2016()
    assert card.unknown_persons == len(recordings) == 8 and not card.names_all_persons
    assert (
        summarise_recordings(recordings, card, left_out)[0]
        == "8 recordings, all of unknown persons; 0 left out"
    )


def test_other_columns_of_the_appendix_are_ignored(tmp_path):
    root = made.cinc2016(tmp_path, "a")
    before = cinc2016._read_persons(root)
    lines = (root / APPENDIX).read_text(encoding="utf-8").splitlines()
    extra = [",Age,Age,", *(',#REF!,"' + "x" * 2000 + '\x07",y' for _ in lines[1:])]
    text = "\n".join(line + more for line, more in zip(lines, extra, strict=True))
    (root / APPENDIX).write_text(text, encoding="utf-8")
    assert before and cinc2016._read_persons(root) == before


def test_the_numbers_of_subjects_are_the_published_ones():
    names = {
        "a": [(f"a{k:04d}", f"C{k % 60 + 1}S{k // 60}b", "") for k in range(409)],
        "b": [(f"b{k:04d}", f"S{k % 106 + 1}f{k // 106}.e4k_data", "") for k in range(490)],
        "c": [(f"c{k:04d}", f"id{k}", "") for k in range(31)],
        "e": [(f"e{k:05d}", "e00079" if k % 404 < 200 else "14", f"{k % 404}.0") for k in range(2141)],
    }
    counts = {s: len({cinc2016._parse_person(*row) for row in rows}) for s, rows in names.items()}
    assert counts == {"a": 60, "b": 106, "c": 31, "e": 404}


def test_a_recording_with_two_subjects_is_named(tmp_path):
    root = made.cinc2016(tmp_path, "a", seconds=0.05)
    path = root / cinc2016.APPENDIX
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text + "a0001,training-a,C0S7b,\n")
    assert cinc2016._read_persons(root)["a0001"] == "a_C0"
    path.write_text(text + "a0001,training-a,C9S0b,\n")
    with pytest.raises(MurmurError, match=r"training_set\.csv: row 2: another row has another person"):
        cinc2016._read_persons(root)
