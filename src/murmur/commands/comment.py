"""What continuous integration tells a reviewer: stages read from what `dvc repro` said, and the comment.

Nothing here runs anything: `murmur.ci` does. Neither posts anything: a step of the platform does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MARKER = "<!-- murmur ci -->"  # the comment that has it is updated, so that there is one
LONGEST = 60_000  # characters; GitHub takes 65,536
TAIL, WIDEST = 30, 300  # lines of a failed stage's log, characters of each
SHORT, ROWS = 15, 60  # rows of the metrics table: from when it is folded, and cut
EVENTS = {
    "failed": re.compile(r"ERROR: failed to reproduce '(.+?)': .+"),
    "ran": re.compile(r"Running stage '(.+)':"),
    "restored": re.compile(r"Stage '(.+)' is cached - skipping run, checking out outputs"),
    "reused": re.compile(r"(?:Stage '(.+)' didn't change, skipping|Pulling data for stage: '(.+)')"),
}
MEANING = {
    "failed": "failed",
    "ran": "ran",
    "restored": "restored from the run-cache",
    "reused": "reused",
}
Said = Sequence[tuple[float, str]]  # lines, each with when it came, in seconds
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# control characters, direction of writing
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ACTS = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<markup>[\\`*\[\]<>&$]|~(?!\d[^~]*$)|(?<![^\W_])_|_(?![^\W_]))"
    r"|@|#(?=\d)|\bGH-|(?i:https?|ftp)(?=://)|(?i:\bwww)(?=\.)"  # a mention, an issue, an address
)


class Stage(NamedTuple):
    """What became of a stage: a key of EVENTS, the seconds it took, the lines it wrote."""

    name: str
    outcome: str
    seconds: float
    log: Sequence[str] = ()


class Problem(NamedTuple):
    """Why a run is red: a sentence, what to do, the last lines of a log."""

    title: str
    remedy: str
    log: Sequence[str] = ()


def stages(said: Said, ended: float) -> list[Stage]:
    """The stages in the order in which `dvc repro` came to them.

    One that it came to again, in another try, has the seconds of all tries and the gravest outcome.

    Parameters
    ----------
    ended: when the last try did, by the same clock.
    """
    lines = [(when, ESCAPE.sub("", line)) for when, line in said]
    events = [(k, when, *event) for k, (when, line) in enumerate(lines) if (event := _event(line))]
    if not events:
        return []
    ends = [(k, when) for k, when, *_ in events[1:]] + [(len(lines), ended)]
    found: dict[str, Stage] = {}
    for (k, when, outcome, name), (stop, until) in zip(events, ends, strict=True):
        log = [line for _, line in lines[k + 1 : stop]] if outcome == "ran" else []
        before = found.get(name, Stage(name, outcome, 0.0))
        gravest = min(outcome, before.outcome, key=list(EVENTS).index)
        found[name] = Stage(name, gravest, before.seconds + until - when, log or before.log)
    return list(found.values())


def reason(said: Said) -> str:
    """The last error that DVC named, without its `ERROR:`; else the last line that says anything."""
    lines = [ESCAPE.sub("", line).strip() for _, line in said]
    told = [line for line in lines if line and not line.startswith("Having any troubles?")]
    errors = [line for line in told if line.startswith("ERROR: ")]
    return (errors or told or ["no word"])[-1].removeprefix("ERROR: ")


def is_final(said: Said) -> bool:
    """Whether a stage's own command failed, so that another try would fail alike."""
    return reason(said).startswith("failed to reproduce ") and ": failed to run: " in reason(said)


def unreadable(why: str) -> Problem:
    """Red: dvc.yaml, params.yaml or dvc.lock is not what DVC can read."""
    remedy = "Mend what it names; of a conflict in dvc.lock take either side, then `murmur ci`."
    return Problem(f"DVC cannot read the pipeline: {why}", remedy)


def linked(paths: Sequence[str]) -> Problem:
    """Red: a folder or file that stages write is a symbolic link in git."""
    remedy = "Nothing was run: a stage would replace what they lead to. Commit files and folders instead."
    return Problem(f"symbolic links are committed: {_few(paths, 3)}", remedy)


def out_of_reach(remotes: str, tries: int, why: str) -> Problem:
    """Red: a remote cannot be read or written."""
    remedy = "As far as is known nothing is wrong with the change: see to the remote, then run this again."
    return Problem(f"the DVC remote {remotes} is out of reach, tried {tries} x: {why}", remedy)


def broken(found: Sequence[Stage], said: Said, *, private: bool = False) -> Problem:
    """Red: a stage failed; of its log the last line is the reason, as errors and tracebacks have it.

    private: the log may name recordings that may not be passed on, and is left out.
    """
    stage = next((s for s in found if s.outcome == "failed"), Stage("?", "failed", 0.0))
    if private:
        why = "the data may not be passed on, and it may name recordings"
        return Problem(
            f"stage {code(stage.name)} failed", f"Its log is not here: {why}. `murmur ci` prints it."
        )
    log = tail(stage.log)
    told = log[-1].removeprefix("error: ") if len(log) > 1 else reason(said)
    remedy = "Its log ends as below. On your own machine: `murmur ci`."
    return Problem(f"stage {code(stage.name)} failed: {told}", remedy, [*log, f"ERROR: {reason(said)}"])


def not_committed(paths: Sequence[str]) -> Problem:
    """Red: what the stages wrote is not what the commit has."""
    remedy = (
        "On your own machine: `murmur ci`, `git add dvc.lock metrics plots`, commit, push. What someone "
        "pushed with `dvc push --run-cache` is not computed again."
    )
    return Problem(f"not committed as it came out here: {_few(paths, 3)}", remedy)


def in_short(found: Sequence[Stage]) -> str:
    """Such as `2 ran, 1 restored, 6 reused`."""
    counts = {outcome: sum(s.outcome == outcome for s in found) for outcome in EVENTS}
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n) or "no stage"


def comment(
    found: Sequence[Stage],
    *,
    head: str,
    base: str,
    problem: Problem | None = None,
    notes: Sequence[str] = (),
    sections: Mapping[str, str] | None = None,
) -> str:
    """The comment for a pull request, as Markdown.

    Parameters
    ----------
    head, base: what was run and what it is compared with, by name.
    notes: remarks, a sentence each.
    sections: Markdown by title, such as what moved; empty ones are left out.
    """
    verdict = f"Red: {plain(problem.title)}" if problem else "Green"
    sides = f"({plain(head)}, against {plain(base)})"
    parts = [MARKER, f"### Pipeline: {in_short(found)}", f"**{verdict}** {sides}"]
    if problem:
        parts.append(problem.remedy)
        parts += [_fenced(problem.log)] if problem.log else []
    parts += ["\n".join(f"- {plain(note)}" for note in notes)] if notes else []
    parts += [_table(found)] if found else []
    parts += [f"#### {title}\n\n{text}" for title, text in (sections or {}).items() if text]
    text = UNSEEN.sub("", "\n\n".join(parts))
    return (text if len(text) <= LONGEST else text[:LONGEST] + "\n\n… cut here: it is too long") + "\n"


def plain(text: str) -> str:
    """Text of a run in one line, as Markdown that shows it and does nothing; its code spans stay.

    No emphasis, HTML, link or image comes of it. A mention, an issue and an address get a zero-width space,
    as a backslash does not help there.
    """
    return ACTS.sub(_inert, " ".join(text.split()))


def _inert(match: re.Match[str]) -> str:
    if match["code"]:
        return match[0]
    return f"\\{match[0]}" if match["markup"] else f"{match[0]}\u200b"


def code(text: str) -> str:
    """Text of a run in one line, as a code span that nothing in it can end."""
    line = " ".join(text.split())
    ticks = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"


def metrics(md: str) -> str:
    """The table of `dvc metrics diff --md`, folded if it is long; empty if nothing changed."""
    lines = [
        "|".join(ACTS.sub(_inert, cell) for cell in line.split("|"))
        for line in md.splitlines()
        if line.startswith("|")
    ]
    head, rows = lines[:2], lines[2:]
    if not rows:
        return ""
    more = [f"\n… and {len(rows) - ROWS} more: `dvc metrics diff`"] if len(rows) > ROWS else []
    table = "\n".join([*head, *rows[:ROWS], *more])
    if len(rows) <= SHORT:
        return table
    return f"<details><summary>{len(rows)} figures of metrics/summary.json</summary>\n\n{table}\n\n</details>"


def tail(log: Sequence[str]) -> list[str]:
    """The last lines of a log, none too long, without empty ones at its end."""
    lines = "\n".join(log).rstrip().splitlines()
    return [line if len(line) <= WIDEST else line[:WIDEST] + " …" for line in lines[-TAIL:]]


def remarks(
    remotes: str, lacking: Sequence[str], problem: Problem | None, unknown: Sequence[str] = ()
) -> list[str]:
    """What a reader of the stages must know of the remote: that there is none, or what it does not have.

    unknown: remotes that outputs name and DVC's configuration has no address of.
    """
    if unknown:
        add = code(f"dvc remote add --force {unknown[0]} URL")
        return [
            f"No DVC remote is set of the name {' and '.join(map(code, unknown))}, which outputs have: what "
            "ran had nothing but this machine's own cache, and stays there; nothing is pushed. To share it: "
            f"{add}, or, if the data may be passed on, `download.remote: null`."
        ]
    if problem:
        return [f"{problem.title}. Went on without it: what ran had nothing but this machine's own cache."]
    if not remotes:
        return ["No DVC remote is set: what ran had nothing but this machine's own cache, and stays there."]
    if lacking:
        return [
            f"The DVC remote {remotes} lacked {_few(lacking)}, which dvc.lock names: computed here, unless "
            "this machine had it. Whoever has it: `dvc push --run-cache`."
        ]
    return []


def plots(paths: Sequence[str], base: str) -> str:
    """The plots that changed, a line each, and how to look at them; empty if none did."""
    lines = [f"- {code(path)}" for path in paths]
    return "\n".join([*lines, "", f"To look at them: {code(f'dvc plots diff {base}')}"]) if lines else ""


def _event(line: str) -> tuple[str, str] | None:
    for outcome, pattern in EVENTS.items():
        if match := pattern.fullmatch(line):
            return outcome, next(name for name in match.groups() if name)
    return None


def _table(found: Sequence[Stage]) -> str:
    """A row a stage that did anything, the runs of one stage together; the reused in one row."""
    groups: dict[tuple[str, str], list[Stage]] = {}
    for stage in found:
        name = "" if stage.outcome == "reused" else stage.name.partition("@")[0]
        groups.setdefault((stage.outcome, name), []).append(stage)
    rows = [
        f"| {_names(group)} | {MEANING[outcome]} | {sum(s.seconds for s in group):.1f} |"
        for (outcome, _), group in sorted(groups.items(), key=lambda item: item[0][0] == "reused")
    ]
    return "\n".join(["| stage | | seconds |", "| --- | --- | ---: |", *rows])


def _names(group: Sequence[Stage]) -> str:
    """Names, the runs of a stage together: `mel`, `train` 0, 1."""
    runs: dict[str, list[str]] = {}
    for stage in group:
        name, _, run = stage.name.partition("@")
        runs.setdefault(name, []).append(run)
    found = (f"{code(name)} {plain(', '.join(filter(None, run)))}".rstrip() for name, run in runs.items())
    return "; ".join(found).replace("|", "\\|")


def _few(names: Sequence[str], n: int = 6) -> str:
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def _fenced(log: Sequence[str]) -> str:
    """A block of code that nothing in the log can end."""
    longest = max((len(ticks) for ticks in re.findall("`+", "\n".join(log))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *log, fence])
