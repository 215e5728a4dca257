"""Speed of a training: VGG16 on 224 x 224 images, murmur compared with a simple torchvision loop, one thread.

    PYTHONPATH=src python benchmarks/train.py [float32|bfloat16]

Both use the same precision. Each is timed with a short and with a long epoch; the difference is the time for
the additional images, without the time for building the network.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torchvision.models import vgg16

from murmur.devices import single_thread
from murmur.experiments import recipes
from murmur.sections.train import Train
from murmur.training.fit import Fold, fit_network

BATCH, SHORT, LONG, REPEATS = 16, 16, 48, 2
MEAN, SPREAD = (
    255 * torch.tensor(row)[:, None, None] for row in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def train_murmur(x: np.ndarray, y: np.ndarray, n: int, options: Train) -> None:
    """Train one epoch on the first n images with murmur."""
    parts = Fold(np.arange(n), np.arange(n, n + 2), np.arange(n, n + 2))
    fit_network(x, y, parts, options, classes=("a", "b"), weights=(1.0, 1.0), seed=0)


def train_torchvision(x: np.ndarray, y: np.ndarray, n: int, options: Train) -> None:
    """Train one epoch on the first n images with a simple loop, and predict the next two."""
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


def seconds_per_image(train: Callable[..., None], x: np.ndarray, y: np.ndarray, options: Train) -> float:
    """Return the shortest time of several repeats."""
    times = []
    for _ in range(REPEATS):
        seconds = []
        for n in (SHORT, LONG):
            start = time.perf_counter()
            train(x, y, n, options)
            seconds.append(time.perf_counter() - start)
        times.append((seconds[1] - seconds[0]) / (LONG - SHORT))
    return min(times)


def main() -> None:
    recipe = recipes.read_recipe("pascal_vgg16")["train"]
    recipe["model"]["weights"] = "none"
    precision = sys.argv[1] if len(sys.argv) > 1 else "float32"
    options = Train(**recipe | {"epochs": 1, "device": "cpu", "precision": precision})
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (LONG + 2, 3, 224, 224), np.uint8), np.arange(LONG + 2) % 2
    with single_thread():
        torchvision, murmur = (
            seconds_per_image(train, x, y, options) for train in (train_torchvision, train_murmur)
        )
    print(f"{precision}: torchvision {1 / torchvision:.3f} images/s, murmur {1 / murmur:.3f} images/s")
    print(f"murmur has {torchvision / murmur:.1%} of the speed of the torchvision loop")


if __name__ == "__main__":
    main()
