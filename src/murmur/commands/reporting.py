"""Commands that show the current experiment: the results, the report, and the images that a model sees."""

import logging
import shutil
import sys
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from murmur import sections
from murmur.errors import MurmurError, escape_unprintable
from murmur.experiments import project
from murmur.experiments.current import read_details, warn_if_params_changed

logger = logging.getLogger(__name__)
NEXT = """\
Next:
  make report                     all tables and figures on one page
  dvc exp run -S train.lr=0.002   change a parameter; then: murmur compare
  murmur recipes                  published systems; own recordings: README.md"""
IDENTITY = """\
  `dvc exp run` needs your name in git: git config --global user.name "Your Name"
                                        git config --global user.email you@example.org"""


def show_results() -> None:
    """Print the results, what they mean, and what to do next.

    The results are those of the last run of the pipeline (`make repro`, `dvc repro` or `dvc exp run`).

    Examples
    --------
    murmur show
    """
    from murmur.evaluation.summary import format_summary  # imports pandas
    from murmur.reporting.interpretation import interpret_results

    details = read_details()
    _warn_if_changed()
    width = min(shutil.get_terminal_size().columns, 100)
    lines = [fill(line, width) for line in format_summary(details).splitlines()]
    lines += [""] + [
        fill(f"{topic:8}  {text}", width, subsequent_indent=" " * 10)
        for topic, text in interpret_results(details).items()
    ]
    print(escape_unprintable("\n".join([*lines, "", NEXT]), lines=True))
    if shutil.which("git") and not project.has_git_identity():
        print(IDENTITY)
    if shutil.which("murmur") != str(Path(sys.executable).with_name("murmur")):
        print(f"  These commands need: source {_find_activation()}")


def _warn_if_changed() -> None:
    """Log a warning if parameters, data or code have changed since the pipeline ran."""
    try:
        changes = project.list_changes()
    except MurmurError as error:
        logger.warning("whether the figures are up to date is unknown: %s", error)
    else:
        if changes:
            names = ", ".join(changes)
            logger.warning("the figures are of an earlier run: `dvc repro` updates them; changed: %s", names)


def _find_activation() -> Path:
    """The script that activates the virtual environment, relative to the current folder if it is in it."""
    script, folder = Path(sys.prefix, "bin/activate"), Path.cwd()
    return script.relative_to(folder) if script.is_relative_to(folder) else script


def write_html_report(
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("report.html"),
) -> None:
    """Write all results as one HTML page.

    The page needs no other file: read, print or send it.

    Examples
    --------
    murmur report
    murmur report --out results/today.html
    """
    from murmur.experiments.provenance import describe_provenance
    from murmur.reporting import report  # imports matplotlib

    warn_if_params_changed()
    report.write_report(Path(), out, describe_provenance("murmur report"))
    logger.info("wrote %s; open it in a browser", out)


def export_images(folder: Annotated[Path, typer.Argument(help="an empty or new folder")]) -> None:
    """Write the colour images of data/mel as PNG files.

    There is a folder for each label. Low frequencies are at the bottom. The parameter mel.image makes the
    stage mel compute images.

    Examples
    --------
    murmur images png
    """
    from murmur.features import store
    from murmur.reporting import spectrograms  # imports matplotlib
    from murmur.tables import parquet
    from murmur.tables.recordings import RECORDINGS
    from murmur.tables.segments import SEGMENTS

    p = sections.load("mel")
    if p.mel.image is None:
        raise MurmurError("mel.image is null: there are no images; set it to {size: 224, colours: magma}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MurmurError(f"{folder}: is not an empty folder; choose a new one")
    images = store.read_array("data/mel")
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    if images.dtype != "uint8" or len(images) != len(segments):
        raise MurmurError("data/mel was made with another params.yaml: dvc repro mel")
    labels = parquet.read("data/recordings.parquet", RECORDINGS).set_index("recording_id")["label"]
    spectrograms.write_images(images, segments["segment_id"], segments["recording_id"].map(labels), folder)
    logger.info("wrote %s: %d images", folder, len(segments))
