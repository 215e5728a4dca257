"""The comment of continuous integration for a reviewer: stages parsed from the output of DVC, and problems.

Nothing here runs a stage: `murmur.commands.pipeline` does. Nothing here posts the comment: a step of the
platform does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from murmur.experiments.integrity import Damage
from murmur.formatting import format_count

MARKER = "<!-- murmur ci -->"  # a comment that begins with it is updated, so that there is only one
MAX_COMMENT = 60_000  # characters; GitHub allows 65,536
LOG_LINES, MAX_LINE = 30, 300  # lines of the log of a failed stage, and characters of each
FOLDED_ROWS, MAX_ROWS = 15, 60  # a table of metrics with more rows is folded, or cut
EVENTS = {  # by outcome, the most serious first
    "failed": re.compile(r"ERROR: failed to reproduce '(.+?)': .+"),
    "ran": re.compile(r"Running stage '(.+)':"),
    "restored": re.compile(r"Stage '(.+)' is cached - skipping run, checking out outputs"),
    "reused": re.compile(r"(?:Stage '(.+)' didn't change, skipping|Pulling data for stage: '(.+)')"),
}
OUTCOMES = {
    "failed": "failed",
    "ran": "ran",
    "restored": "restored from the run-cache",
    "reused": "reused",
}
ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # of a terminal
# control characters, direction of writing
INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ACTIVE = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<markup>[\\`*\[\]<>&$]|~(?!\d[^~]*$)|(?<![^\W_])_|_(?![^\W_]))"
    r"|@|#(?=\d)|\bGH-|(?i:https?|ftp)(?=://)|(?i:\bwww)(?=\.)"  # a mention, an issue, an address
)


class OutputLine(NamedTuple):
    """A line of the output of DVC.

    Attributes
    ----------
    time : float
        When it was written, s.
    text : str
        The line without its end.
    """

    time: float
    text: str


class Stage(NamedTuple):
    """The outcome of a stage.

    Attributes
    ----------
    name : str
        Such as ``train@0``.
    outcome : str
        A key of `EVENTS`.
    seconds : float
        The time it took.
    log : sequence of str
        The lines that it wrote.
    """

    name: str
    outcome: str
    seconds: float
    log: Sequence[str] = ()


class Problem(NamedTuple):
    """Why a run is red.

    Attributes
    ----------
    title : str
        The reason.
    remedy : str
        What to do.
    log : sequence of str
        The last lines of a log.
    """

    title: str
    remedy: str
    log: Sequence[str] = ()


def parse_stages(lines: Sequence[OutputLine], end: float) -> list[Stage]:
    """Parse the output of `dvc repro`.

    A stage that occurs in several attempts has the seconds of all of them and the most serious outcome.

    Parameters
    ----------
    lines : sequence of OutputLine
        The output.
    end : float
        When the last attempt ended, s, by the same clock.

    Returns
    -------
    list of Stage
        In the order of the output.
    """
    texts = [ESCAPE_SEQUENCE.sub("", text) for _, text in lines]
    events = [(k, *event) for k, text in enumerate(texts) if (event := _parse_event(text))]
    starts = [*(k for k, *_ in events), len(lines)]
    times = [*(lines[k][0] for k, *_ in events), end]
    stages: dict[str, Stage] = {}
    for n, (k, outcome, name) in enumerate(events):
        log = texts[k + 1 : starts[n + 1]] if outcome == "ran" else []
        before = stages.get(name, Stage(name, outcome, 0.0))
        most_serious = min(outcome, before.outcome, key=list(EVENTS).index)
        seconds = before.seconds + times[n + 1] - times[n]
        stages[name] = Stage(name, most_serious, seconds, log or before.log)
    return list(stages.values())


def _parse_event(line: str) -> tuple[str, str] | None:
    """The outcome and the stage that a line reports."""
    for outcome, pattern in EVENTS.items():
        if match := pattern.fullmatch(line):
            return outcome, next(name for name in match.groups() if name)
    return None


def find_reason(lines: Sequence[OutputLine]) -> str:
    """Find the last error that DVC printed, without ``ERROR:``; if there is none, the last line with text."""
    texts = [ESCAPE_SEQUENCE.sub("", text).strip() for _, text in lines]
    texts = [text for text in texts if text and not text.startswith("Having any troubles?")]
    errors = [text for text in texts if text.startswith("ERROR: ")]
    return (errors or texts or ["no output"])[-1].removeprefix("ERROR: ")


def is_final(lines: Sequence[OutputLine]) -> bool:
    """Whether the command of a stage failed, so that another attempt would fail too."""
    reason = find_reason(lines)
    return reason.startswith("failed to reproduce ") and ": failed to run: " in reason


def report_unreadable(reason: str) -> Problem:
    """The problem that DVC cannot read dvc.yaml, params.yaml or dvc.lock."""
    remedy = "Fix the file that it names. For a conflict in dvc.lock take either side, then `murmur ci`."
    return Problem(f"DVC cannot read the pipeline: {reason}", remedy)


def report_links(paths: Sequence[str]) -> Problem:
    """The problem that git has symbolic links where stages write."""
    remedy = "No stage ran: it would replace the files that they point to. Commit files and folders instead."
    return Problem(f"symbolic links are committed: {_join_names(paths, 3)}", remedy)


def report_unreachable(remotes: str, tries: int, reason: str) -> Problem:
    """The problem that a remote cannot be read or written."""
    remedy = "This is probably not a fault of the change: check the remote, then run this again."
    return Problem(
        f"the DVC remote {remotes} cannot be reached, after {format_count(tries, 'attempt')}: {reason}",
        remedy,
    )


def report_failed_stage(
    stages: Sequence[Stage], lines: Sequence[OutputLine], *, private: bool = False
) -> Problem:
    """The problem that a stage failed.

    Parameters
    ----------
    stages : sequence of Stage
        All stages; the first failed one is reported.
    lines : sequence of OutputLine
        The output of DVC.
    private : bool
        Whether to leave out the log, which may name recordings that must not be shared.
    """
    stage = next((s for s in stages if s.outcome == "failed"), Stage("?", "failed", 0.0))
    title = f"stage {format_code(stage.name)} failed"
    if private:
        remedy = "Its log is left out: the data must not be shared, and it may name recordings. `murmur ci` "
        return Problem(title, f"{remedy}prints it.")
    log, dvc_error = shorten_log(stage.log), find_reason(lines)
    reason = log[-1].removeprefix("error: ") if len(log) > 1 else dvc_error
    remedy = "The end of its log is below. On your own machine: `murmur ci`."
    return Problem(f"{title}: {reason}", remedy, [*log, f"ERROR: {dvc_error}"])


def report_uncommitted(paths: Sequence[str]) -> Problem:
    """The problem that the outputs of stages differ from the committed files."""
    remedy = (
        "On your own machine: `murmur ci`, `git add dvc.lock metrics plots`, commit, push. Results that were "
        "pushed with `dvc push --run-cache` are not computed again."
    )
    return Problem(f"the outputs differ from the committed files: {_join_names(paths, 3)}", remedy)


def report_damage(damages: Sequence[Damage]) -> Problem:
    """The problem that files of the workspace, of the cache or of the run-cache are damaged."""
    remedy = (
        "`murmur verify --all` shows how to get each of them back. If the remote has them damaged, remove "
        "them there, and push from a machine where it finds nothing."
    )
    return Problem(f"damaged files: {_join_names([damage.path for damage in damages], 3)}", remedy)


def summarise_outcomes(stages: Sequence[Stage]) -> str:
    """Summarise the outcomes, such as ``2 ran, 1 restored, 6 reused``."""
    counts = {outcome: sum(s.outcome == outcome for s in stages) for outcome in EVENTS}
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n) or "no stage"


def format_comment(
    stages: Sequence[Stage],
    *,
    head: str,
    base: str,
    problem: Problem | None = None,
    notes: Sequence[str] = (),
    sections: Mapping[str, str] | None = None,
) -> str:
    """Format the comment for a pull request as Markdown.

    Parameters
    ----------
    stages : sequence of Stage
        All stages.
    head, base : str
        The names of the commit that ran and of that to compare with.
    problem : Problem, optional
        Why the run is red; by default it is green.
    notes : sequence of str
        Notes, a sentence each.
    sections : mapping of str to str, optional
        Markdown by title, such as the changed metrics; empty ones are left out.
    """
    verdict = f"Red: {escape(problem.title)}" if problem else "Green"
    commits = f"({escape(head)}, against {escape(base)})"
    parts = [MARKER, f"### Pipeline: {summarise_outcomes(stages)}", f"**{verdict}** {commits}"]
    if problem:
        parts.append(problem.remedy)
        parts += [_format_block(problem.log)] if problem.log else []
    parts += ["\n".join(f"- {escape(note)}" for note in notes)] if notes else []
    parts += [_tabulate_stages(stages)] if stages else []
    parts += [f"#### {title}\n\n{text}" for title, text in (sections or {}).items() if text]
    text = INVISIBLE.sub("", "\n\n".join(parts))
    return (
        text if len(text) <= MAX_COMMENT else text[:MAX_COMMENT] + "\n\n… cut here: it is too long"
    ) + "\n"


def escape(text: str) -> str:
    """Join a text to one line, and escape it so that Markdown shows it unchanged; code spans stay.

    Emphasis, HTML, links and images have no effect. Mentions, issues and addresses get a zero-width space,
    because a backslash does not help there.
    """
    return ACTIVE.sub(_escape_match, " ".join(text.split()))


def _escape_match(match: re.Match[str]) -> str:
    if match["code"]:
        return match[0]
    return f"\\{match[0]}" if match["markup"] else f"{match[0]}\u200b"


def format_code(text: str) -> str:
    """Join a text to one line, as a code span that nothing in the text can end."""
    line = " ".join(text.split())
    ticks = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"


def format_metrics(diff: str) -> str:
    """Format the table of `dvc metrics diff --md`, folded if it is long; empty if nothing changed."""
    lines = [
        "|".join(ACTIVE.sub(_escape_match, cell) for cell in line.split("|"))
        for line in diff.splitlines()
        if line.startswith("|")
    ]
    header, rows = lines[:2], lines[2:]
    if not rows:
        return ""
    more = [f"\n… and {len(rows) - MAX_ROWS} more: `dvc metrics diff`"] if len(rows) > MAX_ROWS else []
    table = "\n".join([*header, *rows[:MAX_ROWS], *more])
    if len(rows) <= FOLDED_ROWS:
        return table
    return f"<details><summary>{len(rows)} figures of metrics/summary.json</summary>\n\n{table}\n\n</details>"


def shorten_log(log: Sequence[str]) -> list[str]:
    """The last lines of a log, with long lines cut, and without empty lines at the end."""
    lines = "\n".join(log).rstrip().splitlines()
    return [line if len(line) <= MAX_LINE else line[:MAX_LINE] + " …" for line in lines[-LOG_LINES:]]


def list_remote_notes(
    remotes: str, missing: Sequence[str], problem: Problem | None, without_address: Sequence[str] = ()
) -> list[str]:
    """List what a reviewer must know about the DVC remotes.

    Parameters
    ----------
    remotes : str
        The remotes in words; empty if there is none.
    missing : sequence of str
        Outputs of dvc.lock that the remotes lack.
    problem : Problem or None
        Why they cannot be reached.
    without_address : sequence of str
        Remotes that outputs name and for which the DVC configuration has no address.
    """
    if without_address:
        add = format_code(f"dvc remote add --force {without_address[0]} URL")
        names = " and ".join(map(format_code, without_address))
        return [
            (
                f"No DVC remote has the name {names}, which outputs have: the stages used only the cache of "
                f"this machine; nothing is fetched or pushed. To share it: {add}, or, if the data may be "
                "shared, `download.remote: null`."
            )
        ]
    if problem:
        return [f"{problem.title}. Continued without it: the stages used only the cache of this machine."]
    if not remotes:
        return ["No DVC remote is set: the stages used only the cache of this machine; nothing is pushed."]
    if missing:
        return [
            (
                f"The DVC remote {remotes} lacks {_join_names(missing)}, which dvc.lock names: computed "
                "here, unless this machine had it. If you have it: `dvc push --run-cache`."
            )
        ]
    return []


def format_plots(paths: Sequence[str], base: str) -> str:
    """Format the plots that changed, one a line, and how to look at them; empty if none changed."""
    lines = [f"- {format_code(path)}" for path in paths]
    return (
        "\n".join([*lines, "", f"To look at them: {format_code(f'dvc plots diff {base}')}"]) if lines else ""
    )


def _tabulate_stages(stages: Sequence[Stage]) -> str:
    """A row for each stage and outcome, with all its runs; the last row has all reused stages."""
    groups: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        name = "" if stage.outcome == "reused" else stage.name.partition("@")[0]
        groups.setdefault((stage.outcome, name), []).append(stage)
    rows = [
        f"| {_format_names(group)} | {OUTCOMES[outcome]} | {sum(s.seconds for s in group):.1f} |"
        for (outcome, _), group in sorted(groups.items(), key=lambda item: item[0][0] == "reused")
    ]
    return "\n".join(["| stage | | seconds |", "| --- | --- | ---: |", *rows])


def _format_names(group: Sequence[Stage]) -> str:
    """The names of stages, each with all its runs, such as `mel`; `train` 0, 1."""
    runs: dict[str, list[str]] = {}
    for stage in group:
        name, _, run = stage.name.partition("@")
        runs.setdefault(name, []).append(run)
    names = (
        f"{format_code(name)} {escape(', '.join(filter(None, run)))}".rstrip() for name, run in runs.items()
    )
    return "; ".join(names).replace("|", "\\|")


def _join_names(names: Sequence[str], n: int = 6) -> str:
    """The first `n` names, and the number of the others."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def _format_block(log: Sequence[str]) -> str:
    """A block of code that nothing in the log can end."""
    longest = max((len(ticks) for ticks in re.findall("`+", "\n".join(log))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *log, fence])
