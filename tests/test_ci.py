"""Continuous integration: parsing of the output of DVC, the comment, and the workflows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from markdown_it import MarkdownIt

from murmur.commands import comment, pipeline
from murmur.params.yaml_files import format_yaml
from tests import made

# The output of DVC 3.67.
OUTPUT = [
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


def remove_errors(lines):
    return [line for line in lines if "ERROR" not in line[1]]


def html(text):
    return MarkdownIt("commonmark").enable("table").render(text)


def test_stages_have_their_outcome_seconds_and_log():
    stages = comment.parse_stages(OUTPUT, 15.0)
    assert [(s.name, s.outcome, s.seconds) for s in stages] == [
        ("mel", "reused", 0.5),
        ("train@0", "restored", 1.5),
        ("train@1", "failed", 3.0),
    ]
    assert stages[2].log == LOG
    assert comment.summarise_outcomes(stages) == "1 failed, 1 restored, 1 reused"
    assert [s.outcome for s in comment.parse_stages(remove_errors(OUTPUT), 15.0)] == [
        "reused",
        "restored",
        "ran",
    ]


def test_a_second_attempt_adds_seconds_and_keeps_the_more_serious_outcome():
    again = [(20.0, "Pulling data for stage: 'train@0'"), (21.0, "Stage 'train@1' didn't change, skipping")]
    stages = {s.name: s for s in comment.parse_stages([*remove_errors(OUTPUT), (15.0, ""), *again], 21.5)}
    assert stages["train@0"].outcome == "restored" and stages["train@0"].seconds == 2.5
    assert stages["train@1"].outcome == "ran" and stages["train@1"].log[:2] == LOG[:2]


def test_output_without_a_stage_has_no_stages():
    assert comment.parse_stages([(0.0, "ERROR: busy")], 1.0) == []


def test_the_output_of_a_stage_is_not_parsed():
    lines = [(0.0, "Running stage 'a':"), (1.0, "  Running stage 'b':"), (2.0, "Stage 'c' didn't change")]
    assert [s.name for s in comment.parse_stages(lines, 3.0)] == ["a"]


def test_the_reason_is_the_last_error():
    assert comment.find_reason(OUTPUT).startswith("failed to reproduce 'train@1'") and comment.is_final(
        OUTPUT
    )
    down = [
        (0.0, "ERROR: unexpected error - Could not connect"),
        (0.1, ""),
        (0.2, "Having any troubles? Hit us up"),
    ]
    assert comment.find_reason(down) == "unexpected error - Could not connect" and not comment.is_final(down)
    assert comment.find_reason([(0.0, "'./dvc.yaml' is invalid."), (0.0, "")]) == "'./dvc.yaml' is invalid."
    assert comment.find_reason([]) == "no output"


def test_a_failed_stage_is_reported_with_its_last_line_and_log():
    problem = comment.report_failed_stage(comment.parse_stages(OUTPUT, 15.0), OUTPUT)
    assert problem.title == "stage `train@1` failed: data/folds/run_1.parquet: no such file"
    text = comment.format_comment(
        comment.parse_stages(OUTPUT, 15.0), head="abc1234", base="main", problem=problem
    )
    assert text.startswith(comment.MARKER + "\n")
    assert f"**Red: {problem.title}** (abc1234, against main)" in text
    code = re.search(r'<pre><code class="language-text">(.*?)</code>', html(text), re.DOTALL)[1]
    assert code.splitlines() == ["&gt; python stages/train.py 1", *LOG[1:2], OUTPUT[-1][1]]


def test_the_log_is_left_out_for_private_data(tmp_path, monkeypatch):
    problem = comment.report_failed_stage(comment.parse_stages(OUTPUT, 15.0), OUTPUT, private=True)
    text = comment.format_comment(
        comment.parse_stages(OUTPUT, 15.0), head="abc1234", base="main", problem=problem
    )
    assert problem.title == "stage `train@1` failed" and not problem.log and "no such file" not in text
    monkeypatch.chdir(tmp_path)
    for dataset, section, private in [
        *(("folder", {}, True), ("folder", {"may_be_passed_on": True}, False), ("bmd_hs", {}, True)),
        *(("circor", {}, False), ("nonesuch", {}, False)),
    ]:
        content = {"dataset": dataset, "download": {dataset: section}}
        Path("params.yaml").write_text(format_yaml(content))
        assert pipeline._is_private() == private, dataset


def test_no_control_character_is_in_a_comment():
    problem = comment.Problem("a\x1b[31mb\x9b31mc\u202ed\u200fe", "f")
    text = comment.format_comment([], head="h", base="b", problem=problem)
    assert all(c.isprintable() or c in "\n\u200b" for c in text), text


def test_a_stage_that_fails_without_output_is_reported():
    lines = [(0.0, "ERROR: failed to reproduce 'mel': [Errno 2] No such file or directory: 'x'")]
    problem = comment.report_failed_stage(comment.parse_stages(lines, 1.0), lines)
    assert (
        problem.title
        == "stage `mel` failed: failed to reproduce 'mel': [Errno 2] No such file or directory: 'x'"
    )


def test_a_log_cannot_end_its_block_of_code_or_exceed_the_limit():
    log = comment.shorten_log(["x" * 1000, "```", "</details>", "````", *(str(k) for k in range(20)), "", ""])
    assert len(log) == 24 and log[0] == "x" * comment.MAX_LINE + " …" and log[-1] == "19"
    assert comment.shorten_log([str(k) for k in range(100)]) == [
        str(k) for k in range(100 - comment.LOG_LINES, 100)
    ]
    shown = html(comment.format_comment([], head="a", base="b", problem=comment.Problem("p", "r", log)))
    assert shown.count("<pre>") == 1 and "<p>19" not in shown and "\n19\n" in shown
    huge = comment.format_comment([], head="a", base="b", sections={"Changed metrics": "x" * 100_000})
    assert len(huge) < 65_536 and huge.endswith("… cut here: it is too long\n")


def test_the_table_groups_runs_and_lists_reused_stages_last():
    stages = [
        comment.Stage("mel", "reused", 0.1),
        comment.Stage("train@0", "ran", 1.0),
        comment.Stage("split", "reused", 0.2),
        comment.Stage("train@1", "restored", 0.5),
        comment.Stage("train@2", "ran", 2.0),
        comment.Stage("train@3", "reused", 0.0),
    ]
    text = comment.format_comment(stages, head="a", base="b")
    assert [line for line in text.splitlines() if line.startswith("| `")] == [
        "| `train` 0, 2 | ran | 3.0 |",
        "| `train` 1 | restored from the run-cache | 0.5 |",
        "| `mel`; `split`; `train` 3 | reused | 0.3 |",
    ]
    assert "### Pipeline: 2 ran, 1 restored, 3 reused\n\n**Green** (a, against b)" in text


def test_metrics_are_folded_and_counted():
    rows = [f"| metrics/summary.json | uar_{k} | 0.1 | 0.2 | 0.1 |" for k in range(comment.MAX_ROWS + 3)]
    head = ["| Path | Metric | main | workspace | Change |", "|---|---|---|---|---|"]
    text = comment.format_metrics("\n".join([*head, *rows, ""]))
    assert (
        f"<summary>{comment.MAX_ROWS + 3} figures" in text
        and text.count("| uar_") == comment.MAX_ROWS
        and "… and 3 more" in text
    )
    assert html(text).count("<tr>") == comment.MAX_ROWS + 1
    few = [*head, *rows[: comment.FOLDED_ROWS]]
    assert comment.format_metrics("\n".join(few)).splitlines() == few
    assert comment.format_metrics("\n".join(head)) == "" == comment.format_metrics("")


def test_files_of_other_commands_do_not_count_as_outputs_of_stages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    for path in ("metrics/elsewhere_pascal.json", "plots/robustness.csv", "plots/roc.csv", "dvc.lock"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
    assert pipeline.list_uncommitted_outputs() == ["dvc.lock", "plots/roc.csv"]


def test_files_in_the_folder_of_weights_do_not_change_dvc_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = (
        "stages: {{check: {{deps: [{{path: data/weights, md5: {}}}, {{path: src, md5: {}}}]}}, train: {{}}}}"
    )
    Path("dvc.lock").write_text(lock.format("a", "b"))
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "--all"], [*who, "commit", "-qm", "run"]):
        subprocess.run(["git", *command], check=True)
    Path("dvc.lock").write_text(lock.format("other", "b"))
    assert pipeline.list_uncommitted_outputs() == []
    Path("dvc.lock").write_text(lock.format("other", "other"))
    assert pipeline.list_uncommitted_outputs() == ["dvc.lock"]


def test_notes_on_the_remote():
    assert comment.list_remote_notes("`s`", [], None) == []
    assert comment.list_remote_notes("", [], None)[0].startswith("No DVC remote is set")
    (note,) = comment.list_remote_notes("", [], None, ["private"])
    assert note.startswith(
        "No DVC remote has the name `private`, which outputs have: the stages used only the cache"
    )
    assert "nothing is fetched or pushed. To share it: `dvc remote add --force private URL`, or, " in note
    assert note.endswith("if the data may be shared, `download.remote: null`.")
    assert "lacks a, b, c, d, e, f and 2 more," in comment.list_remote_notes("`s`", list("abcdefgh"), None)[0]
    problem = comment.report_unreachable("`s` (s3://x)", 3, "no route")
    assert problem.title == "the DVC remote `s` (s3://x) cannot be reached, after 3 attempts: no route"
    assert comment.list_remote_notes("`s`", [], problem)[0].startswith(
        f"{problem.title}. Continued without it"
    )


def test_a_remote_without_an_address_counts_as_none():
    outs = [SimpleNamespace(remote="private", use_cache=True), SimpleNamespace(remote="x", use_cache=False)]
    config = {"core": {}, "remote": {}}
    repo = SimpleNamespace(index=SimpleNamespace(stages=[SimpleNamespace(outs=outs)]), config=config)
    assert pipeline._describe_remotes(repo) == ("", ["private"])
    config["remote"]["private"] = {"url": "/dev/null/private-has-no-address-see-docs-cache.md"}
    assert pipeline._describe_remotes(repo) == ("", ["private"])
    config["remote"]["private"]["url"] = "s3://a:b@c/d"
    assert pipeline._describe_remotes(repo) == ("`private` (s3://c/d)", [])
    config["core"]["remote"] = "shared"
    assert pipeline._describe_remotes(repo) == ("", ["shared"])


def test_access_to_the_remote_is_tried_as_often_as_requested(monkeypatch, capfd):
    waits = []
    monkeypatch.setattr(pipeline.time, "sleep", waits.append)

    def down():
        raise OSError(f"no route {len(waits)}")

    assert pipeline._try(3, "`s`", down) == (None, comment.report_unreachable("`s`", 3, "no route 3"))
    assert pipeline._try(3, "`s`", lambda: 5) == (5, None)
    assert waits == [0, 2, 4, 0]
    succeeded, lines = pipeline._run_dvc("nix", tries=2)
    assert not succeeded and waits[4:] == [0, 2]
    assert [line for _, line in lines if "invalid choice" in line] == [
        line for line in capfd.readouterr().err.splitlines() if "invalid choice" in line
    ]
    assert sum("invalid choice" in line for _, line in lines) == 2


HOSTILE = (
    "**Green** <img src=x> ![x](https://e.org/x) @octocat &#64;octocat #12 _a_ `c` `` | a_b ~~x~~ ~1 x~ $x$"
    " www.e.org [x]: y\n/close\n# Green\n<!-- x -->\u202e\x00"
)


def test_no_text_of_a_run_has_an_effect_in_the_comment():
    stage = comment.Stage(f"s{HOSTILE}@{HOSTILE}", "ran", 1.0)
    table = f"| a `| {HOSTILE.splitlines()[0].replace(' |', '')} ` |\n|---|---|\n| b | c |"
    verdict = pipeline._escape_all({"verdict": HOSTILE})["verdict"]
    sections = {
        "A": comment.format_plots([HOSTILE], HOSTILE),
        "B": comment.format_metrics(table),
        "C": f"**{verdict}**",
    }
    problem = comment.Problem(f"stage {comment.format_code(HOSTILE)} failed: {HOSTILE}", "r", [HOSTILE])
    text = comment.format_comment(
        [stage], head=HOSTILE, base=HOSTILE, problem=problem, notes=[HOSTILE], sections=sections
    )
    shown = html(text)
    assert text.count("\n/") == 1 and "\n/close\n" in re.search(r"<pre>.*?</pre>", shown, re.DOTALL)[0]
    outside = re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", shown, flags=re.DOTALL)
    assert shown.count("<strong>") == 2 and shown.count("<h1") == 0 and "<!-- x" not in shown
    assert not re.search(r"<(?:a|img|em|s)[ >]|@\w|#\d|https?://|www\.|[\u202e\x00]", outside)
    assert (
        "**Green** &lt;img src=x&gt; ![x](https\u200b://e.org/x) @\u200boctocat &amp;#\u200b64;octocat"
        in outside
    )


def test_a_name_of_a_run_is_shown_unchanged():
    for text in (
        "data/folds/run_1.parquet: [Errno 2]",
        "p 0.848 [-0.124, +0.103]",
        "a_b_ *x* \\",
        "`a` ``b` c`",
    ):
        assert re.sub("</?code>", "`", html(comment.escape(text))).strip() in (f"<p>{text}</p>", text)
    assert html(comment.format_code("a `` b` |")).strip() == "<p><code>a `` b` |</code></p>"


WORKFLOWS = sorted((made.ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize(
    ("path", "schema"), [*((p, "github-workflows") for p in WORKFLOWS), (".gitlab-ci.yml", "gitlab-ci")]
)
def test_workflows_follow_their_schema(path, schema):
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


def test_actions_are_pinned_and_the_job_that_can_write_runs_no_code_of_the_pull_request():
    texts = {path.name: path.read_text() for path in WORKFLOWS}
    for text in texts.values():
        used = re.findall(r"uses: (.+)", text)
        assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)
        assert "pull_request_target" not in text
    ours = yaml.safe_load(texts["ci.yml"])
    assert ours["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in ours["jobs"].values())
    assert "secrets." not in texts["comment.yml"] and "checkout" not in texts["comment.yml"]
    steps = yaml.safe_load(texts["comment.yml"])["jobs"]["comment"]["steps"]
    assert not any("run" in step for step in steps)


def test_on_gitlab_no_job_has_a_token_and_the_merge_request_links_to_the_comment():
    jobs = yaml.safe_load((made.ROOT / ".gitlab-ci.yml").read_text())
    assert "TOKEN" not in str(jobs) and "curl" not in str(jobs)
    left = jobs[".pipeline"]["artifacts"]
    assert left["when"] == "always" and left["expose_as"] and left["paths"] == ["comment.md"]


POSTED = r"""
const fs = require('fs')
const [script, comments] = JSON.parse(fs.readFileSync(0, 'utf8'))
const seen = []
const issues = {
  listComments: async ({per_page = 30, page = 1}) => comments.slice((page - 1) * per_page, page * per_page),
  createComment: async one => {
    seen.push(['create', one.issue_number, one.body])
    comments.push({id: 2, user: {type: 'Bot', login: 'github-actions[bot]'}, body: one.body})
  },
  updateComment: async one => { seen.push(['update', one.comment_id, one.body]) },
}
const paginate = async (method, options) => {
  const found = []
  for (let page = 1; ; page++) {
    const one = await method({...options, page})
    if (!one.length) return found
    found.push(...one)
  }
}
const pulls = {list: async () => ({data: [{number: 6, head: {sha: 'old'}}, {number: 7, head: {sha: 'abc'}}]})}
const github = {rest: {pulls, issues}, paginate}
const run = {head_repository: {owner: {login: 'x'}}, head_branch: 'y', head_sha: 'abc', conclusion: 'failure'}
run.html_url = 'https://github.com/o/r/actions/runs/1'
const context = {repo: {owner: 'o', repo: 'r'}, payload: {workflow_run: run}}
const AsyncFunction = (async () => {}).constructor
const post = new AsyncFunction('github', 'context', 'require', script)
const twice = async () => { for (const _ of [1, 2]) await post(github, context, require) }
twice().then(() => console.log(JSON.stringify(seen)))
"""
NODE = pytest.mark.skipif(
    not shutil.which("node"),
    reason="node is not installed, but is needed to run the step that posts the comment",
)


def posted(folder, text, comments=()):
    """What the step that posts does in two runs of it: create or update, where, the text; what it logs."""
    if text is not None:
        (folder / "comment.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    steps = yaml.safe_load((made.ROOT / ".github/workflows/comment.yml").read_text())["jobs"]["comment"][
        "steps"
    ]
    done = subprocess.run(
        ["node", "-e", POSTED],
        input=json.dumps([steps[1]["with"]["script"], list(comments)]),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


def quoted(folder, text):
    """The text as it is posted, below the heading, and as GitHub shows it."""
    ((_, _, body), _), _ = posted(folder, text)
    return body, html(body)


@NODE
def test_the_comment_is_created_once_and_then_updated(tmp_path):
    people = [{"id": 1, "user": {"type": "User", "login": "a"}, "body": f"{comment.MARKER} quoted"}] * 101
    app = {
        "id": 3,
        "user": {"type": "Bot", "login": "other[bot]"},
        "body": f"{comment.MARKER} by another app",
    }
    deleted = {"id": 4, "user": None, "body": f"{comment.MARKER} by a deleted account"}
    text = comment.format_comment([comment.Stage("mel", "ran", 1.0)], head="a", base="b")
    done, _ = posted(tmp_path, text, [*people, app, deleted])
    assert [one[:2] for one in done] == [["create", 7], ["update", 2]]
    ours = {"id": 9, "user": {"type": "Bot", "login": "github-actions[bot]"}, "body": comment.MARKER}
    done, _ = posted(tmp_path, text, [*people, app, ours])
    assert [one[:2] for one in done] == [["update", 9], ["update", 9]]


@NODE
def test_a_comment_has_a_heading_by_github_and_the_text_unchanged(tmp_path):
    table = "| metric | B |\n| --- | --- |\n| uar | 0.5 |\n"
    log = ["error: <x> & @y in a[0](b) at http://z", "```", "/close"]
    problem = comment.Problem("stage `mel` failed: no disk", "See `murmur ci`.", log)
    rows = "\n".join(f"| s | uar_{k} | 0.1 |" for k in range(comment.FOLDED_ROWS + 1))
    sections = {
        "Changed metrics": comment.format_metrics(f"| Path | Metric | a |\n|---|---|---|\n{rows}"),
        "More": table,
    }
    stages = [comment.Stage("mel", "failed", 1.0)]
    body, shown = quoted(
        tmp_path, comment.format_comment(stages, head="a", base="b", problem=problem, sections=sections)
    )
    head, _, rest = body.partition("\n> ")
    assert head.startswith(f"{comment.MARKER}\n\n**Workflow run: failure** (abc, https://github.com/o/r/act")
    assert "not a verdict of the maintainers" in head
    assert all(line.startswith("> ") for line in f"> {rest}".splitlines())
    seen = shown.replace("\u200b", "")
    assert seen.count("<table>") == 3 and seen.count("<details>") == seen.count("</details>") == 1
    assert "<strong>Red: stage <code>mel</code> failed: no disk</strong>" in seen
    assert "<code>error: &lt;x&gt; &amp; @y in a[0](b) at http://z\n```\n/close" in seen.replace(
        '<code class="language-\u200btext">', "<code>"
    ).replace('<code class="language-text">', "<code>")


ATTACKS = {
    "a mention": "@octocat and @org/team",
    "a mention by an entity": "&#64;octocat &commat;octocat",
    "an image": "![x](https://e.org/x.png)",
    "a referenced image": "![x]\n\n[x]: https://e.org/x.png",
    "a link": "[Green](https://e.org) <https://e.org> https://e.org www.e.org HTTP://e.org a@e.org",
    "a multi-line link": "[Green][x]\n\n  [x]:\n  https://e.org",
    "HTML": "<img src=https://e.org/x.png><h1>Green</h1></blockquote>\n\n</details></td>",
    "folded HTML": "<details><summary>1 figures of x<img src=a></summary>",
    "an HTML comment": "<!-- hidden\n\n-->",
    "an issue": "#12 and o/r#12 and GH-12 fixes #12",
    "a command": "/close\n  /lgtm\n\u2028/merge\r/approve",
    "a diagram": "```mermaid\ngraph LR; a-->b\n```\n- ~~~mermaid\n  x\n  ~~~",
    "a formula": "$\\color{green}\\text{Green}$ $$x$$",
    "another marker": f"{comment.MARKER}\n**Workflow run: success**",
    "a reversed text": "\u202eneerG\u2066 \x00\x07",
    "a heading": "Green\n===\n# Green\n**Green**",
    "no newline at all": "x" * 200_000,
    "many lines": "/\n" * 100_000,
    "binary": bytes(range(256)),
}


@NODE
@pytest.mark.parametrize("what", ATTACKS)
def test_no_text_from_a_fork_has_an_effect_or_changes_the_heading(tmp_path, what):
    attack = ATTACKS[what]
    attack = attack if isinstance(attack, bytes) else attack.encode()
    body, shown = quoted(tmp_path, comment.MARKER.encode() + b"\n\n" + attack)
    assert len(body) < 65_536 and body.count(comment.MARKER) == 1
    head, _, rest = body.partition("\n> ")
    assert "**Workflow run: failure**" in head and "not a verdict of the maintainers" in head
    lines = re.split(r"[\n\r\u2028\u2029]", rest)
    assert all(line.startswith(">") for line in lines[1:])
    quote = shown[shown.index("<blockquote>") :]
    assert quote.index("</blockquote>") == len(quote.rstrip()) - len("</blockquote>")
    assert not re.search(
        r"<(?:a|img|h1 |td|!--)[ >]|language-(?!\u200b)|[\x00\x07\u202a-\u202e\u2066]", quote
    )
    assert not re.search(r"@\w|#\d|GH-\d|\$[^\u200b]|://|www\.", quote)


@NODE
@pytest.mark.parametrize(
    "text", [None, b"", b"**Green**", b" " + comment.MARKER.encode(), comment.MARKER.encode() + b"x" * 10**6]
)
def test_a_text_that_murmur_ci_did_not_write_is_not_posted(tmp_path, text):
    done, log = posted(tmp_path, text)
    assert done == [] and log.startswith("No comment: ")


@NODE
def test_a_link_to_another_file_is_not_read(tmp_path):
    (tmp_path / "secret").write_text(f"{comment.MARKER}\nsecret")
    (tmp_path / "comment.md").symlink_to("secret")
    done, log = posted(tmp_path, None)
    assert done == [] and log.startswith("No comment: ")
