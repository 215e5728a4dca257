"""Training and scoring on the splits of publications, beside their figures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from murmur import formatting, leaks
from murmur.experiments import project, split_lists
from murmur.experiments.current import read_details
from murmur.tables.folds import ROLES

logger = logging.getLogger(__name__)

SPLIT_FILE = "data/literature.csv"  # in the temporary folder
METRICS = ("weighted_accuracy", "weighted_accuracy_official", "accuracy", "uar")
AS_PUBLISHED, WITHOUT_SHARED = "as published", "shared persons not in training"


class PublishedFigures(NamedTuple):
    """What a publication reports for CirCor's murmur task, by patient.

    Attributes
    ----------
    system, test, shared : str
        The system, what it was tested on, and how many test patients also are in its training under another
        id.
    figures : dict of str to str
        By the name of the metric.
    source : str
        The publication.
    """

    system: str
    test: str
    shared: str
    figures: Mapping[str, str]
    source: str


_M2D = "Niizumi et al., EMBC 2024"
_LISTS = "datalist_stratified_data1, 2 and 3"
_SHARED = "31, 34, 28 of 236"


def _name_figures(*values: str) -> dict[str, str]:
    names = (*METRICS[:2], "uar", "recall_Present", "recall_Unknown", "recall_Absent")
    return dict(zip(names, values, strict=False))


PUBLISHED = (
    PublishedFigures(
        "M2D, fine-tuned, 86 M parameters",
        f"{_LISTS}, 15 runs",
        _SHARED,
        _name_figures("0.832 ± 0.016", "-", "0.713", "0.911", "0.361", "0.868"),
        _M2D,
    ),
    PublishedFigures("M2D + M2D", _LISTS, _SHARED, _name_figures("0.837", "-", "0.716"), _M2D),
    PublishedFigures("AST + M2D", _LISTS, _SHARED, _name_figures("0.832", "-", "0.733"), _M2D),
    PublishedFigures(
        "M2D, not pretrained", _LISTS, _SHARED, _name_figures("0.595", "-", "0.536"), _M2D
    ),
    PublishedFigures(
        "wav2vec 2.0", "its own test part", "0 of 237", _name_figures("0.80", "-", "0.70"),
        "Panah et al., EUSIPCO 2023",
    ),
    PublishedFigures(
        "CUED, RNN and HSMM, 0.18 M parameters",
        "all 942 patients, its own 5 folds",
        "-",
        _name_figures("0.798", "0.798", "0.671"),
        "McDonald et al., CinC 2022; computed from its published predictions",
    ),
    PublishedFigures("always Present", "all 942 patients", "-", _name_figures("0.499", "0.499", "0.333"), ""),
)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """The scores on the test parts of all lists under one protocol.

    Attributes
    ----------
    protocol : str
        `AS_PUBLISHED` or `WITHOUT_SHARED`.
    runs : DataFrame
        A row for each training: list, n_shared (patients in the test part whose person also is in training or
        validation), seed, n_units (patients in the test part), metrics.
    means : DataFrame
        A row for each list, with the metrics of the mean probabilities of all its trainings; empty if their
        validation parts differ.
    details : dict
        The content of metrics/details.json.
    """

    protocol: str
    runs: pd.DataFrame
    means: pd.DataFrame
    details: dict[str, Any]


def score_lists(
    lists: Mapping[str, pd.DataFrame],
    content: Mapping[str, Any],
    seeds: int,
    *,
    allow_missing: bool = False,
    only_published: bool = False,
) -> list[Scores]:
    """Train and score on lists, and again without the test persons that their training parts contain.

    The stages run in a temporary folder with the cache of the project: trainings that ran before are reused.

    Parameters
    ----------
    lists : dict of str to DataFrame
        By name, from `split_lists.read_list`.
    content : mapping
        All parameters; `split` and `evaluate.level` are changed as needed.
    seeds : int
        Number of trainings for each list, from different random numbers.
    allow_missing : bool
        Whether the data set may lack patients or recordings of the lists.
    only_published : bool
        Score the lists as they are only.

    Returns
    -------
    list of Scores
        As published, then, if persons are shared, without them in the training and validation parts.

    Raises
    ------
    MurmurError
        If a list or a parameter has an error, or if a stage fails.
    """
    from murmur.tables import parquet
    from murmur.tables.duplicates import DUPLICATES
    from murmur.tables.left_out import LEFT_OUT
    from murmur.tables.recordings import RECORDINGS

    with project.reproduce(content, "recordings", "duplicates") as folder:
        recordings = parquet.read(folder / "data/recordings.parquet", RECORDINGS)
        left_out = parquet.read(folder / "data/left_out/download.parquet", LEFT_OUT)["item"]
        persons = _group_persons(recordings, parquet.read(folder / "data/duplicates.parquet", DUPLICATES))
        roles = {
            name: split_lists.assign_recordings(table, recordings, left_out, allow_missing=allow_missing)
            for name, table in lists.items()
        }
        for k, (name, table) in enumerate(roles.items()):
            first = k * split_lists.STRIDE
            logger.info("%s, runs %d to %d: %s", name, first, first + seeds - 1, _describe(table, persons))
        scores = [_score(folder, content, AS_PUBLISHED, roles, seeds, persons)]
        without = {name: remove_shared(table, persons) for name, table in roles.items()}
        if not only_published and any(len(without[name]) < len(roles[name]) for name in roles):
            scores.append(_score(folder, content, WITHOUT_SHARED, without, seeds, persons))
    return scores


def _group_persons(recordings: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Patient and person of each recording_id; persons who share near-identical audio are one."""
    from murmur.splits.folds import group_persons

    groups = group_persons(recordings, duplicates).set_index("recording_id")["group"]
    return recordings.set_index("recording_id")[["patient_id"]].assign(person=groups)


def find_shared(roles: pd.DataFrame, persons: pd.DataFrame) -> tuple[pd.Series, int, int]:
    """Find the persons that the test part of a list shares with its training and validation parts.

    Parameters
    ----------
    roles : DataFrame
        From `split_lists.assign_recordings`.
    persons : DataFrame
        Columns patient_id, person, by recording_id.

    Returns
    -------
    is_shared : Series of bool
        Which rows of the training and validation parts are of a person in the test part.
    n_shared, n_test : int
        How many patients of the test part are such persons, and how many there are.
    """
    facts = persons.loc[roles["recording_id"]].set_index(roles.index)
    is_test = roles["role"] == "test"
    is_shared = ~is_test & facts["person"].isin(facts["person"][is_test])
    test = facts[is_test].drop_duplicates("patient_id")
    return is_shared, int(test["person"].isin(facts["person"][~is_test]).sum()), len(test)


def remove_shared(roles: pd.DataFrame, persons: pd.DataFrame) -> pd.DataFrame:
    """Remove the persons of the test part from the training and validation parts; see `find_shared`."""
    return roles[~find_shared(roles, persons)[0]]


def _describe(roles: pd.DataFrame, persons: pd.DataFrame) -> str:
    """Describe the parts of a list and the persons that they share, in a clause."""
    is_shared, n_shared, n_test = find_shared(roles, persons)
    patients = persons.loc[roles["recording_id"], "patient_id"].groupby(roles["role"].to_numpy()).nunique()
    parts = ", ".join(f"{patients[role]} {role}" for role in ROLES if role in patients)
    return (
        f"{parts} patients; {n_shared} of {n_test} test patients also are in another part, under another id "
        f"or in a copy ({formatting.format_count(is_shared.sum(), 'recording')} there)"
    )


def _score(
    folder: Path,
    content: Mapping[str, Any],
    protocol: str,
    roles: Mapping[str, pd.DataFrame],
    seeds: int,
    persons: pd.DataFrame,
) -> Scores:
    """Run the stages up to evaluate in a folder, and read the scores."""
    lists = [*roles.values()]
    if content["split"]["inner"]:  # the inner folds are the validation parts
        lists = [table.replace({"role": {"validation": "train"}}) for table in lists]
    (folder / SPLIT_FILE).write_text(split_lists.format_split(lists, seeds), encoding="utf-8")
    runs = split_lists.number_runs(len(lists), seeds)
    content = _set_split(content, [*runs], "warn" if protocol == AS_PUBLISHED else "error")
    project.reproduce_again(folder, content, protocol, "evaluate")
    facts = pd.DataFrame({"list": [*roles], "number": range(len(lists))})
    facts["n_shared"] = [find_shared(table, persons)[1] for table in lists]
    numbers = pd.DataFrame([(run, *runs[run]) for run in runs], columns=["run", "number", "seed"])
    scores = facts.merge(numbers, on="number").merge(_read_scores(folder), on="run")
    means = facts.assign(seed="all").merge(_score_means(folder, content, runs), on="number")
    scores, means = scores.drop(columns=["run", "number"]), means.drop(columns="number")
    return Scores(protocol, scores, means, read_details(folder))


def _set_split(content: Mapping[str, Any], runs: Sequence[int], on_leak: str) -> dict[str, Any]:
    """Return the parameters with the split file of the lists, scored by patient."""
    split = {"method": "file", "file": SPLIT_FILE, "runs": runs, "on_leak": on_leak}
    changes = {"split": split, "evaluate": {"level": "patient"}}
    return {**content, **{section: content[section] | values for section, values in changes.items()}}


def _read_scores(folder: Path) -> pd.DataFrame:
    """Read run, n_units and the metrics of each run at the level of patients."""
    from murmur.tables.csv_reader import read_csv

    table = read_csv(folder / "metrics/runs.csv", ["run", "level", "n_units"])
    return _select_columns(table[table["level"] == "patient"])


def _select_columns(table: pd.DataFrame) -> pd.DataFrame:
    recalls = [name for name in table if name.startswith("recall_")]
    metrics = [name for name in METRICS if name in table]
    if "weighted_accuracy" in metrics:
        metrics.remove("accuracy")
    return table[["run", "n_units", *metrics, *recalls]].reset_index(drop=True)


def _score_means(
    folder: Path, content: Mapping[str, Any], runs: Mapping[int, tuple[int, int]]
) -> pd.DataFrame:
    """Score the mean probabilities of all trainings of a list: its number and the metrics.

    What is fitted on validation parts is fitted on their means too. So the trainings must have the same
    validation part, or inner folds; otherwise the table is empty.
    """
    from murmur.evaluation.aggregation import compute_levels
    from murmur.evaluation.inputs import read_inputs
    from murmur.evaluation.levels import number_units
    from murmur.evaluation.scores import score_units
    from murmur.params.validation import validate
    from murmur.sections.evaluate import Evaluate

    tables = read_inputs(folder / "data", folder / "metrics", [*runs])
    first = {k: run for run, (k, seed) in runs.items() if seed == 0}
    predictions = {
        k: _average([table for run, table in tables.predictions.items() if runs[run][0] == k]).assign(run=k)
        for k in first
    }
    if any(len(predictions[k]) != len(tables.predictions[run]) for k, run in first.items()):
        return pd.DataFrame({"number": pd.Series(dtype=int)})
    folds = {k: tables.folds[run].assign(run=k) for k, run in first.items()}
    units = number_units(tables.recordings, tables.segments, tables.card.classes)
    options = validate(Evaluate, content["evaluate"], "params.yaml: evaluate")
    levels, _ = compute_levels(predictions, folds, units, tables.card, options)
    return _select_columns(score_units(levels["patient"], ["run"])).rename(columns={"run": "number"})


def _average(predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average predictions of several trainings, of the units that all of them have predicted."""
    groups = pd.concat(predictions).groupby(["fold", "role", "level", "unit_id"], sort=False)
    means = groups.mean(numeric_only=True)
    return means[groups.size() == len(predictions)].drop(columns="run").reset_index()


def tabulate_scores(scores: Sequence[Scores], *, is_circor: bool) -> formatting.Rows:
    """Make the table of all protocols and lists, then of publications, as rows of text.

    Parameters
    ----------
    scores : sequence of Scores
        From `score_lists`.
    is_circor : bool
        Whether the data are CirCor's murmur task, for which there are published figures.

    Returns
    -------
    rows
        The header first. Figures of several trainings are mean ± SD.
    """
    metrics = [*scores[0].runs.columns[4:]]
    rows = [("system", "test", "shared", *(_shorten(name) for name in metrics))]
    for s in scores:
        system = f"this model, {s.protocol}" + " (LEAKY)" * s.details["protocol"]["leaky"]
        for name, table in s.runs.groupby("list", sort=False):
            test = f"{name}, {formatting.format_count(len(table), 'run')}"
            shared = f"{table['n_shared'].iloc[0]} of {table['n_units'].iloc[0]}"
            rows.append((system, test, shared, *_summarise(table[metrics])))
        n_lists = formatting.format_count(s.runs["list"].nunique(), "list")
        n_runs = formatting.format_count(len(s.runs), "run")
        rows.append((system, f"all {n_runs}", "", *_summarise(s.runs[metrics])))
        if len(s.means) and len(s.runs) > len(s.means):
            rows.append((system, f"{n_lists}, mean of the networks", "", *_summarise(s.means[metrics])))
    published = PUBLISHED if is_circor else ()
    rows += [(p.system, p.test, p.shared, *(p.figures.get(m, "-") for m in metrics)) for p in published]
    return rows


def _shorten(metric: str) -> str:
    return metric.removeprefix("recall_").replace("weighted_accuracy_official", "at official mix")


def _summarise(table: pd.DataFrame) -> list[str]:
    """Return mean ± SD of each column; one row has no SD."""
    sd = table.std()
    return [
        formatting.format_figure(mean) + (f" ± {sd[name]:.3f}" if sd.notna()[name] else "")
        for name, mean in table.mean(skipna=False).items()
    ]


def list_notes(scores: Sequence[Scores], *, is_circor: bool) -> list[str]:
    """List what the table leaves out: intervals, leaks and sources, a sentence each.

    Parameters
    ----------
    scores, is_circor
        As for `tabulate_scores`.
    """
    notes = []
    for s in scores:
        figures = (
            f"{name} {formatting.format_with_interval(row, formatting.BRACKETED)}"
            for name, row in s.details["headline"].items()
            if name in METRICS
        )
        notes.append(f"{s.protocol}: mean of all runs [95 % interval over persons]: {', '.join(figures)}")
        if mark := leaks.mark_leak(s.details):
            notes.append(f"{s.protocol}: {mark}")
    if len(scores) == 1 and not scores[0].runs["n_shared"].any():
        notes.append("No list has a person in its test part and in another part.")
    sources: dict[str, list[str]] = {}
    for p in PUBLISHED if is_circor else ():
        sources.setdefault(p.source, []).append(p.system)
    notes += [f"{'; '.join(systems)}: {source}." for source, systems in sources.items() if source]
    return notes


def list_runs(scores: Sequence[Scores]) -> pd.DataFrame:
    """List every training as a row, and for each list the mean of its networks, with seed `all`."""
    tables = [table.assign(protocol=s.protocol) for s in scores for table in (s.runs, s.means) if len(table)]
    table = pd.concat(tables, ignore_index=True)
    return table[["protocol", *table.columns.drop("protocol")]]
