"""The murmur command: where it runs, which commands there are, and what it imports."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from murmur.commands import cli
from tests import made

HEAVY = ("matplotlib", "torch", "timm", "torchaudio", "sklearn", "dvc")


def run_murmur(*arguments, code="", folder=made.ROOT):
    """Run the command in a new Python process, then `code`."""
    script = f"from murmur.commands.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n{code}"
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    options = {"cwd": folder, "capture_output": True, "text": True, "env": environment}
    return subprocess.run([sys.executable, "-c", script, *arguments], **options)


def test_outside_a_project_the_error_names_the_remedy(tmp_path):
    command = [sys.executable, "-m", "murmur.commands.cli", "recipes"]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip() == "error: no dvc.yaml and recipes/ here: go to the project's folder"


def test_every_command_has_a_help_text():
    for name in cli.COMMANDS:
        result = CliRunner().invoke(cli.app, [name, "--help"])
        assert result.exit_code == 0 and f"{name} [OPTIONS]" in result.output


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_no_help_text_shows_a_python_object_as_a_default(name):
    output = CliRunner().invoke(cli.app, [name, "--help"]).output
    assert "Options" in output and "<class" not in output


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["recipes"], (*HEAVY, "scipy", "pandas")),
        (["compare", "--help"], (*HEAVY, "scipy", "pandas")),
        (["evaluate-on", "--help"], (*HEAVY, "scipy", "pandas")),
        (["robustness", "--help"], (*HEAVY, "scipy", "pandas")),
        (["compare", "workspace", "workspace"], HEAVY),
    ],
)
def test_a_command_imports_no_library_that_it_does_not_need(arguments, unneeded):
    code = f"import sys; print('imported', [name for name in {unneeded!r} if name in sys.modules])"
    done = run_murmur(*arguments, code=code)
    assert done.stdout.splitlines()[-1] == "imported []", done.stderr
    assert "error" not in done.stderr
