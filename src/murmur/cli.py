"""The `murmur` command. The one file that knows DVC and git; no stage depends on it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

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
    _print_gap(*found, level=content["evaluate"]["level"], md=md)


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
    """The summary of a run with these parameters, in a folder of its own that shares the cache."""
    with tempfile.TemporaryDirectory(prefix="murmur-") as name:
        folder = Path(name)
        for part in ("src", "stages"):
            shutil.copytree(part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("dvc.yaml", folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
        params.load("seed", path=folder / "params.yaml")
        (folder / "data").mkdir()
        for part in ("folder", "weights"):  # what the user put there; all else is made by the stages
            if Path("data", part).exists():
                (folder / "data" / part).symlink_to(Path("data", part).resolve())
        _dvc(folder, "init", "--no-scm", "--quiet")
        (folder / ".dvc/config").write_text(DVC_CONFIG.format(_cache()), encoding="utf-8")
        Console(stderr=True).rule(what)
        _dvc(folder, "repro")
        return json.loads((folder / "metrics/summary.json").read_text(encoding="utf-8"))


def _cache() -> str:
    """The cache of the project, wherever it is set to be."""
    asked = [sys.executable, "-m", "dvc", "cache", "dir"]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return found or str(Path(".dvc/cache").resolve())


def _dvc(folder: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    if data := os.environ.get("MURMUR_DATA"):
        environment["MURMUR_DATA"] = str(Path(data).resolve())
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr)
    if done.returncode:
        raise MurmurError(f"`dvc {' '.join(arguments)}` ended with an error; it is told above")


def _print_gap(honest: dict[str, Any], flawed: dict[str, Any], *, level: str, md: bool) -> None:
    always = [f"always {run['baseline']['answer']} ({how})" for run, how in ((honest, "h."), (flawed, "p."))]
    rows = [("", "honest", "as published", "gap", *always)]
    for name, one in honest[level].items():
        other = flawed[level].get(name, {})
        gap = _text((other.get("mean") or 0) - one["mean"], "+") if _known(one, other) else "-"
        constant = [
            _text(run["baseline"][name]) if name in run["baseline"] else "-" for run in (honest, flawed)
        ]
        rows.append((name, _figure(one), _figure(other), gap, *constant))
    for fact in ("group_by", "validate_on", "flaws", "shared_persons", "shared_recordings", "leaky"):
        rows.append((fact, str(honest["protocol"][fact]), str(flawed["protocol"][fact]), "", "", ""))
    if md:
        rows.insert(1, ("---",) * 6)
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))
        return
    print(f"{level} level: mean over runs [95 % interval over persons]; h.: honest, p.: as published")
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
