"""What DVC said is read as stages, the comment says why it is red, the workflows are sound."""

import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from markdown_it import MarkdownIt

from murmur import ci, comment
from tests import made

# As DVC 3.67 says it, with when each line came.
SAID = [
    (10.0, "Stage 'mel' didn't change, skipping"),
    (10.5, "Stage 'train@0' is cached - skipping run, checking out outputs"),
    (12.0, "Updating lock file 'dvc.lock'"),
    (12.0, ""),
    (12.0, "Running stage 'train@1':"),
    (12.1, "> python stages/train.py 1"),
    (13.0, "\x1b[31merror: data/folds/run_1.parquet: no such file\x1b[0m"),
    (14.0, ""),
    (14.5, "ERROR: failed to reproduce 'train@1': failed to run: python stages/train.py 1, exited with 1"),
]
LOG = ["> python stages/train.py 1", "error: data/folds/run_1.parquet: no such file", ""]


def green(said):
    return [line for line in said if "ERROR" not in line[1]]


def html(text):
    return MarkdownIt("commonmark").enable("table").render(text)


def test_stages_have_their_outcome_seconds_and_log():
    found = comment.stages(SAID, 15.0)
    assert [(s.name, s.outcome, s.seconds) for s in found] == [
        ("mel", "reused", 0.5),
        ("train@0", "restored", 1.5),
        ("train@1", "failed", 3.0),
    ]
    assert found[2].log == LOG
    assert comment.in_short(found) == "1 failed, 1 restored, 1 reused"
    assert [s.outcome for s in comment.stages(green(SAID), 15.0)] == ["reused", "restored", "ran"]


def test_a_second_try_adds_seconds_and_hides_nothing():
    again = [(20.0, "Pulling data for stage: 'train@0'"), (21.0, "Stage 'train@1' didn't change, skipping")]
    found = {s.name: s for s in comment.stages([*green(SAID), (15.0, ""), *again], 21.5)}
    assert found["train@0"].outcome == "restored" and found["train@0"].seconds == 2.5
    assert found["train@1"].outcome == "ran" and found["train@1"].log[:2] == LOG[:2]


def test_what_a_stage_prints_is_not_taken_for_what_dvc_says():
    said = [(0.0, "Running stage 'a':"), (1.0, "  Running stage 'b':"), (2.0, "Stage 'c' didn't change")]
    assert [s.name for s in comment.stages(said, 3.0)] == ["a"]


def test_the_reason_is_the_last_error():
    assert comment.reason(SAID).startswith("failed to reproduce 'train@1'") and comment.is_final(SAID)
    down = [
        (0.0, "ERROR: unexpected error - Could not connect"),
        (0.1, ""),
        (0.2, "Having any troubles? Hit us up"),
    ]
    assert comment.reason(down) == "unexpected error - Could not connect" and not comment.is_final(down)
    assert comment.reason([(0.0, "'./dvc.yaml' is invalid."), (0.0, "")]) == "'./dvc.yaml' is invalid."
    assert comment.reason([]) == "no word"


def test_a_broken_stage_is_told_with_its_last_line_and_log():
    problem = comment.broken(comment.stages(SAID, 15.0), SAID)
    assert problem.title == "stage `train@1` failed: data/folds/run_1.parquet: no such file"
    text = comment.comment(comment.stages(SAID, 15.0), head="abc1234", base="main", problem=problem)
    assert text.startswith(comment.MARKER + "\n")
    assert f"**Red: {problem.title}** (abc1234, against main)" in text
    code = re.search(r'<pre><code class="language-text">(.*?)</code>', html(text), re.DOTALL)[1]
    assert code.splitlines() == ["&gt; python stages/train.py 1", *LOG[1:2], SAID[-1][1]]


def test_a_stage_that_fails_before_it_says_anything():
    said = [(0.0, "ERROR: failed to reproduce 'mel': [Errno 2] No such file or directory: 'x'")]
    problem = comment.broken(comment.stages(said, 1.0), said)
    assert (
        problem.title
        == "stage `mel` failed: failed to reproduce 'mel': [Errno 2] No such file or directory: 'x'"
    )


def test_no_log_ends_its_block_of_code_or_is_longer_than_a_comment_may_be():
    log = comment.tail(["x" * 1000, "```", "</details>", "````", *(str(k) for k in range(20)), "", ""])
    assert len(log) == 24 and log[0] == "x" * comment.WIDEST + " …" and log[-1] == "19"
    assert comment.tail([str(k) for k in range(100)]) == [str(k) for k in range(100 - comment.TAIL, 100)]
    shown = html(comment.comment([], head="a", base="b", problem=comment.Problem("p", "r", log)))
    assert shown.count("<pre>") == 1 and "<p>19" not in shown and "\n19\n" in shown
    huge = comment.comment([], head="a", base="b", sections={"What moved": "x" * 100_000})
    assert len(huge) < 65_536 and huge.endswith("… cut here: it is too long\n")


def test_the_table_puts_runs_together_and_the_reused_last():
    found = [
        comment.Stage("mel", "reused", 0.1),
        comment.Stage("train@0", "ran", 1.0),
        comment.Stage("split", "reused", 0.2),
        comment.Stage("train@1", "restored", 0.5),
        comment.Stage("train@2", "ran", 2.0),
        comment.Stage("train@3", "reused", 0.0),
    ]
    text = comment.comment(found, head="a", base="b")
    assert [line for line in text.splitlines() if line.startswith("| `")] == [
        "| `train` 0, 2 | ran | 3.0 |",
        "| `train` 1 | restored from the run-cache | 0.5 |",
        "| `mel`; `split`; `train` 3 | reused | 0.3 |",
    ]
    assert "### Pipeline: 2 ran, 1 restored, 3 reused\n\n**Green** (a, against b)" in text


def test_metrics_are_folded_and_counted():
    rows = [f"| metrics/summary.json | uar_{k} | 0.1 | 0.2 | 0.1 |" for k in range(comment.ROWS + 3)]
    head = ["| Path | Metric | main | workspace | Change |", "|---|---|---|---|---|"]
    text = comment.metrics("\n".join([*head, *rows, ""]))
    assert (
        f"<summary>{comment.ROWS + 3} figures" in text
        and text.count("| uar_") == comment.ROWS
        and "… and 3 more" in text
    )
    assert html(text).count("<tr>") == comment.ROWS + 1
    few = [*head, *rows[: comment.SHORT]]
    assert comment.metrics("\n".join(few)).splitlines() == few
    assert comment.metrics("\n".join(head)) == "" == comment.metrics("")


def test_remarks_on_the_remote():
    assert comment.remarks("`s`", [], None) == []
    assert comment.remarks("", [], None)[0].startswith("No DVC remote is set")
    assert "lacked a, b, c, d, e, f and 2 more," in comment.remarks("`s`", list("abcdefgh"), None)[0]
    problem = comment.out_of_reach("`s` (s3://x)", 3, "no route")
    assert problem.title == "the DVC remote `s` (s3://x) is out of reach, tried 3 x: no route"
    assert comment.remarks("`s`", [], problem)[0].startswith(f"{problem.title}. Went on without it")


def test_what_needs_the_remote_is_tried_so_often_and_no_more(monkeypatch, capfd):
    waits = []
    monkeypatch.setattr(ci.time, "sleep", waits.append)

    def down():
        raise OSError(f"no route {len(waits)}")

    assert ci._tried(3, "`s`", down) == (None, comment.out_of_reach("`s`", 3, "no route 3"))
    assert ci._tried(3, "`s`", lambda: 5) == (5, None)
    assert waits == [0, 2, 4, 0]
    done, said = ci._said("nix", tries=2)
    assert not done and waits[4:] == [0, 2]
    assert [line for _, line in said if "invalid choice" in line] == [
        line for line in capfd.readouterr().err.splitlines() if "invalid choice" in line
    ]
    assert sum("invalid choice" in line for _, line in said) == 2


WORKFLOWS = sorted((made.ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize(
    "path, schema", [*((p, "github-workflows") for p in WORKFLOWS), (".gitlab-ci.yml", "gitlab-ci")]
)
def test_workflows_keep_to_their_schema(path, schema):
    checked = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{schema}",
        str(made.ROOT / path),
    ]
    done = subprocess.run(checked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned_and_what_writes_runs_nothing_of_the_pull_request():
    texts = {path.name: path.read_text() for path in WORKFLOWS}
    for text in texts.values():
        used = re.findall(r"uses: (.+)", text)
        assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used)
        assert "pull_request_target" not in text
    ours = yaml.safe_load(texts["ci.yml"])
    assert ours["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in ours["jobs"].values())
    assert "secrets." not in texts["comment.yml"] and "checkout" not in texts["comment.yml"]
    steps = yaml.safe_load(texts["comment.yml"])["jobs"]["comment"]["steps"]
    assert not any("run" in step for step in steps)


POSTED = """
const fs = require('fs')
const [script, seen] = [fs.readFileSync(0, 'utf8'), []]
const comments = [{id: 1, user: {type: 'User'}, body: '<!-- murmur ci --> quoted'}]
const issues = {
  createComment: async one => {
    seen.push(['create', one.issue_number])
    comments.push({id: 2, user: {type: 'Bot'}, body: one.body})
  },
  updateComment: async one => { seen.push(['update', one.comment_id]) },
}
const pulls = {list: async () => ({data: [{number: 6, head: {sha: 'old'}}, {number: 7, head: {sha: 'abc'}}]})}
const github = {rest: {pulls, issues}, paginate: async () => comments}
const run = {head_repository: {owner: {login: 'x'}}, head_branch: 'y', head_sha: 'abc'}
const context = {repo: {owner: 'o', repo: 'r'}, payload: {workflow_run: run}}
const AsyncFunction = (async () => {}).constructor
const post = new AsyncFunction('github', 'context', 'require', script)
const twice = async () => { for (const _ of [1, 2]) await post(github, context, require) }
twice().then(() => console.log(JSON.stringify(seen)))
"""


@pytest.mark.skipif(not shutil.which("node"), reason="no node here to run the step that posts the comment")
def test_the_comment_is_made_once_and_then_updated(tmp_path):
    step = yaml.safe_load((made.ROOT / ".github/workflows/comment.yml").read_text())["jobs"]["comment"][
        "steps"
    ][1]
    (tmp_path / "comment.md").write_text(comment.comment([], head="a", base="b"))
    done = subprocess.run(
        ["node", "-e", POSTED],
        input=step["with"]["script"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [["create", 7], ["update", 2]]


def test_a_remote_without_an_address_is_none():
    outs = [SimpleNamespace(remote="private")]
    config = {"core": {}, "remote": {"private": {"url": "/dev/null/private-has-no-address-see-README"}}}
    repo = SimpleNamespace(index=SimpleNamespace(stages=[SimpleNamespace(outs=outs)]), config=config)
    assert ci._remotes(repo) == ""
    config["remote"]["private"]["url"] = "/some/place"
    assert ci._remotes(repo) == "`private` (/some/place)"
