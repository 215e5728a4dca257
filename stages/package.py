"""Write the model folder models/murmur: the final networks and all that a prediction needs."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

import json
from pathlib import Path

from murmur import sections
from murmur.errors import run_stage
from murmur.evaluation.run_files import find_run_files
from murmur.features import store
from murmur.inference import packaging
from murmur.inference.model_folder import write_model
from murmur.tables import parquet
from murmur.tables.groups import GROUPS
from murmur.tables.predictions import make_predictions_schema
from murmur.tables.recordings import RECORDINGS, read_dataset_card
from murmur.tables.segments import SEGMENTS
from murmur.tables.signals import SIGNALS

# With the module of the network: the code that trains the networks and computes the features of a recording.
CODE = ("features", "training", "models/__init__.py", "models/_time_convolutions.py", "models/_weights.py")


def main() -> None:
    p = sections.load("clean", "segment", "mel", "embed", "train", "evaluate", "final", "split.runs")
    recordings = parquet.read("data/recordings.parquet", RECORDINGS)
    recordings = recordings.merge(parquet.read("data/groups.parquet", GROUPS))
    card = read_dataset_card("data/recordings.parquet")
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    signals = parquet.read("data/signals.parquet", SIGNALS)
    files = find_run_files(Path("data/predictions"), p.runs, ".murmur_predictions.parquet")
    schema = make_predictions_schema(card.classes)
    predictions = {run: parquet.read(path, schema) for run, path in files.items()}
    weights, source = Path("models/final.safetensors"), Path("src/murmur")
    info = packaging.make_model_info(
        card,
        packaging.select_params(p),
        json.loads(Path("metrics/details.json").read_text(encoding="utf-8")),
        weights.read_bytes(),
        decisions=packaging.describe_decisions(recordings, card, segments, predictions, p.evaluate),
        familiarity=packaging.describe_recordings(
            recordings, signals, Path("data/signals.npy"), p.clean.sample_rate
        ),
        shape=store.read_array(Path("data", p.train.features)).shape[1:],
        ensemble=p.final.ensemble,
        epochs=packaging.read_epochs(weights),
        code_sha256=packaging.hash_files(
            source / name for name in (*CODE, f"models/{p.train.model.name}.py")
        ),
    )
    write_model(Path("models/murmur"), info, weights.read_bytes())


if __name__ == "__main__":
    run_stage(main)
