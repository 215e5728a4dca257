"""Files of checksums."""

import pytest

from murmur.datasets import _checksums
from murmur.errors import MurmurError


def test_files_of_checksums_are_read_and_wrong_lines_are_named(tmp_path):
    one, two = "a" * 64, "b" * 64
    path = tmp_path / "SHA256SUMS.txt"
    assert _checksums.read_checksums(path) == {}
    path.write_bytes(f"{one} a.wav\r\n{two}  deep/b c.wav\r\n\r\n{two} *d.wav".encode())
    assert _checksums.read_checksums(path) == {"a.wav": one, "deep/b c.wav": two, "d.wav": two}
    for line in ("<html>", f"{one[:-1]} a.wav", f"{one}", "\xff\xfe"):
        path.write_bytes(f"{one} a.wav\n".encode() + line.encode("latin-1"))
        with pytest.raises(MurmurError, match=r"SHA256SUMS\.txt: line 2 is not 'sha256 name'"):
            _checksums.read_checksums(path)


def test_the_size_of_a_file_of_checksums_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(_checksums, "MAX_TABLE_SIZE", 70)
    (tmp_path / "sums").write_text(f"{'a' * 64} long enough\n")
    with pytest.raises(MurmurError, match="sums: is larger than 70 bytes; delete the file, fetch it again"):
        _checksums.read_checksums(tmp_path / "sums")
