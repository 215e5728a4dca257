"""The pictures of the stage evaluate: examples of each class, and patients that are wrong in most runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from murmur.evaluation.inputs import EvaluationTables
from murmur.evaluation.missed import ErrorExample
from murmur.features import mel_scale, store
from murmur.reporting import spectrograms
from murmur.sections.mel import Mel
from murmur.sections.segment import Segment


def draw_illustrations(
    tables: EvaluationTables,
    examples: Sequence[ErrorExample],
    mel: Mel,
    segment: Segment,
    spectra: Path,
    folder: Path,
) -> None:
    """Draw gallery.png and errors.png; data that may not be shared get a line of text instead.

    Parameters
    ----------
    tables : EvaluationTables
        The tables of recordings and segments, and the description of the data set.
    examples : sequence of ErrorExample
        The patients to draw.
    mel, segment : Mel, Segment
        The sections `mel` and `segment` of params.yaml.
    spectra : Path
        The folder with the spectrograms of all segments.
    folder : Path
        Where the pictures are written.
    """
    card, segments = tables.card, tables.segments
    gallery, errors = folder / "gallery.png", folder / "errors.png"
    if not card.shareable:  # the pictures are committed to git
        for path in (gallery, errors):
            spectrograms.draw_notice(f"no pictures: {card.dataset} may not be shared ({card.licence})", path)
        return
    array = store.read_array(spectra)
    store.check_length(array, len(segments), spectra)
    axes: dict[str, Any] = {"seconds": segment.length, "frequencies": mel_scale.mel_frequencies(mel)[1:-1]}
    names = segments.loc[~segments["reversed"], "recording_id"]  # time-reversed copies come after all others
    labels = names.map(tables.recordings.set_index("recording_id")["label"])
    spectrograms.draw_gallery(array, names, labels, card.classes, gallery, **axes)
    positive = " or ".join(card.positive)
    titles = [
        "\n".join(
            line
            for line in (
                f"{e.recording_id}: {e.truth}",
                e.murmur,
                f"predicted {e.predicted}",
                f"p({positive}) {e.probability:.2f}",
            )
            if line
        )
        for e in examples
    ]
    spectrograms.draw_errors(array[[e.segment for e in examples]], titles, errors, **axes)
