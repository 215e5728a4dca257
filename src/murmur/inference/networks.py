"""The networks of a model folder, computed by torch."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from murmur.devices import single_thread
from murmur.errors import MurmurError, first_line
from murmur.features.one_recording import compute_log_mel, cut_into_segments
from murmur.features.segmentation import NoSegmentsError, compute_sizes
from murmur.inference.model_info import ModelInfo, ModelParams
from murmur.inference.recording import Recording, SegmentOutput, make_empty_output
from murmur.training.classifier import Classifier, Inputs, predict_logits
from murmur.training.saved_weights import load_classifier, select_network

BATCH = 256  # segments of which the features are in memory at once


class TorchNetworks:
    """The networks of a model folder.

    Parameters
    ----------
    info : ModelInfo
        The description of the model.
    weights : bytes
        Content of model.safetensors.
    path : path-like
        The file, for error messages.

    Raises
    ------
    MurmurError
        If the weights are damaged or of another network.
    """

    def __init__(self, info: ModelInfo, weights: bytes, path: str | Path):
        self.info = info
        self.classifiers = list(_load_classifiers(info, weights, path))
        self.encoder = _load_encoder(info.params)

    def predict_segments(self, recording: Recording) -> SegmentOutput:
        """Compute the output for each segment."""
        x = self._cut(recording)
        if not len(x):
            return make_empty_output(len(self.info.classes))
        compute = self._label_frames if can_label_frames(self.classifiers) else self._classify
        batches = [compute(self._compute_features(x[k : k + BATCH])) for k in range(0, len(x), BATCH)]
        rate = self.info.params.clean.sample_rate
        step = compute_sizes(self.info.params.segment, rate).step / rate
        return SegmentOutput(np.arange(len(x)) * step, *map(np.concatenate, zip(*batches, strict=True)))

    def predict_patient(self, recordings: Sequence[Recording]) -> np.ndarray | None:
        """Return the probabilities of the patient, shape (classes,); None without a segment at a site."""
        sites = self.info.params.train.model.options["sites"]
        parts: list[torch.Tensor] = []
        rows: dict[str, list[int]] = {site: [] for site in sites}
        for recording in recordings:
            if recording.site in rows and len(x := self._cut(recording)):
                n = sum(map(len, parts))
                rows[recording.site] += range(n, n + len(x))
                parts.append(self._compute_features(x))
        if not parts:
            return None
        bags = torch.full((1, len(sites), max(map(len, rows.values()))), -1)
        for k, site in enumerate(sites):
            bags[0, k, : len(rows[site])] = torch.tensor(rows[site], dtype=torch.long)
        return self._average(Inputs(torch.cat(parts), bags))[0]

    def _cut(self, recording: Recording) -> np.ndarray:
        """The segments, shape (k, length), without reversed copies."""
        segment = self.info.params.segment.model_copy(update={"mirror": False})
        params = self.info.params.model_copy(update={"segment": segment})
        try:
            return cut_into_segments(recording.signal, params)
        except NoSegmentsError:
            return np.empty((0, compute_sizes(segment, params.clean.sample_rate).length), np.float32)

    def _compute_features(self, x: np.ndarray) -> torch.Tensor:
        """Spectrograms or embeddings, shape (k, channels, mels, frames), in the type of the stored ones."""
        features = compute_log_mel(x, self.info.params)
        if self.encoder is None:
            return torch.from_numpy(features)
        from murmur.features.embedding import encode_segments

        return torch.from_numpy(encode_segments(self.encoder, features, self.info.params.embed.pool))

    def _classify(self, features: torch.Tensor) -> tuple[np.ndarray]:
        return (self._average(Inputs(features, None)),)

    def _label_frames(self, features: torch.Tensor) -> tuple[np.ndarray, ...]:
        """The probabilities of the classes, figures, states, murmur and annotated of `SegmentOutput`."""
        with single_thread(), torch.no_grad():
            return tuple(x.double().numpy() for x in label_frames(self.classifiers, features))

    def _average(self, inputs: Inputs) -> np.ndarray:
        """The probabilities, shape (units, classes), averaged over the networks."""
        units = np.arange(len(inputs.x) if inputs.bags is None else len(inputs.bags))
        with single_thread():  # on small networks also faster than several threads
            p = [predict_logits(model, inputs, units).softmax(dim=1) for model in self.classifiers]
            return torch.stack(p).mean(dim=0).double().numpy()


def can_label_frames(classifiers: Iterable[Any]) -> bool:
    """Return whether all networks label frames, and learned it from annotations."""
    return all(classifier.labels_frames for classifier in classifiers)


def label_frames(classifiers: Iterable[Any], features: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute the output of networks that label frames, each the mean over the networks.

    Parameters
    ----------
    classifiers : iterable of Classifier
        Of networks with `label_frames`, such as `murmur.models.frames.Frames`.
    features : torch.Tensor, shape [batch, channels, mels, frames]
        Not standardised.

    Returns
    -------
    tuple of torch.Tensor
        As `SegmentOutput`: probabilities of the classes [batch, classes], figures [batch, 4], and the
        probabilities of the states [batch, steps, 4], of a murmur and of being annotated [batch, steps].
    """
    outputs = []
    for classifier in classifiers:
        output = classifier.network.label_frames(classifier.standardise(features))
        outputs.append((output.logits.softmax(dim=1), output.figures(), *output.probabilities()))
    return tuple(torch.stack(parts).mean(dim=0) for parts in zip(*outputs, strict=True))


def _load_classifiers(info: ModelInfo, weights: bytes, path: str | Path) -> Iterator[Classifier]:
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise MurmurError(f"{path}: cannot be read as weights ({first_line(error)})") from error
    train, n_classes = info.params.train, len(info.classes)
    for k in range(info.ensemble):
        yield load_classifier(
            select_network(tensors, f"{k}."), path, train, classes=n_classes, shape=info.shape
        )


def _load_encoder(params: ModelParams) -> torch.nn.Module | None:
    """The pretrained encoder of embeddings, if the model uses it."""
    if params.train.features != "embedding":
        return None
    from murmur.models import m2d
    from murmur.models._requirements import REQUIREMENTS, check_file

    name = params.embed.models[0]
    check_file("embed.weights", params.embed.weights, REQUIREMENTS[name].missing_weights)
    return m2d.load_encoder(Path(params.embed.weights)).eval()
