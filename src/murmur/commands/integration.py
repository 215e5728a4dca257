"""The command for continuous integration."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from murmur.commands import comment, pipeline
from murmur.errors import MurmurError
from murmur.experiments import integrity, project
from murmur.files import write_text

logger = logging.getLogger(__name__)


def run_ci(
    base: Annotated[str, typer.Option(help="the git revision to compare with")] = "HEAD",
    push: Annotated[bool, typer.Option("--push", help="push results and run-cache to the remote")] = False,
    optional_remote: Annotated[
        bool, typer.Option("--optional-remote", help="continue without a remote that cannot be read")
    ] = False,
    tries: Annotated[int, typer.Option(min=1, help="attempts for each access to the remote")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="the file for the comment; by default it is printed")
    ] = None,
) -> None:
    """Update the pipeline and write a comment for a reviewer.

    Only what changed is run. Red, with exit status 1, if a stage fails, the DVC remote cannot be read or
    written, a file is damaged (`murmur verify`), or the outputs of the stages are not what is committed.

    Examples
    --------
    murmur ci --base origin/main
    murmur ci --base HEAD~1 --out comment.md
    """
    if project.run_git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}") is None:
        raise MurmurError(f"--base {base}: no such git revision here: {project.explain_unknown_revision()}")
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "1")  # `tries` counts the attempts
    stages, notes, problem = pipeline.bring_up_to_date(base, tries, optional_remote)
    if not problem and (damages := integrity.find_damage(in_all_objects=push).damages):
        problem = comment.report_damage(damages)
    sections = {} if problem else pipeline.describe_changes(base)
    if push and not problem:
        problem = pipeline.push_results(tries)
    if not problem and (paths := pipeline.list_uncommitted_outputs()):
        problem = comment.report_uncommitted(paths)
    head = (project.run_git("rev-parse", "--short", "HEAD") or "").strip()
    text = comment.format_comment(
        stages, head=head, base=base, problem=problem, notes=notes, sections=sections
    )
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        logger.info("wrote %s", out)
    if problem:
        raise MurmurError(f"{problem.title}. {problem.remedy}")
