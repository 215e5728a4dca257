"""Functions that make tiny data sets, valid or with an error: CirCor, dataset folder and others."""

import argparse
import hashlib
import re
from pathlib import Path

import numpy as np
import soundfile
import yaml

from murmur.experiments import recipes
from murmur.files import atomic_write
from murmur.recordings.containers import wfdb_records
from murmur.recordings.download import import_recordings
from murmur.sections.download import Download
from murmur.sections.train import Train

RATE = 4000
ROOT = Path(__file__).parents[1]


def noise(n=2000, seed=0):
    """Samples [n] that 16 bits hold exactly."""
    return np.random.default_rng(seed).integers(-20000, 20000, n) / np.float32(2**15)


def audio(path, samples=None, rate=RATE, *, seconds=0.5, **options):
    """Write a recording and return its path; the samples depend on the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256(path.name.encode()).hexdigest()[:8], 16)
    samples = noise(int(seconds * rate), seed) if samples is None else samples
    soundfile.write(path, samples, rate, **options)
    return path


def record(header, signals, *, names=("PCG",), rate=RATE, fmt="16", baseline=0):
    """Write a WFDB record with signals [n, channels] of integers, and return the path of its header."""
    n = signals.shape[1]
    header.parent.mkdir(parents=True, exist_ok=True)
    wfdb_records._import_wfdb().wrsamp(
        header.stem, rate, ["NU"] * n, list(names), d_signal=signals, fmt=[fmt] * n, adc_gain=[1000.0] * n,
        baseline=[baseline] * n, write_dir=str(header.parent),
    )  # fmt: skip
    return header


def cut(path, at=0.5):
    """Cut a file off, at a fraction or a number of bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * at) if isinstance(at, float) else at])


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


CYCLE = "0\t0.1\t1\n0.1\t0.2\t2\n0.2\t0.25\t3\n0.25\t0.4\t4\n0.4\t0.5\t0\n"  # in 0.5 s


def circor(root, patients=PATIENTS, *, newline="\n", sums=True, without=(), tsv=None):
    """CirCor: the table without the columns `without`, a WAV file per recording, checksums of all files.

    tsv: the content of the .tsv file beside each recording.
    """
    for row in patients:
        sites = row["Recording locations:"].split("+")
        for k, site in enumerate(sites):
            again = f"_{sites[: k + 1].count(site)}" if sites.count(site) > 1 else ""
            path = audio(root / f"training_data/{row['Patient ID']}_{site}{again}.wav")
            if tsv is not None:
                path.with_suffix(".tsv").write_text(tsv, newline="")
    rows = [{k: v for k, v in row.items() if k not in without} for row in patients]
    write_csv(root / "training_data.csv", rows, newline=newline)
    if sums:
        files = sorted(p for p in root.rglob("*") if p.is_file())
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.relative_to(root)}\n" for p in files]
        (root / "SHA256SUMS.txt").write_text("".join(lines))
    return root


def write_csv(path, rows, *, newline="\n", comma=",", encoding="utf-8"):
    """Write a table of dicts as CSV; the first row names the columns."""
    lines = [comma.join(rows[0]), *(comma.join(row.values()) for row in rows)]
    path.write_bytes("".join(line + newline for line in lines).encode(encoding))


OWN = [
    {"path": f"{name}.wav", "label": label} for name, label in zip("abcd", ("ill", "well") * 2, strict=True)
]


def folder(root, rows=OWN, **style):
    """A folder for dataset folder, with every file that the table names."""
    root.mkdir(parents=True, exist_ok=True)
    for row in rows:
        audio(root / row["path"])
    write_csv(root / "recordings.csv", rows, **style)
    return root


def changed(changes, recipe=None):
    """The project's params.yaml, or all parameters of a recipe, with some dotted keys changed."""
    if recipe:
        return put(recipes.read_recipe(recipe, ROOT / "recipes"), changes)
    return put(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")), changes)


def put(content, changes):
    """Change some dotted keys of a mapping of mappings, and return it."""
    for key, value in changes.items():
        *sections, last = key.split(".")
        mapping = content
        for section in sections:
            mapping = mapping[section]
        mapping[last] = value
    return content


def download(dataset, out, *, options=(), limit=None, on_bad="error", remote="private", **keys):
    """Do the work of the stage download, into the folder `out`; return recordings, card and left_out."""
    return download_all(dataset, out, options=options, limit=limit, on_bad=on_bad, remote=remote, **keys)[:3]


def download_all(dataset, out, *, options=(), limit=None, on_bad="error", remote="private", **keys):
    """As `download`, and return also the annotations."""
    section = Download(limit=limit, on_bad=on_bad, remote=remote, **{dataset: dict(options)})
    keys = {"task": "murmur", "class_map": {}, "positive": None} | keys
    with atomic_write(out) as raw:
        return import_recordings(dataset=dataset, download=section, raw=raw, **keys)


SITES = {  # the smallest model that predicts patients
    "name": "site_transformer",
    "sites": ["AV", "PV"],
    "width": 8,
    "layers": 1,
    "attention_heads": 1,
    "feedforward": 8,
}


def train_options(**changes):
    """The train section of params.yaml with the smallest network on one CPU, and changes."""
    section = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]
    small = {"model": {"name": "cnn", "width": 4, "dropout": 0.0}, "device": "cpu", "balance": "loss"}
    return Train(**section | small | changes)


M2D = "m2d_vit_tiny-80x64p16x16-220930-mr7"


def m2d_checkpoint(root, name=M2D, *, bare=False, prefix="", **changes):
    """Write a random checkpoint of M2D, as the pretraining saves it or only its tensors (`bare`).

    changes: tensors by key, with double underscores for dots; None leaves a key out.
    """
    import torch  # takes 2 s, which most tests do not need

    mels, frames, *patch = (int(n) for n in re.search(r"(\d+)x(\d+)p(\d+)x(\d+)", name).groups())
    shapes = m2d_shapes(1 + (mels // patch[0]) * (frames // patch[1]), patch)
    draw = torch.Generator().manual_seed(0)
    state = {
        prefix + key: (len(shape) == 1 and "weight" in key)
        + torch.randn(shape, generator=draw) / max(1, shape[-1]) ** 0.5
        for key, shape in shapes.items()
    }
    state |= {key.replace("__", "."): value for key, value in changes.items()}
    state = {key: value for key, value in state.items() if value is not None}
    path = root / name / "checkpoint-300.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    args = argparse.Namespace(model="m2d_vit_tiny", input_size=[mels, frames], lr=3e-4, norm_stats=None)
    optimizer = {
        "state": {0: {"step": 7}},
        "param_groups": [{"lr": 3e-4, "betas": (0.9, 0.95), "params": [0]}],
    }
    everything = {
        "model": state,
        "optimizer": optimizer,
        "epoch": 300,
        "scaler": {"scale": 65536.0},
        "args": args,
    }
    torch.save(state if bare else everything, path)
    return path


def m2d_shapes(tokens, patch, width=192, depth=12):
    """Names and shapes in a checkpoint of the pretraining: encoder, parts of decoder and target network."""
    block = {
        "norm1.weight": [width],
        "norm1.bias": [width],
        "attn.qkv.weight": [3 * width, width],
        "attn.qkv.bias": [3 * width],
        "attn.proj.weight": [width, width],
        "attn.proj.bias": [width],
        "norm2.weight": [width],
        "norm2.bias": [width],
        "mlp.fc1.weight": [4 * width, width],
        "mlp.fc1.bias": [4 * width],
        "mlp.fc2.weight": [width, 4 * width],
        "mlp.fc2.bias": [width],
    }
    return {
        "cls_token": [1, 1, width],
        "pos_embed": [1, tokens, width],
        "mask_token": [1, 1, 8],
        "decoder_pos_embed": [1, tokens, 8],
        "patch_embed.proj.weight": [width, 1, *patch],
        "patch_embed.proj.bias": [width],
        **{f"blocks.{k}.{key}": shape for k in range(depth) for key, shape in block.items()},
        "norm.weight": [width],
        "norm.bias": [width],
        "decoder_embed.weight": [8, width],
        "decoder_blocks.0.norm1.weight": [8],
        "decoder_norm.weight": [8],
        "decoder_pred.weight": [width, 8],
        "target_blocks.0.norm1.weight": [width],
        "target_norm.weight": [width],
    }


def pascal(root, *, seconds=0.5, without=()):
    """PASCAL, with the names of the tables and of the files: 12 persons in set B, 16 recordings in set A.

    without: paths of files that a table names but that are missing.
    """
    rows = {"a": [("__201102010000", "Aunlabelledtest__201102010000", "", "")], "b": []}
    for k, label in enumerate(["normal", "murmur", "extrahls", "artifact"] * 4):
        rows["a"].append((f"{label}__2011010100{k:02d}",) * 2 + (label, ""))
    for k, label in enumerate(["normal", "murmur", "extrastole"] * 4):
        number, sub = f"1{k:02d}_13060000000{k:02d}", "" if label == "extrastole" else f"noisy{label}"
        rows["b"].append((f"Btraining_{label}_{number}_A", f"{label}__{number}_A", label, ""))
        stem = f"Btraining_{label}_Btraining_{sub}" if sub else f"Btraining_{label}"
        rows["b"].append((f"{stem}_{number}_B1", f"{label}_{sub}_{number}_B1", label, sub))
    rows["b"].append(("Bunlabelledtest_190_130600_C1", "Bunlabelledtest__190_130600_C1", "", ""))
    for name, lines in rows.items():
        for path in {f"set_{name}/{disk}.wav" for _, disk, *_ in lines} - {*without}:
            audio(root / path, seconds=seconds)
        columns = ("dataset", "fname", "label", "sublabel")
        named = [(name, f"set_{name}/{fname}.wav", *labels) for fname, _, *labels in lines]
        write_csv(root / f"set_{name}.csv", [dict(zip(columns, line, strict=True)) for line in named])
    return root


def bmd_patient(number, disease="N", **more):
    """A row of BMD-HS's train.csv; MD is AS and MR."""
    flags = {"MD": ("AS", "MR")}.get(disease, (disease,))
    sites = ("Mit", "Tri", "Pul", "Aor")
    names = [f"{disease}_{number}_{how}_{site}" for how in ("sup", "sit") for site in sites]
    row = {"patient_id": f"patient_{number}"}
    row |= {flag: "1" if flag in flags else "0" for flag in ("AS", "AR", "MR", "MS", "N")}
    row |= {f"recording_{k}": name for k, name in enumerate(names, 1)}
    assert set(more) <= set(row), more
    return row | more


BMD_PATIENTS = [bmd_patient(f"{k:03d}", d) for k, d in enumerate(("N", "AS", "AR", "MS", "MR", "MD") * 4)]


def bmd_hs(root, patients=BMD_PATIENTS, *, seconds=0.5, metadata=True):
    """BMD-HS: four patients of each class; `metadata`: with the second table."""
    for row in patients:
        for name in (v for k, v in row.items() if k.startswith("recording_") and v):
            audio(root / f"train/{name}.wav", seconds=seconds)
    write_csv(root / "train.csv", patients)
    if metadata:
        rows = [{"patient_id": row["patient_id"], "Age": "35", "Gender": "F"} for row in patients]
        write_csv(root / "additional_metadata.csv", rows)
    return root


def cinc2016(root, sets="abcdef", *, n=4, seconds=0.5, appendix=True):
    """CinC 2016: `n` recordings per set, every second one abnormal; `appendix`: with the original names.

    In sets a, b, c and e two recordings each are of one subject; sets d and f name no subjects.
    """
    rows = []
    for s in sets:
        names = [f"{s}{k:0{5 if s == 'e' else 4}d}" for k in range(1, n + 1)]
        for k, name in enumerate(names):
            audio(root / f"training-{s}/{name}.wav", rate=2000, seconds=seconds)
            forms = {"a": f"C{k // 2}S{k % 2}b", "b": f"S{k // 2}f{k % 2}.e4k_data", "c": f"id{k // 2}"}
            forms |= {"d": "C20PSPE", "e": f"e{k:05d}" if k % 2 else str(k // 2), "f": "a80"}
            raw = str(k // 4) if s == "e" else ""
            rows.append(dict(zip(APPENDIX, (name, f"training-{s}", forms[s], raw), strict=True)))
        reference = "".join(f"{name},{(-1) ** k}\n" for k, name in enumerate(names))
        (root / f"training-{s}/REFERENCE.csv").write_text(reference)
    if appendix:
        (root / "annotations").mkdir()
        write_csv(root / "annotations/Online_Appendix_training_set.csv", rows, encoding="utf-8-sig")
    return root


APPENDIX = ("Challenge record name", "Database", "Original record name", "# Raw record")


def yaseen(root, *, n=4, seconds=0.5, folder="{}"):
    """Yaseen: `n` recordings per class; `folder`: the name of the folder of a class."""
    for name in ("AS", "MR", "MS", "MVP", "N"):
        for k in range(1, n + 1):
            audio(root / folder.format(name) / f"New_{name}_{k:03d}.wav", rate=8000, seconds=seconds)
    return root
