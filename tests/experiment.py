"""A small random experiment for the tests of the evaluation: tables as the stages write them."""

import numpy as np
import pandas as pd

from murmur.evaluation import regression
from murmur.evaluation.aggregation import Fitted, compute_levels
from murmur.evaluation.levels import Level, number_units
from murmur.sections.evaluate import Evaluate
from murmur.tables.predictions import TrainingInfo
from murmur.tables.recordings import DatasetCard
from tests.made import changed

CLASSES = ("Present", "Unknown", "Absent")
CARD = DatasetCard("made", "murmur", CLASSES, ("Present",), weights=(), persons="made up", licence="none")
COLUMNS = ["p_Present", "p_Unknown", "p_Absent"]
RUNS, FOLDS = (0, 3), 3


def options(**changes):
    """The evaluate section of params.yaml with few draws, and changes."""
    return Evaluate(**changed({})["evaluate"] | {"draws": 50} | changes)


def experiment(patients=24, linked=2, seed=7):
    """The arguments of `evaluate_predictions`; patients with 1 to 3 recordings of 1 to 3 segments each.

    The last `linked` + 1 patients are one person. Two runs, three folds; each fold has a validation part.
    """
    rng = np.random.default_rng(seed)
    recordings = _recordings(patients, linked, rng)
    times = rng.integers(1, 4, len(recordings))
    segments = recordings.loc[recordings.index.repeat(times), ["recording_id"]].reset_index(drop=True)
    segments["segment_id"] = [f"{name}@{k}" for k, name in enumerate(segments["recording_id"])]
    segments["reversed"] = False
    folds = {run: _folds(recordings, run) for run in RUNS}
    return {
        "recordings": recordings,
        "card": CARD,
        "segments": segments,
        "folds": folds,
        "predictions": {run: _predictions(recordings, segments, folds[run], run) for run in RUNS},
        "histories": {run: _history(run) for run in RUNS},
        "options": options(),
        "seed": 5,
        "notes": [
            TrainingInfo("cpu", "float32", {"torch": "2"}),
            TrainingInfo("cuda", "float32", {"torch": "2"}),
        ],
        "audit": pd.DataFrame({"run": RUNS, "fold": 0, "shared_persons": [0, 2]}),
        "protocol": {"group_by": "person"},
        "left_out": 4,
    }


def _recordings(patients, linked, rng):
    rows = [
        {
            "recording_id": f"r{i}_{k}",
            "patient_id": f"p{i}",
            "person_id": f"q{min(i, patients - 1 - linked)}",
            "label": CLASSES[(i + (k == 0 and i % 5 == 0)) % 3],
            "patient_label": CLASSES[i % 3],
            "site": ("AV", "PV", "MV")[k],
            "sex": ("Female", "Male", None)[i % 4 % 3],
        }
        for i in range(patients)
        for k in range(rng.integers(1, 4))
    ]
    facts = {"audio_sha256": "0", "source": "made", "quality": None, "age_group": "Child", "role": None}
    facts |= {"murmur_grade": None, "murmur_timing": None, "murmur_pitch": None, "annotated": None}
    return pd.DataFrame(rows).assign(**facts, sample_rate=1000, n_samples=1800)


def _folds(recordings, run):
    persons = recordings["person_id"].unique()
    assigned = np.random.default_rng(run).permutation(len(persons)) % FOLDS
    fold = recordings["person_id"].map(dict(zip(persons, assigned, strict=True)))
    roles = np.array(["test", "validation", "train"])
    tables = [
        recordings[["recording_id"]].assign(run=run, fold=f, role=roles[(f - fold) % 3]) for f in range(FOLDS)
    ]
    return pd.concat(tables, ignore_index=True).assign(segment_id=None)


def _predictions(recordings, segments, folds, run):
    rng = np.random.default_rng(100 + run)
    table = folds[folds["role"] != "train"].drop(columns="segment_id")
    table = table.merge(segments, on="recording_id").merge(recordings, on="recording_id")
    truth = pd.Index(CLASSES).get_indexer(pd.Index(table["label"]))
    odds = np.exp(rng.normal(size=(len(table), 3)) + np.eye(3)[truth])
    p = pd.DataFrame((odds / odds.sum(1, keepdims=True)).astype("float32"), columns=COLUMNS)
    keys = table[["run", "fold", "role_x", "segment_id"]].set_axis(["run", "fold", "role", "unit_id"], axis=1)
    return keys.assign(level="segment").join(p)


def _history(run):
    length = 3 + run
    fit = {"fold": 0, "epoch": range(length), "train_loss": np.arange(length) + run, "best": 0}
    return pd.DataFrame(fit)


def predict_levels(made):
    """The units of every level, and the two return values of `compute_levels`."""
    units = number_units(made["recordings"], made["segments"], made["card"].classes)
    args = (made["predictions"], made["folds"], units, made["card"], made["options"])
    return units, *compute_levels(*args)


def predict_tables(made):
    """As `predict_levels`, with the levels as tables, and of what is fitted the decisions."""
    units, levels, fitted = predict_levels(made)
    return units, {name: table_of(level) for name, level in levels.items()}, fitted.decisions


def without_regression(decisions):
    """What is fitted, without a regression."""
    return Fitted(decisions, pd.DataFrame(columns=regression.COLUMNS))


def table_of(level):
    """The level as a table: run, fold, unit, predicted, p_<class>, q_<class>."""
    table = pd.DataFrame({name: getattr(level, name) for name in ("run", "fold", "unit", "predicted")})
    for prefix, p in (("p_", level.probabilities), ("q_", level.calibrated)):
        table[[prefix + c for c in level.classes]] = p
    return table


def level_of(table, units, card=CARD, name="recording"):
    """The level of a table of predictions."""
    keys = {key: table[key].to_numpy() for key in ("run", "fold", "unit", "predicted")}
    p, q = (table[[prefix + c for c in card.classes]].to_numpy() for prefix in ("p_", "q_"))
    return Level(name, units, card.classes, card.positive, **keys, probabilities=p, calibrated=q)


def without_segments(made, *recordings):
    """The same experiment without the segments of these recordings and without their predictions."""
    is_removed = made["segments"]["recording_id"].isin(recordings)
    names = made["segments"].loc[is_removed, "segment_id"]
    predictions = {run: t[~t["unit_id"].isin(names)] for run, t in made["predictions"].items()}
    segments = made["segments"][~is_removed].reset_index(drop=True)
    return made | {"segments": segments, "predictions": predictions}


def two_classes(made):
    """The same experiment with Unknown merged into Absent."""
    recordings = made["recordings"].copy()
    for column in ("label", "patient_label"):
        recordings[column] = recordings[column].replace("Unknown", "Absent")
    predictions = {
        run: t.assign(p_Absent=t["p_Absent"] + t["p_Unknown"]).drop(columns="p_Unknown")
        for run, t in made["predictions"].items()
    }
    card = DatasetCard(
        "made", "murmur", ("Present", "Absent"), ("Present",), (), persons="made up", licence="none"
    )
    return made | {"recordings": recordings, "predictions": predictions, "card": card}
