"""Commands for recipes: list them, use one, and compare its protocols."""

from pathlib import Path
from typing import Annotated

import typer

from murmur import formatting
from murmur.errors import MurmurError
from murmur.experiments import project, recipes
from murmur.logs import escape_unprintable


def complete_name(incomplete: str) -> list[str]:
    """The recipes whose name begins with `incomplete`, for the completion in the shell."""
    return [name for name in recipes.list_names() if name.startswith(incomplete)]


Name = Annotated[
    str,
    typer.Argument(
        help="a recipe, as `murmur recipes` lists them, or a file like one (.yaml)",
        autocompletion=complete_name,
    ),
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        "-S",
        metavar="KEY=VALUE",
        help="a parameter, for both runs; may be repeated",
        default_factory=list,
        show_default=False,
    ),
]


def list_recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="show how it differs from the default", autocompletion=complete_name),
    ] = None,
) -> None:
    """List the recipes, or describe one of them.

    Without NAME: one line for each recipe. With NAME: its description, and what it changes in the default.

    Examples
    --------
    murmur recipes
    murmur recipes circor_attention
    """
    if name is None:
        for known in recipes.list_names():
            print(escape_unprintable(f"{known:28} {recipes.read_title(known)}"))
        return
    rows = [
        (key, recipes.format_value(old), recipes.format_value(new))
        for key, old, new in recipes.list_differences(name)
    ]
    table = formatting.format_table([("key", "default", name), *rows]) if rows else "This is the default."
    needs = "".join(f"# {need}\n" for need in recipes.list_needs(name) if not need.startswith("Time:"))
    print(escape_unprintable(f"{recipes.read_head(name)}{needs}\n{table}", lines=True))


def use_recipe(name: Name) -> None:
    """Write a recipe, or `default`, as params.yaml.

    NAME may also be the path of a file like a recipe, such as the one that `murmur tune` writes. A
    params.yaml with changes that are neither committed nor those of a DVC experiment is never overwritten.

    Examples
    --------
    murmur use circor_attention
    murmur use searches/lr/best.yaml
    murmur use default
    """
    text, path = recipes.complete_params(name), Path("params.yaml")
    if path.exists() and path.read_bytes() == text.encode():
        print(f"params.yaml already is {name}")
        return
    if path.exists() and not recipes.is_recipe(path) and not _is_kept(path):
        raise MurmurError(
            "params.yaml has changes that are not committed and that no experiment has: commit them, or drop "
            "them with `git checkout HEAD params.yaml`, then try again"
        )
    recipes.write_params(path, text)
    print(
        f"params.yaml is now {name}: run it with `dvc exp run`; back to the committed one: "
        "git checkout HEAD params.yaml; to the default: murmur use default"
    )
    for need in recipes.list_needs(name):
        print(escape_unprintable(need))


def _is_kept(path: Path) -> bool:
    """Whether HEAD or an experiment has the values and comments of a params.yaml."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return any(recipes.is_same_content(text, kept) for kept in project.read_kept_versions(path))


def compare_protocols(
    name: Name, settings: Settings, md: Annotated[bool, typer.Option("--md", help="as Markdown")] = False
) -> None:
    """Run a recipe under the honest and the published protocol.

    Both use the same data, each in a temporary folder with the cache of the project: stages that ran before
    are reused. The figures are printed side by side.

    Examples
    --------
    murmur optimism pascal_vgg16
    murmur optimism circor_cnn -S 'split.runs=[0,1]' --md
    """
    from murmur.experiments import optimism

    runs = optimism.run_protocols(name, settings)
    rows = optimism.tabulate_gap(*runs)
    if md:
        print(formatting.format_markdown_table(rows))
    else:
        level = runs[0]["level"]
        print(f"{level} level: mean over runs [95 % interval]; h.: honest, p.: as published")
        print(formatting.format_table(rows))
    for note in (*optimism.list_leaks(*runs), formatting.INTERVAL_NOTE):
        print(f"\n{note}" if md else note)
