"""Score the predictions of all runs, and draw what they were made from."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from murmur import params
from murmur.errors import run_stage
from murmur.evaluation import output, run_files
from murmur.evaluation.protocol import describe_protocol, describe_selection, have_validation
from murmur.evaluation.results import Results, evaluate_predictions
from murmur.evaluation.summary import summarise
from murmur.features import mel_scale, store
from murmur.files import write_text
from murmur.reporting import cards, spectrograms
from murmur.tables import parquet
from murmur.tables.csv_input import read_csv
from murmur.tables.csv_output import write_csv
from murmur.tables.folds import FOLDS
from murmur.tables.groups import GROUPS
from murmur.tables.left_out import LEFT_OUT, count_by_reason
from murmur.tables.predictions import predictions_schema, read_note
from murmur.tables.recordings import RECORDINGS, Card, read_card
from murmur.tables.segments import SEGMENTS

SHARED = ("shared_persons", "shared_recordings", "shared_near")
AUDIT = ("run", "fold", "n_train", "n_validation", "n_test", *SHARED)
HISTORY = ("fold", "epoch", "train_loss")


def main() -> None:
    p = params.load("evaluate", "clean", "segment", "mel", "split", "train", "seed")
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    groups = parquet.read("data/groups.parquet", GROUPS)
    card = read_card("data/recordings.parquet")
    schema = predictions_schema(card.classes)
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    paths = run_files.find_run_files("data/predictions", p.split.runs, ".murmur_predictions.parquet")
    history_paths = run_files.find_run_files("data/history", p.split.runs, ".murmur_history.csv")
    run_files.remove_other_runs("data/predictions", paths.values())
    run_files.remove_other_runs("data/history", history_paths.values())
    stages = ("download", "segment")
    left_out = pd.concat([parquet.read(f"data/left_out/{stage}.parquet", LEFT_OUT) for stage in stages])
    audit = read_csv("metrics/audit.csv", AUDIT, may_be_empty=False)

    folds = {run: parquet.read(f"data/folds/run_{run}.parquet", FOLDS) for run in p.split.runs}
    n_folds, has_validation = audit["fold"].nunique(), have_validation(folds)
    protocol = describe_protocol(p.split, p.segment, card, n_folds, has_validation)

    results = evaluate_predictions(
        recordings.merge(groups, on="recording_id", validate="1:1"),
        card,
        segments,
        folds=folds,
        predictions={r: parquet.read(path, schema) for r, path in paths.items()},
        histories={run: read_csv(path, HISTORY, may_be_empty=False) for run, path in history_paths.items()},
        options=p.evaluate,
        seed=p.seed,
        notes=[read_note(path) for path in paths.values()],
        audit=audit,
        protocol=protocol | describe_selection(p.train),
        left_out=len(left_out),
    )
    _pictures(p, card, recordings, segments, results)
    output.write_results(results, "metrics", "plots")
    listed = left_out if card.shareable else count_by_reason(left_out)
    write_csv(listed, "metrics/left_out.csv")
    subgroups, points, runs = (results.tables[name] for name in ("subgroups", "operating_points", "runs"))
    write_text("metrics/model_card.md", cards.model_card(results.details, p, subgroups, points, runs))
    write_text("metrics/data_card.md", cards.data_card(results.details, audit, listed))
    print(summarise(results.details))


def _pictures(
    p: SimpleNamespace,
    card: Card,
    recordings: pd.DataFrame,
    segments: pd.DataFrame,
    results: Results,
) -> None:
    gallery, errors = Path("plots/gallery.png"), Path("plots/errors.png")
    if not card.shareable:  # git would pass it on
        for path in (gallery, errors):
            spectrograms.draw_notice(
                f"no pictures: {card.dataset} may not be passed on ({card.licence})", path
            )
        return
    array = store.read_array("data/mel")
    store.check_length(array, len(segments), "data/mel")
    axes = {"seconds": p.segment.length, "frequencies": mel_scale.mel_frequencies(p.mel)[1:-1]}
    names = segments.loc[~segments["reversed"], "recording_id"]  # the mirrored come after all others
    labels = names.map(recordings.set_index("recording_id")["label"])
    spectrograms.draw_gallery(array, names, labels, card.classes, gallery, **axes)
    shown = array[[m.segment for m in results.mistakes]]
    titles = [
        f"{m.recording_id}\n{m.truth}, said {m.predicted} {m.probability:.2f}" for m in results.mistakes
    ]
    spectrograms.draw_errors(shown, titles, errors, **axes)


if __name__ == "__main__":
    run_stage(main)
