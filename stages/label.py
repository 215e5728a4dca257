"""Label the frames of the spectrograms by the annotated heart cycles."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

import numpy as np

from murmur import sections
from murmur.errors import run_stage
from murmur.features import frame_labels


def main() -> None:
    p = sections.load("mel.n_fft", "mel.hop_length", "clean.sample_rate", "segment.length", "segment.short")
    hop = p.hop_length[0] if isinstance(p.hop_length, list) else p.hop_length
    labels = frame_labels.write_frame_labels(
        Path("data"), n_fft=p.n_fft, hop=hop, rate=p.sample_rate, seconds=p.length, wrap=p.short == "wrap"
    )
    n_annotated = sum(np.count_nonzero(row >= 0) for row in labels)
    print(f"{n_annotated / labels.size:.0%} of {labels.size} frames are annotated")


if __name__ == "__main__":
    run_stage(main)
