"""Score the predictions of all runs, and draw what they were made from."""

from pathlib import Path

import librosa
import pandas as pd

from murmur import evaluate, mel, params, pictures, tables
from murmur.errors import run_stage


def main() -> None:
    p = params.load("evaluate", "split", "mel", "clean.sample_rate", "seed")
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    card = tables.read_card("data/recordings.parquet")
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    paths = evaluate.run_files("data/predictions", p.split.runs)
    history_paths = evaluate.run_files("data/history", p.split.runs, ".csv")
    audit = pd.read_csv("metrics/audit.csv")
    stages = ("download", "segment")
    left_out = pd.concat([tables.read(f"data/left_out/{stage}.parquet", tables.LEFT_OUT) for stage in stages])

    results = evaluate.evaluate(
        recordings,
        card,
        segments,
        folds={run: tables.read(f"data/folds/run_{run}.parquet", tables.FOLDS) for run in p.split.runs},
        predictions={r: tables.read(path, tables.predictions_schema(card.classes)) for r, path in paths.items()},
        histories={run: pd.read_csv(path) for run, path in history_paths.items()},
        level=p.evaluate.level,
        draws=p.evaluate.draws,
        seed=p.seed,
        left_out=len(left_out),
        about={"protocol": evaluate.protocol(p.split, audit, card), **evaluate.trained_on(paths.values())},
    )
    label = recordings.set_index("recording_id")["label"]
    pictures.gallery(
        mel.read(f"data/mel.{p.mel.format}"),
        segments["recording_id"],
        segments["recording_id"].map(label),
        card.classes,
        Path("plots/gallery.png"),
        frame_seconds=p.mel.hop_length / p.sample_rate,
        frequencies=librosa.mel_frequencies(n_mels=p.mel.n_mels + 2, fmin=p.mel.f_min, fmax=p.mel.f_max)[1:-1],
    )
    evaluate.write(results, "metrics", "plots")
    tables.write_csv(left_out, "metrics/left_out.csv")
    print(evaluate.in_words(results, p.evaluate.level))


if __name__ == "__main__":
    run_stage(main)
