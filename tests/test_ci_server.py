"""Continuous integration end to end: a git server and an S3 remote on this machine, and people who clone."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from murmur.commands import comment
from tests import made
from tests.test_pipeline import TINY, edit, merged

# Stages that do next to nothing, but say in the file $RAN that they were computed.
STUB = """\
stages:
  split:
    cmd: echo split >> $RAN; mkdir -p data/folds metrics; echo 0 > metrics/audit.csv;
      for run in 0 1 2; do echo $run > data/folds/$run; done
    params: [split]
    outs: [data/folds, metrics/audit.csv: {cache: false}]
  train:
    matrix: {run: "${split.runs}"}
    cmd: echo train@${item.run} >> $RAN; sh stages/train.sh ${item.run}
    params: [train]
    deps: [stages/train.sh, "data/folds/${item.run}"]
    outs: ["data/predictions/${item.run}": {remote: "${remote}"}]
  evaluate:
    cmd: echo evaluate >> $RAN; sh stages/evaluate.sh
    params: [evaluate]
    deps: [stages/evaluate.sh, data/predictions, metrics/audit.csv]
    metrics: [metrics/summary.json: {cache: false}]
    outs: [plots/roc.csv: {cache: false}]
"""
TRAIN = "mkdir -p data/predictions; (grep lr params.yaml; cat data/folds/$1) > data/predictions/$1\n"
EVALUATE = """\
mkdir -p metrics plots
cat data/predictions/* > plots/roc.csv
draws=$(sed -n 's/.*draws: //p' params.yaml)
sum=$(cat data/predictions/* | cksum | cut -d ' ' -f 1)
echo "{\\"draws\\": $draws, \\"sum\\": $sum}" > metrics/summary.json
"""
FILES = {
    "dvc.yaml": STUB,
    "params.yaml": "evaluate:\n  draws: 1\nsplit:\n  runs:\n  - 0\n  - 1\nremote: null\ntrain:\n  lr: 1\n",
    "stages/train.sh": TRAIN,
    "stages/evaluate.sh": EVALUATE,
    "README.md": "words\n",
    "recipes/one.yaml": "# a recipe\n",
    ".gitignore": "/data/*\n!/data/folder\n!/data/splits\n!/data/weights\n/models\n__pycache__/\n",
}
# A change of parameters, or of files, and what then runs.
PROJECT = {
    "a training parameter": (
        {"train": {"epochs": 2}},
        {},
        "check; train 0; cycles; evaluate; final; package",
    ),
    "another run": (
        *({"split": {"runs": [0, 1]}}, {}, "check; split; train 1; cycles; evaluate; final; package"),
    ),
    "a recipe and a model": ({}, {"recipes/new.yaml": "# new\n", "src/murmur/models/new.py": "\n"}, None),
}
FOLDERS = ("recipes", "src", "stages", "data/folder", "data/splits", "data/weights")
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@pytest.fixture(scope="module")
def s3():
    """The address of an S3 server on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def run(folder, *command, check=True, **environment):
    """Run a command as a machine with nothing but these keys has it; return its output and status."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    known = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    own = {"PATH": path, "PYTHONPATH": str(made.ROOT / "src"), "RAN": str(folder.with_suffix(".ran"))}
    own |= {"AWS_EC2_METADATA_DISABLED": "true", "GIT_CONFIG_GLOBAL": "/dev/null", "MURMUR_WORKERS": "1"}
    own |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=known | own | KEYS | environment
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr, done.returncode


def bucket_of(address, name):
    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), "ab", strict=True))
    return boto3.resource("s3", endpoint_url=address, region_name="us-east-1", **keys).Bucket(name)


def founded(root, bucket, address):
    """A git server in `root`, and a first clone, `root`/ann, whose remote is a bucket of its own."""
    bucket_of(address, bucket).create()
    run(root, "git", "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    ann = clone(root, "ann")
    (ann / ".dvc").mkdir()
    (ann / ".dvc/.gitignore").write_text("/cache\n/tmp\n/config.local\n")
    (ann / ".dvc/config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    remote = shared\n"
        f"['remote \"shared\"']\n    url = s3://{bucket}/dvc\n    endpointurl = {address}\n"
    )
    return ann


def clone(root, name, branch="main"):
    run(root, "git", "clone", "--quiet", str(root / "origin.git"), name)
    if branch != "main":
        run(root / name, "git", "checkout", "--quiet", branch)
    return root / name


def commit(folder, *, push="main"):
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "a change")
    if push:
        run(folder, "git", "push", "--quiet", "origin", f"HEAD:{push}")


def review(folder, *options, **environment):
    """`murmur ci` there: exit status, comment, what was computed (by $RAN), what the comment says ran."""
    ran = folder.with_suffix(".ran")
    ran.write_text("")
    out = folder.with_suffix(".md")
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "murmur", "ci", "--out", str(out), "--tries", "1", *options]
    output, code = run(folder, *command, check=False, **environment)
    assert out.exists(), output
    text = out.read_text()
    return code, text, ran.read_text().split(), output


def table(text):
    """What the comment's table says: names by outcome."""
    rows = re.findall(r"^\| (`.*) \| (.+) \| [\d.]+ \|$", text, re.MULTILINE)
    found = {outcome: [] for _, outcome in rows}
    for names, outcome in rows:
        found[outcome].append(names.replace("`", ""))
    return {outcome: "; ".join(names) for outcome, names in found.items()}


@pytest.fixture(scope="module")
def team(tmp_path_factory, s3):
    """A git server whose main branch has a stub pipeline, run and pushed; the folder for clones of it."""
    root = tmp_path_factory.mktemp("team")
    ann = founded(root, "team", s3)
    for name, text in FILES.items():
        (ann / name).parent.mkdir(exist_ok=True)
        (ann / name).write_text(text)
    return published(ann)


@pytest.fixture(scope="module", autouse=True)
def project_reviews(request, tmp_path_factory, s3):
    """A future of the reviews of PROJECT, by name, on tiny data, made beside the other tests."""
    with ThreadPoolExecutor(1) as pool:
        wanted = any("project" in item.name for item in request.session.items)
        yield pool.submit(_project_reviews, tmp_path_factory.mktemp("project"), s3) if wanted else None


def _project_reviews(root, s3):
    ann = founded(root, "project", s3)
    for name in (".gitignore", "dvc.yaml", "params.yaml", *FOLDERS):
        copy = shutil.copytree if name in FOLDERS else shutil.copy
        copy(made.ROOT / name, ann / name)
    edit(ann, merged(TINY, {"split": {"runs": [0]}}))
    published(ann)
    found = {}
    for name, (changes, files, _) in PROJECT.items():
        folder = changed(root, name.replace(" ", "_"), changes, **files)
        found[name] = review(folder, "--base", "HEAD~1")
    return found


def published(ann):
    run(ann, "dvc", "repro", "--quiet")
    commit(ann)
    run(ann, "dvc", "push", "--quiet", "--run-cache")
    return ann.parent


def changed(team, name, changes=None, **files):
    """A fresh clone with a change committed, of parameters or of files by name."""
    folder = clone(team, name)
    if changes:
        edit(folder, changes)
    for key, text in files.items():
        path = folder / key
        path.write_text(text)
    commit(folder, push=None)
    return folder


def test_a_docs_edit_runs_nothing_and_fetches_nothing(team):
    folder = changed(team, "docs", **{"README.md": "other words\n", "recipes/two.yaml": "# another\n"})
    code, text, ran, _ = review(folder, "--base", "HEAD~1")
    assert (code, ran) == (0, [])
    assert text.startswith(f"{comment.MARKER}\n\n### Pipeline: 4 reused\n\n**Green**")
    assert "None: metrics and plots are those of HEAD~1." in text
    assert not (folder / "data").exists()


def test_an_evaluation_parameter_evaluates_and_what_came_out_must_be_committed(team):
    folder = changed(team, "evaluation", {"evaluate": {"draws": 2}})
    code, text, ran, output = review(folder, "--base", "HEAD~1")
    assert (code, ran) == (1, ["evaluate"])
    assert table(text) == {"ran": "evaluate", "reused": "split; train 0, 1"}
    assert "**Red: the outputs differ from the committed files: dvc.lock, metrics/summary.json**" in text
    assert "| metrics/summary.json | draws " in text and "No comparison: HEAD~1 (" in text
    assert "git add dvc.lock metrics plots" in text and "git add dvc.lock metrics plots" in output


def test_what_someone_pushed_from_another_branch_is_restored(team):
    other = changed(team, "other", {"train": {"lr": 3}})
    review(other, "--push")
    folder = changed(team, "same", {"train": {"lr": 3}})
    _, text, ran, _ = review(folder, "--base", "HEAD~1")
    assert ran == ["evaluate"]
    assert table(text) == {
        "restored from the run-cache": "train 0, 1",
        "ran": "evaluate",
        "reused": "split",
    }
    assert "- `plots/roc.csv`" in text


def test_a_broken_stage_is_red_and_tells_why(team):
    folder = changed(
        team, "broken", **{"stages/train.sh": "echo '```'; echo on my way; echo error: no disk >&2; exit 3\n"}
    )
    code, text, ran, output = review(folder, "--base", "HEAD~1", "--push")
    assert (code, ran) == (1, ["train@0"])
    assert "**Red: stage `train@0` failed: no disk**" in text
    assert "\n````text\n> echo train@0 >> $RAN; sh stages/train.sh 0\n" in text
    assert "on my way\nerror: no disk\nERROR: failed to reproduce 'train@0': failed to run: " in text
    assert "error: stage `train@0` failed: no disk" in output and "Traceback" not in output


def test_a_remote_that_is_down_is_red_after_as_many_tries_as_asked(team, s3):
    folder = changed(team, "down", {"train": {"lr": 4}})
    config = folder / ".dvc/config"
    config.write_text(config.read_text().replace(s3, "http://127.0.0.1:9"))
    code, text, ran, _ = review(folder, "--tries", "2")
    assert (code, ran) == (1, [])
    assert "**Red: the DVC remote `shared` (s3://team/dvc) cannot be reached, after 2 attempts: " in text


def test_a_fork_without_keys_says_that_it_has_no_remote(team):
    folder = changed(team, "fork", {"evaluate": {"draws": 5}})
    none = dict.fromkeys(KEYS, "")
    _, text, ran, _ = review(folder, "--optional-remote", **none)
    assert ran == ["split", "train@0", "train@1", "evaluate"]
    assert "- the DVC remote `shared` (s3://team/dvc) cannot be reached, after 1 attempt: " in text
    assert "Unable to locate credentials. Continued without it" in text


def test_what_was_committed_but_not_pushed_is_computed_and_named(team):
    folder = changed(team, "forgot", {"train": {"lr": 6}})
    run(folder, "dvc", "repro", "--quiet", "--pull")
    commit(folder, push="forgot")
    code, text, ran, _ = review(clone(team, "fresh", "forgot"), "--push")
    assert (code, ran) == (0, ["train@0", "train@1"])
    assert "lacks data/predictions/0, data/predictions/1, which dvc.lock names" in text
    assert review(clone(team, "later", "forgot"))[2] == []


def stored(address):
    return {item.key for item in bucket_of(address, "team").objects.all()}


def test_a_conflict_in_dvc_lock_is_solved_by_taking_either_side(team):
    ann = changed(team, "conflict_ann", {"train": {"lr": 7}})
    bob = changed(team, "conflict_bob", {"evaluate": {"draws": 7}})
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda folder: review(folder, "--push"), (ann, bob)))
    for folder in (ann, bob):
        commit(folder, push=folder.name)
    run(bob, "git", "fetch", "--quiet")
    output, code = run(bob, "git", "merge", "--quiet", "origin/conflict_ann", check=False)
    assert code and "conflict in dvc.lock" in output
    code, text, ran, _ = review(bob)
    assert (code, ran) == (1, []) and "**Red: DVC cannot read the pipeline: " in text
    run(bob, "git", "checkout", "--ours", "dvc.lock", "metrics", "plots")
    code, text, ran, _ = review(bob)
    assert ran == ["evaluate"], text  # both changes together; the trainings are those of ann
    assert table(text)["restored from the run-cache"] == "train 0, 1"


def test_what_may_not_be_passed_on_goes_to_its_own_remote_only(team, tmp_path, s3):
    folder = changed(team, "own", {"remote": "private", "train": {"lr": 8}})
    before = stored(s3)
    code, text, _, _ = review(folder, "--push")
    assert code == 1 and "- No DVC remote has the name `private`, which outputs have: " in text
    assert "Red: the outputs differ from the committed files" in text and stored(s3) == before
    commit(folder, push=None)
    code, text, ran, _ = review(folder, "--push")
    assert (code, ran) == (0, []) and "nothing is fetched or pushed" in text and stored(s3) == before
    run(folder, "dvc", "remote", "add", "--local", "private", str(tmp_path / "private"))
    review(folder, "--push")
    stored_there = {p.parent.name + p.name for p in (tmp_path / "private").rglob("*") if p.is_file()}
    lock = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    assert {out["md5"] for k in (0, 1) for out in lock[f"train@{k}"]["outs"]} == stored_there
    assert stored(s3) == before


def flip_bit(path):
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    path.chmod(0o444)  # DVC reads an object again only if it can be written


def locate(folder, output):
    """The path of the object of an output, below the cache or the remote."""
    value = md5((folder / output).read_bytes()).hexdigest()
    return f"files/md5/{value[:2]}/{value[2:]}"


def test_a_damaged_object_is_red_and_not_pushed(team, s3):
    folder = changed(team, "damaged", {"train": {"lr": 20}})
    run(folder, "dvc", "repro", "--quiet", "--pull")
    commit(folder, push=None)
    flip_bit(folder / ".dvc/cache" / locate(folder, "data/predictions/1"))
    before = stored(s3)
    code, text, _, output = review(folder, "--push")
    assert code == 1 and "**Red: damaged files: .dvc/cache/files/md5/" in text and stored(s3) == before
    assert "`murmur verify --all` shows how to get each of them back" in output


def test_a_damaged_object_of_the_remote_is_red_after_it_is_fetched(team, s3):
    folder = changed(team, "damaging", {"train": {"lr": 21}})
    review(folder, "--push")
    commit(folder, push="damaging")
    key = "dvc/" + locate(folder, "data/predictions/1")
    bucket_of(s3, "team").put_object(Key=key, Body=b"damaged")
    other = clone(team, "fetching", "damaging")
    edit(other, {"evaluate": {"draws": 20}})
    code, text, ran, _ = review(other)
    assert (code, ran) == (1, ["evaluate"]) and "**Red: damaged files: .dvc/cache/files/md5/" in text


def forged(folder):
    """Write another figure into metrics/summary.json, and its hash into dvc.lock, as if evaluate had."""
    figures, lock = folder / "metrics/summary.json", folder / "dvc.lock"
    old = figures.read_bytes()
    figures.write_bytes(old.replace(b'"sum": ', b'"sum": 9'))
    content = yaml.safe_load(lock.read_text())
    (out,) = [o for o in content["stages"]["evaluate"]["outs"] if o["path"] == "metrics/summary.json"]
    assert out["md5"] == md5(old).hexdigest()
    out |= {"md5": md5(figures.read_bytes()).hexdigest(), "size": figures.stat().st_size}
    lock.write_text(yaml.safe_dump(content, sort_keys=False))


def test_figures_written_by_hand_are_red_though_dvc_lock_agrees(team):
    folder = clone(team, "forger")
    forged(folder)
    commit(folder, push=None)
    code, text, ran, _ = review(folder, "--base", "HEAD~1")
    assert (code, ran) == (1, ["split", "evaluate"]), text
    assert "**Red: the outputs differ from the committed files: dvc.lock, metrics/summary.json**" in text
    assert table(text)["reused"] == "train 0, 1"


def test_figures_of_a_run_that_was_pushed_are_green_and_evaluated_again(team):
    folder = changed(team, "honest", {"train": {"lr": 12}})
    run(folder, "dvc", "repro", "--quiet", "--pull")
    commit(folder, push="honest")
    run(folder, "dvc", "push", "--quiet", "--run-cache")
    code, text, ran, _ = review(clone(team, "reviewer", "honest"), "--base", "origin/main")
    assert (code, ran) == (0, ["split", "evaluate"]), text
    assert table(text)["reused"] == "train 0, 1"


def test_figures_written_by_hand_are_red_where_there_is_no_remote(team):
    folder = changed(team, "alone", {"remote": "private", "train": {"lr": 9}})
    run(folder, "dvc", "repro", "--quiet")
    forged(folder)
    commit(folder, push="alone")
    other = clone(team, "reviewer_alone", "alone")
    run(other, "dvc", "cache", "dir", "--local", str(folder.with_suffix(".empty")))
    code, text, ran, _ = review(other, "--base", "origin/main")
    assert code == 1 and ran[-1] == "evaluate" and "metrics/summary.json" in text.partition("(")[0]


def test_a_link_in_place_of_a_folder_is_red_and_nothing_runs(team, tmp_path):
    folder = changed(team, "linked", {"evaluate": {"draws": 3}})
    shutil.move(folder / "plots", tmp_path / "plots")
    (folder / "plots").symlink_to(tmp_path / "plots")
    commit(folder, push=None)
    before = (tmp_path / "plots/roc.csv").read_bytes()
    code, text, ran, _ = review(folder, "--base", "HEAD~1")
    assert (code, ran) == (1, []) and "**Red: symbolic links are committed: plots** (" in text
    assert (tmp_path / "plots/roc.csv").read_bytes() == before


@pytest.mark.parametrize("name", PROJECT)
def test_of_the_project_runs_what_reads_a_change_and_what_follows(project_reviews, name):
    code, text, _, output = project_reviews.result()[name]
    ran = PROJECT[name][2]
    assert table(text).get("ran") == ran, output
    if ran:
        assert code == 1 and "**Red: the outputs differ from the committed files: dvc.lock, metrics/" in text
        assert "- `plots/" in text and "#### Changed metrics" in text
        assert re.search(r"#### Is the difference significant\?\n\n(\*\*|No comparison: )", text)
    else:
        assert code == 0 and "None: metrics and plots are those of HEAD~1" in text
