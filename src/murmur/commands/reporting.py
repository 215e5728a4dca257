"""Commands that show the current experiment: the results, the report, and the images that a model sees."""

import json
import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from murmur import sections
from murmur.errors import MurmurError
from murmur.experiments import project
from murmur.experiments.current import DETAILS_FILE, read_details, warn_if_params_changed
from murmur.formatting import format_count
from murmur.logs import escape_unprintable
from murmur.models._signatures import find_file

logger = logging.getLogger(__name__)
NEXT = """\
Next:
  make report                     all tables and figures on one page
  murmur predict a.wav            predict recordings with the final model
  dvc exp run -S train.lr=0.002   change a parameter; then: {then}
  murmur recipes                  published systems{more}"""
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
    _warn_if_untracked()
    print(escape_unprintable("\n".join([*lines, "", _format_next(details)]), lines=True))
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
            names = ", ".join(_drop_keys_of_sections(changes))
            logger.warning("the figures are of an earlier run: `dvc repro` updates them; changed: %s", names)


def _drop_keys_of_sections(changes: list[str]) -> list[str]:
    """Drop keys such as ``params.yaml (clean.bandpass)`` where the section, ``(clean)``, is in the list."""
    sections_with_point = tuple(f"{change[:-1]}." for change in changes if change.endswith(")"))
    return [change for change in changes if not change.startswith(sections_with_point)]


def _warn_if_untracked() -> None:
    """Log a warning if git does not track the file of the model that params.yaml names."""
    try:
        path = find_file(sections.load("train").train.model.name)
        if not path.is_absolute() and path.exists() and not project.is_tracked(path):
            logger.warning("git does not track %s: commit it together with these figures", path)
    except MurmurError:  # no git, no repository, or a wrong params.yaml
        return


def _format_next(details: Mapping[str, Any]) -> str:
    """What to do next: `murmur compare` needs committed figures of the same data."""
    then = "murmur compare" if _is_committed_data(details) else "murmur experiments"
    more = "; own recordings: README.md" if details["data"]["dataset"] == "synthetic" else ""
    return NEXT.format(then=then, more=more)


def _is_committed_data(details: Mapping[str, Any]) -> bool:
    """Whether the figures in HEAD are of the same data and task."""
    try:
        committed = json.loads(project.read_committed("HEAD", DETAILS_FILE) or "{}").get("data", {})
    except (MurmurError, ValueError, AttributeError):  # no git, no repository, or no JSON object
        return False
    return all(committed.get(key) == details["data"][key] for key in ("dataset", "task", "sha256"))


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
    logger.info("wrote %s: %s", folder, format_count(len(segments), "image"))
