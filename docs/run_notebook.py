"""Run a notebook and store its output in it: `python docs/run_notebook.py [NOTEBOOK]`.

The default is docs/tour.ipynb, which needs the model and recordings of the embedded data set (`make repro`).
"""

import base64
import sys
from io import BytesIO
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

TOUR = Path(__file__).with_name("tour.ipynb")
COLOURS = 64  # of a picture, so that the file is small


def main() -> None:
    """Run the notebook in its folder with the Python of this program, and write it."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else TOUR
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, kernel_name="python3", resources=resources, record_timing=False).execute()
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        for part in [cell, *cell.get("outputs", [])]:
            if "execution_count" in part:
                part.execution_count = None
            if picture := part.get("data", {}).get("image/png"):
                part.data["image/png"] = reduce_colours(picture)
    nbformat.write(notebook, path)


def reduce_colours(picture: str) -> str:
    """Return a PNG picture in base64 with fewer colours."""
    image = Image.open(BytesIO(base64.b64decode(picture))).convert("RGB")
    image = image.quantize(COLOURS, Image.Quantize.FASTOCTREE)
    image.save(content := BytesIO(), "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


if __name__ == "__main__":
    main()
