"""The `murmur` command. The one file that knows DVC and git; no stage depends on it."""

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from murmur import ci as told
from murmur import params
from murmur.errors import MurmurError, run_stage
from murmur.files import beside

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
RECIPES = Path("recipes")
DVC_CONFIG = """\
[core]
    no_scm = True
    analytics = false
    check_update = false
[cache]
    dir = {}
"""
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
    if not Path("dvc.yaml").is_file() or not RECIPES.is_dir():
        raise MurmurError("no dvc.yaml and recipes/ here: go to the project's folder")


@app.command()
def recipes() -> None:
    """List the recipes, a line each."""
    for path in sorted(RECIPES.glob("*.yaml")):
        line = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        print(f"{path.stem:28} {line}")


@app.command()
def use(name: Name) -> None:
    """Put a recipe in place as params.yaml; changes there that git does not have are never overwritten."""
    text = _recipe(name).read_bytes()
    target = Path("params.yaml")
    known = [path.read_bytes() for path in RECIPES.glob("*.yaml")]
    if target.exists() and target.read_bytes() not in known and _uncommitted(target):
        raise MurmurError(
            "params.yaml has changes that are not committed: commit them, or drop them with "
            "`git checkout params.yaml`, then try again"
        )
    with beside(target) as part:
        part.write_bytes(text)
    print(f"params.yaml is now {name}: run it with `dvc exp run`; back: git checkout params.yaml")


@app.command()
def optimism(
    name: Name, settings: Settings, md: Annotated[bool, typer.Option(help="as Markdown")] = False
) -> None:
    """Run a recipe under the honest and under the published protocol, on the same data, side by side.

    Each runs in a folder of its own with the project's cache: what was computed before is not again.
    """
    content = params.read_yaml(_recipe(name))
    for setting in settings:
        key, _, value = setting.partition("=")
        _put(content, key, yaml.safe_load(value))
    if not content.get("published"):
        raise MurmurError(f"recipe {name} names no published protocol to compare with")
    flawed = yaml.safe_load(yaml.safe_dump(content))
    for key, value in content["published"].items():
        _put(flawed, key, value)
    found = [_run(content, f"{name}, honest"), _run(flawed, f"{name}, as published")]
    _print_gap(*found, md=md)


@app.command()
def images(folder: Annotated[Path, typer.Argument(help="an empty or new folder")]) -> None:
    """Write the colour images of data/mel (mel.image) as PNG, a folder a label; low frequencies below."""
    from murmur import mel, pictures, tables  # imports the drawing library

    p = params.load("mel")
    if p.mel.image is None:
        raise MurmurError("mel.image is null: there are no images; set it to {size: 224, colours: magma}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MurmurError(f"{folder}: is not an empty folder; name a new one")
    pictured = mel.read(f"data/mel.{p.mel.format}")
    segments = tables.read("data/segments.parquet", tables.SEGMENTS)
    if pictured.dtype != "uint8" or len(pictured) != len(segments):
        raise MurmurError("data/mel is of other parameters than params.yaml has now: dvc repro mel")
    labels = tables.read("data/recordings.parquet", tables.RECORDINGS).set_index("recording_id")["label"]
    label = segments["recording_id"].map(labels)
    pictures.export(pictured, segments["segment_id"], label, folder)
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
    from murmur import compare as comparison  # imports scipy

    sides = [comparison.parse(*_at(name, comparison.FILES)) for name in (a, b)]
    result = comparison.compare(*sides, metrics=metric or (), level=level, rope=rope)
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(comparison.as_markdown(result) if md else comparison.in_words(result))


@app.command()
def report(out: Annotated[Path, typer.Option(help="the page to write")] = Path("report.html")) -> None:
    """Write all that the experiment found as one HTML page, to read, print or mail."""
    from murmur import report as page  # imports the drawing library

    page.write(Path(), out)
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
    from murmur import elsewhere, evaluate  # import torch

    with redirect_stdout(sys.stderr):
        result = _elsewhere(dataset, mapped, settings, task)
    text = evaluate.as_json(result)
    with beside(f"metrics/elsewhere_{dataset}.json") as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    if as_json:
        print(text, end="")
        return
    rows, remarks = elsewhere.in_words(result)
    _print_rows(rows, md)
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
    from murmur import disturb as disturbing  # imports torch
    from murmur import tables

    kinds = disturb.split(",") if disturb else list(disturbing.KINDS)
    if unknown := sorted(set(kinds) - set(disturbing.KINDS)):
        raise MurmurError(
            f"--disturb: no disturbance {unknown[0]!r}; there are {', '.join(disturbing.KINDS)}"
        )
    if runs and not all(run.isdigit() for run in runs.split(",")):
        raise MurmurError(f"--runs {runs}: expected numbers of runs, such as 0,1")
    with redirect_stdout(sys.stderr):
        e = _experiment([int(run) for run in runs.split(",")] if runs else None)
        found = disturbing.robustness(
            e.models, e.home.recordings, Path("data/raw"), e.folds, e.card, e.p, kinds
        )
    lead = found["metric"].iloc[0]
    found = found.sort_values(["disturbance", "value", "metric"], na_position="first", ignore_index=True)
    found.insert(0, "experiment", _experiment_hash())
    tables.write_csv(found, "plots/robustness.csv")
    if as_json:
        print(found.to_json(orient="records", indent=2, double_precision=6))
    else:
        _print_rows(disturbing.curves(found, lead), md)


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
    if _git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}") is None:
        raise MurmurError(f"--base {base}: no such git revision here: fetch it, with its history")
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "1")  # `tries` are counted here
    stages, notes, problem = _bring_up_to_date(tries, optional_remote)
    sections = {} if problem else _moved(base)
    if push and not problem:
        problem = _pushed(tries)
    if not problem and (paths := _not_committed()):
        problem = told.not_committed(paths)
    head = (_git("rev-parse", "--short", "HEAD") or "").strip()
    text = told.comment(stages, head=head, base=base, problem=problem, notes=notes, sections=sections)
    if out is None:
        print(text, end="")
    else:
        with beside(out) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
    if problem:
        raise MurmurError(f"{problem.title}. {problem.remedy}")


def _at(name: str, paths: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A full name and the texts of files, by path, of a git revision, a DVC experiment or the workspace."""
    if name == "workspace":
        if missing := [path for path in paths if not Path(path).is_file()]:
            raise MurmurError(f"workspace: no {missing[0]}: make it with `dvc repro`")
        return name, {path: Path(path).read_text(encoding="utf-8") for path in paths}
    commit = _commit(name)
    texts = {}
    for path in paths:
        text = _git("show", f"{commit}:./{path}")
        if text is None:
            raise MurmurError(
                f"{name} ({commit[:7]}): no {path}: run it with this version of murmur and commit metrics/"
            )
        texts[path] = text
    return f"{name} ({commit[:7]})", texts


def _commit(name: str) -> str:
    """The commit of a git revision, else of a DVC experiment: refs/exps/xx/yyyy…/NAME."""
    if found := _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
        return found.strip()
    lines = (_git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or "").splitlines()
    refs = [(commit, ref.split("/")) for commit, ref in (line.split(" ", 1) for line in lines)]
    named = sorted((parts[4], commit) for commit, parts in refs if len(parts) == 5)
    commits = [commit for known, commit in named if known == name]
    if len(commits) > 1:
        raise MurmurError(
            f"experiment {name}: several have this name; give one's commit: {', '.join(commits)}"
        )
    if not commits:
        known = ", ".join(dict.fromkeys(known for known, _ in named)) or "none"
        raise MurmurError(f"{name}: neither a git revision nor a DVC experiment; experiments here: {known}")
    return commits[0]


def _git(*arguments: str) -> str | None:
    """What git prints, None if it fails."""
    if not shutil.which("git"):
        raise MurmurError("git is not here, and revisions and experiments are git's: install it")
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8")
    return done.stdout if done.returncode == 0 else None


def _experiment(chosen: Sequence[int] | None = None) -> SimpleNamespace:
    """What is in place: p (parameters), card, models, home (its recordings), folds; of all runs or some.

    Raises
    ------
    MurmurError
        If a part of it is missing, or params.yaml is not what it was made with.
    """
    import pandas as pd

    from murmur import elsewhere, tables  # imports torch

    p = params.load(*(name for name in params.Params.model_fields if name != "published"))
    runs = sorted({*(chosen or p.split.runs)})
    embedded = ["embed@m2d"] if p.train.features == "embedding" else []
    trained = [f"train@{run}" for run in runs]
    _check_as_run(["download", "clean", "segment", "mel", *embedded, *trained, "evaluate"])
    _, texts = _at("workspace", ["metrics/calibration.csv"])
    fitted = pd.read_csv(StringIO(texts["metrics/calibration.csv"]))
    weights = elsewhere.kept(Path("models"), fitted, runs)
    card = tables.read_card("data/recordings.parquet")
    return SimpleNamespace(
        p=p,
        card=card,
        models=elsewhere.Models(weights, card.classes, fitted, p.train, p.evaluate, p.seed),
        home=_heard(Path(), p),
        folds={run: tables.read(f"data/folds/run_{run}.parquet", tables.FOLDS) for run in runs},
    )


def _heard(folder: Path, p: SimpleNamespace) -> Any:
    from murmur import elsewhere, tables

    recordings = tables.read(folder / "data/recordings.parquet", tables.RECORDINGS)
    segments = tables.read(folder / "data/segments.parquet", tables.SEGMENTS)
    return elsewhere.Heard(recordings, segments, folder / f"data/{p.train.features}.{p.mel.format}")


def _experiment_hash() -> str:
    path = "metrics/folds.csv"
    return hashlib.sha256(_at("workspace", [path])[1][path].encode()).hexdigest()


def _check_as_run(stages: Sequence[str]) -> None:
    """Refuse a params.yaml that is not what these stages ran with, as dvc.lock has it."""
    _, texts = _at("workspace", ["dvc.lock"])
    ran, now = yaml.safe_load(texts["dvc.lock"]).get("stages", {}), params.read_yaml("params.yaml")
    for stage in stages:
        if stage not in ran:
            raise MurmurError(f"stage {stage} has not run with this params.yaml: `dvc repro` first")
        for key, value in ran[stage].get("params", {}).get("params.yaml", {}).items():
            if _get(now, key) != value:
                raise MurmurError(
                    f"params.yaml: {key} is not what {stage} ran with: `dvc repro` first, or put it back"
                )


def _get(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _elsewhere(
    dataset: str, mapped: Sequence[str], settings: Sequence[str], task: str | None
) -> dict[str, Any]:
    """What `evaluate_on` writes; the data set is prepared in a folder of its own that shares the cache."""
    from murmur import elsewhere, tables

    e = _experiment()
    _, texts = _at("workspace", ["metrics/details.json"])
    content = _content_for(dataset, settings)
    section = params.check(params.Download, content["download"], "params.yaml: download")
    task, labels = elsewhere.labels(dataset, task, e.p.task, section)
    class_map = elsewhere.class_map(labels, e.card.classes, _pairs(mapped))
    card = elsewhere.asked(e.card, class_map.values())
    own = {label: c for label, c in class_map.items() if label != c}
    content |= {"dataset": dataset, "task": task, "class_map": own, "positive": list(card.positive)}
    with _made(content, dataset, "embed@m2d" if e.p.train.features == "embedding" else "mel") as folder:
        result = elsewhere.elsewhere(e.models, e.home.recordings, _heard(folder, e.p), card)
        left_out = tables.read(folder / "data/left_out/download.parquet", tables.LEFT_OUT)
    result["data"]["left_out"] = left_out["reason"].value_counts().to_dict()
    if result["left_unasked"]:
        here = elsewhere.at_home(e.models, e.home, e.folds, card)["headline"]
    else:
        here = json.loads(texts["metrics/details.json"])["headline"]
    facts = {"experiment": _experiment_hash(), "dataset": dataset, "task": task, "class_map": class_map}
    return {**facts, **result, "here": here}


def _content_for(dataset: str, settings: Sequence[str]) -> dict[str, Any]:
    """params.yaml with a section `download` for another data set: all of it, and nothing is passed on."""
    from murmur.download import reader

    content = params.read_yaml("params.yaml")
    content["download"]["limit"] = None
    for setting in settings:
        key, _, value = setting.partition("=")
        if not key.startswith("download."):
            raise MurmurError(f"-S {key}: only download.… can differ: all else is as the models were taught")
        _put(content, key, yaml.safe_load(value))
    if not getattr(reader(dataset), "MAY_BE_PASSED_ON", True) and not content["download"]["remote"]:
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


def _recipe(name: str) -> Path:
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    if name not in known:
        raise MurmurError(f"no recipe {name!r}; there are {', '.join(known)}")
    return RECIPES / f"{name}.yaml"


def _uncommitted(path: Path) -> bool:
    """Whether git has not these very bytes; where there is no git or no commit, it has not."""
    if not shutil.which("git"):
        return True
    done = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True)
    return done.returncode != 0 or done.stdout != path.read_bytes()


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    place = content
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None  # type: ignore[assignment]
    if not isinstance(place, dict) or (last not in place and sections != ["class_map"]):
        raise MurmurError(f"-S {key}: the recipe has no such key")
    place[last] = value


def _run(content: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The details of a run with these parameters, in a folder of its own that shares the cache."""
    with _made(content, what) as folder:
        return json.loads((folder / "metrics/details.json").read_text(encoding="utf-8"))


@contextmanager
def _made(content: Mapping[str, Any], what: str, *targets: str) -> Iterator[Path]:
    """A folder that shares the cache, where the stages, all or up to `targets`, ran with these parameters."""
    with tempfile.TemporaryDirectory(prefix="murmur-") as name:
        folder = Path(name)
        for part in ("src", "stages"):
            shutil.copytree(part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("dvc.yaml", folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
        params.load("seed", path=folder / "params.yaml")
        (folder / "data").mkdir()
        for part in ("folder", "splits", "weights"):  # what the user put there; the stages make all else
            if Path("data", part).exists():
                (folder / "data" / part).symlink_to(Path("data", part).resolve())
        _dvc(folder, "init", "--no-scm", "--quiet")
        (folder / ".dvc/config").write_text(DVC_CONFIG.format(_cache()), encoding="utf-8")
        Console(stderr=True).rule(what)
        _dvc(folder, "repro", *targets)
        yield folder


def _cache() -> str:
    """The cache of the project, wherever it is set to be."""
    asked = [sys.executable, "-m", "dvc", "cache", "dir"]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return found or str(Path(".dvc/cache").resolve())


def _dvc(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, env=_environment(), stdout=sys.stderr)
    if done.returncode:
        raise MurmurError(f"`dvc {' '.join(arguments)}` ended with an error; it is told above")


def _environment() -> dict[str, str]:
    """This process's, where stages find its python first, and MURMUR_DATA from any folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    data = os.environ.get("MURMUR_DATA")
    return os.environ | {"PATH": path} | ({"MURMUR_DATA": str(Path(data).resolve())} if data else {})


def _bring_up_to_date(
    tries: int, optional_remote: bool
) -> tuple[list[told.Stage], list[str], told.Problem | None]:
    """Run what changed, from what the remotes have: the stages, remarks, why it is red."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would say on stdout that it skips stages
    try:
        with Repo() as repo:
            remotes, is_same = _remotes(repo), _is_same(repo)
            plan = [told.Stage(stage.addressing, "reused", 0.0) for stage in repo.index.stages]
            lacking, how, problem = _fetched(repo, remotes, is_same, tries)
    except DvcException as error:
        return [], [], told.unreadable(str(error))
    if problem and not optional_remote:
        return [], [], problem
    notes = told.remarks(remotes, lacking, problem)
    if is_same and not lacking:
        return plan, notes, None
    done, said = _said("repro", *how, tries=tries if how else 1)
    stages = told.stages(said, time.monotonic())
    if done:
        return stages, notes, None
    is_broken = any(stage.outcome == "failed" for stage in stages)
    red = told.broken(stages, said) if is_broken else told.out_of_reach(remotes, tries, told.reason(said))
    return stages, notes, red


def _remotes(repo: Any) -> str:
    """The DVC remotes of the pipeline's outputs in words; empty if it has none."""
    own = {out.remote for stage in repo.index.stages for out in stage.outs}
    names = sorted({*own, repo.config["core"].get("remote")} - {None})
    urls = [repo.config["remote"].get(name, {}).get("url", "not configured") for name in names]
    return " and ".join(f"`{n}` ({re.sub('//[^/]*@', '//', u)})" for n, u in zip(names, urls, strict=True))


def _is_same(repo: Any) -> bool:
    """Whether nothing changed since dvc.lock was written; what is not here is taken as it says."""
    from dvc.exceptions import ReproductionError

    try:
        return not repo.reproduce(dry=True, allow_missing=True)
    except ReproductionError:  # what a changed stage reads is not here
        return False


def _fetched(
    repo: Any, remotes: str, is_same: bool, tries: int
) -> tuple[list[str], list[str], told.Problem | None]:
    """What the remotes lack of what dvc.lock names; the options of `dvc repro` that then do; what went wrong.

    If something is to run, fetches what `dvc repro --pull --allow-missing` would not: the outputs in a folder
    which a stage reads whole and several stages fill.
    """
    if not remotes:
        return [], [], None
    refreshed = {"not_in_remote": True, "remote_refresh": True}
    status, problem = _tried(tries, remotes, repo.data_status, **refreshed)
    if problem:
        return [], [], problem
    if lacking := status["not_in_remote"]:
        return lacking, ["--pull"], None
    stages = repo.index.stages
    read = {Path(dep.fs_path) for stage in stages for dep in stage.deps}
    outs = [out for stage in stages for out in stage.outs if out.use_cache and out.hash_info]
    shared = [os.path.relpath(out.fs_path) for out in outs if Path(out.fs_path).parent in read]
    if shared and not is_same:
        _, problem = _tried(tries, remotes, repo.pull, shared, allow_missing=True)
    return [], [] if problem else ["--pull", "--allow-missing"], problem


def _tried(
    tries: int, remotes: str, call: Callable[..., Any], *arguments: Any, **options: Any
) -> tuple[Any, told.Problem | None]:
    """The result of a call that needs the remotes, or why they are out of reach after so many tries."""
    for k in range(tries):
        time.sleep(2**k if k else 0)
        try:
            return call(*arguments, **options), None
        except Exception as error:  # each kind of remote has its own
            why = str(error)
    return None, told.out_of_reach(remotes, tries, why)


def _said(*arguments: str, tries: int = 1) -> tuple[bool, list[tuple[float, str]]]:
    """Run dvc, a few times if it fails, passing on what it says: whether it succeeded, and its lines."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {"PYTHONUNBUFFERED": "1"} | _environment()
    pipe: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    said: list[tuple[float, str]] = []
    for k in range(tries):
        time.sleep(2**k if k else 0)
        with subprocess.Popen(command, env=environment, **pipe) as process:
            for line in process.stdout or ():
                print(line, end="", file=sys.stderr, flush=True)
                said.append((time.monotonic(), line.rstrip("\n")))
        if process.returncode == 0 or told.is_final(said):
            break
    return process.returncode == 0, said


def _moved(base: str) -> dict[str, str]:
    """What differs from the base, in Markdown by title: metrics, whether it means anything, plots."""
    changed = (_git("diff", "--name-only", base, "--", "metrics", "plots") or "").splitlines()
    if not changed:
        return {"What moved": f"Nothing: metrics and plots are those of {base}."}
    from murmur import compare as comparison  # imports scipy

    command = [sys.executable, "-m", "dvc", "metrics", "diff", base, "--md"]
    figures = subprocess.run(command, capture_output=True, text=True, env=_environment()).stdout
    try:
        sides = [comparison.parse(*_at(name, comparison.FILES)) for name in (base, "workspace")]
        meaning = comparison.as_markdown(comparison.compare(*sides))
    except MurmurError as error:
        meaning = f"No comparison: {error}"
    moved = told.metrics(figures) or "No figure of metrics/summary.json."
    plots = told.plots([path for path in changed if path.startswith("plots/")], base)
    return {"Does it mean anything?": meaning, "What moved": moved, "Plots that changed": plots}


def _pushed(tries: int) -> told.Problem | None:
    """Push what dvc.lock names, and the run-cache, which goes to the default remote: not where outputs have
    one of their own, as those have that may not be passed on.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        remotes = _remotes(repo)
        own = any(out.remote for stage in repo.index.stages for out in stage.outs)
    if not remotes:
        return None
    done, said = _said("push", *([] if own else ["--run-cache"]), tries=tries)
    return None if done else told.out_of_reach(remotes, tries, told.reason(said))


def _not_committed() -> list[str]:
    """What the stages write for git that is not as in HEAD."""
    status = (
        _git("status", "--porcelain", "--untracked-files=all", "--", "dvc.lock", "metrics", "plots") or ""
    )
    return [line[3:] for line in status.splitlines()]


def _print_gap(honest: dict[str, Any], flawed: dict[str, Any], *, md: bool) -> None:
    always = [f"always {run['baseline']['answer']} ({how})" for run, how in ((honest, "h."), (flawed, "p."))]
    rows = [("", "honest", "as published", "gap", *always)]
    for name, one in honest["headline"].items():
        other = flawed["headline"].get(name, {})
        gap = _text((other.get("mean") or 0) - one["mean"], "+") if _known(one, other) else "-"
        constant = [
            _text(run["baseline"][name]) if name in run["baseline"] else "-" for run in (honest, flawed)
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
        what = "mean over runs [95 % interval over persons]; h.: honest, p.: as published"
        print(f"{honest['level']} level: {what}")
    _print_rows(rows, md)


def _print_rows(rows: Sequence[tuple[str, ...]], md: bool) -> None:
    """A table, its head first."""
    if md:
        rows = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _known(*rows: Mapping[str, Any]) -> bool:
    return all(row.get("mean") is not None for row in rows)


def _figure(row: Mapping[str, Any]) -> str:
    if not _known(row):
        return "-"
    interval = f" [{_text(row['low'])}, {_text(row['high'])}]" if row["low"] is not None else ""
    return _text(row["mean"]) + interval


def _text(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}"


def main() -> None:
    """The command `murmur`; what a user can mend is told without a traceback."""
    run_stage(app)


if __name__ == "__main__":
    main()
