"""Fetching from a real server: whole files or none, several at a time, going on where it stopped."""

import errno
import hashlib
import stat
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from murmur.datasets import _fetch, circor
from murmur.errors import MurmurError, explain_os_error
from tests import made

HEAD = b"HTTP/1.0 200 OK\r\n"
STREAMS = {  # pieces, one every 50 ms
    "/silent.bin": [HEAD, *[b""] * 100],
    "/headers.bin": [HEAD, *(b"X-%d: 0\r\n" % k for k in range(100))],
    "/drip.bin": [HEAD + b"Content-Length: 1000\r\n\r\n", *[b"."] * 100],
    "/endless.bin": [HEAD + b"\r\n", *[bytes(100_000)] * 100],
    "/elsewhere.bin": [b"HTTP/1.0 302 Found\r\nLocation: http://localhost:%d/page.bin\r\n\r\n"],
    "/loop.bin": [b"HTTP/1.0 302 Found\r\nLocation: /loop.bin\r\n\r\n"],
    "/odd.bin": [HEAD + b"Content-Length: -7x\r\n\r\nwhole"],
}


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and notes what was asked for; `short.bin` breaks off, `gate` waits for company."""

    def do_GET(self):
        self.server.asked.append(self.path.lstrip("/"))
        if self.path == "/short.bin":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"ten bytes.")
            return
        if self.path in STREAMS:
            for k, piece in enumerate(STREAMS[self.path]):
                if self.server.closed.wait(0.05 if k else 0):
                    break
                self.wfile.write(piece.replace(b"%d", b"%d" % self.server.server_port))
            return
        if "gate" in self.path:
            self.server.gate.wait(timeout=3)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of tmp_path/tree on 127.0.0.1; retries do not wait."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    slept = []
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=slept.append))
    (tmp_path / "tree").mkdir()
    handler = partial(Handler, directory=tmp_path / "tree")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.asked, httpd.gate, httpd.slept = [], threading.Barrier(4), slept
        httpd.closed = threading.Event()
        httpd.daemon_threads, httpd.tree = True, tmp_path / "tree"
        httpd.address = f"http://127.0.0.1:{httpd.server_port}/"
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield httpd
        httpd.closed.set()
        httpd.shutdown()


def serve(server, names):
    """Put files up; name -> sha256."""
    sums = {}
    for name in names:
        (server.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (server.tree / name).write_bytes(name.encode() * 100)
        sums[name] = hashlib.sha256(name.encode() * 100).hexdigest()
    return sums


def there(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_files_come_several_at_a_time_and_only_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "os.makedirs", None
    )  # by which pooch makes folders, each thread for itself, and some fail
    sums = serve(
        server, [f"deep/gate{k}.bin" for k in range(4)]
    )  # none is answered before all four are asked for
    _fetch.fetch(server.address, sums, tmp_path / "got")
    assert {name: _fetch.file_sha256(tmp_path / "got" / name) for name in there(tmp_path / "got")} == sums
    assert sorted(server.asked) == sorted(sums)
    _fetch.fetch(server.address, sums, tmp_path / "got")
    assert len(server.asked) == 4


def test_goes_on_where_it_stopped(server, tmp_path):
    sums = serve(server, ["a.bin", "b.bin", "c.bin", "d.bin"])
    (server.tree / "c.bin").unlink()
    with pytest.raises(
        MurmurError, match=rf"^{server.address}c\.bin: 404.*run again to go on.*or set MURMUR_DATA"
    ):
        _fetch.fetch(server.address, sums, tmp_path / "got")
    serve(server, ["c.bin"])
    (tmp_path / "got/b.bin").write_bytes(b"damaged since")
    (tmp_path / "got/d.bin").unlink(missing_ok=True)
    had = there(tmp_path / "got")
    server.asked.clear()
    _fetch.fetch(server.address, sums, tmp_path / "got")
    assert sorted(server.asked) == sorted({*sums} - {*had} | {"b.bin"})
    assert {name: _fetch.file_sha256(tmp_path / "got" / name) for name in sums} == sums


@pytest.mark.parametrize(
    "wrong, words", [("sum", "does not match"), ("short", "IncompleteRead|Connection broken")]
)
def test_what_does_not_match_gets_no_name(server, tmp_path, wrong, words):
    name = {"sum": "a.bin", "short": "short.bin"}[wrong]
    serve(server, ["a.bin"])
    with pytest.raises(MurmurError, match=rf"^{server.address}{name}: .*({words}).*run again"):
        _fetch.fetch(server.address, {name: "0" * 64 if wrong == "sum" else None}, tmp_path / "got")
    assert there(tmp_path / "got") == []
    assert len(server.asked) == 3, "it is tried again before it is given up"


def test_a_server_that_is_down_is_told_within_seconds(server, tmp_path):
    server.shutdown()
    server.server_close()
    begin = time.monotonic()
    with pytest.raises(
        MurmurError, match=rf"^{server.address}a\.bin: .*(refused|Max retries).*set MURMUR_DATA"
    ):
        _fetch.fetch(server.address, {"a.bin": None}, tmp_path / "got")
    assert time.monotonic() - begin + sum(server.slept) < 10


@pytest.mark.parametrize(
    "name, words",
    [
        ("silent", "no answer within 0.2 s"),
        ("headers", "no answer within 0.2 s"),
        ("drip", r"too slow, \d bytes in 0 s"),
        ("endless", "more than 150000 bytes and no end"),
        ("loop", "Exceeded 30 redirects"),
        ("elsewhere", r"localhost:\d+ answered, not the data set's server"),
    ],
)
def test_time_and_size_of_a_file_are_bounded(server, tmp_path, monkeypatch, name, words):
    serve(server, ["page.bin"])
    monkeypatch.setattr(_fetch, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(_fetch, "LARGEST", 150_000)
    begin = time.monotonic()
    with pytest.raises(MurmurError, match=rf"^{server.address}{name}\.bin: {words}.*; run again to go on"):
        _fetch.fetch(server.address, {f"{name}.bin": None}, tmp_path / "got")
    assert time.monotonic() - begin < 3 and there(tmp_path / "got") == []


def test_a_redirect_is_followed_where_the_content_is_known(server, tmp_path):
    known = serve(server, ["page.bin"])["page.bin"]
    _fetch.fetch(server.address, {"elsewhere.bin": known, "odd.bin": None}, tmp_path / "got")
    assert _fetch.file_sha256(tmp_path / "got/elsewhere.bin") == known
    assert (tmp_path / "got/odd.bin").read_bytes() == b"whole"


@pytest.mark.parametrize("name", ["../a.bin", "/tmp/a.bin", "a/../../b.bin"])
def test_a_name_that_leads_out_is_not_fetched(server, tmp_path, name):
    with pytest.raises(MurmurError, match=f"{name}: the name leads out of the folder"):
        _fetch.fetch(server.address, {name: None}, tmp_path / "got")
    assert server.asked == [] and not (tmp_path / "got").exists()


def test_a_full_disk_is_not_the_servers_fault(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(_fetch, "_save", full)
    with pytest.raises(OSError) as caught:
        _fetch.fetch(server.address, {"a.bin": None}, tmp_path / "got")
    assert explain_os_error(caught.value).startswith(f"{tmp_path}/got: No space left on device; free some")


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """CirCor put up on the server, nothing of it here; the download stage's work."""
    monkeypatch.delenv("MURMUR_DATA", raising=False)
    monkeypatch.setattr(circor, "ADDRESS", server.address)
    monkeypatch.setattr(_fetch, "kept", lambda name: tmp_path / "kept" / name)
    made.circor(server.tree)
    return partial(made.download, "circor", tmp_path / "out", class_map={"Unknown": "Present"})


def test_circor_is_fetched_by_patient(published, server, tmp_path):
    front = ["SHA256SUMS.txt", "training_data.csv"]
    first = ["training_data/1001_AV.wav", "training_data/1001_PV.wav"]
    with pytest.raises(MurmurError, match="no recording of class Absent is left"):
        published(limit=1)
    assert sorted(server.asked) == there(tmp_path / "kept/circor") == front + first
    recordings, _, left_out = published(limit=2)
    second = [f"training_data/1002_{site}.wav" for site in ("AV_1", "AV_2", "PV")]
    assert list(recordings["path"]) == first + second
    assert sorted(server.asked) == front + first + second, "what is there is not asked for again"
    assert there(tmp_path / "out") == first + second
    assert list(left_out["item"]) == ["1003_MV"]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda tree: (tree / "training_data/1003_MV.wav").unlink(), r"/training_data/1003_MV\.wav: 404"),
        (lambda tree: made.cut(tree / "training_data/1003_MV.wav"), r"/1003_MV\.wav: .*does not match"),
        (lambda tree: made.cut(tree / "training_data.csv"), r"/training_data\.csv: .*does not match"),
        (lambda tree: made.cut(tree / "SHA256SUMS.txt", 10), r"circor/SHA256SUMS\.txt: line 1 .*; delete"),
    ],
    ids=["not there", "cut", "table cut", "sums cut"],
)
def test_a_spoilt_server_leaves_nothing(published, server, tmp_path, spoil, words):
    spoil(server.tree)
    with pytest.raises(MurmurError, match=words):
        published()
    assert not list(tmp_path.glob("out*"))
    assert "training_data/1003_MV.wav" not in there(tmp_path / "kept/circor")


def test_murmur_data(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MURMUR_DATA", raising=False)
    assert _fetch.named("circor") is None and _fetch.local("circor") is None
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    assert _fetch.local("circor") is None
    assert "MURMUR_DATA has no folder circor: fetching it instead" in capsys.readouterr().err
    (tmp_path / "circor").mkdir()
    assert _fetch.local("circor") == _fetch.named("circor") == tmp_path / "circor"
    assert capsys.readouterr().err == ""


def test_fetched_files_are_kept_outside_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _fetch.kept("circor").name == "circor"
    assert not _fetch.kept("circor").is_relative_to(made.ROOT)


def test_checksum_files(tmp_path):
    one, two = "a" * 64, "b" * 64
    path = tmp_path / "SHA256SUMS.txt"
    assert _fetch.read_checksums(path) == {}
    path.write_bytes(f"{one} a.wav\r\n{two}  deep/b c.wav\r\n\r\n{two} *d.wav".encode())
    assert _fetch.read_checksums(path) == {"a.wav": one, "deep/b c.wav": two, "d.wav": two}
    for line in ("<html>", f"{one[:-1]} a.wav", f"{one}", "\xff\xfe"):
        path.write_bytes(f"{one} a.wav\n".encode() + line.encode("latin-1"))
        with pytest.raises(MurmurError, match=r"SHA256SUMS\.txt: line 2 is not 'sha256 name'"):
            _fetch.read_checksums(path)


def test_a_list_of_checksums_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(_fetch, "LARGEST_TABLE", 70)
    (tmp_path / "sums").write_text(f"{'a' * 64} long enough\n")
    with pytest.raises(MurmurError, match="sums: is larger than 70 bytes; delete the file, fetch it again"):
        _fetch.read_checksums(tmp_path / "sums")


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
    "make, words",
    [
        (lambda p: archive(p, [("../a", b"")]), r"\.\./a leads out of the folder"),
        (lambda p: archive(p, [("/a", b"")]), "/a leads out of the folder"),
        (lambda p: archive(p, [(link("a.wav"), b"/etc/passwd")]), r"a\.wav is a link"),
        (lambda p: archive(p, [("set/a.wav", b"1"), ("a.wav", b"2")]), r"a\.wav is in it twice"),
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
def test_an_archive_that_is_not_unpacked(tmp_path, monkeypatch, make, words):
    monkeypatch.setattr(_fetch, "MEMBERS", 5)
    make(tmp_path / "set.zip")
    with pytest.raises(MurmurError, match=rf"set\.zip: .*{words}.*; delete it, fetch it again"):
        _fetch.unzip(tmp_path / "set.zip", tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]
