"""The page of `dvc plots` and the template of the confusion matrix."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests import made
from tests.test_report import write_experiment

FOLDER = made.ROOT / ".dvc/page"
PAGE = (FOLDER / "page.html").read_text(encoding="utf-8")
OUTSIDE = r"<(?:script|link|img|iframe|object)\s[^>]*(?:src|href|data)"  # a tag that loads something


def test_the_page_is_the_template_with_the_packages():
    head, tail = (FOLDER / "template.html").read_text(encoding="utf-8").split("{packages}\n")
    hashes = re.search(r"script-src (.*?);", PAGE)[1]
    assert PAGE.startswith(head.replace("{hashes}", hashes)), "run python .dvc/page/build.py"
    assert PAGE.endswith(tail), "run python .dvc/page/build.py"
    licences = (FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
    versions = re.findall(r'"([\w-]+)": "([\d.]+)"', (FOLDER / "build.py").read_text(encoding="utf-8"))
    assert [name for name, _ in versions] == ["vega", "vega-lite", "vega-embed"]
    for name, version in versions:
        assert f'="{version}"' in PAGE and f"\n{name} {version}: BSD-3-Clause\n" in licences


def test_the_page_runs_its_own_scripts_only_and_loads_nothing():
    scripts = re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', PAGE)[1].split("; ")
    assert policy[:2] == ["default-src 'none'", " ".join(["script-src", *(f"'sha256-{d}'" for d in digests)])]
    assert len(scripts) == 4 and "http" not in " ".join(policy)
    assert not re.search(OUTSIDE, re.sub(r"<script>.*?</script>", "", PAGE, flags=re.DOTALL))


def test_what_dvc_writes_is_text_which_nothing_ends():
    assert PAGE.endswith("\n<plaintext hidden>\n{plot_divs}\n") and PAGE.count("{plot_divs}") == 1


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The project of an experiment, and the page of its plots."""
    folder = write_experiment(tmp_path_factory.mktemp("shown"))
    shutil.copytree(made.ROOT / ".dvc/plots", folder / ".dvc/plots")
    shutil.copytree(FOLDER, folder / ".dvc/page")
    shutil.copy(made.ROOT / ".dvc/config", folder / ".dvc")
    (folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    plots = yaml.safe_load((made.ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}), encoding="utf-8")
    command = [sys.executable, "-m", "dvc", "plots", "show", "-o", "drawn"]
    subprocess.run(command, cwd=folder, check=True)
    return plots, (folder / "drawn/index.html").read_text(encoding="utf-8"), folder


def test_dvc_writes_all_plots_into_the_page(shown):
    plots, page, folder = shown
    before, after = PAGE.split("{plot_divs}")
    assert page.startswith(before) and page.endswith(after)
    for plot in plots:
        if isinstance(plot, str):
            (source,) = re.findall(rf'<img src="(static/[^"]*{plot.split("/")[1]})">', page)
            assert (folder / "drawn" / source).is_file()
        else:
            ((name, definition),) = plot.items()
            spec = read_spec(page, name)
            assert spec["title"]["text"] == definition["title"] and spec["data"]["values"]


def read_spec(page, name):
    """The specification of a plot, read as the script of the page reads it."""
    pattern = re.search(r"const PLOT = /(.*)/g;", PAGE)[1]
    specs = dict(re.findall(pattern, page.partition("<plaintext hidden>\n")[2]))
    return json.loads(specs[name.replace(" ", "_")])


def test_the_confusion_matrix_has_its_numbers_and_the_order_of_the_file(shown):
    spec = read_spec(shown[1], "Confusion matrix")
    rows = spec["data"]["values"]
    assert [(row["actual"], row["predicted"]) for row in rows][:2] == [
        ("Present", "Present"),
        ("Present", "Unknown"),
    ]
    x, y = (spec["spec"]["encoding"][axis] for axis in "xy")
    assert (x["field"], y["field"]) == ("predicted", "actual")
    assert x["sort"] is None and y["sort"] is None, "the order of the data"
    (text,) = (layer for layer in spec["spec"]["layer"] if layer["mark"]["type"] == "text")
    assert text["encoding"]["text"] == {"field": "cell"}
    assert any(step.get("as") == "cell" and "datum.n," in step["calculate"] for step in spec["transform"][1:])
