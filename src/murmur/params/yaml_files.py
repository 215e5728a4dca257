"""Reading and writing YAML in the same way as DVC."""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from murmur.errors import MurmurError

MAX_TEXT = 1000  # characters of a key or a value


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    MurmurError
        Naming the file, and the line if it is not YAML; also if there is no such file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MurmurError(f"{path}: does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MurmurError(f"{path}: cannot be read as YAML: {error}") from error
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        found = {list: "a list", type(None): "nothing"}.get(type(content), "a single value")
        raise MurmurError(f"{path}: expected a mapping, with lines KEY: VALUE, found {found}")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML 1.2 as DVC does: `yes` is text, `010` is the number 10, `1e-5` is a number.

    Parameters
    ----------
    text : str
        The YAML text.
    where : str
        The name of its file, for error messages.

    Raises
    ------
    MurmurError
        Naming `where` and the line; also if a key is given twice.
    """
    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f"line {mark.line + 1}: " if mark else ""
        first = (reason or str(error) or type(error).__name__).splitlines()[0]
        raise MurmurError(f"{where}: cannot be read as YAML: {line}{first}") from error


def format_yaml(content: Any) -> str:
    """Format values as YAML that `parse_yaml` and DVC read back as the same values."""
    yaml, stream = YAML(typ="safe"), StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = MAX_TEXT
    yaml.dump(content, stream)
    return stream.getvalue()
