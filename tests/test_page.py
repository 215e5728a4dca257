"""The local page: predictions, what it refuses, and that nothing stays on the disk."""

import base64
import logging
import socket
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from murmur.commands import serving
from murmur.errors import MurmurError
from murmur.inference.page import sound, uploads
from murmur.inference.page.app import HEADERS, MAX_UPLOAD, make_app
from tests import made, page

BASE = "http://127.0.0.1:8765"
OWN = {"X-Murmur": "page"}


@pytest.fixture
def app():
    return make_app(page.make_model(), 8765)


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, which is empty after each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def post(client, *paths, address="/predict", sites=None, headers=OWN, **more):
    files = [(BytesIO(path.read_bytes()), path.name) for path in paths]
    data = {"files": files, "sites": sites or [""] * len(paths), **more}
    return client.post(address, base_url=BASE, headers=headers, data=data)


def refusal(response, status=400):
    assert response.status_code == status and next(iter(response.json)) == "error", response.text
    assert "Traceback" not in response.text and "/tmp" not in response.text
    return response.json["error"]


def test_the_prediction_of_two_sites_of_a_patient(client, tmp_path):
    paths = [made.audio(tmp_path / f"1234_{site}.wav", seconds=7) for site in ("AV", "MV")]
    answer = post(client, *paths, sites=["AV", ""]).json
    assert answer["patient"] == "1234" and answer["answer"] == "Present"
    assert answer["probabilities"]["Present"] == pytest.approx(0.05 + 0.9 * (0.3**2 + 1) / 2)
    assert [(r["name"], r["site"], r["path"]) for r in answer["recordings"]] == [
        ("1234_AV.wav", "AV", None),
        ("1234_MV.wav", None, None),
    ]
    assert [(s["start"], s["end"]) for s in answer["recordings"][0]["segments"]] == [(0, 3), (3, 6)]
    assert answer["model"]["simulated"] and answer["model"]["performance"]["metrics"][0]["low"] == 0.754146
    image = answer["recordings"][0]["spectrogram"]["image"].removeprefix("data:image/png;base64,")
    assert Image.open(BytesIO(base64.b64decode(image))).format == "PNG"


def test_a_recording_that_is_too_short_gives_no_answer_but_reasons(client, tmp_path):
    answer = post(client, made.audio(tmp_path / "a.wav", seconds=1)).json
    assert answer["answer"] is None and answer["reasons"]
    (recording,) = answer["recordings"]
    assert recording["reasons"] == ["too short: 1.0 s, the model needs 3.0 s"] and not recording["segments"]


def test_a_wfdb_record_is_one_recording_of_two_files(client, tmp_path):
    header = made.record(tmp_path / "77_AV.hea", np.arange(-8000, 8000)[:, None])
    answer = post(client, header, tmp_path / "77_AV.dat").json
    assert [r["name"] for r in answer["recordings"]] == ["77_AV.hea"] and answer["patient"] == "77"
    assert "Add its header, 77_AV.hea" in refusal(post(client, tmp_path / "77_AV.dat"))
    assert "77_AV.dat" in refusal(post(client, header))


def test_any_recording_becomes_a_wav_file_for_the_player(client, tmp_path):
    tone = 0.1 * np.sin(2 * np.pi * 100 * np.arange(44100) / 44100)
    path = made.audio(tmp_path / "a.flac", np.stack([tone, tone], axis=1), rate=44100)
    response = post(client, path, address="/wav")
    samples, rate = soundfile.read(BytesIO(response.data))
    assert response.mimetype == "audio/wav" and rate == 8000 and samples.shape == (8000,)
    assert np.abs(samples).max() == pytest.approx(0.9, abs=1e-3)
    assert np.abs(np.fft.rfft(samples)).argmax() == 100


def test_recordings_of_two_patients_need_a_confirmation(client, tmp_path):
    paths = [made.audio(tmp_path / name, seconds=4) for name in ("1234_AV.wav", "5678_MV.wav")]
    response = post(client, *paths)
    assert "seem to be of two patients: 1234, 5678" in refusal(response, 409)
    assert response.json["patients"] == ["1234", "5678"]
    assert post(client, *paths, one_patient="yes").json["patient"] == "1234_AV.wav"


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (("1234_AV.wav", "1234_MV_2.wav", "1234_phc.wav"), ["1234"]),
        (("p_1_AV.wav", "p_2_AV.wav"), ["p_1", "p_2"]),
        (("AV.wav", "microphone 1.wav", "a_b.wav"), []),
    ],
)
def test_patients_are_read_from_the_names(names, patients):
    assert uploads.list_patients([uploads.Upload(Path(name), None) for name in names]) == patients


def test_wrong_files_are_refused_in_a_sentence(client, tmp_path):
    text = tmp_path / "notes.wav"
    text.write_text("not audio")
    assert refusal(post(client, text)).startswith("notes.wav: ")
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    assert refusal(post(client, empty)).startswith("empty.wav: ")
    good = made.audio(tmp_path / "a.wav", seconds=4)
    made.cut(cut := made.audio(tmp_path / "cut.flac", seconds=4))
    assert refusal(post(client, good, cut)).startswith("cut.flac: ")
    (tmp_path / "b.wav").write_bytes(good.read_bytes())
    assert "a.wav and b.wav are the same recording" in refusal(post(client, good, tmp_path / "b.wav"))
    assert "Two files have the name a.wav" in refusal(post(client, good, good))
    assert "No recording was sent" in refusal(post(client))
    assert "one site for each file" in refusal(post(client, good, sites=["AV", "MV"]))


@pytest.mark.parametrize("name", ["../../a.wav", "C:/x/a.wav", "/etc/a.wav"])
def test_folders_in_a_file_name_are_ignored(client, tmp_path, name):
    content = made.audio(tmp_path / "a.wav", seconds=4).read_bytes()
    data = {"files": [(BytesIO(content), name)], "sites": ""}
    answer = client.post("/predict", base_url=BASE, headers=OWN, data=data).json
    assert answer["recordings"][0]["name"] == "a.wav"


@pytest.mark.parametrize("name", ["..", "x" * 300 + ".wav", "a\x1b[2J.wav"])
def test_names_that_no_file_can_have_are_refused(client, name):
    data = {"files": [(BytesIO(b"1"), name)], "sites": ""}
    response = client.post("/predict", base_url=BASE, headers=OWN, data=data)
    assert "ame" in refusal(response) and "\x1b" not in response.text


def test_more_than_the_limit_is_refused_in_a_sentence(client):
    data = {"files": [(BytesIO(bytes(MAX_UPLOAD * 2**20)), "a.wav")], "sites": ""}
    response = client.post("/predict", base_url=BASE, headers=OWN, data=data)
    assert "larger than 50 MB" in refusal(response, 413)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8765"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_other_sites_and_host_names_are_refused(client, headers, method):
    address = {"get": "/", "post": "/predict"}[method]
    response = getattr(client, method)(address, base_url=BASE, headers=OWN | headers)
    refusal(response, 403)
    assert not any(name.startswith("Access-Control") for name in dict(response.headers))


def test_a_form_of_another_page_has_not_the_header_that_is_needed(client, tmp_path):
    path = made.audio(tmp_path / "a.wav", seconds=4)
    assert "X-Murmur: page" in refusal(post(client, path, headers={}), 403)
    assert post(client, path, headers=OWN | {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}).json["answer"]


def test_every_answer_has_the_headers_and_the_page_loads_own_files_only(client):
    policies = set()
    for address, status in {
        "/": 200,
        "/static/page.js": 200,
        "/status": 204,
        "/x": 404,
        "/predict": 405,
    }.items():
        response = client.get(address, base_url="http://localhost:8765")
        assert response.status_code == status and HEADERS.items() <= dict(response.headers).items(), address
        policies.add(response.headers["Content-Security-Policy"])
    assert len(policies) == 5  # another nonce each time
    assert all("script-src 'self';" in policy and "unsafe" not in policy for policy in policies)
    text = client.get("/", base_url=BASE).text
    assert "http" not in text and "<style" not in text and text.count("<script") == 1


def test_the_page_states_what_the_model_is(client):
    text = client.get("/", base_url=BASE).text
    assert "Trained on simulated data" in text and "not a medical device" in text
    assert "<td>0.754 \N{EN DASH} 0.923</td>" in text
    other = make_app(page.make_model("circor"), 8765).test_client().get("/", base_url=BASE).text
    assert "simulated" not in other


def test_a_fault_is_described_in_the_terminal_only(app, client, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(page.FakeModel, "predict", fail)
    response = post(client, made.audio(tmp_path / "a.wav"))
    assert "The program has a fault" in refusal(response, 500) and "secret" not in response.text
    assert "ZeroDivisionError: a secret" in capsys.readouterr().out
    assert not app.debug and not app.testing


def test_the_spectrogram_shows_a_tone_at_its_frequency():
    tone = np.sin(2 * np.pi * 250 * np.arange(8 * sound.RATE) / sound.RATE)
    with Image.open(BytesIO(sound.draw_spectrogram(tone))) as image:
        brightness = np.asarray(image).mean(axis=1)
        assert image.size == (1500, 65)
    assert 64 - brightness.argmax() == 250 * 64 // 1000  # rows go from 1000 Hz down to 0


@pytest.mark.parametrize("samples", [np.zeros(1), np.zeros(100), np.ones(20_000_000)], ids=len)
def test_silence_one_sample_and_an_hour_can_be_drawn(samples):
    assert sound.draw_spectrogram(samples.astype(np.float32))[1:4] == b"PNG"
    assert np.isfinite(sound.convert_for_player(samples[:1000], 4000)).all()


def test_a_port_that_is_in_use_gives_one_line(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(MurmurError, match=f"port {port} cannot be used .*in use.*--port 0"):
            serving._listen(port)


def test_serve_prints_the_address_and_listens_on_this_computer_only(monkeypatch, capsys, caplog):
    served = {}
    monkeypatch.setattr("murmur.inference.loading.load_model", lambda path: page.make_model())
    monkeypatch.setattr(
        "waitress.serve", lambda app, sockets, **_: served.update(app=app, at=sockets[0].getsockname())
    )
    monkeypatch.setattr(serving.webbrowser, "open", lambda address: served.update(opened=address))
    caplog.set_level(logging.INFO)
    serving.serve_page(Path("models/murmur"), port=0, browser=True)
    host, port = served["at"]
    address = f"http://127.0.0.1:{port}"
    assert host == "127.0.0.1" and served["app"].config["PORT"] == port
    assert capsys.readouterr().out.splitlines()[0] == address
    assert served["opened"] == address


def test_the_waveform_library_has_its_licence_and_version():
    folder = made.ROOT / "src/murmur/inference/page/static"
    licences = (folder / "LICENSES.txt").read_text()
    assert "wavesurfer.js 7.12.12: BSD-3-Clause" in licences and "Redistribution and use" in licences
