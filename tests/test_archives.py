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


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def encrypted(path):
    data = archive(path, [("a.wav", b"0")], zipfile.ZIP_STORED).read_bytes()
    head = data.index(b"PK\x01\x02")
    path.write_bytes(data[:6] + b"\x01" + data[7 : head + 8] + b"\x01" + data[head + 9 :])
    return path


BOMB = [("a.wav", bytes(10**6))]
TOO_MUCH = r"1 files of 1000000 bytes are more than such an archive may hold"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: archive(p, [("../a", b"")]), r"\.\./a leads out of the folder"),
        (lambda p: archive(p, [("/a", b"")]), "/a leads out of the folder"),
        (lambda p: archive(p, [(link("a.wav"), b"/etc/passwd")]), r"a\.wav is a link"),
        (lambda p: archive(p, [("set/a.wav", b"1"), ("a.wav", b"2")]), r"it holds a\.wav twice"),
        (lambda p: archive(p, [("a", b"1"), ("a/b.wav", b"2")]), "Not a directory.*a/b"),
        (lambda p: archive(p, [("x" * 300, b"1")]), "File name too long"),
        (lambda p: archive(p, BOMB), TOO_MUCH),
        (lambda p: archive(p, [(f"{k}.wav", b"") for k in range(6)]), "6 files of 0 bytes are more"),
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
