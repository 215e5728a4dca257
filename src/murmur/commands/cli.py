"""The `murmur` command. No stage depends on it, nor on what it alone uses: project, recipes, ci, comment."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from murmur import formatting, leaks, params
from murmur.commands import ci as continuous
from murmur.commands import comment
from murmur.errors import MurmurError, escape_unprintable, run_stage
from murmur.experiments import project, recipes
from murmur.files import write_text
from murmur.params.validation import check
from murmur.params.yaml_files import parse_yaml, read_yaml
from murmur.sections.download import Download
from murmur.sections.experiment import Params

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Name = Annotated[str, typer.Argument(help="a recipe, as `murmur recipes` lists them")]
Settings = Annotated[
    list[str], typer.Option("--set", "-S", help="key=value, for both runs", default_factory=list)
]

Pairs = Annotated[
    list[str],
    typer.Option("--map", help="LABEL=CLASS: its label, the models' class or null", default_factory=list),
]
ThereSettings = Annotated[
    list[str], typer.Option("--set", "-S", help="download.…=value, for that data set", default_factory=list)
]


@app.callback()
def _in_the_project() -> None:
    """Reproducible heart-murmur classification: published systems as recipes, under honest protocols."""
    if not Path("dvc.yaml").is_file() or not recipes.FOLDER.is_dir():
        raise MurmurError("no dvc.yaml and recipes/ here: go to the project's folder")


@app.command("recipes")
def list_recipes(
    name: Annotated[str | None, typer.Argument(help="show how it differs from the default")] = None,
) -> None:
    """List the recipes, one line each; with NAME, show its description and what it changes in the default."""
    if name is None:
        for known in recipes.names():
            print(escape_unprintable(f"{known:28} {recipes.title(known)}"))
        return
    rows = [(key, recipes.as_line(old), recipes.as_line(new)) for key, old, new in recipes.differences(name)]
    table = formatting.format_table([("key", "default", name), *rows]) if rows else "This is the default."
    print(escape_unprintable(f"{recipes.head(name)}\n{table}", lines=True))


@app.command()
def use(name: Name) -> None:
    """Write a recipe, or `default`, as params.yaml; changes that are not committed are never overwritten."""
    text = recipes.complete(name)
    target = Path("params.yaml")
    if target.exists() and not recipes.is_recipe(target) and project.has_uncommitted_changes(target):
        raise MurmurError(
            "params.yaml has changes that are not committed: commit them, or drop them with "
            "`git checkout params.yaml`, then try again"
        )
    write_text(target, text)
    print(
        f"params.yaml is now {name}: run it with `dvc exp run`; back to the committed one: "
        "git checkout params.yaml; to the default: murmur use default"
    )


@app.command()
def optimism(
    name: Name, settings: Settings, md: Annotated[bool, typer.Option(help="as Markdown")] = False
) -> None:
    """Run a recipe under the honest and under the published protocol, on the same data, side by side.

    Each runs in a folder of its own with the project's cache: what was computed before is not again.
    """
    content = recipes.read(name)
    for setting in settings:
        key, _, value = setting.partition("=")
        _put(content, key, parse_yaml(value, f"-S {key}"))
    if not content.get("published"):
        raise MurmurError(f"recipe {name} names no published protocol to compare with")
    flawed = recipes.as_published(content, f"recipe {name}")
    found = [_run(content, f"{name}, honest"), _run(flawed, f"{name}, as published")]
    _print_gap(*found, md=md)


@app.command()
def images(folder: Annotated[Path, typer.Argument(help="an empty or new folder")]) -> None:
    """Write the colour images of data/mel (mel.image) as PNG, a folder a label; low frequencies below."""
    from murmur.features import store
    from murmur.reporting import spectrograms
    from murmur.tables import parquet
    from murmur.tables.recordings import RECORDINGS
    from murmur.tables.segments import SEGMENTS

    p = params.load("mel")
    if p.mel.image is None:
        raise MurmurError("mel.image is null: there are no images; set it to {size: 224, colours: magma}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MurmurError(f"{folder}: is not an empty folder; name a new one")
    pictured = store.read_array("data/mel")
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    if pictured.dtype != "uint8" or len(pictured) != len(segments):
        raise MurmurError("data/mel is of other parameters than params.yaml has now: dvc repro mel")
    labels = parquet.read("data/recordings.parquet", RECORDINGS).set_index("recording_id")["label"]
    label = segments["recording_id"].map(labels)
    spectrograms.export_images(pictured, segments["segment_id"], label, folder)
    print(f"{len(segments)} images in {folder}")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="the base: a git revision, a DVC experiment, workspace")] = "HEAD",
    b: Annotated[str, typer.Argument(help="the candidate, likewise")] = "workspace",
    metric: Annotated[list[str] | None, typer.Option(help="of metrics/folds.csv; first decides")] = None,
    level: Annotated[str | None, typer.Option(help="segment, recording, patient")] = None,
    rope: Annotated[float, typer.Option(min=0, help="what does not matter, in the metric's unit")] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
    md: Annotated[bool, typer.Option(help="as Markdown")] = False,
) -> None:
    """Test whether B differs from A: paired over the folds, corrected for what the folds share."""
    from murmur.experiments import comparison  # imports scipy

    if "workspace" in (a, b):
        _note_if_changed()
    sides = [comparison.parse_experiment(*project.read_revision(name, comparison.FILES)) for name in (a, b)]
    result = comparison.compare_experiments(*sides, metrics=metric or (), level=level, rope=rope)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        text = comparison.format_markdown(result) if md else comparison.format_text(result)
        print(escape_unprintable(text, lines=True))


@app.command()
def report(out: Annotated[Path, typer.Option(help="the page to write")] = Path("report.html")) -> None:
    """Write all that the experiment found as one HTML page, to read, print or mail."""
    from murmur.reporting import report  # imports the drawing library

    _note_if_changed()
    report.write_report(Path(), out)
    print(f"{out}: open it in a browser")


@app.command("evaluate-on")
def evaluate_on(
    dataset: Annotated[str, typer.Argument(help="another data set, as params.yaml lists them")],
    mapped: Pairs,
    settings: ThereSettings,
    task: Annotated[
        str | None, typer.Option(help="its task; else the experiment's own, or its first")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
    md: Annotated[bool, typer.Option(help="as Markdown")] = False,
) -> None:
    """Score the kept weights of the experiment in place on another data set, heard as the models were taught.

    Every fold's model answers for every recording; whoever is in the experiment is left out. Writes
    metrics/elsewhere_DATASET.json.
    """
    from murmur.evaluation import output
    from murmur.generalisation import external_validation

    before = project.list_state()
    with redirect_stdout(sys.stderr):
        result = _elsewhere(dataset, mapped, settings, task)
    project.check_unchanged(before)
    text = output.format_json(result)
    write_text(f"metrics/elsewhere_{dataset}.json", text)
    if as_json:
        print(text, end="")
        return
    rows, remarks = external_validation.summarise(result)
    print(formatting.format_markdown(rows) if md else formatting.format_table(rows))
    print("\n".join(["", *(f"- {remark}" for remark in remarks)] if md else remarks))


@app.command()
def robustness(
    runs: Annotated[str | None, typer.Option(help="such as 0,1; else all of split.runs")] = None,
    disturb: Annotated[str | None, typer.Option(help="some of noise,gain,band,length; else all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
    md: Annotated[bool, typer.Option(help="as Markdown")] = False,
) -> None:
    """Score the kept weights on their own test parts, disturbed: noise, gain, a narrower band, cut short.

    Writes plots/robustness.csv.
    """
    from murmur.generalisation import robustness  # imports torch
    from murmur.reporting import report
    from murmur.tables.csv_writer import write_csv

    kinds = disturb.split(",") if disturb else list(robustness.DISTURBANCES)
    if unknown := sorted(set(kinds) - set(robustness.DISTURBANCES)):
        raise MurmurError(
            f"--disturb: no disturbance {unknown[0]!r}; there are {', '.join(robustness.DISTURBANCES)}"
        )
    if runs and not all(run.isdigit() for run in runs.split(",")):
        raise MurmurError(f"--runs {runs}: expected numbers of runs, such as 0,1")
    before = project.list_state()
    with redirect_stdout(sys.stderr):
        e = _experiment([int(run) for run in runs.split(",")] if runs else None)
        found = robustness.evaluate_robustness(
            e.models, e.home.recordings, Path("data/raw"), e.folds, e.card, e.p, kinds
        )
    lead = found["metric"].iloc[0]
    found = found.sort_values(["disturbance", "value", "metric"], na_position="first", ignore_index=True)
    found.insert(0, "experiment", report.hash_experiment(Path()))
    project.check_unchanged(before)
    write_csv(found, "plots/robustness.csv")
    if as_json:
        print(found.to_json(orient="records", indent=2, double_precision=6))
    else:
        rows = robustness.tabulate(found, lead)
        if mark := leaks.mark_leak(_details(Path())):
            print(mark + "\n" * md)
        print(formatting.format_markdown(rows) if md else formatting.format_table(rows))
        print("\n" * md + formatting.INTERVAL_NOTE)


@app.command()
def ci(
    base: Annotated[str, typer.Option(help="the git revision to compare with")] = "HEAD",
    push: Annotated[bool, typer.Option("--push", help="push results and run-cache to the remote")] = False,
    optional_remote: Annotated[
        bool, typer.Option("--optional-remote", help="go on without a remote that cannot be read")
    ] = False,
    tries: Annotated[int, typer.Option(min=1, help="of whatever needs the remote")] = 3,
    out: Annotated[Path | None, typer.Option(help="where to write the comment; else it is printed")] = None,
) -> None:
    """Bring the pipeline up to date, running only what changed, and write the comment for a reviewer.

    Red, with exit status 1, if a stage fails, the DVC remote cannot be read or written, or what the stages
    wrote is not what is committed.
    """
    if project.run_git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}") is None:
        raise MurmurError(f"--base {base}: no such git revision here: {project.explain_unknown_revision()}")
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "1")  # `tries` are counted here
    stages, notes, problem = continuous.bring_up_to_date(base, tries, optional_remote)
    sections = {} if problem else continuous.moved(base)
    if push and not problem:
        problem = continuous.pushed(tries)
    if not problem and (paths := continuous.not_committed()):
        problem = comment.not_committed(paths)
    head = (project.run_git("rev-parse", "--short", "HEAD") or "").strip()
    text = comment.comment(stages, head=head, base=base, problem=problem, notes=notes, sections=sections)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
    if problem:
        raise MurmurError(f"{problem.title}. {problem.remedy}")


def _experiment(chosen: Sequence[int] | None = None) -> SimpleNamespace:
    """What is in place: p (parameters), card, models, home (its recordings), folds; of all runs or some.

    Raises
    ------
    MurmurError
        If a part of it is missing, or params.yaml is not what it was made with.
    """
    from murmur.generalisation import trained_models
    from murmur.tables import parquet
    from murmur.tables.csv_reader import read_csv
    from murmur.tables.folds import FOLDS
    from murmur.tables.recordings import read_card

    p = params.load(*(name for name in Params.model_fields if name != "published"))
    runs = sorted({*(chosen or p.split.runs)})
    embedded = ["embed@m2d"] if p.train.features == "embedding" else []
    trained = [f"train@{run}" for run in runs]
    _check_as_run(["download", "clean", "segment", "mel", *embedded, *trained, "evaluate"])
    fitted = read_csv("metrics/calibration.csv", ["run", "fold"], may_be_empty=False)
    weights = trained_models.find_weights(Path("models"), fitted, runs)
    card = read_card("data/recordings.parquet")
    return SimpleNamespace(
        p=p,
        card=card,
        models=trained_models.TrainedModels(weights, card.classes, fitted, p.train, p.evaluate, p.seed),
        home=_with_groups(_heard(Path(), p)),
        folds={run: parquet.read(f"data/folds/run_{run}.parquet", FOLDS) for run in runs},
    )


def _heard(folder: Path, p: SimpleNamespace) -> Any:
    from murmur.features.chain import PreparedRecordings
    from murmur.tables import parquet
    from murmur.tables.recordings import RECORDINGS
    from murmur.tables.segments import SEGMENTS

    recordings = parquet.read(folder / "data/recordings.parquet", RECORDINGS)
    segments = parquet.read(folder / "data/segments.parquet", SEGMENTS)
    return PreparedRecordings(recordings, segments, folder / "data" / p.train.features)


def _with_groups(heard: Any) -> Any:
    """With the groups that the bootstrap resamples."""
    from murmur.tables import parquet
    from murmur.tables.groups import GROUPS

    groups = parquet.read("data/groups.parquet", GROUPS)
    return replace(heard, recordings=heard.recordings.merge(groups, on="recording_id", validate="1:1"))


def _details(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics/details.json").read_text(encoding="utf-8"))


def _check_as_run(stages: Sequence[str]) -> None:
    """Refuse a params.yaml that is not what these stages ran with, as dvc.lock has it."""
    project.read_revision("workspace", ["dvc.lock"])
    lock, now = read_yaml("dvc.lock"), read_yaml("params.yaml")
    for stage in stages:
        entry = _get(lock, f"stages.{stage}")
        if not isinstance(entry, dict):
            raise MurmurError(f"stage {stage} has not run with this params.yaml: `dvc repro` first")
        for key, value in entry.get("params", {}).get("params.yaml", {}).items():
            if _get(now, key) != value:
                raise MurmurError(
                    f"params.yaml: {key} is not what {stage} ran with: `dvc repro` first, or put it back"
                )


def _note_if_changed() -> None:
    """Tell, beside the output, if params.yaml is no longer what the figures in place were made with."""
    if not (Path("dvc.lock").is_file() and Path("params.yaml").is_file()):
        return
    try:
        _check_as_run(["download", "duplicates", "evaluate"])
    except MurmurError as error:
        print(f"note: the figures in place are of an earlier run: {error}", file=sys.stderr)


def _get(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _elsewhere(
    dataset: str, mapped: Sequence[str], settings: Sequence[str], task: str | None
) -> dict[str, Any]:
    """What `evaluate_on` writes; the data set is prepared in a folder of its own that shares the cache."""
    from murmur.generalisation import external_validation
    from murmur.reporting import report
    from murmur.tables import parquet
    from murmur.tables.left_out import LEFT_OUT, classify_reasons
    from murmur.tables.recordings import read_card

    e, details = _experiment(), _details(Path())
    content = _content_for(dataset, settings)
    section = check(Download, content["download"], "params.yaml: download")
    task, labels = external_validation.list_labels(dataset, task, e.p.task, section)
    class_map = external_validation.map_labels(labels, e.card.classes, _pairs(mapped))
    card = external_validation.restrict_classes(e.card, class_map.values())
    own = {label: c for label, c in class_map.items() if label != c}
    content |= {"dataset": dataset, "task": task, "class_map": own, "positive": list(card.positive)}
    with project.reproduce(
        content, dataset, "embed@m2d" if e.p.train.features == "embedding" else "mel"
    ) as folder:
        found, home = _heard(folder, e.p), e.home.recordings
        left_out = parquet.read(folder / "data/left_out/download.parquet", LEFT_OUT)
        there = read_card(folder / "data/recordings.parquet")
        raws = (Path("data/raw"), folder / "data/raw")
        same = external_validation.find_same_audio(found.recordings, raws[1], home, raws[0], e.p.duplicates)
        if _ids_compare(there, e.card):
            ids = external_validation.find_same_ids(found.recordings, home)
            if ids and dataset == "folder":
                print(
                    f"note: {len(ids)} recordings have an id that is in the experiment: taken for its persons"
                )
            same |= ids
        result = external_validation.evaluate_external(e.models, home, found, card, same)
    if not (there.shareable and e.card.shareable):  # the file is for git
        left_out, result["seen"] = left_out.assign(reason=classify_reasons(left_out["reason"])), []
    result["data"]["left_out"] = left_out["reason"].value_counts().to_dict()
    result["data"]["unknown_persons"] = there.unknown_persons
    if result["left_unasked"]:
        here = external_validation.evaluate_internal(e.models, e.home, e.folds, card)["headline"]
    else:
        here = details["headline"]
    asked = {"dataset": dataset, "task": task, "class_map": class_map}
    leak = leaks.mark_leak(details)
    return {"experiment": report.hash_experiment(Path()), "leak": leak, **asked, **result, "here": here}


def _ids_compare(there: Any, home: Any) -> bool:
    """Whether an id means one person in both (cards): not in simulations, nor where it is a file's name."""
    unnamed = "folder" in (there.dataset, home.dataset) and not (there.leak_free and home.leak_free)
    return there.dataset == home.dataset != "synthetic" and not unnamed


def _content_for(dataset: str, settings: Sequence[str]) -> dict[str, Any]:
    """params.yaml with a section `download` for another data set: all of it, and nothing is passed on."""
    from murmur.datasets import is_shareable, load_reader

    content = read_yaml("params.yaml")
    content["download"]["limit"] = None
    for setting in settings:
        key, _, value = setting.partition("=")
        if not key.startswith("download."):
            raise MurmurError(f"-S {key}: only download.… can differ: all else is as the models were taught")
        _put(content, key, parse_yaml(value, f"-S {key}"))
    section = content["download"].get(dataset) or {}
    if not is_shareable(load_reader(dataset), section) and not content["download"]["remote"]:
        content["download"]["remote"] = "private"
    folder = content["download"]["folder"]
    if folder["path"] != "data/folder":  # seen from another folder
        folder["path"] = str(Path(folder["path"]).resolve())
    return content


def _pairs(mapped: Sequence[str]) -> dict[str, str | None]:
    pairs = [pair.rpartition("=") for pair in mapped]
    if wrong := [pair for pair, (label, _, c) in zip(mapped, pairs, strict=True) if not label or not c]:
        raise MurmurError(f"--map {wrong[0]}: expected LABEL=CLASS, or LABEL=null to leave the label out")
    return {label: None if c == "null" else c for label, _, c in pairs}


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    recipes.put(content, key, value, f"-S {key}")


def _run(content: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The details of a run with these parameters, in a folder of its own that shares the cache."""
    with project.reproduce(content, what) as folder:
        return _details(folder)


def _print_gap(honest: dict[str, Any], flawed: dict[str, Any], *, md: bool) -> None:
    always = [f"always {run['baseline']['answer']} ({how})" for run, how in ((honest, "h."), (flawed, "p."))]
    heads = [
        f"{how}{' (LEAKY)' * bool(run['protocol']['leaky'])}"
        for run, how in ((honest, "honest"), (flawed, "as published"))
    ]
    rows = [("", *heads, "gap", *always)]
    for name, one in honest["headline"].items():
        other = flawed["headline"].get(name, {})
        gap = (
            formatting.format_figure((other.get("mean") or 0) - one["mean"], "+")
            if _known(one, other)
            else "-"
        )
        constant = [
            formatting.format_figure(run["baseline"][name]) if name in run["baseline"] else "-"
            for run in (honest, flawed)
        ]
        rows.append((name, _figure(one), _figure(other), gap, *constant))
    for fact in (
        "group_by",
        "validate_on",
        "flaws",
        "shared_persons",
        "shared_recordings",
        "shared_near",
        "leaky",
    ):
        rows.append((fact, str(honest["protocol"][fact]), str(flawed["protocol"][fact]), "", "", ""))
    if not md:
        what = "mean over runs [95 % interval]; h.: honest, p.: as published"
        print(f"{honest['level']} level: {what}")
    print(formatting.format_markdown(rows) if md else formatting.format_table(rows))
    for run, how in ((honest, "honest"), (flawed, "as published")):
        if mark := leaks.mark_leak(run):
            print("\n" * md + f"{how}: {mark}")
    print("\n" * md + formatting.INTERVAL_NOTE)


def _known(*rows: Mapping[str, Any]) -> bool:
    return all(row.get("mean") is not None for row in rows)


def _figure(row: Mapping[str, Any]) -> str:
    if not _known(row):
        return "-"
    interval = (
        f" [{formatting.format_figure(row['low'])}, {formatting.format_figure(row['high'])}]"
        if row["low"] is not None
        else ""
    )
    return formatting.format_figure(row["mean"]) + interval


def main() -> None:
    """The command `murmur`; what a user can mend is told without a traceback."""
    run_stage(app)


if __name__ == "__main__":
    main()
