"""Where the figures come from: date, git revision and DVC experiment."""

from datetime import UTC, datetime
from pathlib import Path

from murmur.errors import MurmurError
from murmur.experiments.current import FOLDS_FILE
from murmur.experiments.project import list_experiments, run_git


def describe_provenance(command: str) -> str:
    """Describe when and by which command a page was written, and the git revision and DVC experiment.

    Parameters
    ----------
    command : str
        The command that writes the page, such as ``murmur report``.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    try:
        parts = [f"git revision {_describe_revision()}", *_describe_experiments()]
    except MurmurError:
        parts = ["git revision unknown (no git repository)"]
    return f'Written {now} by "{command}"; {"; ".join(parts)}.'


def _describe_revision() -> str:
    """The commit of HEAD, its branch, and whether the workspace differs from it."""
    commit = run_git("rev-parse", "--short", "--verify", "--quiet", "HEAD")
    if not commit:
        return "none (nothing is committed)"
    branch = (run_git("branch", "--show-current") or "").strip()
    changes = " + changes that are not committed" if run_git("status", "--porcelain") else ""
    return f"{commit.strip()}{f' ({branch})' if branch else ''}{changes}"


def _describe_experiments() -> list[str]:
    """The DVC experiments that have the figures of the workspace; empty if they are those of HEAD."""
    if not Path(FOLDS_FILE).is_file():
        return []
    shown = run_git("hash-object", "--no-filters", "--", FOLDS_FILE)
    if shown == _find_blob("HEAD"):
        return []
    names = [name for name, commit, *_ in list_experiments() if _find_blob(commit) == shown]
    return [f"DVC experiment {', '.join(names)}"] if names else []


def _find_blob(commit: str) -> str | None:
    """The id of metrics/folds.csv in a commit; None if it has no such file."""
    return run_git("rev-parse", "--verify", "--quiet", f"{commit}:./{FOLDS_FILE}")
