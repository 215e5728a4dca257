"""Draw docs/images/page.png, the picture of the local page: `python docs/draw_page.py`.

It needs Chromium, the model of the embedded data set (models/murmur) and its recordings (data/raw).
"""

import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
RECORDINGS = [ROOT / f"data/raw/P001_{site}.wav" for site in ("AV", "PV", "MV")]
SERVE = [sys.executable, "-m", "murmur", "serve", "--no-browser", "--port", "0"]
WIDTH, COLOURS = 1000, 200
PLAYED = 4000  # ms


def main() -> None:
    """Start the page, predict a patient, play the first recording and take the picture."""
    with subprocess.Popen(SERVE, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            picture = take_picture(program.stdout.readline().strip())
        finally:
            program.terminate()
    picture.quantize(COLOURS).save(ROOT / "docs/images/page.png", optimize=True)


def take_picture(address: str) -> Image.Image:
    """The page from its top to the end of the first recording."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": WIDTH, "height": 900})
        window.goto(address)
        window.set_input_files("#files", RECORDINGS)
        window.click("#predict")
        play = window.locator("article .play").first
        play.click()
        window.wait_for_timeout(PLAYED)
        play.click()
        window.mouse.move(1, 1)
        box = window.locator("article").first.bounding_box()
        assert box
        bottom = int(window.evaluate("window.scrollY") + box["y"] + box["height"]) + 10
        content = window.screenshot(full_page=True)
        browser.close()
    return Image.open(BytesIO(content)).convert("RGB").crop((0, 0, WIDTH, bottom))


if __name__ == "__main__":
    main()
