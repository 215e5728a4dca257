"""Commands that show the current experiment: the report, and the images that a model sees."""

from pathlib import Path
from typing import Annotated

import typer

from murmur import sections
from murmur.errors import MurmurError
from murmur.experiments.current import warn_if_params_changed


def write_html_report(
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("report.html"),
) -> None:
    """Write all results of the experiment as one HTML page, to read, print or send by mail."""
    from murmur.experiments.provenance import describe_provenance
    from murmur.reporting import report  # imports matplotlib

    warn_if_params_changed()
    report.write_report(Path(), out, describe_provenance("murmur report"))
    print(f"{out}: open it in a browser")


def export_images(folder: Annotated[Path, typer.Argument(help="an empty or new folder")]) -> None:
    """Write the colour images of data/mel (mel.image) as PNG files, in a folder for each label.

    Low frequencies are at the bottom.
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
    print(f"{len(segments)} images in {folder}")
