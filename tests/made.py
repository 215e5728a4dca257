"""Tiny made data sets, whole or with one thing wrong: WAVs, a CirCor tree, a folder of one's own."""

import copy
import hashlib
from pathlib import Path

import numpy as np
import soundfile
import yaml

from murmur import download as front_door
from murmur import params
from murmur.files import beside

RATE = 4000
ROOT = Path(__file__).parents[1]


def noise(n=2000, seed=0):
    """Samples [n] that 16 bits hold exactly."""
    return np.random.default_rng(seed).integers(-20000, 20000, n) / np.float32(2**15)


def audio(path, samples=None, rate=RATE, **how):
    """Write a recording, other samples for another name; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256(path.name.encode()).hexdigest()[:8], 16)
    soundfile.write(path, noise(seed=seed) if samples is None else samples, rate, **how)
    return path


def cut(path, at=0.5):
    """Leave the first part of a file."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * at) if isinstance(at, float) else at])


def patient(number, sites="AV+PV", murmur="Absent", **more):
    """A row of CirCor's table."""
    row = {
        "Patient ID": number,
        "Recording locations:": sites,
        "Age": "Child",
        "Sex": "Female",
        "Murmur": murmur,
        "Murmur locations": "nan",
        "Outcome": "Normal" if murmur == "Absent" else "Abnormal",
        "Campaign": "CC2014",
        "Additional ID": "nan",
    }
    assert set(more) <= set(row), more
    return row | more


PATIENTS = (
    patient("1001", "AV+PV", "Present", **{"Murmur locations": "AV"}),
    patient("1002", "AV+AV+PV"),
    patient("1003", "MV", "Unknown"),
)


def circor(root, patients=PATIENTS, *, newline="\n", sums=True, without=()):
    """CirCor's layout: the table, a WAV a recording, the checksums of all; `without`: columns it lacks."""
    for row in patients:
        sites = row["Recording locations:"].split("+")
        for k, site in enumerate(sites):
            again = f"_{sites[: k + 1].count(site)}" if sites.count(site) > 1 else ""
            audio(root / f"training_data/{row['Patient ID']}_{site}{again}.wav")
    rows = [{k: v for k, v in row.items() if k not in without} for row in patients]
    write_csv(root / "training_data.csv", rows, newline=newline)
    if sums:
        files = sorted(p for p in root.rglob("*") if p.is_file())
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.relative_to(root)}\n" for p in files]
        (root / "SHA256SUMS.txt").write_text("".join(lines))
    return root


def write_csv(path, rows, *, newline="\n", comma=",", encoding="utf-8"):
    """A table of dicts; the first row names the columns."""
    lines = [comma.join(rows[0]), *(comma.join(row.values()) for row in rows)]
    path.write_bytes("".join(line + newline for line in lines).encode(encoding))


OWN = [
    {"path": f"{name}.wav", "label": label} for name, label in zip("abcd", ("ill", "well") * 2, strict=True)
]


def folder(root, rows=OWN, **style):
    """A folder of one's own, with every file that the table names."""
    root.mkdir(parents=True, exist_ok=True)
    for row in rows:
        audio(root / row["path"])
    write_csv(root / "recordings.csv", rows, **style)
    return root


def changed(changes):
    """The project's params.yaml, as a mapping, with some dotted keys changed."""
    content = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[last] = value
    return content


def download(dataset, out, *, options=(), limit=None, on_bad="error", **keys):
    """The download stage's work, into `out`: recordings, card, left_out."""
    section = params.Download(limit=limit, on_bad=on_bad, **{dataset: dict(options)})
    keys = {"task": "murmur", "class_map": {}, "positive": None} | keys
    with beside(out) as raw:
        return front_door.download(dataset=dataset, download=section, raw=raw, **keys)


def train_options(**changes):
    """The train section of params.yaml with the smallest network on one CPU, and changes."""
    section = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]
    small = {"model": {"name": "cnn", "width": 4, "dropout": 0.0}, "device": "cpu", "balance": "loss"}
    return params.Train(**section | small | changes)
