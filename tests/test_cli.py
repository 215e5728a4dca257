"""The murmur command: where it runs, which commands there are, and what it imports."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from typer.testing import CliRunner

from murmur.commands import cli
from tests import made

HEAVY = ("matplotlib", "torch", "timm", "torchaudio", "sklearn", "dvc", "optuna")


def run_murmur(*arguments, code="", folder=made.ROOT):
    """Run the command in a new Python process, then `code`."""
    script = f"from murmur.commands.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n{code}"
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    options = {"cwd": folder, "capture_output": True, "text": True, "env": environment}
    return subprocess.run([sys.executable, "-c", script, *arguments], **options)


def test_outside_a_project_the_error_names_the_remedy(tmp_path):
    command = [sys.executable, "-m", "murmur", "recipes"]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip() == "error: no dvc.yaml and recipes/ here: go to the project's folder"


def print_help(*arguments, width=80):
    result = CliRunner().invoke(cli.app, [*arguments, "--help"], terminal_width=width, prog_name="murmur")
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_ends_with_an_example(name):
    text, _, examples = print_help(name).partition("\n  Examples:\n")
    assert f"Usage: murmur {name} [OPTIONS]" in text
    assert examples.startswith(f"    murmur {name}"), (
        "the docstring needs a section Examples, as in `murmur show`"
    )


@pytest.mark.parametrize("arguments", [[], *([name] for name in cli.COMMANDS)])
@pytest.mark.parametrize("width", [60, 80])
def test_the_help_fits_the_terminal_and_shows_no_python_object(arguments, width):
    output = print_help(*arguments, width=width)
    text, _, examples = output.partition("Examples:")
    assert all(len(line) <= width for line in text.splitlines())
    assert all(len(line) <= 80 for line in examples.splitlines()) and "\N{HORIZONTAL ELLIPSIS}" not in output
    options = output.partition("\nOptions:\n")[
        2
    ]  # typer gives the type of each argument, such as <list[str]>
    assert options and "<class" not in output and "list[" not in options


def test_the_list_of_commands_has_whole_sentences():
    commands = print_help().partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(commands) == len(cli.COMMANDS) and all(re.search(r"[^.]\.$", line) for line in commands)


def test_version_and_help_need_no_project(tmp_path):
    version = tomllib.loads((made.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run_murmur("--version", folder=tmp_path).stdout == f"murmur {version}\n"
    assert "Examples:" in run_murmur("use", "--help", folder=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [("murmur sh", ["show"]), ("murmur use circor_c", ["circor_cnn"]), ("murmur use x", [])],
)
def test_the_shell_completes_commands_and_recipes(monkeypatch, words, found):
    variables = {
        "_MURMUR_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(made.ROOT)
    assert CliRunner().invoke(cli.app, prog_name="murmur").output.split() == found


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["recipes"], (*HEAVY, "scipy", "pandas")),
        (["compare", "--help"], (*HEAVY, "scipy", "pandas")),
        (["evaluate-on", "--help"], (*HEAVY, "scipy", "pandas")),
        (["robustness", "--help"], (*HEAVY, "scipy", "pandas")),
        (["tune", "--help"], (*HEAVY, "scipy", "pandas")),
        (["compare", "workspace", "workspace"], HEAVY),
    ],
)
def test_a_command_imports_no_library_that_it_does_not_need(arguments, unneeded):
    code = f"import sys; print('imported', [name for name in {unneeded!r} if name in sys.modules])"
    done = run_murmur(*arguments, code=code)
    assert done.stdout.splitlines()[-1] == "imported []", done.stderr
    assert "error" not in done.stderr
