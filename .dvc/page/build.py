"""Build page.html, the page of `dvc plots`, and LICENSES.txt: `python .dvc/page/build.py`.

It needs npm and the internet.
The page is template.html with Vega, Vega-Lite and Vega-Embed in it, because DVC copies one file only.
"""

import base64
import hashlib
import json
import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# Of the major versions that the templates of DVC are written for: see SCRIPTS in dvc_render/vega.py.
VERSIONS = {"vega": "5.33.1", "vega-lite": "5.23.0", "vega-embed": "6.29.0"}
NO_FILE = (
    "These packages have no licence file; other packages of the Vega project have the text of this licence."
)


def main() -> None:
    """Download the packages and write both files."""
    with tempfile.TemporaryDirectory() as folder:
        packages = [f"{name}@{version}" for name, version in VERSIONS.items()]
        subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages],
            cwd=folder,
            check=True,
        )
        modules = Path(folder, "node_modules")
        builds = [modules / name / f"build/{name}.min.js" for name in VERSIONS]
        (HERE / "page.html").write_text(insert_scripts(builds), encoding="utf-8", newline="\n")
        (HERE / "LICENSES.txt").write_text(collect_licences(builds, modules), encoding="utf-8", newline="\n")


def insert_scripts(builds: list[Path]) -> str:
    """Insert the packages in the template, and the hashes of all scripts in its content security policy."""
    scripts = [
        re.sub(r"\n*//# sourceMappingURL=.*", "", f.read_text(encoding="utf-8")).strip() for f in builds
    ]
    assert not any("</script" in text or "{plot_divs}" in text for text in scripts)
    page = (HERE / "template.html").read_text(encoding="utf-8")
    page = page.replace("{packages}", "\n".join(f"<script>{text}</script>" for text in scripts))
    return page.replace("{hashes}", " ".join(f"'{digest}'" for digest in hash_scripts(page)))


def hash_scripts(page: str) -> list[str]:
    """The hash of each script of a page, as a content security policy has it."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [hashlib.sha256(text.encode()).digest() for text in scripts]
    return [f"sha256-{base64.b64encode(digest).decode()}" for digest in digests]


def collect_licences(builds: list[Path], modules: Path) -> str:
    """The licences of the packages and of what they bundle, according to their source maps."""
    names, installed = set(VERSIONS), {folder.name for folder in modules.iterdir()}
    for build in builds:
        sources = json.loads(build.with_name(f"{build.name}.map").read_text(encoding="utf-8"))["sources"]
        names |= installed.intersection(part for source in sources for part in Path(source).parts)
    texts: dict[str, list[str]] = {}
    for name in sorted(names):
        package = json.loads((modules / name / "package.json").read_text(encoding="utf-8"))
        files = sorted((modules / name).glob("LICENSE*"))
        text = files[0].read_text(encoding="utf-8").strip() if files else NO_FILE
        texts.setdefault(text, []).append(f"{name} {package['version']}: {package['license']}")
    parts = ["\n".join([*packages, "", text]) for text, packages in texts.items()]
    return "Licences of the JavaScript packages in page.html\n\n" + f"\n\n{'-' * 80}\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
