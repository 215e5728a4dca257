"""The local page in a real browser: headless Chromium."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from tests import made, page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium in PATH: the page is not tested in a browser"
)
FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
TIMEOUT = 10_000  # ms; only a failing test waits so long


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", *FAKE_MICROPHONE]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    with page.serve(page.make_model()) as (address, _):
        yield address


@pytest.fixture
def open_page(browser, address):
    """Open the page in new windows; at the end, none of them may have had an error or sent something away."""
    problems, windows = [], []

    def open_window(at=address, **options):
        window = browser.new_page(**options)
        window.set_default_timeout(TIMEOUT)
        window.on("pageerror", lambda error: problems.append(str(error)))
        window.on("console", lambda m: problems.append(m.text) if "Content Security" in m.text else None)
        window.on(
            "request",
            lambda r: problems.append(r.url) if not r.url.startswith((at, "blob:", "data:")) else None,
        )
        window.goto(at)
        windows.append(window)
        return window

    yield open_window
    for window in windows:
        window.close()
    assert not problems


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    names = ("1234_AV.wav", "1234_MV.wav", "5678_MV.wav")
    made.record(folder / "9_PV.hea", np.random.default_rng(0).integers(-9000, 9000, (28000, 1)))
    record = {name: folder / name for name in ("9_PV.hea", "9_PV.dat")}
    return record | {name: made.audio(folder / name, seconds=7) for name in names}


def choose(window, *paths):
    window.set_input_files("#files", paths)
    window.click("#predict")


def test_the_answer_is_shown_with_its_confidence_and_can_be_downloaded(open_page, recordings):
    window = open_page()
    choose(window, recordings["1234_AV.wav"], recordings["1234_MV.wav"])
    expect(window.locator("#answer")).to_have_text("Present")
    expect(window.locator("#answer")).to_be_focused()
    expect(window.locator(".sentence")).to_have_text("Estimated probability of Present: 54 %.")
    expect(window.locator(".expected")).to_contain_text("sensitivity 0.84 (95 % interval 0.75 to 0.92)")
    headings = window.locator("article h3")
    expect(headings).to_have_text(["1234_AV.wav (AV, aortic valve)", "1234_MV.wav (MV, mitral valve)"])
    expect(window.locator(".cycles")).to_have_count(0)  # the model does not find heart cycles
    with window.expect_download() as download:
        window.click("text=Download as JSON")
    content = json.loads(download.value.path().read_text())
    assert content["answer"] == "Present" and content["recordings"][1]["site"] == "MV"
    assert "spectrogram" not in content["recordings"][0]
    with window.expect_download() as download:
        window.click("text=Download as CSV")
    lines = download.value.path().read_text().splitlines()
    assert download.value.suggested_filename == "1234_prediction.csv" and len(lines) == 4
    window.get_by_label("Site of 1234_AV.wav").select_option("TV")
    expect(window.locator("#result")).to_be_hidden()  # it was for another site


def test_the_cursor_moves_over_a_recording_of_a_format_that_browsers_do_not_play(open_page, recordings):
    window = open_page()
    choose(window, recordings["9_PV.dat"], recordings["9_PV.hea"])
    expect(window.locator(".row .name")).to_have_text("9_PV.hea (2 files)")
    play = window.get_by_role("button", name="Play 9_PV.hea")
    expect(play).to_be_enabled()
    play.focus()
    window.keyboard.press("Enter")
    cursor = window.locator(".cursor-area > .cursor")
    expect(cursor).to_have_attribute("style", re.compile(r"left: ([1-9]\d|[3-9])\b"))
    expect(window.get_by_role("button", name="Pause 9_PV.hea")).to_be_visible()
    window.locator(".curve").click(position={"x": 5, "y": 5})  # the start again
    slider = window.get_by_role("slider", name="Position in 9_PV.hea")
    slider.press("End")
    expect(cursor).to_have_attribute("style", re.compile(r"left: (99|100)\b"))
    assert "7.0 of 7.0 s" in slider.get_attribute("aria-valuetext")
    assert window.evaluate("document.querySelector('.spectrogram').naturalWidth") > 100


def test_heart_sounds_and_murmur_are_shown_below_the_waveform(open_page, recordings):
    with page.serve(page.make_model(model=page.FakeFramesModel)) as (address, _):
        window = open_page(address)
        choose(window, recordings["1234_AV.wav"])
        expect(window.locator(".facts")).to_contain_text("Heart rate:60 per minute")
        expect(window.locator(".facts")).to_contain_text("Murmur most probable in:late systole (75 %)")
        label = "Heart sounds: 7 heartbeats; a murmur is most probable in late systole, 75 %"
        picture = window.get_by_role("img", name=label)
        assert picture.locator("rect.S1").count() == 7
        slider = window.get_by_role("slider", name="Position in 1234_AV.wav")
        expect(slider).to_be_enabled()
        slider.fill("3.6")
        expect(window.locator(".now")).to_contain_text("S2")
        with window.expect_download() as download:
            window.click("text=Download as CSV")
        assert '"60","late systole","0.75"' in download.value.path().read_text()


def test_a_damaged_and_a_huge_file_give_a_sentence_and_the_page_can_be_used_after_it(
    open_page, recordings, tmp_path
):
    window = open_page()
    (tmp_path / "notes.wav").write_text("not audio")
    choose(window, tmp_path / "notes.wav")
    expect(window.locator("#problem")).to_contain_text("notes.wav: ")
    window.get_by_role("button", name="Remove notes.wav").click()
    expect(window.locator("#problem")).to_be_hidden()
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(51 * 2**20)
    choose(window, tmp_path / "huge.wav")
    expect(window.locator("#problem")).to_contain_text("larger than 50 MB in all (51 MB)")
    window.get_by_role("button", name="Remove huge.wav").click()
    short = made.audio(tmp_path / "short.wav", seconds=1)
    choose(window, recordings["1234_AV.wav"], short)
    expect(window.locator("#answer")).to_have_text("Present")
    expect(window.locator(".of")).to_have_text("Patient 1234, 2 recordings, 1 not used")


def test_the_server_refuses_50_mb_too(open_page):
    window = open_page()
    status, error = window.evaluate(
        """async () => {
            const form = new FormData();
            form.append("files", new File([new Uint8Array(51 * 2 ** 20)], "a.wav"));
            const options = {method: "POST", body: form, headers: {"X-Murmur": "page"}};
            const answer = await fetch("/predict", options);
            return [answer.status, (await answer.json()).error];
        }"""
    )
    assert status == 413 and "larger than 50 MB" in error


def test_two_patients_are_separated_or_confirmed(open_page, recordings):
    window = open_page()
    choose(window, recordings["1234_AV.wav"], recordings["5678_MV.wav"])
    expect(window.locator("#problem")).to_contain_text("seem to be of two patients: 1234, 5678")
    window.click("text=They are of one patient")
    expect(window.locator("article")).to_have_count(2)
    window.click("#predict")
    window.click("text=Remove those of 5678")
    window.click("#predict")
    expect(window.locator(".of")).to_have_text("Patient 1234, 1 recording")


def test_dropped_files_have_their_site_and_names_are_only_text(open_page):
    window = open_page()
    window.evaluate(
        """() => {
            const dropped = new DataTransfer();
            for (const name of ["<img src=x>_tv_2.wav", "a_Phc.wav", "b.wav"]) {
                dropped.items.add(new File(["x"], name));
            }
            const drop = new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true});
            document.getElementById("drop").dispatchEvent(drop);
        }"""
    )
    expect(window.locator(".row .name")).to_have_text(["<img src=x>_tv_2.wav", "a_Phc.wav", "b.wav"])
    assert [s.input_value() for s in window.locator(".row select").all()] == ["TV", "Phc", ""]


def test_two_pages_predict_at_once(open_page, recordings):
    windows = [open_page(), open_page()]
    for window, name in zip(windows, ("1234_AV.wav", "5678_MV.wav"), strict=True):
        window.set_input_files("#files", recordings[name])
    for window in windows:
        window.evaluate("document.getElementById('predict').click()")
    for window, patient in zip(windows, ("1234", "5678"), strict=True):
        expect(window.locator(".of")).to_have_text(f"Patient {patient}, 1 recording")


def test_the_microphone_gives_a_recording(open_page):
    window = open_page(permissions=["microphone"])
    window.get_by_role("button", name="Record with the microphone").click()
    expect(window.locator("#record")).to_contain_text("Stop (1 s)")
    window.click("#record")
    window.click("#predict")
    expect(window.locator("article .reasons")).to_contain_text("too short")
    expect(window.locator("#answer")).to_have_text("Cannot tell")


def test_an_ended_program_is_noticed(open_page, recordings):
    code = (
        "from tests import page\nwith page.serve(page.make_model()) as (a, _): print(a, flush=True), input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=made.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        window = open_page(program.stdout.readline().strip())
        program.kill()
    choose(window, recordings["1234_AV.wav"])
    expect(window.locator("#ended")).to_contain_text("The program has ended")
    expect(window.locator("#ended code")).to_have_text("murmur serve")


def test_the_page_fits_a_narrow_window(open_page, recordings):
    window = open_page(viewport={"width": 400, "height": 800})
    choose(window, recordings["1234_AV.wav"])
    expect(window.locator("article .play")).to_be_enabled()
    assert window.evaluate("document.documentElement.scrollWidth") == 400
