"""Score the predictions of all runs, and draw what they were made from."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from murmur import params, tables
from murmur.errors import run_stage
from murmur.evaluation import results as evaluate
from murmur.features import mel
from murmur.files import write_text
from murmur.reporting import cards
from murmur.reporting import spectrograms as pictures

SHARED = ("shared_persons", "shared_recordings", "shared_near")
AUDIT = ("run", "fold", "n_train", "n_validation", "n_test", *SHARED)
HISTORY = ("fold", "epoch", "train_loss")


def main() -> None:
    p = params.load("evaluate", "clean", "segment", "mel", "split", "train", "seed")
    recordings = tables.read("data/recordings.parquet", tables.RECORDINGS)
    groups = tables.read("data/groups.parquet", tables.GROUPS)
    card = tables.read_card("data/recordings.parquet")
    schema = tables.predictions_schema(card.classes)
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    paths = evaluate.run_files("data/predictions", p.split.runs, ".murmur_predictions.parquet")
    history_paths = evaluate.run_files("data/history", p.split.runs, ".murmur_history.csv")
    evaluate.remove_others("data/predictions", paths.values())
    evaluate.remove_others("data/history", history_paths.values())
    stages = ("download", "segment")
    left_out = pd.concat([tables.read(f"data/left_out/{stage}.parquet", tables.LEFT_OUT) for stage in stages])
    audit = tables.read_csv("metrics/audit.csv", AUDIT, may_be_empty=False)

    folds = {run: tables.read(f"data/folds/run_{run}.parquet", tables.FOLDS) for run in p.split.runs}
    n_folds, has_validation = audit["fold"].nunique(), evaluate.has_validation(folds)
    protocol = evaluate.protocol(p.split, p.segment, card, n_folds, has_validation)

    results = evaluate.evaluate(
        recordings.merge(groups, on="recording_id", validate="1:1"),
        card,
        segments,
        folds=folds,
        predictions={r: tables.read(path, schema) for r, path in paths.items()},
        histories={
            run: tables.read_csv(path, HISTORY, may_be_empty=False) for run, path in history_paths.items()
        },
        options=p.evaluate,
        seed=p.seed,
        notes=[tables.read_note(path) for path in paths.values()],
        audit=audit,
        protocol=protocol | evaluate.selection(p.train),
        left_out=len(left_out),
    )
    _pictures(p, card, recordings, segments, results)
    evaluate.write(results, "metrics", "plots")
    listed = left_out if card.shareable else evaluate.unnamed(left_out)
    tables.write_csv(listed, "metrics/left_out.csv")
    subgroups, points, runs = (results.tables[name] for name in ("subgroups", "operating_points", "runs"))
    write_text("metrics/model_card.md", cards.model_card(results.details, p, subgroups, points, runs))
    write_text("metrics/data_card.md", cards.data_card(results.details, audit, listed))
    print(evaluate.in_words(results.details))


def _pictures(
    p: SimpleNamespace,
    card: tables.Card,
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    results: evaluate.Results,
) -> None:
    gallery, errors = Path("plots/gallery.png"), Path("plots/errors.png")
    if not card.shareable:  # git would pass it on
        for path in (gallery, errors):
            pictures.notice(f"no pictures: {card.dataset} may not be passed on ({card.licence})", path)
        return
    spectrograms = mel.read("data/mel")
    mel.check_length(spectrograms, len(segments), "data/mel")
    axes = {"seconds": p.segment.length, "frequencies": mel.frequencies(p.mel)[1:-1]}
    names = segments.loc[~segments["reversed"], "recording_id"]  # the mirrored come after all others
    labels = names.map(recordings.set_index("recording_id")["label"])
    pictures.gallery(spectrograms, names, labels, card.classes, gallery, **axes)
    shown = spectrograms[[m.segment for m in results.mistakes]]
    titles = [f"{m.recording_id}\n{m.truth}, said {m.answer} {m.probability:.2f}" for m in results.mistakes]
    pictures.errors(shown, titles, errors, **axes)


if __name__ == "__main__":
    run_stage(main)
