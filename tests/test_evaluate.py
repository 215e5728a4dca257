"""Evaluation on small made tables, compared with plain loops."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from murmur import evaluate, metrics, params, pictures
from murmur.errors import MurmurError
from murmur.tables import Card, Note
from tests.made import changed

CLASSES = ("Present", "Unknown", "Absent")
CARD = Card("made", "murmur", CLASSES, ("Present",), weights=(), persons="made up", licence="none")
COLUMNS = ["p_Present", "p_Unknown", "p_Absent"]
RUNS, FOLDS = (0, 3), 2


@pytest.fixture
def made():
    """24 patients of 22 persons, one to three recordings of one to three segments; two runs, two folds."""
    rng = np.random.default_rng(7)
    recordings = pd.DataFrame(
        [
            (
                f"r{i}_{k}",
                f"p{i}",
                f"q{min(i, 21)}",
                CLASSES[(i + (k == 0 and i % 5 == 0)) % 3],
                CLASSES[i % 3],
            )
            for i in range(24)
            for k in range(rng.integers(1, 4))
        ],
        columns=["recording_id", "patient_id", "person_id", "label", "patient_label"],
    ).assign(audio_sha256="0")
    times = rng.integers(1, 4, len(recordings))
    segments = recordings.loc[recordings.index.repeat(times), ["recording_id"]].reset_index(drop=True)
    segments["segment_id"] = [f"{name}@{k}" for k, name in enumerate(segments["recording_id"])]
    segments["reversed"] = False
    deal = {run: recordings["person_id"].map(_deal(recordings, run)) for run in RUNS}
    return {
        "recordings": recordings,
        "card": CARD,
        "segments": segments,
        "folds": {run: _folds(recordings, fold, run) for run, fold in deal.items()},
        "predictions": {run: _predictions(recordings, segments, fold, run) for run, fold in deal.items()},
        "histories": {run: _history(run) for run in RUNS},
        "level": "patient",
        "draws": 200,
        "seed": 5,
        "notes": [Note("cpu", "float32", {"torch": "2"}), Note("cuda", "float32", {"torch": "2"})],
        "audit": pd.DataFrame({"run": RUNS, "fold": 0, "shared_persons": [0, 2]}),
        "protocol": {"group_by": "person"},
        "left_out": 4,
    }


def _deal(recordings, run):
    persons = recordings["person_id"].unique()
    return dict(zip(persons, np.random.default_rng(run).permutation(len(persons)) % FOLDS, strict=True))


def _folds(recordings, fold, run):
    tables = [
        recordings[["recording_id"]].assign(run=run, fold=f, role=np.where(fold == f, "test", "train"))
        for f in range(FOLDS)
    ]
    return pd.concat(tables, ignore_index=True).assign(segment_id=None)


def _predictions(recordings, segments, fold, run):
    rng = np.random.default_rng(100 + run)
    whole = segments.merge(recordings.assign(fold=fold), on="recording_id")
    truth = pd.Index(CLASSES).get_indexer(pd.Index(whole["label"]))
    odds = np.exp(rng.normal(size=(len(whole), 3)) + np.eye(3)[truth])
    p = pd.DataFrame((odds / odds.sum(1, keepdims=True)).astype("float32"), columns=COLUMNS)
    test = pd.DataFrame(
        {"run": run, "fold": whole["fold"], "unit_id": whole["segment_id"], "level": "segment"}
    )
    test = pd.concat([test, p], axis=1)
    other = test.assign(fold=1 - test["fold"], role="validation").assign(**dict.fromkeys(COLUMNS, 1 / 3))
    return pd.concat([test.assign(role="test"), other], ignore_index=True)


def _history(run):
    length = 3 + run
    fit = {"fold": 0, "epoch": range(length), "train_loss": np.arange(length) + run, "best": 0}
    return pd.DataFrame(fit)


def plain(made, run, fold, level):
    """Class numbers and mean probabilities [units, 3] of a fold's test units, one unit after another."""
    said = made["predictions"][run].query("role == 'test' and fold == @fold").set_index("unit_id")[COLUMNS]
    named = made["segments"].merge(made["recordings"], on="recording_id")
    named = named[named["segment_id"].isin(said.index)]
    truth, mean = [], []
    for _, unit in named.groupby(f"{level}_id"):
        parts = [said.loc[r["segment_id"]].to_numpy(float).mean(0) for _, r in unit.groupby("recording_id")]
        mean.append(np.mean(parts, axis=0))
        truth.append(CLASSES.index(unit["patient_label" if level == "patient" else "label"].iloc[0]))
    return np.array(truth), np.array(mean)


@pytest.mark.parametrize("level", ["segment", "recording", "patient"])
def test_figures_of_folds_and_runs_are_those_of_a_plain_loop(made, level):
    results = evaluate.evaluate(**made)
    for run in RUNS:
        folds = [plain(made, run, fold, level) for fold in range(FOLDS)]
        pooled = tuple(np.concatenate(parts) for parts in zip(*folds, strict=True))
        rows = results.folds.query("run == @run and level == @level").to_dict("records")
        rows += results.runs.query("run == @run and level == @level").to_dict("records")
        for (truth, p), row in zip([*folds, pooled], rows, strict=True):
            counts = metrics.confusion(truth, p.argmax(1), 3)
            expected = {k: float(v) for k, v in metrics.from_confusion(counts, CLASSES, ("Present",)).items()}
            expected |= metrics.from_probabilities(truth, p, CLASSES, ("Present",))
            expected |= {"n_units": len(truth)}
            assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_rows_are_in_order_and_persons_are_counted(made):
    results = evaluate.evaluate(**made)
    levels = ["segment", "recording", "patient"]
    assert list(results.runs["level"]) == levels * 2
    assert list(zip(results.folds["run"], results.folds["fold"], strict=True))[::3] == [
        (0, 0),
        (0, 1),
        (3, 0),
        (3, 1),
    ]
    assert set(results.runs["n_persons"]) == {22}
    assert results.runs["n_units"].tolist()[2::3] == [24, 24]


def test_a_model_that_speaks_of_patients_is_scored_by_patients_only(made):
    predictions = {run: at_patients(made, run) for run in RUNS}
    results = evaluate.evaluate(**made | {"predictions": predictions})
    assert set(results.runs["level"]) == {"patient"}
    from_segments = evaluate.evaluate(**made).runs.query("level == 'patient'")["uar"].tolist()
    assert results.runs["uar"].tolist() == pytest.approx(from_segments)
    with pytest.raises(MurmurError, match=r"evaluate\.level: recording is below patient"):
        evaluate.evaluate(**made | {"predictions": predictions, "level": "recording"})


def at_patients(made, run):
    units = evaluate.number_units(made["recordings"], made["segments"], CLASSES)
    table = evaluate.aggregate([made["predictions"][run]], units, CLASSES)["patient"]
    return table.assign(unit_id=units["patient"].names[table["unit"]], level="patient", role="test")


def test_folds_of_single_segments(made):
    """A recording on both sides is scored in each fold by its own segments of that fold."""
    named = made["segments"].assign(fold=np.arange(len(made["segments"])) % 2, run=0, role="test")
    said = made["predictions"][0].query("role == 'test'").drop(columns="fold")
    said = said.merge(named[["segment_id", "fold"]].rename(columns={"segment_id": "unit_id"}))
    results = evaluate.evaluate(**made | {"folds": {0: named}, "predictions": {0: said}})
    counted = results.folds.query("level == 'recording'")["n_units"].tolist()
    assert counted == [named.query("fold == @f")["recording_id"].nunique() for f in (0, 1)]
    assert results.runs.query("level == 'recording'")["n_units"].item() == sum(counted)


def test_a_recording_without_a_segment_is_no_fault(made):
    extra = made["recordings"].iloc[[0]].assign(recording_id="short")
    folds = made["folds"][0]
    made["recordings"] = pd.concat([made["recordings"], extra], ignore_index=True)
    made["folds"][0] = pd.concat(
        [folds, folds.query("role == 'test'").iloc[[0]].assign(recording_id="short")]
    )
    assert evaluate.evaluate(**made).summary["data"]["recordings"] == len(made["recordings"])


FAULTS = {
    "fold 1 is missing": lambda t: t[(t["fold"] == 0) | (t["role"] != "test")],
    "is test but has no prediction": lambda t: t.drop(index=4),
    "has a prediction but is not test": lambda t: t.assign(role="test"),
    "is predicted twice": lambda t: pd.concat([t, t.iloc[[4]]]),
    "has no number": lambda t: t.assign(p_Present=t["p_Present"].where(t.index != 4)),
    "speak of no test unit": lambda t: t.assign(role="train"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_predictions_that_do_not_fit_the_folds_are_refused(made, message):
    made["predictions"][3] = FAULTS[message](made["predictions"][3])
    with pytest.raises(MurmurError, match=rf"run 3.*{message}.*dvc repro train@3"):
        evaluate.evaluate(**made)


def test_a_run_without_predictions_is_refused(made):
    del made["predictions"][3]
    with pytest.raises(MurmurError, match=r"run 3.*dvc repro train@3"):
        evaluate.evaluate(**made)


def test_runs_that_speak_of_different_levels_are_refused(made):
    made["predictions"][3] = at_patients(made, 3)
    with pytest.raises(MurmurError, match="run 3 speak of patient, other runs of segment"):
        evaluate.evaluate(**made)


def test_files_of_the_listed_runs(tmp_path, capsys):
    for run in (0, 1, 12):
        (tmp_path / f"run_{run}.parquet").touch()
    assert list(evaluate.run_files(tmp_path, [12, 0])) == [0, 12]
    assert (
        capsys.readouterr().out
        == f"note: {tmp_path}/run_1.parquet is not read: its run is not in split.runs\n"
    )
    with pytest.raises(MurmurError, match="run 2, 3; make it: dvc repro train@2 train@3"):
        evaluate.run_files(tmp_path, [3, 0, 2])


def test_summary(made):
    results = evaluate.evaluate(**made)
    patients = results.runs.query("level == 'patient'")
    for name, row in results.summary["patient"].items():
        assert row["mean"] == pytest.approx(patients[name].mean())
        assert row["sd"] == pytest.approx(patients[name].std())
        assert row["low"] < row["mean"] < row["high"]
    assert next(iter(results.summary["patient"])) == "weighted_accuracy_official"
    baseline = results.summary["baseline"]
    assert baseline["answer"] == "Present"
    assert baseline["weighted_accuracy_official"] == pytest.approx(0.499, abs=1e-3)
    assert baseline["uar"] == pytest.approx(1 / 3)
    assert results.summary["protocol"] == {
        "group_by": "person",
        "leaky": True,
        "runs": 2,
        "shared_persons": 2,
    }
    assert results.summary["device"] == "cpu, cuda"
    assert "always Present" in evaluate.in_words(results, "patient")


@pytest.mark.parametrize("said, shared, leaky", [({}, 0, False), ({}, 1, True), ({"leaky": True}, 0, True)])
def test_leaky_if_said_so_or_if_the_audit_finds_it(made, said, shared, leaky):
    audit = made["audit"].assign(shared_persons=shared)
    summary = evaluate.evaluate(**made | {"audit": audit, "protocol": said}).summary
    assert summary["protocol"]["leaky"] is leaky


@pytest.mark.parametrize(
    "changes, leaky, flaws",
    [
        ({}, False, "none"),
        ({"split.validate_on": "test"}, True, "validate_on"),
        ({"segment.first": 1, "segment.first_of": ["normal"]}, True, "first_of"),
        (
            {"segment.first": 1, "segment.first_of": ["normal"], "split.validate_on": "test"},
            True,
            "validate_on, first_of",
        ),
        ({"segment.first": 1, "segment.mirror": True}, False, "none"),
    ],
)
def test_the_protocol_names_what_leaks_whatever_the_audit_finds(made, changes, leaky, flaws):
    checked = params.check(params.Params, changed(changes), where="params.yaml")
    protocol = evaluate.protocol(checked.split, checked.segment, CARD)
    assert (protocol["leaky"], protocol["flaws"]) == (leaky, flaws)
    assert protocol["validate_on"] == checked.split.validate_on and protocol["person"] == "made up"
    nothing = made["audit"].assign(shared_persons=0)
    summary = evaluate.evaluate(**made | {"audit": nothing, "protocol": protocol, "draws": 0}).summary
    assert (summary["protocol"]["leaky"], summary["protocol"]["flaws"]) == (leaky, flaws)


def with_copies(made):
    """A mirrored copy of each segment after all others."""
    own = made["segments"]
    copies = own.assign(segment_id=own["segment_id"] + "r", reversed=True)
    return pd.concat([own, copies], ignore_index=True)


def test_mirrored_copies_are_neither_asked_for_nor_scored(made):
    made["draws"] = 0
    plain = evaluate.evaluate(**made)
    made["segments"] = with_copies(made)
    pd.testing.assert_frame_equal(evaluate.evaluate(**made).runs, plain.runs)
    said = made["predictions"][0]
    copies = said[said["role"] == "test"].assign(unit_id=said["unit_id"] + "r")
    made["predictions"][0] = pd.concat([said, copies])
    with pytest.raises(MurmurError, match=r"run 0.*has a prediction but is not test"):
        evaluate.evaluate(**made)


def test_mirrored_copies_that_folds_name_are_scored(made):
    made["segments"] = with_copies(made)
    named = made["segments"].assign(fold=np.arange(len(made["segments"])) % 2, run=0, role="test")
    said = made["predictions"][0].query("role == 'test'").drop(columns="fold")
    said = pd.concat([said, said.assign(unit_id=said["unit_id"] + "r")])
    said = said.merge(named[["segment_id", "fold"]].rename(columns={"segment_id": "unit_id"}))
    results = evaluate.evaluate(**made | {"folds": {0: named}, "predictions": {0: said}})
    assert results.runs.query("level == 'segment'")["n_units"].item() == len(made["segments"])


def test_the_data_hash_does_not_depend_on_the_order_of_rows(made):
    before = evaluate.evaluate(**made).summary["data"]["sha256"]
    assert (
        evaluate.evaluate(**made | {"recordings": made["recordings"][::-1]}).summary["data"]["sha256"]
        == before
    )
    changed = made["recordings"].assign(audio_sha256="1")
    assert evaluate.evaluate(**made | {"recordings": changed}).summary["data"]["sha256"] != before


def test_bootstrap_draws_persons_once_for_all_runs(made):
    """Against a loop that repeats the units of the persons drawn."""
    units = evaluate.number_units(made["recordings"], made["segments"], CLASSES)
    scores = evaluate.aggregate(made["predictions"].values(), units, CLASSES)["patient"]
    names = ["uar", "roc_auc"]
    drawn = evaluate.bootstrap(scores, units["patient"], CARD, names, 3, seed=5)
    weights = np.random.default_rng(5).multinomial(22, np.full(22, 1 / 22), size=3)
    for k in range(3):
        repeated = scores.loc[scores.index.repeat(weights[k][units["patient"].person[scores["unit"]]])]
        expected = evaluate.score(repeated, units["patient"], CARD, ["run"])[names].mean()
        assert [drawn[name][k] for name in names] == pytest.approx(expected.tolist())


def test_no_draws_no_interval(made):
    assert np.isnan(evaluate.evaluate(**made | {"draws": 0}).summary["patient"]["uar"]["low"])


def test_too_many_draws_that_lack_a_class_give_no_interval_and_are_told(made, capsys):
    lone = made["recordings"]["patient_id"].eq("p1")
    label = made["recordings"]["patient_label"].replace("Unknown", "Absent").mask(lone, "Unknown")
    made["recordings"] = made["recordings"].assign(patient_label=label)
    row = evaluate.evaluate(**made).summary["patient"]["uar"]
    assert np.isnan(row["low"]) and np.isnan(row["high"]) and 0 <= row["mean"] <= 1
    assert "note: uar is undefined in " in capsys.readouterr().out


def test_learning_curves_are_means_over_the_fits_still_running(made):
    curves = evaluate.learning_curves(made["histories"].values())
    assert curves["n_fits"].tolist() == [2, 2, 2, 1, 1, 1]
    assert curves["train_loss"].tolist() == [1.5, 2.5, 3.5, 6, 7, 8]


def test_roc_rises_between_its_corners(made):
    curve = evaluate.evaluate(**made).plots["roc"]
    assert curve["tpr"].is_monotonic_increasing and curve["tpr"].iloc[-1] == 1
    assert (curve["tpr_low"] <= curve["tpr"]).all() and (curve["tpr"] <= curve["tpr_high"]).all()


def test_two_classes(made):
    card = replace(CARD, classes=("Present", "Absent"))
    merged = {c: made["recordings"][c].replace("Unknown", "Absent") for c in ("label", "patient_label")}
    made["recordings"] = made["recordings"].assign(**merged)
    summary = evaluate.evaluate(**made | {"card": card}).summary
    assert next(iter(summary["patient"])) == "accuracy"
    assert summary["baseline"]["answer"] == "Absent"


def test_files_are_the_same_each_time_and_hold_no_nan(made, tmp_path):
    made["folds"] = {0: made["folds"][0]}  # one run: no SD
    for name in ("once", "again"):
        evaluate.write(evaluate.evaluate(**made), tmp_path / name / "metrics", tmp_path / name / "plots")
    files = {f.relative_to(tmp_path / "once") for f in (tmp_path / "once").rglob("*.*")}
    assert {f.name for f in files} == {
        *("folds.csv", "folds.json", "runs.csv", "runs.json", "summary.json"),
        *("confusion.csv", "roc.csv", "learning_curves.csv", "score_per_run.csv"),
    }
    for file in files:
        content = (tmp_path / "once" / file).read_bytes()
        assert content == (tmp_path / "again" / file).read_bytes()
        assert b"\r" not in content and b"nan" not in content.lower()
    summary = json.loads((tmp_path / "once/metrics/summary.json").read_text())
    assert summary["patient"]["uar"]["sd"] is None
    runs = json.loads((tmp_path / "once/metrics/runs.json").read_text())
    table = pd.read_csv(tmp_path / "once/metrics/runs.csv").set_index("level")
    assert runs["run_0"]["patient"]["uar"] == table.loc["patient", "uar"]


def test_gallery_is_the_same_each_time(tmp_path):
    mel = np.random.default_rng(0).normal(size=(8, 1, 16, 20)).astype("float16")
    ids, labels = [f"$r_{k // 2}$" for k in range(8)], ["a", "a", "a", "a", "b", "b", "b", "b"]
    for name in ("one.png", "two.png"):
        pictures.gallery(
            mel, ids, labels, ("a", "b", "c"), tmp_path / name, seconds=2.0, frequencies=np.arange(16.0)
        )
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_gallery_draws_images_in_their_own_colours(tmp_path):
    x = np.zeros((2, 3, 8, 8), np.uint8)
    x[:, 0, :4], x[:, 2, 4:] = 255, 255  # the low bands red, the high ones blue
    pictures.gallery(
        x, ["one", "two"], ["a", "b"], ("a", "b"), tmp_path / "g.png", seconds=3.0, frequencies=np.arange(8.0)
    )
    drawn = np.asarray(Image.open(tmp_path / "g.png").convert("RGB")).astype(int)
    where = [np.flatnonzero((abs(drawn - colour).sum(axis=2) < 60).any(axis=1)) for colour in COLOURS]
    assert len(where[0]) and len(where[1])
    assert where[1].min() < where[0].min() and where[1].max() < where[0].max(), "blue lies above red"


COLOURS = ([255, 0, 0], [0, 0, 255])


def test_exported_images_lie_in_a_folder_a_class_with_the_low_bands_below(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 5, 5)).astype(np.uint8)
    pictures.export(images, ["r@0", "r@9", "s@0"], ["ill", "ill", "well"], tmp_path)
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert paths == ["ill/r@0.png", "ill/r@9.png", "well/s@0.png"]
    for path, image in zip(paths, images, strict=True):
        picture = np.asarray(Image.open(tmp_path / path))
        assert (picture[::-1] == image.transpose(1, 2, 0)).all()
