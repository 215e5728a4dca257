"""ZIP files that are damaged, dangerous or too large are refused."""

import stat
import zipfile

import pytest

from murmur.datasets import _archives
from murmur.errors import MurmurError
from tests import made


def archive(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as pack:
        for name, content in members:
            pack.writestr(name, content)
    return path


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def encrypted(path):
    data = archive(path, [("a.wav", b"0")], zipfile.ZIP_STORED).read_bytes()
    head = data.index(b"PK\x01\x02")
    path.write_bytes(data[:6] + b"\x01" + data[7 : head + 8] + b"\x01" + data[head + 9 :])
    return path


BOMB = [("a.wav", bytes(10**6))]
TOO_MUCH = r"1000000 bytes in all .files: 1. are more than such an archive may hold"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: archive(p, [("../a", b"")]), r"\.\./a leads out of the folder"),
        (lambda p: archive(p, [("/a", b"")]), "/a leads out of the folder"),
        (lambda p: archive(p, [("a/b/../../../c", b"")]), r"a/b/\.\./\.\./\.\./c leads out of the folder"),
        (lambda p: archive(p, [(special("a.wav", stat.S_IFLNK), b"/etc/passwd")]), r"a\.wav is a link"),
        (lambda p: archive(p, [(special("a.wav", stat.S_IFBLK), b"")]), r"a\.wav is a link or a device"),
        (lambda p: archive(p, [(special("a.wav", stat.S_IFIFO), b"")]), r"a\.wav is a link or a device"),
        (lambda p: archive(p, [("set/a.wav", b"1"), ("a.wav", b"2")]), r"it holds a\.wav twice"),
        (lambda p: archive(p, [("./a.wav", b"1"), ("a.wav", b"2")]), r"it holds \./a\.wav twice"),
        (
            lambda p: archive(p, [("a.wav", b"1"), ("A.WAV", b"2")]),
            r"it holds a\.wav twice .upper and",
        ),
        (lambda p: archive(p, [("\u00e9", b"1"), ("e\u0301", b"2")]), r"it holds \u00e9 twice"),
        (lambda p: archive(p, [("a", b"1"), ("a/b.wav", b"2")]), r"a/b\.wav is inside a, which is a file"),
        (lambda p: archive(p, [("A/b.wav", b"1"), ("a", b"2")]), r"A/b\.wav is inside a, which is a file"),
        (lambda p: archive(p, [("x" * 300, b"1")]), "File name too long"),
        (lambda p: archive(p, [("x/" * 30_000 + "a.wav", b"1")]), r"\.\.\. is a name of 60005 characters"),
        (lambda p: archive(p, BOMB), TOO_MUCH),
        (lambda p: archive(p, [(f"{k}.wav", b"") for k in range(6)]), "0 bytes in all .files: 6. are more"),
        (encrypted, "encrypted"),
        (lambda p: made.cut(archive(p, [("a.wav", b"1" * 99)])), "not a zip file"),
        (lambda p: p.mkdir(), "Is a directory"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_bad_archive_is_refused_and_leaves_nothing(tmp_path, monkeypatch, make, words):
    monkeypatch.setattr(_archives, "MAX_MEMBERS", 5)
    make(tmp_path / "set.zip")
    with pytest.raises(MurmurError, match=rf"set\.zip: .*{words}.*; delete it, fetch it again"):
        _archives.unzip(tmp_path / "set.zip", tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]


def test_the_top_folder_and_archives_in_an_archive_are_not_unpacked(tmp_path):
    inner = archive(tmp_path / "inner.zip", BOMB).read_bytes()
    archive(
        tmp_path / "set.zip", [("set/", b""), ("set/a/", b""), ("set/a/b.wav", b"1"), ("set/c.zip", inner)]
    )
    _archives.unzip(tmp_path / "set.zip", tmp_path / "set")
    files = {
        p.relative_to(tmp_path / "set").as_posix(): p.read_bytes() for p in (tmp_path / "set").rglob("*.*")
    }
    assert files == {"a/b.wav": b"1", "c.zip": inner}


def test_a_file_may_not_be_larger_than_it_declares(tmp_path):
    data = bytearray(archive(tmp_path / "set.zip", BOMB).read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (10).to_bytes(4, "little")  # the unpacked size in the table of contents
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(MurmurError, match=r"set\.zip: cannot be unpacked .*a\.wav"):
        _archives.unzip(tmp_path / "set.zip", tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]
