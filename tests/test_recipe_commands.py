"""murmur recipes, use and optimism: nothing is lost, and both protocols are compared on the same data."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml

from murmur import sections
from murmur.commands import recipes as commands
from murmur.errors import MurmurError
from murmur.experiments import optimism, recipes
from murmur.params.yaml_files import format_yaml, parse_yaml
from tests import made

CLASSES = ("Present", "Unknown", "Absent")
PROTOCOL = {
    "group_by": "person",
    "validate_on": "validation",
    "flaws": "none",
    "shared_persons": 0,
    "shared_recordings": 0,
    "shared_near": 0,
    "leaky": False,
}


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A git repository with the pipeline, three recipes, and a committed params.yaml that no recipe gives."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(made.ROOT / "dvc.yaml", ".")
    Path("params.yaml").write_text((made.ROOT / "params.yaml").read_text() + "# mine\n")
    Path("recipes").mkdir()
    for part in ("folder", "splits", "weights"):
        shutil.copytree(made.ROOT / "data" / part, Path("data", part))
    for name in ("default", "circor_cnn", "circor_bilstm"):
        shutil.copy(made.ROOT / f"recipes/{name}.yaml", "recipes")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "all")
    return tmp_path


def test_recipes_are_listed_with_a_line_each(project, capsys):
    commands.list_recipes()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["default", "circor_bilstm", "circor_cnn"]
    assert "2,370,051 parameters" in lines[1]


def test_the_differences_of_a_recipe_are_shown_below_its_head(project, capsys):
    commands.list_recipes("circor_bilstm")
    head, _, table = capsys.readouterr().out.partition("\n\n")
    assert head == recipes.read_head("circor_bilstm").strip()
    rows = [re.split(r"  +", line) for line in table.splitlines()]
    assert rows[:2] == [["key", "default", "circor_bilstm"], ["dataset", "synthetic", "circor"]]
    assert ["clean.bandpass", "{order: 4, low: 25, high: 800}", "null"] in rows
    assert [
        "train.model",
        "{name: cnn, width: 32, dropout: 0.2}",
        "{name: bilstm, width: 256, layers: 2, dropout: 0.5}",
    ] in rows
    assert rows[-1] == ["published", "{}", "{split.group_by: segment, split.on_leak: warn}"]
    assert [row[0] for row in rows[1:]] == [key for key, _, _ in recipes.list_differences("circor_bilstm")]
    commands.list_recipes("default")
    assert capsys.readouterr().out.endswith("\n\nThis is the default.\n")


def test_time_and_weights_that_a_recipe_needs_are_noted(project, capsys):
    for name in ("pascal_vgg16", "circor_m2d_transformer"):
        shutil.copy(made.ROOT / f"recipes/{name}.yaml", "recipes")
    commands.use_recipe("pascal_vgg16")
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0].startswith("Time: 10 x 5 folds would take about a day") and len(lines) == 2
    assert lines[1].startswith("Weights: the first training downloads them")
    commands.list_recipes("circor_m2d_transformer")
    assert (
        "# Weights: data/weights/README.md describes where to get data/weights/m2d_vit"
        in capsys.readouterr().out
    )
    assert recipes.list_needs("circor_cnn") == recipes.list_needs("default") == []


def test_use_writes_a_recipe_and_then_another(project, capsys):
    for name in ("circor_cnn", "circor_bilstm", "default"):
        commands.use_recipe(name)
        assert Path("params.yaml").read_bytes() == recipes.complete_params(name).encode()
        sections.load("train")
    assert Path("params.yaml").read_bytes() == (made.ROOT / "params.yaml").read_bytes()
    assert "git checkout HEAD params.yaml; to the default: murmur use default" in capsys.readouterr().out


def test_use_goes_back_after_a_file_like_a_recipe_unless_it_has_changed(project):
    for name in ("best.yaml", "searches/no comment.yaml"):
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("seed: 1\n" if " " in name else "# The best\n\nseed: 1\n")
        commands.use_recipe(name)
        commands.use_recipe("default")
        assert Path("params.yaml").read_bytes() == (made.ROOT / "params.yaml").read_bytes()
        commands.use_recipe(name)
        path.write_text("seed: 2\n")
        with pytest.raises(MurmurError, match="not committed"):
            commands.use_recipe("default")
        Path("params.yaml").write_text(recipes.complete_params("default"))


def test_use_default_goes_back_after_a_recipe_or_a_change_was_committed(project):
    commands.use_recipe("circor_cnn")
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: 0", "seed: 1"))
    git("commit", "--quiet", "-a", "-m", "another")
    commands.use_recipe("default")
    assert Path("params.yaml").read_bytes() == (made.ROOT / "params.yaml").read_bytes()


def test_a_recipe_with_an_error_is_refused_and_does_not_affect_others(project):
    head = recipes.read_head("circor_cnn")
    Path("recipes/broken.yaml").write_text(head + "sed: 1\n")
    commands.use_recipe("circor_bilstm")
    commands.use_recipe("circor_cnn")
    before = Path("params.yaml").read_bytes()
    with pytest.raises(MurmurError, match=r"^recipes/broken\.yaml: unknown key sed; did you mean seed"):
        commands.use_recipe("broken")
    assert Path("params.yaml").read_bytes() == before
    Path("recipes/circor_cnn.yaml").write_text(
        head + "seed: 1\n"
    )  # no recipe gives the present params.yaml now
    with pytest.raises(MurmurError, match="not committed"):
        commands.use_recipe("circor_bilstm")


def test_use_does_not_overwrite_uncommitted_changes(project):
    before = Path("params.yaml").read_text() + "# mine\n"
    Path("params.yaml").write_text(before)
    with pytest.raises(MurmurError, match=r"params.yaml has changes that are not committed and that no exp"):
        commands.use_recipe("circor_cnn")
    git("add", "params.yaml")  # staged is not committed
    with pytest.raises(MurmurError, match="not committed"):
        commands.use_recipe("circor_cnn")
    assert Path("params.yaml").read_text() == before
    git("commit", "--quiet", "-m", "mine")
    commands.use_recipe("circor_cnn")


def set_value(key, value):
    """Change a value of params.yaml as `dvc exp run -S` does, which also writes null as nothing."""
    with modify_yaml("params.yaml") as content:
        section, name = key.split(".")
        content[section][name] = value


def test_use_overwrites_the_parameters_of_an_experiment_and_those_that_dvc_only_reformatted(project):
    committed = Path("params.yaml").read_text()
    set_value("train.lr", 0.004)  # its value
    assert Path("params.yaml").read_text() != committed
    commands.use_recipe("circor_cnn")
    Path("params.yaml").write_text(committed)
    set_value("train.lr", 0.123)
    with pytest.raises(MurmurError, match="no experiment has"):
        commands.use_recipe("default")
    git("commit", "--quiet", "-a", "-m", "an experiment")
    git("update-ref", f"refs/exps/{'a' * 2}/{'b' * 38}/kept-hare", "HEAD")
    git("reset", "--quiet", "--soft", "HEAD~1")
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "# another comment\n")
    with pytest.raises(MurmurError, match="no experiment has"):
        commands.use_recipe("default")
    set_value("train.lr", 0.123)
    Path("params.yaml").write_text(Path("params.yaml").read_text().removesuffix("# another comment\n"))
    commands.use_recipe("default")
    assert Path("params.yaml").read_bytes() == (made.ROOT / "params.yaml").read_bytes()


def test_use_states_that_nothing_changes(project, capsys):
    for expected in ("params.yaml is now default: ", "params.yaml already is default\n"):
        commands.use_recipe("default")
        assert capsys.readouterr().out.startswith(expected)


def test_use_does_not_overwrite_an_untracked_file(project):
    git("rm", "--quiet", "--cached", "params.yaml")
    git("commit", "--quiet", "-m", "no params")
    with pytest.raises(MurmurError, match="not committed"):
        commands.use_recipe("circor_cnn")


def test_without_git_use_overwrites_only_recipes(project):
    shutil.rmtree(".git")
    with pytest.raises(MurmurError, match="not committed"):
        commands.use_recipe("circor_cnn")
    Path("params.yaml").unlink()
    commands.use_recipe("circor_cnn")
    commands.use_recipe("circor_bilstm")
    commands.use_recipe("default")
    commands.use_recipe("circor_cnn")


@pytest.mark.parametrize("command", [commands.use_recipe, lambda name: commands.compare_protocols(name, [])])
def test_an_unknown_recipe_is_named(project, command):
    with pytest.raises(
        MurmurError, match=r"no recipe 'circor_cmn'; there are default, circor_bilstm, circor_cnn"
    ):
        command("circor_cmn")


def test_optimism_runs_both_protocols_and_prints_the_gap(project, monkeypatch, capsys):
    runs = []

    def run_pipeline(content, title):
        runs.append((title, content))
        flawed = content["split"]["group_by"] == "segment"
        figure = {"mean": 0.9 if flawed else 0.7, "sd": 0.0, "low": 0.6, "high": None if flawed else 0.8}
        protocol = PROTOCOL | ({"group_by": "segment", "shared_persons": 9, "leaky": True} if flawed else {})
        baseline = {"answer": "Absent", "uar": 0.3333}
        figures = {"uar": figure | {"low": None} if flawed else figure}
        return {"level": "patient", "headline": figures, "baseline": baseline, "protocol": protocol}

    monkeypatch.setattr(optimism, "_run_pipeline", run_pipeline)
    commands.compare_protocols("circor_cnn", ["split.runs=[3]"], md=True)
    (title, honest), (other_title, published) = runs
    assert (title, other_title) == ("circor_cnn, honest", "circor_cnn, as published")
    assert honest["split"]["runs"] == published["split"]["runs"] == [3]
    assert honest | {"split": 0} == published | {"split": 0}
    assert published["split"]["group_by"] == "segment"
    output = capsys.readouterr().out
    assert "| uar | 0.700 [0.600, 0.800] | 0.900 | +0.200 | 0.333 | 0.333 |" in output
    assert "|  | honest | as published (LEAKY) | gap |" in output
    assert (
        "as published: LEAKY, the figures may be too optimistic: the worst fold shares 9 persons." in output
    )
    assert "| leaky | False | True |" in output and "| shared_persons | 0 | 9 |" in output


def test_a_protocol_is_not_called_leaky_only_because_persons_are_unknown():
    protocol = PROTOCOL | {"leaky": True, "flaws": "data set"}
    data = {"unknown_persons": 65, "recordings": 480}
    honest = {"headline": {}, "baseline": {"answer": "normal"}, "data": data, "protocol": protocol}
    published = honest | {"protocol": protocol | {"shared_persons": 1}}
    titles = optimism.tabulate_gap(honest, published)[0][1:3]
    assert titles == ("honest (persons unknown)", "as published (LEAKY)")
    leaky = "LEAKY, the figures may be too optimistic"
    unknown = "the persons of 65 of 480 recordings are unknown: no split of these data can be shown to be"
    assert [*optimism.list_leaks(honest, published)] == [
        f"honest: the parts of the folds share nothing that is known, but {unknown} free of leaks.",
        f"as published: {leaky}: the worst fold shares 1 person; {unknown} free of leaks.",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["split.foo=1"], "-S split.foo: the recipe has no such key"),
        (["nothing"], "-S nothing: the recipe has no such key"),
        (["published={}"], "recipe circor_cnn names no published protocol"),
        (["published={seeds: 1}"], "recipe circor_cnn: published: seeds: the recipe has no such key"),
    ],
)
def test_wrong_settings_of_optimism_are_named(project, settings, message):
    with pytest.raises(MurmurError, match=message):
        commands.compare_protocols("circor_cnn", settings)


def test_optimism_runs_on_a_tiny_data_set(project, tmp_path, monkeypatch, capfd):
    for part in ("src", "stages"):
        shutil.copytree(made.ROOT / part, part, ignore=shutil.ignore_patterns("__pycache__"))
    patients = [made.patient(f"{10 * c + k}", "AV+PV", m) for c, m in enumerate(CLASSES, 1) for k in range(3)]
    made.circor(tmp_path / "data sets/circor", patients)
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path / "data sets"))
    changes = {"segment.length": 0.2, "split.runs": [0], "split.folds": 2, "train.epochs": 1}
    changes |= {"train.model": {"name": "bilstm", "width": 4, "layers": 1}, "evaluate.draws": 10}
    settings = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    commands.compare_protocols("circor_bilstm", settings)
    first = capfd.readouterr()
    assert "as published" in first.out and "uar" in first.out
    commands.compare_protocols("circor_bilstm", settings)
    again = capfd.readouterr()
    assert again.out == first.out and "is cached - skipping run" in again.err
    assert not list(Path().glob("metrics/*"))  # the workspace is unchanged


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("positive=[Yes]", ["Yes"]), ("positive=['010', No, \"1e3\"]", ["010", "No", "1e3"]), ("seed=010", 10)],
)
def test_a_setting_is_read_as_dvc_reads_it_and_reaches_the_stages_unchanged(
    project, monkeypatch, setting, expected
):
    written = []
    monkeypatch.setattr(
        optimism,
        "_run_pipeline",
        lambda content, title: written.append(format_yaml(content)) or make_details(),
    )
    commands.compare_protocols("circor_cnn", [setting], md=False)
    key = setting.partition("=")[0]
    assert [parse_yaml(text, "x")[key] for text in written] == [expected] * 2


def make_details():
    protocol = PROTOCOL | {"leaky": False}
    return {"headline": {}, "baseline": {"answer": "Absent"}, "protocol": protocol, "level": "patient"}


def test_a_setting_that_is_no_yaml_is_named(project):
    with pytest.raises(MurmurError, match=r"^-S positive: cannot be read as YAML: line 1: "):
        commands.compare_protocols("circor_cnn", ["positive=[Yes"], md=False)


def test_terminal_commands_in_a_title_are_escaped(project, capsys):
    Path("recipes/evil.yaml").write_text("# x \x1b[2J\x9b31m y\n")
    commands.list_recipes()
    assert r"x \x1b[2J\x9b31m y" in capsys.readouterr().out
