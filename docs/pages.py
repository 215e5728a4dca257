"""A hook of MkDocs: which pages the site has, those at the top of the project and one for each module too."""

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Each file that is a page of the site: the page's path and its title, in the order of the navigation.
PAGES = {
    "README.md": ("index.md", "Home"),
    "docs/architecture.md": ("architecture.md", "Architecture"),
    "docs/datasets.md": ("datasets.md", "Data sets"),
    "docs/inputs.md": ("inputs.md", "Recordings for predictions"),
    "data/folder/README.md": ("own-recordings.md", "Your own recordings"),
    "data/weights/README.md": ("weights.md", "Weights"),
    "docs/experiments.md": ("experiments.md", "Experiments"),
    "docs/search.md": ("search.md", "Search"),
    "docs/tuning.md": ("tuning.md", "Tuning"),
    "docs/python.md": ("python.md", "Python"),
    "docs/page.md": ("page.md", "The local page"),
    "docs/recipes.md": ("recipes.md", "Recipes"),
    "docs/evaluation.md": ("evaluation.md", "Evaluation"),
    "docs/predict.md": ("predict.md", "Predictions"),
    "docs/results.md": ("results.md", "Results of the recipes"),
    "docs/ablation.md": ("ablation.md", "Ablation"),
    "docs/literature.md": ("literature.md", "Splits of publications"),
    "docs/ci.md": ("ci.md", "CI"),
    "docs/cache.md": ("cache.md", "The shared cache"),
    "docs/dvc.md": ("dvc.md", "DVC"),
    "docs/privacy.md": ("privacy.md", "What leaves this machine"),
    "docs/speed.md": ("speed.md", "Speed"),
    "docs/cluster.md": ("cluster.md", "A cluster"),
    "docs/setup.md": ("setup.md", "Set-up"),
    "docs/costs.md": ("costs.md", "Costs"),
    "SECURITY.md": ("security.md", "Security"),
    "CONTRIBUTING.md": ("contributing.md", "Contributing"),
    "CHANGELOG.md": ("changelog.md", "Changelog"),
}
LINK = re.compile(r"(\]\(|src=\")([^)\"#\s:]+)(?=[)\"#])")  # the path of a relative link or picture


def site_text(source: str) -> str:
    """The text of a page with its links to other files of the project changed to pages of the site."""

    def site_link(link: re.Match[str]) -> str:
        path = normpath(f"{dirname(source)}/{link[2]}".lstrip("/"))
        return link[1] + (PAGES[path][0] if path in PAGES else relpath(path, "docs"))

    return LINK.sub(site_link, (ROOT / source).read_text(encoding="utf-8"))


def reference() -> dict[Path, str]:
    """For each public module of src/murmur, its page of the site and its full name, folder by folder."""
    modules = [path.relative_to(ROOT / "src") for path in (ROOT / "src/murmur").rglob("*.py")]
    modules = sorted((m for m in modules if not m.name.startswith("_")), key=lambda m: (m.parent, m.name))
    return {Path("api", *m.parts[1:]).with_suffix(".md"): ".".join(m.with_suffix("").parts) for m in modules}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation."""
    folders: dict[str, list[dict[str, str]]] = {}
    for page, module in reference().items():
        folders.setdefault(module.rpartition(".")[0], []).append({page.stem: str(page)})
    pages = [{title: page} for source, (page, title) in PAGES.items() if (ROOT / source).is_file()]
    config.nav = [*pages, {"API reference": [{name: found} for name, found in folders.items()]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/, and replace those that are by texts with the site's links."""
    texts = {page: site_text(source) for source, (page, _) in PAGES.items() if (ROOT / source).is_file()}
    texts |= {str(page): f"::: {module}\n" for page, module in reference().items()}
    for page, text in texts.items():
        if old := files.get_file_from_path(page):
            files.remove(old)
        files.append(File.generated(config, page, content=text))
    return files
