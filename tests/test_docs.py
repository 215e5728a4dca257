"""README and docs: links and anchors, plain words, and the figures of the committed run."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/*.md",
        "data/*/README.md",
    )
    for path in ROOT.glob(pattern)
)
PATTERNS = (
    *("mend(s|ed|ing)?", "hears?", "heard", "says?", "said", "tells?", "told", "asked", "whoever", "nobody"),
    *("dealt", "stands? (in|on|twice)", "is anything", "reckon(s|ed)?", "thereof", "of old"),
    *("of its own accord", "elsewhere"),
)
NOT_PLAIN = re.compile(rf"\b({'|'.join(PATTERNS)})\b", re.IGNORECASE)
EN_DASH = "\N{EN DASH}"
EXTERNAL = re.compile(r"https?://([a-z0-9-]+\.)+[a-z]{2,}(/[^\s<>\"]*)?")


@cache
def tokens(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8"))


def inline(page: str) -> Iterator[Token]:
    for token in tokens(page):
        yield from token.children or []


def links(page: str) -> list[str]:
    targets = [token.attrs.get("href") or token.attrs.get("src") for token in inline(page)]
    return [str(target) for target in targets if target]


@cache
def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for heading, content in zip(tokens(page), tokens(page)[1:], strict=False):
        if heading.type == "heading_open":
            text = "".join(child.content for child in content.children or [])
            anchor = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            again = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other) is not None for other in found)
            found.append(f"{anchor}-{again}" if again else anchor)
    return set(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in links(page):
        if ":" in link:
            assert EXTERNAL.fullmatch(link), f"{page}: {link}"
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            name = target.resolve().relative_to(ROOT.resolve()).as_posix()
            assert anchor in anchors(name), f"{page}: {link}; there are {sorted(anchors(name))}"


def test_anchors_are_those_of_github(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    headings = ("# A conflict in `dvc.lock`", "## Two", "## Two", "### Is it so? [Yes](x), *it* is_so")
    (tmp_path / "page.md").write_text("\n".join([*headings, "```", "# no heading", "```"]))
    assert anchors("page.md") == {"a-conflict-in-dvclock", "two", "two-1", "is-it-so-yes-it-is_so"}


def test_every_page_of_docs_can_be_reached_from_the_readme():
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in PAGES and page not in reached:
            reached.add(page)
            paths = [link.partition("#")[0] for link in links(page) if ":" not in link]
            found = [((ROOT / page).parent / path).resolve() for path in paths]
            waiting += [path.relative_to(ROOT.resolve()).as_posix() for path in found]
    assert reached == set(PAGES)


def test_the_tests_behind_the_sentences_on_security_exist():
    named = [token.content for token in inline("SECURITY.md") if token.content.startswith("tests/")]
    rows = re.findall(r"^\|.*\|.*\| (.*) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    assert len(named) >= len(rows) > 15 and all("`tests/" in row for row in rows[1:])
    for file, _, name in (text.partition("::") for text in named):
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}: no {name}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES)
def test_lists_are_the_same_for_github_and_for_the_site(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    three = re.search(r"\n\n {1,3}\S.*", text)
    assert not three, f"{page}: indent a block in a list by four spaces: {three[0]}"
    close = re.search(r"\n\n( {4}.*\n)+(\d+\.|[-*]) .*", text)
    assert not close, f"{page}: leave a line empty between a block in a list and the next item: {close[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_the_words_are_plain(page):
    prose = " ".join(t.content if t.type == "text" else " " for t in inline(page) if t.type != "code_inline")
    assert not (found := NOT_PLAIN.search(prose)), prose[max(0, found.start() - 60) : found.end() + 60]


def test_the_picture_and_the_readme_show_the_figures_of_the_committed_run():
    details = json.loads((ROOT / "metrics/details.json").read_text())
    picture = ET.parse(ROOT / "docs/images/result.svg")
    (shown,) = picture.iter("{http://purl.org/dc/elements/1.1/}description")
    assert json.loads(shown.text) == details["headline"], "draw it again: make docs"
    first = next(iter(details["headline"].values()))
    mean, sd, low, high = (f"{first[key]:.3f}".lstrip("0") for key in ("mean", "sd", "low", "high"))
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"The embedded data set gives {mean} ± {sd} with an interval of {low} {EN_DASH} {high}" in readme


def test_the_pictures_are_what_their_program_draws(tmp_path):
    subprocess.run([sys.executable, "docs/draw.py", str(tmp_path)], cwd=ROOT, check=True)
    committed = (ROOT / "docs/images/pipeline.svg").read_text()
    assert (tmp_path / "pipeline.svg").read_text() == committed, "draw it again: make docs"
    assert (tmp_path / "result.svg").stat().st_size > 10_000
    assert (tmp_path / "recording.png").stat().st_size > 10_000
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    texts = {text.text for text in ET.fromstring(committed).iter("{http://www.w3.org/2000/svg}text")}
    assert set(stages) - {"check"} <= texts


def test_the_citation_is_valid_and_of_this_version():
    schema = "vendor.citation-file-format"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, "CITATION.cff"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
