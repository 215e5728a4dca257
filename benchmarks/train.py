"""VGG16 on 224 x 224 images: our fit of a fold against a plain torchvision loop, same precision, one thread.

    PYTHONPATH=src python benchmarks/train.py [float32|bfloat16]

Both are timed for a short and for a longer epoch: the difference is what an image costs, set-up apart.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torchvision.models import vgg16

from murmur.experiments import recipes
from murmur.sections.train import Train
from murmur.training.fit import Fold, fit_network

BATCH, SHORT, LONG, REPEATS = 16, 16, 48, 2
MEAN, SPREAD = (
    255 * torch.tensor(row)[:, None, None] for row in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def ours(x: np.ndarray, y: np.ndarray, n: int, options: Train) -> None:
    parts = Fold(np.arange(n), np.arange(n, n + 2), np.arange(n, n + 2))
    fit_network(x, y, parts, options, classes=("a", "b"), weights=(1.0, 1.0), seed=0)


def plain(x: np.ndarray, y: np.ndarray, n: int, options: Train) -> None:
    torch.manual_seed(0)
    model = vgg16(num_classes=2).to(memory_format=torch.channels_last)
    for layer in [m for m in model.features if isinstance(m, torch.nn.Conv2d)][: options.freeze]:
        layer.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=options.lr)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    model.train()
    for rows in torch.randperm(n).split(BATCH):
        batch = (images[rows].float() - MEAN) / SPREAD
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
            logits = model(batch)
        loss = cross_entropy(logits.float(), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        model.eval()((images[n : n + 2].float() - MEAN) / SPREAD)


def seconds_per_image(fit: Callable[..., None], *data: np.ndarray, options: Train) -> float:
    """The best of some repeats."""
    best = []
    for _ in range(REPEATS):
        taken = []
        for n in (SHORT, LONG):
            start = time.perf_counter()
            fit(*data, n, options)
            taken.append(time.perf_counter() - start)
        best.append((taken[1] - taken[0]) / (LONG - SHORT))
    return min(best)


def main() -> None:
    recipe = recipes.read("pascal_vgg16")["train"]
    recipe["model"]["weights"] = "none"
    precision = sys.argv[1] if len(sys.argv) > 1 else "float32"
    options = Train(**recipe | {"epochs": 1, "device": "cpu", "precision": precision})
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (LONG + 2, 3, 224, 224), np.uint8), np.arange(LONG + 2) % 2
    times = [seconds_per_image(fit, x, y, options=options) for fit in (plain, ours)]
    print(f"{precision}: plain {1 / times[0]:.3f} images/s, ours {1 / times[1]:.3f} images/s")
    print(f"ours is {times[0] / times[1]:.1%} of the plain loop's speed")


if __name__ == "__main__":
    main()
