"""Download from a local HTTP server: complete files or none, in parallel, continued after an interruption."""

import errno
import fcntl
import gzip
import hashlib
import os
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import SimpleNamespace

import pooch
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from murmur.datasets import _checksums, _fetch, _locations, circor
from murmur.errors import MurmurError, explain_os_error
from tests import made

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MOVED = b"HTTP/1.0 302 Found\r\nLocation: "
STREAMS = {  # blocks of bytes, sent 50 ms apart
    "/silent.bin": [HEAD, *[b""] * 100],
    "/headers.bin": [HEAD, *(b"X-%d: 0\r\n" % k for k in range(100))],
    "/stall.bin": [HEAD + b"Content-Length: 1000\r\n\r\nsome", *[b""] * 100],
    "/drip.bin": [HEAD + b"Content-Length: 1000\r\n\r\n", *[b"."] * 100],
    "/chunk.bin": [CHUNKED, *[b"1"] * 100],
    "/endless.bin": [HEAD + b"\r\n", *[bytes(100_000)] * 100],
    "/chunks.bin": [CHUNKED, *[b"186a0\r\n" + bytes(100_000) + b"\r\n"] * 100],
    "/short.bin": [HEAD + b"Content-Length: 1000\r\n\r\nten bytes."],
    "/page.bin": [HEAD + b"\r\n<html>404 not found</html>"],
    "/gzip.bin": [HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"bomb")],
    "/loop.bin": [MOVED + b"/loop.bin\r\n\r\n"],
    "/disk.bin": [MOVED + b"file:///etc/passwd\r\n\r\n"],
    "/host.bin": [MOVED + b"http://localhost:%d/a.bin\r\n\r\n", *[bytes(100_000)] * 100],
    "/host/SHA256SUMS.txt": [MOVED + b"http://localhost:%d/SHA256SUMS.txt\r\n\r\n"],
    "/part/SHA256SUMS.txt": [b"HTTP/1.0 206 Partial Content\r\n\r\n" + b"0" * 64 + b" a.bin\n"],
    "/long.bin": [HEAD + b"Content-Length: 5\r\n\r\nwhole and more"],
    "/odd.bin": [HEAD + b"Content-Length: -7x\r\n\r\nwhole"],
}
WHOLE = hashlib.sha256(b"whole").hexdigest()


class Handler(SimpleHTTPRequestHandler):
    """Serve a folder and record the requests; `answers` come first, `gate*` wait for four requests."""

    def do_GET(self):
        self.server.requests.append(self.path.lstrip("/"))
        self.server.ranges.append(self.headers["Range"])
        if self.server.answers:
            self.server.answers.pop(0)(self)
        elif self.path in STREAMS:
            self.send_stream(STREAMS[self.path])
        else:
            if "gate" in self.path:
                self.server.gate.wait(timeout=3)
            super().do_GET()

    def send_stream(self, blocks):
        for k, block in enumerate(blocks):
            if self.server.closed.wait(0.05 if k else 0):
                break
            try:
                self.wfile.write(block.replace(b"%d", b"%d" % self.server.server_port))
            except OSError:  # the client has closed the connection
                break

    def send(self, status, body, length=None, **headers):
        self.send_response(status)
        for key, value in ({"Content-Length": len(body) if length is None else length} | headers).items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def start(folder, slept):
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    httpd.requests, httpd.ranges, httpd.answers, httpd.slept = [], [], [], slept
    httpd.gate, httpd.closed = threading.Barrier(4), threading.Event()
    httpd.daemon_threads, httpd.tree = True, folder
    httpd.address = f"http://127.0.0.1:{httpd.server_port}/"
    return httpd


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve tmp_path/tree on 127.0.0.1; retries do not wait."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    slept = []
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=slept.append))
    (tmp_path / "tree").mkdir()
    with start(tmp_path / "tree", slept) as httpd:
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


def list_names(folder):
    """The files that are not parts."""
    return [name for name in list_files(folder) if not name.endswith(".part")]


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
        MurmurError, match=rf"^{server.address}c\.bin: .*404.*run again to continue.*or set MURMUR_DATA"
    ):
        _fetch.fetch_files(server.address, sums, tmp_path / "got")
    serve(server, ["c.bin"])
    (tmp_path / "got/b.bin").write_bytes(b"damaged since")
    (tmp_path / "got/d.bin").unlink(missing_ok=True)
    existing = list_names(tmp_path / "got")
    server.requests.clear()
    _fetch.fetch_files(server.address, sums, tmp_path / "got")
    assert sorted(server.requests) == sorted({*sums} - {*existing} | {"b.bin"})
    assert {name: _checksums.file_sha256(tmp_path / "got" / name) for name in sums} == sums


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a", "does not match"),
        ("page", "does not match"),
        ("short", "IncompleteRead|Connection broken"),
        ("gzip", "encoding 'gzip', which was not requested"),
        ("missing", "the server answered 404 Not Found"),
    ],
)
def test_a_file_that_does_not_match_is_not_kept(server, tmp_path, name, words):
    serve(server, ["a.bin"])
    with pytest.raises(MurmurError, match=rf"^{server.address}{name}\.bin: .*({words}).*run again"):
        _fetch.fetch_files(server.address, {f"{name}.bin": "0" * 64}, tmp_path / "got")
    assert list_names(tmp_path / "got") == []
    assert len(server.requests) == 3 and server.slept == [1, 2], "there are two retries, after a pause"


def test_a_server_that_does_not_run_is_reported_within_seconds(server, tmp_path):
    server.shutdown()
    server.server_close()
    begin = time.monotonic()
    with pytest.raises(
        MurmurError, match=rf"^{server.address}a\.bin: .*(refused|Max retries).*set MURMUR_DATA"
    ):
        _fetch.fetch_files(server.address, {"a.bin": "0" * 64}, tmp_path / "got")
    assert time.monotonic() - begin + sum(server.slept) < 10


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("silent", "no answer within 0.2 s"),
        ("headers", "no answer within 0.2 s"),
        ("stall", ".*Read timed out"),
        ("drip", r"too slow, \d bytes in 0 s"),
        ("chunk", ".*Connection broken"),
        ("endless", "larger than 150000 bytes, the limit"),
        ("chunks", "larger than 150000 bytes, the limit"),
        ("loop", "more than 5 redirects"),
        ("disk", "refused, it redirects to 'file://'"),
    ],
)
def test_time_and_size_of_a_file_are_limited(server, tmp_path, monkeypatch, name, words):
    is_slow = name in ("silent", "headers", "stall", "drip", "chunk")
    monkeypatch.setattr(_fetch, "TIMEOUT", 0.2 if is_slow else 5)
    monkeypatch.setattr(_fetch, "MAX_SIZE", 150_000)
    begin = time.monotonic()
    with pytest.raises(MurmurError, match=rf"^{server.address}{name}\.bin: {words}.*; run again to continue"):
        _fetch.fetch_files(server.address, {f"{name}.bin": "0" * 64}, tmp_path / "got")
    assert time.monotonic() - begin < 3 and list_names(tmp_path / "got") == []
    assert sum(path.stat().st_size for path in (tmp_path / "got").iterdir()) < 100


def test_files_of_odd_servers_are_complete(server, tmp_path):
    """A redirect to another host (whose endless body is not read), more and less than Content-Length."""
    sums = {"host.bin": serve(server, ["a.bin"])["a.bin"], "long.bin": WHOLE, "odd.bin": WHOLE}
    begin = time.monotonic()
    _fetch.fetch_files(server.address, sums, tmp_path / "got")
    assert {name: _checksums.file_sha256(tmp_path / "got" / name) for name in sums} == sums
    assert len(server.requests) == 4 and time.monotonic() - begin < 3


BODY = bytes(range(256)) * 100


def send_rest(handler, body=BODY, **headers):
    """Answer as servers that know ranges."""
    begin = int((handler.headers["Range"] or "bytes=0-")[6:-1])
    headers["Content_Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
    handler.send(206 if begin else 200, body[begin:], **headers)


def break_off(handler):
    handler.send(200, BODY[:9000], length=len(BODY))


def close(handler):
    handler.close_connection = True


def test_a_file_continues_where_the_connection_broke(server, tmp_path):
    known = {"deep/a.bin": hashlib.sha256(BODY).hexdigest()}
    server.answers = [break_off, send_rest]
    _fetch.fetch_files(server.address, known, tmp_path / "one")
    assert (tmp_path / "one/deep/a.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=9000-"]

    server.answers = [break_off, close, close]
    with pytest.raises(
        MurmurError, match=r"deep/a\.bin: .*Connection (broken|aborted).*run again to continue"
    ):
        _fetch.fetch_files(server.address, known, tmp_path / "two")
    assert list_files(tmp_path / "two") == ["deep/.a.bin.part"]
    server.answers, server.ranges[:] = [send_rest], []
    _fetch.fetch_files(server.address, known, tmp_path / "two")
    assert server.ranges == ["bytes=9000-"]
    assert list_files(tmp_path / "two") == ["deep/a.bin"]
    assert (tmp_path / "two/deep/a.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("part", "answers", "ranges"),
    [
        (BODY[:500], [lambda h: h.send(200, BODY)], ["bytes=500-"]),
        (BODY[:500], [lambda h: h.send(206, BODY[7:], Content_Range="bytes 7-25599/25600")], ["bytes=500-"]),
        (BODY[:500], [lambda h: h.send(206, BODY[7:])], ["bytes=500-"]),
        (BODY[:500], [lambda h: send_rest(h, BODY[:-1] + b"!")], ["bytes=500-"]),  # of a changed file
        (b"old" * 9, [send_rest], ["bytes=27-"]),
        (BODY[:500], [lambda h: h.send(503, b"")], ["bytes=500-", "bytes=500-"]),
        (BODY[:500], [lambda h: send_rest(h, Content_Encoding="gzip")], ["bytes=500-", "bytes=500-"]),
        (BODY, [lambda h: h.send(416, b"")], ["bytes=25600-"]),
        (BODY + b"!", [lambda h: h.send(416, b"")], ["bytes=25601-"]),
        (b"", [lambda h: h.send(206, BODY[7:], Content_Range="bytes 7-25599/25600")], [None]),
    ],
    ids=["whole", "other", "unnamed", "changed", "old", "busy", "gzip", "finished", "longer", "unasked"],
)
def test_a_range_that_is_answered_wrongly_does_no_harm(server, tmp_path, part, answers, ranges):
    (tmp_path / ".a.bin.part").write_bytes(part)
    (tmp_path / "a.bin").write_bytes(b"damaged since")
    server.answers = [*answers, send_rest]
    _fetch.fetch_files(server.address, {"a.bin": hashlib.sha256(BODY).hexdigest()}, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert server.ranges in (ranges, [*ranges, None]), "a file that does not match is received from its start"
    assert not list(tmp_path.glob(".*"))


def test_a_part_to_which_another_process_writes_is_left_alone(server, tmp_path):
    part = tmp_path / ".a.bin.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        _fetch.fetch_files(server.address, serve(server, ["a.bin"]), tmp_path)
        assert part.read_bytes() == b"" and (tmp_path / "a.bin").stat().st_size == 500


@pytest.mark.parametrize(
    ("folder", "content", "words"),
    [
        ("", "<html>login</html>", "is not a table of checksums"),
        ("", "", "is not a table of checksums"),
        ("", None, "the server answered 404"),
        ("part/", None, "the server answered with a part of the file"),
        ("host/", None, r"refused, it redirects to 'http://localhost:\d+'"),
    ],
)
def test_a_page_instead_of_the_checksums_is_not_kept(server, tmp_path, folder, content, words):
    if content is not None:
        (server.tree / "SHA256SUMS.txt").write_text(content)
    with pytest.raises(MurmurError, match=rf"^{server.address}{folder}SHA256SUMS\.txt: {words}.*; run again"):
        _fetch.fetch_checksums(server.address + folder, tmp_path / "got")
    assert list_files(tmp_path / "got") == []


def test_the_checksums_of_the_first_download_remain(server, tmp_path):
    table = server.tree / "SHA256SUMS.txt"
    table.write_text(f"{WHOLE} odd.bin\n")
    assert _fetch.fetch_checksums(server.address, tmp_path / "got") == {"odd.bin": WHOLE}
    table.write_text(f"{'0' * 64} odd.bin\n")
    assert _fetch.fetch_checksums(server.address, tmp_path / "got") == {"odd.bin": WHOLE}
    with pytest.raises(
        MurmurError, match=r"/new\.bin: .*got/SHA256SUMS\.txt has no checksum of it; delete that"
    ):
        _fetch.fetch_files(server.address, {"odd.bin": WHOLE, "new.bin": None}, tmp_path / "got")
    assert server.requests == ["SHA256SUMS.txt"]


@pytest.fixture
def certificate(tmp_path):
    """The path of a key and a certificate for 127.0.0.1, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    address = x509.IPAddress(ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "own.pem").write_bytes(private + pem)
    return tmp_path / "own.pem"


def test_certificates_are_verified(server, certificate, tmp_path, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    address = server.address.replace("http:", "https:")
    sums = serve(server, ["a.bin"])
    with pytest.raises(
        MurmurError, match=r"a\.bin: .*CERTIFICATE_VERIFY_FAILED.*REQUESTS_CA_BUNDLE; run again"
    ):
        _fetch.fetch_files(address, sums, tmp_path / "got")
    assert server.requests == [] and list_names(tmp_path / "got") == []

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    _fetch.fetch_files(address, sums, tmp_path / "got")
    assert list_files(tmp_path / "got") == ["a.bin"]
    with pytest.raises(MurmurError, match=r"host\.bin: refused, it redirects to 'http://localhost:\d+'"):
        _fetch.fetch_files(address, {"host.bin": "0" * 64}, tmp_path / "got")
    assert server.requests == ["a.bin", "host.bin"], "nothing is requested without encryption"


@pytest.mark.parametrize("name", ["../a.bin", "/tmp/a.bin", "a/../../b.bin"])
def test_a_name_outside_the_folder_is_not_fetched(server, tmp_path, name):
    with pytest.raises(MurmurError, match=f"{name}: the name leads out of the folder"):
        _fetch.fetch_files(server.address, {name: "0" * 64}, tmp_path / "got")
    assert server.requests == [] and not (tmp_path / "got").exists()


def test_a_full_disk_is_reported_with_the_folder(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(_fetch, "_download_file", full)
    with pytest.raises(OSError) as caught:
        _fetch.fetch_files(server.address, {"a.bin": "0" * 64}, tmp_path / "got")
    assert explain_os_error(caught.value).startswith(f"{tmp_path}/got: No space left on device; free some")


def test_fetching_leaves_the_settings_of_other_libraries(server, tmp_path):
    logger = pooch.get_logger()
    before = (logger.level, socket.getdefaulttimeout(), dict(os.environ))
    with pytest.raises(MurmurError):
        _fetch.fetch_files(server.address, {"a.bin": "0" * 64}, tmp_path / "got")
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
        (lambda tree: (tree / "training_data/1003_MV.wav").unlink(), r"/training_data/1003_MV\.wav: .*404"),
        (lambda tree: made.cut(tree / "training_data/1003_MV.wav"), r"/1003_MV\.wav: .*does not match"),
        (lambda tree: made.cut(tree / "training_data.csv"), r"/training_data\.csv: .*does not match"),
        (
            lambda tree: made.cut(tree / "SHA256SUMS.txt", 10),
            r"/SHA256SUMS\.txt: is not a table of checksums",
        ),
    ],
    ids=["missing", "cut", "table cut", "sums cut"],
)
def test_damaged_files_on_the_server_leave_no_output(published, server, tmp_path, damage, words):
    damage(server.tree)
    with pytest.raises(MurmurError, match=words):
        published()
    assert not list(tmp_path.glob("out*"))
    assert "training_data/1003_MV.wav" not in list_files(tmp_path / "kept/circor")
