"""Score the predictions of all runs, and draw what they were made from."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from murmur import evaluate, mel, params, pictures, tables
from murmur.errors import run_stage


def main() -> None:
    p = params.load("evaluate", "split", "segment", "mel", "seed")
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    card = tables.read_card("data/recordings.parquet")
    schema = tables.predictions_schema(card.classes)
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    paths = evaluate.run_files("data/predictions", p.split.runs)
    history_paths = evaluate.run_files("data/history", p.split.runs, ".csv")
    stages = ("download", "segment")
    left_out = pd.concat([tables.read(f"data/left_out/{stage}.parquet", tables.LEFT_OUT) for stage in stages])

    results = evaluate.evaluate(
        recordings,
        card,
        segments,
        folds={run: tables.read(f"data/folds/run_{run}.parquet", tables.FOLDS) for run in p.split.runs},
        predictions={r: tables.read(path, schema) for r, path in paths.items()},
        histories={run: pd.read_csv(path) for run, path in history_paths.items()},
        level=p.evaluate.level,
        draws=p.evaluate.draws,
        seed=p.seed,
        notes=[tables.read_note(path) for path in paths.values()],
        audit=pd.read_csv("metrics/audit.csv"),
        protocol=evaluate.protocol(p.split, p.segment, card),
        left_out=len(left_out),
    )
    _gallery(p, card, recordings, segments)
    evaluate.write(results, "metrics", "plots")
    tables.write_csv(left_out, "metrics/left_out.csv")
    print(evaluate.in_words(results, p.evaluate.level))


def _gallery(p: SimpleNamespace, card: tables.Card, recordings: pd.DataFrame, segments: pd.DataFrame) -> None:
    path = Path("plots/gallery.png")
    if not card.shareable:  # git would pass it on
        pictures.notice(f"no examples: {card.dataset} may not be passed on ({card.licence})", path)
        return
    names = segments.loc[~segments["reversed"], "recording_id"]  # the mirrored come after all others
    pictures.gallery(
        mel.read(f"data/mel.{p.mel.format}"),
        names,
        names.map(recordings.set_index("recording_id")["label"]),
        card.classes,
        path,
        seconds=p.segment.length,
        frequencies=mel.frequencies(p.mel)[1:-1],
    )


if __name__ == "__main__":
    run_stage(main)
