"""Download from a local HTTP server: complete files or none, in parallel, continued after an interruption."""

import errno
import hashlib
import os
import socket
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pooch
import pytest

from murmur.datasets import _checksums, _fetch, _locations, circor
from murmur.errors import MurmurError, explain_os_error
from tests import made

HEAD = b"HTTP/1.0 200 OK\r\n"
STREAMS = {  # blocks of bytes, sent 50 ms apart
    "/silent.bin": [HEAD, *[b""] * 100],
    "/headers.bin": [HEAD, *(b"X-%d: 0\r\n" % k for k in range(100))],
    "/drip.bin": [HEAD + b"Content-Length: 1000\r\n\r\n", *[b"."] * 100],
    "/endless.bin": [HEAD + b"\r\n", *[bytes(100_000)] * 100],
    "/redirect.bin": [b"HTTP/1.0 302 Found\r\nLocation: http://localhost:%d/page.bin\r\n\r\n"],
    "/loop.bin": [b"HTTP/1.0 302 Found\r\nLocation: /loop.bin\r\n\r\n"],
    "/odd.bin": [HEAD + b"Content-Length: -7x\r\n\r\nwhole"],
}


class Handler(SimpleHTTPRequestHandler):
    """Serve a folder and record the requests; `short.bin` is incomplete, `gate*` wait for four requests."""

    def do_GET(self):
        self.server.requests.append(self.path.lstrip("/"))
        if self.path == "/short.bin":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"ten bytes.")
            return
        if self.path in STREAMS:
            for k, block in enumerate(STREAMS[self.path]):
                if self.server.closed.wait(0.05 if k else 0):
                    break
                self.wfile.write(block.replace(b"%d", b"%d" % self.server.server_port))
            return
        if "gate" in self.path:
            self.server.gate.wait(timeout=3)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve tmp_path/tree on 127.0.0.1; retries do not wait."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    slept = []
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=slept.append))
    (tmp_path / "tree").mkdir()
    handler = partial(Handler, directory=tmp_path / "tree")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.requests, httpd.gate, httpd.slept = [], threading.Barrier(4), slept
        httpd.closed = threading.Event()
        httpd.daemon_threads, httpd.tree = True, tmp_path / "tree"
        httpd.address = f"http://127.0.0.1:{httpd.server_port}/"
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield httpd
        httpd.closed.set()
        httpd.shutdown()


def serve(server, names):
    """Put files on the server; return {name: sha256}."""
    sums = {}
    for name in names:
        (server.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (server.tree / name).write_bytes(name.encode() * 100)
        sums[name] = hashlib.sha256(name.encode() * 100).hexdigest()
    return sums


def list_files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_files_are_fetched_in_parallel_and_only_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr("os.makedirs", None)  # pooch calls it in each thread, and some of the calls fail
    sums = serve(server, [f"deep/gate{k}.bin" for k in range(4)])  # answered after all four requests
    _fetch.fetch_files(server.address, sums, tmp_path / "got")
    assert {
        name: _checksums.file_sha256(tmp_path / "got" / name) for name in list_files(tmp_path / "got")
    } == sums
    assert sorted(server.requests) == sorted(sums)
    _fetch.fetch_files(server.address, sums, tmp_path / "got")
    assert len(server.requests) == 4


def test_an_interrupted_download_continues(server, tmp_path):
    sums = serve(server, ["a.bin", "b.bin", "c.bin", "d.bin"])
    (server.tree / "c.bin").unlink()
    with pytest.raises(
        MurmurError, match=rf"^{server.address}c\.bin: 404.*run again to continue.*or set MURMUR_DATA"
    ):
        _fetch.fetch_files(server.address, sums, tmp_path / "got")
    serve(server, ["c.bin"])
    (tmp_path / "got/b.bin").write_bytes(b"damaged since")
    (tmp_path / "got/d.bin").unlink(missing_ok=True)
    existing = list_files(tmp_path / "got")
    server.requests.clear()
    _fetch.fetch_files(server.address, sums, tmp_path / "got")
    assert sorted(server.requests) == sorted({*sums} - {*existing} | {"b.bin"})
    assert {name: _checksums.file_sha256(tmp_path / "got" / name) for name in sums} == sums


@pytest.mark.parametrize(
    ("wrong", "words"), [("sum", "does not match"), ("short", "IncompleteRead|Connection broken")]
)
def test_a_file_that_does_not_match_is_not_kept(server, tmp_path, wrong, words):
    name = {"sum": "a.bin", "short": "short.bin"}[wrong]
    serve(server, ["a.bin"])
    with pytest.raises(MurmurError, match=rf"^{server.address}{name}: .*({words}).*run again"):
        _fetch.fetch_files(server.address, {name: "0" * 64 if wrong == "sum" else None}, tmp_path / "got")
    assert list_files(tmp_path / "got") == []
    assert len(server.requests) == 3, "there are two retries"


def test_a_server_that_does_not_run_is_reported_within_seconds(server, tmp_path):
    server.shutdown()
    server.server_close()
    begin = time.monotonic()
    with pytest.raises(
        MurmurError, match=rf"^{server.address}a\.bin: .*(refused|Max retries).*set MURMUR_DATA"
    ):
        _fetch.fetch_files(server.address, {"a.bin": None}, tmp_path / "got")
    assert time.monotonic() - begin + sum(server.slept) < 10


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("silent", "no answer within 0.2 s"),
        ("headers", "no answer within 0.2 s"),
        ("drip", r"too slow, \d bytes in 0 s"),
        ("endless", "larger than 150000 bytes, the limit"),
        ("loop", "Exceeded 30 redirects"),
        ("redirect", r"localhost:\d+ answered, not the data set's server"),
    ],
)
def test_time_and_size_of_a_file_are_limited(server, tmp_path, monkeypatch, name, words):
    serve(server, ["page.bin"])
    monkeypatch.setattr(_fetch, "TIMEOUT", 0.2)
    monkeypatch.setattr(_fetch, "MAX_SIZE", 150_000)
    begin = time.monotonic()
    with pytest.raises(MurmurError, match=rf"^{server.address}{name}\.bin: {words}.*; run again to continue"):
        _fetch.fetch_files(server.address, {f"{name}.bin": None}, tmp_path / "got")
    assert time.monotonic() - begin < 3 and list_files(tmp_path / "got") == []


def test_a_redirect_is_followed_if_the_checksum_is_known(server, tmp_path):
    known = serve(server, ["page.bin"])["page.bin"]
    _fetch.fetch_files(server.address, {"redirect.bin": known, "odd.bin": None}, tmp_path / "got")
    assert _checksums.file_sha256(tmp_path / "got/redirect.bin") == known
    assert (tmp_path / "got/odd.bin").read_bytes() == b"whole"


@pytest.mark.parametrize("name", ["../a.bin", "/tmp/a.bin", "a/../../b.bin"])
def test_a_name_outside_the_folder_is_not_fetched(server, tmp_path, name):
    with pytest.raises(MurmurError, match=f"{name}: the name leads out of the folder"):
        _fetch.fetch_files(server.address, {name: None}, tmp_path / "got")
    assert server.requests == [] and not (tmp_path / "got").exists()


def test_a_full_disk_is_reported_with_the_folder(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(_fetch, "_download", full)
    with pytest.raises(OSError) as caught:
        _fetch.fetch_files(server.address, {"a.bin": None}, tmp_path / "got")
    assert explain_os_error(caught.value).startswith(f"{tmp_path}/got: No space left on device; free some")


def test_fetching_leaves_the_settings_of_other_libraries(server, tmp_path):
    logger = pooch.get_logger()
    before = (logger.level, socket.getdefaulttimeout(), dict(os.environ))
    with pytest.raises(MurmurError):
        _fetch.fetch_files(server.address, {"a.bin": None}, tmp_path / "got")
    _fetch.fetch_files(server.address, serve(server, ["a.bin"]), tmp_path / "got")
    assert (logger.level, socket.getdefaulttimeout(), dict(os.environ)) == before


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """CirCor on the server only; return a function that runs the import."""
    monkeypatch.delenv("MURMUR_DATA", raising=False)
    monkeypatch.setattr(circor, "ADDRESS", server.address)
    monkeypatch.setattr(_locations, "cache_folder", lambda name: tmp_path / "kept" / name)
    made.circor(server.tree, tsv=made.CYCLE)
    (server.tree / "training_data/1002_PV.tsv").unlink()
    sums = (server.tree / "SHA256SUMS.txt").read_text().splitlines(keepends=True)
    (server.tree / "SHA256SUMS.txt").write_text("".join(row for row in sums if "1002_PV.tsv" not in row))
    return partial(made.download, "circor", tmp_path / "out", class_map={"Unknown": "Present"})


def test_circor_is_fetched_patient_by_patient(published, server, tmp_path):
    tables = ["SHA256SUMS.txt", "training_data.csv"]
    first = [f"training_data/1001_{site}" for site in ("AV.tsv", "AV.wav", "PV.tsv", "PV.wav")]
    with pytest.raises(MurmurError, match="no recording of class Absent is left"):
        published(limit=1)
    assert sorted(server.requests) == list_files(tmp_path / "kept/circor") == tables + first
    recordings, _, left_out = published(limit=2)
    names = ("AV_1.tsv", "AV_1.wav", "AV_2.tsv", "AV_2.wav", "PV.wav")  # one recording has no annotations
    second = [f"training_data/1002_{name}" for name in names]
    paths = [path for path in first + second if path.endswith(".wav")]
    assert list(recordings["path"]) == paths
    assert sorted(server.requests) == tables + first + second, "existing files are not requested again"
    assert list_files(tmp_path / "out") == paths
    assert list(left_out["item"]) == ["1003_MV"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda tree: (tree / "training_data/1003_MV.wav").unlink(), r"/training_data/1003_MV\.wav: 404"),
        (lambda tree: made.cut(tree / "training_data/1003_MV.wav"), r"/1003_MV\.wav: .*does not match"),
        (lambda tree: made.cut(tree / "training_data.csv"), r"/training_data\.csv: .*does not match"),
        (lambda tree: made.cut(tree / "SHA256SUMS.txt", 10), r"circor/SHA256SUMS\.txt: line 1 .*; delete"),
    ],
    ids=["missing", "cut", "table cut", "sums cut"],
)
def test_damaged_files_on_the_server_leave_no_output(published, server, tmp_path, damage, words):
    damage(server.tree)
    with pytest.raises(MurmurError, match=words):
        published()
    assert not list(tmp_path.glob("out*"))
    assert "training_data/1003_MV.wav" not in list_files(tmp_path / "kept/circor")
