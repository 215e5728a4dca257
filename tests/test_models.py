"""The networks: published sizes, accepted input shapes, pretrained weights, and errors."""

import hashlib
import importlib
import socket
import threading
import time
import zipfile
from contextlib import nullcontext

import pytest
import requests
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn

from murmur.errors import MurmurError
from murmur.experiments import recipes
from murmur.models import _weights, backbone, vgg16
from murmur.models._weights import download_weights
from murmur.models.conv_blocks import Gate
from murmur.params.validation import validate
from murmur.sections.experiment import Params
from murmur.sections.train import Model
from murmur.training.network import build, freeze
from tests import made

PUBLISHED = {
    "bmd_hs_cnn": 430_853,
    "cinc2016_attention": 424_082,
    "cinc2016_cnn": 1_214_882,
    "cinc2016_cnn_light": 23_650,
    "cinc2016_resnet18": 11_171_266,
    "circor_attention": 22_330_563,
    "circor_bilstm": 2_370_051,
    "circor_m2d_transformer": 10_383_882,
    "circor_resnet18": 11_171_779,
    "circor_resnet34": 21_279_939,
    "circor_resnet34_multiwindow": 21_286_211,
    "pascal_vgg16": 134_268_738,
}
SHAPES = {  # channels, mels and frames of the published input
    "bmd_hs_cnn": (3, 224, 224),
    "cinc2016_attention": (1, 128, 79),
    "cinc2016_cnn": (1, 128, 79),
    "cinc2016_cnn_light": (1, 128, 79),
    "cinc2016_resnet18": (1, 128, 79),
    "circor_attention": (1, 128, 241),
    "circor_bilstm": (1, 128, 241),
    "circor_cnn": (1, 128, 241),
    "circor_frames": (1, 32, 201),
    "circor_m2d_transformer": (1, 3840, 1),
    "circor_resnet18": (1, 128, 241),
    "circor_resnet34": (1, 128, 241),
    "circor_resnet34_multiwindow": (3, 128, 301),
    "pascal_vgg16": (3, 224, 224),
}


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def make(name, *, classes=3, channels=1, mels=32, frames=40, **options):
    model = Model(name=name, **options)
    return build(model, classes=classes, channels=channels, mels=mels, frames=frames).eval()


def recipe(name):
    return validate(Params, made.changed({}, name), where=name)


def shape(p):
    """Channels, mels and frames of the input of a recipe's network."""
    if p.train.features == "embedding":
        assert "m2d_vit_base-80x608p16x16" in p.embed.weights and p.embed.pool == "mean"
        return 1, 80 // 16 * 768, 1
    if p.mel.image:
        return 3, p.mel.image.size, p.mel.image.size
    length, hop = round(p.segment.length * p.clean.sample_rate), min(hop for _, hop in p.mel.windows)
    frames = 1 + (length - p.mel.n_fft % 2) // hop  # centred frames, as in librosa
    return len(p.mel.windows), p.mel.n_mels, frames


@pytest.mark.parametrize("name", SHAPES)
def test_the_network_of_a_recipe_has_the_published_input_shape_and_number_of_parameters(name):
    p = recipe(name)
    assert shape(p) == SHAPES[name]
    task = importlib.import_module(f"murmur.datasets.{p.dataset}").TASKS[p.task]
    classes = {p.class_map.get(label, label) for label in task.classes} - {None}
    model = p.train.model
    if model.options.get("weights") == "imagenet":
        model = Model(name=model.name, **model.options | {"weights": "none"})
    with torch.device("meta" if model.name == "vgg16" else "cpu"):  # saves drawing 134 million numbers
        channels, mels, frames = shape(p)
        network = build(model, classes=len(classes), channels=channels, mels=mels, frames=frames)
    size = sum(parameter.numel() for parameter in network.parameters())
    assert size == PUBLISHED.get(name, size)
    assert name in PUBLISHED or name in ("circor_cnn", "circor_frames")  # of which no size is published
    assert size < 1_000_000 or name != "circor_frames"
    assert f"({size:,} parameters)" in recipes.read_title(name, made.ROOT / "recipes")


TINY = "test_resnet"  # a small network of timm for tests
MODELS = {
    "cnn": {"width": 4},
    "conv_blocks": {"widths": [4, 8], "convolutions": 2, "gate_after": 1, "hidden": [6], "dropout": [0, 0.1]},
    "attention": {"trunk": TINY},
    "bilstm": {"width": 8},
    "backbone": {"arch": TINY, "dropout": 0.1},
    "frames": {"width": 8},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(1, 40, 161), (3, 32, 40), (2, 128, 65)])
def test_a_network_maps_spectrograms_of_any_shape_to_logits(name, size):
    channels, mels, frames = size
    model = make(name, classes=5, channels=channels, mels=mels, frames=frames, **MODELS[name])
    x = torch.randn(3, *size)
    logits = model(x)
    assert logits.shape == (3, 5) and logits.isfinite().all()
    torch.testing.assert_close(model(x[1:2]), logits[1:2], atol=1e-5, rtol=1e-4)
    changed_x = x.clone()
    changed_x[0, -1, -1] += 3
    assert not torch.allclose(model(changed_x)[0], logits[0], atol=1e-7), "every channel and band counts"


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_gradient(name):
    model = make(name, **MODELS[name]).train()
    model(torch.randn(4, 1, 32, 40)).square().sum().backward()
    without_gradient = [key for key, p in model.named_parameters() if p.grad is None]
    assert not without_gradient


@pytest.mark.parametrize(("frames", "steps"), [(40, 20), (41, 21)])
def test_frames_has_an_output_for_every_second_frame_and_its_figures_are_means_of_them(frames, steps):
    model, x = make("frames", width=8, frames=frames), torch.randn(3, 1, 32, frames)
    output = model.label_frames(x)
    assert output.states.shape == (3, 4, steps)
    assert output.murmur.shape == output.annotated.shape == (3, steps)
    assert torch.equal(output.logits, model(x)), "no dropout outside of training"
    p = torch.cat([output.states.softmax(dim=1), output.murmur.sigmoid()[:, None]], dim=1)
    figures = output.figures()
    assert figures.shape == (3, 4) and ((figures > 0) & (figures < 1)).all()
    expected = [(p[:, 1] * p[:, 4]), p[:, 1], output.annotated.sigmoid(), p[:, :4].amax(dim=1)]
    torch.testing.assert_close(figures, torch.stack([value.mean(dim=1) for value in expected], dim=1))


def test_the_dilations_of_frames_decide_how_much_time_is_used():
    x = torch.randn(1, 1, 32, 201)
    changed_x = x.clone()
    changed_x[..., 100] += 1  # step 50; the first convolutions use up to 2 steps on both sides
    for dilations in ([1], [1, 2, 4], [1, 2, 4, 8, 16, 1]):
        model = make("frames", frames=201, width=8, dilations=dilations)
        assert [block.body[0].dilation for block in model.body] == [(1, d) for d in dilations]
        before, after = model.label_frames(x).states, model.label_frames(changed_x).states
        steps = (before != after).any(dim=1)[0].nonzero()
        assert 50 - steps.min() >= sum(dilations) and steps.max() - 50 <= sum(dilations) + 2


def test_dropout_of_frames_is_in_its_blocks_and_before_its_classes():
    x = torch.randn(2, 1, 32, 40)
    for options, n in (
        ({"block_dropout": 0.5, "dropout": 0.0}, 2),
        ({"block_dropout": 0.0, "dropout": 0.5}, 1),
    ):
        model = make("frames", width=8, **options)
        for layer in model.modules():
            if isinstance(layer, (nn.Dropout, nn.Dropout2d)):
                layer.train()
        outputs = [model.label_frames(x) for _ in range(2)]
        differs = [not torch.equal(*parts) for parts in zip(*outputs, strict=True)]
        assert differs == [True] + [n == 2] * 3


def test_conv_blocks_has_the_layers_of_its_options():
    model = make(
        "conv_blocks", widths=[4, 6], convolutions=2, block_dropout=[0.1, 0.2], hidden=[5], dropout=[0.5, 0.3]
    )
    names = [type(layer).__name__ for layer in model]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Dropout2d"]
    head = ["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert names == [*block, *block, *head]
    assert [layer.p for layer in model if "Dropout" in type(layer).__name__] == [0.1, 0.2, 0.5, 0.3]


def test_the_gate_depends_only_on_the_means_of_the_channels():
    gate, x = Gate(8), torch.randn(2, 8, 5, 6)
    share = gate(x) / x
    torch.testing.assert_close(share, share[..., :1, :1].expand_as(share))
    assert ((share > 0) & (share < 1)).all()
    means = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(gate(means) / means, share[..., :1, :1])


def test_attention_does_not_depend_on_the_order_of_its_tokens():
    model = make("attention", trunk=TINY, mels=64, frames=96)
    feature_map = model.trunk.forward_features(torch.randn(2, 1, 64, 96))
    model.trunk.forward_features = lambda x: x
    torch.testing.assert_close(model(feature_map.flip(2, 3)), model(feature_map), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(feature_map * 2), model(feature_map))
    expected = model(feature_map)
    tokens = feature_map.flatten(2).mean(dim=2)
    project = model.attention.out_proj
    with torch.no_grad():
        project.weight.zero_()  # only the residual connection is left
    torch.testing.assert_close(model(feature_map), model.head(tokens))
    assert not torch.allclose(model(feature_map), expected)


def test_the_bilstm_has_a_forward_and_a_backward_half():
    model = make("bilstm", width=8, layers=1)
    x = torch.randn(1, 1, 32, 40)
    forwards, backwards = x.clone(), x.clone()
    forwards[..., -4] += 1  # only the forward half of the last step depends on this frame
    backwards[..., -1] += 1
    (hidden, first, last) = (model.lstm(y[:, 0].transpose(1, 2))[0][:, -1] for y in (x, forwards, backwards))
    assert torch.equal(first[:, 8:], hidden[:, 8:]) and not torch.equal(first[:, :8], hidden[:, :8])
    assert not torch.equal(last[:, 8:], hidden[:, 8:])
    torch.testing.assert_close(model(x), model.head(hidden))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Model(name="cmn"),
            "no model 'cmn'; there are attention, backbone, bilstm, cnn, conv_blocks, .*vgg16",
        ),
        (Model.model_construct(name="../cnn"), "no model"),
        (Model(name="__init__"), "no model"),
        (Model(name="cnn", widht=8), "train.model.widht: cnn has no such option; its options are"),
        (Model(name="cnn", classes=8), "train.model.classes"),
        (Model(name="cnn", width=True), "train.model.width: .*valid integer .it is True"),
        (Model(name="cnn", width=8, dropout="0.2"), "train.model.dropout: .*valid number .it is '0.2'"),
        (
            Model(name="backbone"),
            "train.model.arch: backbone needs this option; its options are .*'dropout', 'weights'",
        ),
        (
            Model(name="backbone", arch="resnet81"),
            "train.model.arch: timm has no network 'resnet81'; similar names: .*resnet",
        ),
        (Model(name="backbone", arch="qqqq"), "no network 'qqqq'; similar names: see timm.list_models"),
    ],
    ids=str,
)
def test_an_unknown_model_option_or_architecture_is_named(model, message):
    with pytest.raises(MurmurError, match=message):
        build(model, classes=2, channels=1, mels=16, frames=16)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (Model(name="conv_blocks"), "8 x 100"),  # pooled four times
        (Model(name="backbone", arch="vgg11"), "16 x 16"),
    ],
    ids=str,
)
def test_a_spectrogram_that_is_too_small_for_the_network_is_an_error(model, size):
    mels, frames = (int(n) for n in size.split(" x "))
    words = rf"train\.model {model.name}: cannot take a spectrogram of {size} \(mels x frames\): .*larger"
    with torch.device("meta"), pytest.raises(MurmurError, match=words):
        build(model, classes=2, channels=1, mels=mels, frames=frames)


def test_an_exception_without_a_message_is_named_by_its_class(monkeypatch):
    class Failing(nn.Module):
        def forward(self, x):
            raise AssertionError

    def build(*, classes, channels, mels, frames):
        return Failing()

    monkeypatch.setattr(backbone, "build", build)
    with pytest.raises(MurmurError, match=r"spectrogram of 32 x 40 .*: AssertionError; if"):
        make("backbone")


def test_a_network_of_fixed_input_size_is_built_for_the_size_of_the_spectrogram():
    assert make("backbone", arch="test_vit", mels=64, frames=96)(torch.zeros(2, 1, 64, 96)).shape == (2, 3)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No host can be reached, and the caches are empty."""

    def refuse(*_args, **_keys):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # restored after the test
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.mark.parametrize("model", [{"name": "backbone", "arch": TINY}, {"name": "vgg16"}], ids=str)
def test_an_unreachable_network_is_an_error_within_seconds(offline, model):
    start, words = (
        time.monotonic(),
        "ImageNet weights cannot be fetched .*go online once, name a local weights",
    )
    with (
        torch.device("meta"),
        pytest.raises(MurmurError, match=rf"train\.model\.weights imagenet: .*{words}"),
    ):
        make(**model, channels=3, weights="imagenet")
    assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None
    assert constants.HF_HUB_OFFLINE is False


def test_settings_of_the_process_are_changed_only_during_a_download(monkeypatch):
    during = []

    def refuse(*_args, **_keys):
        raise requests.ConnectionError

    def fail(*_args, **_keys):
        during.append((socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE))
        raise OSError("no such file")

    monkeypatch.setattr(requests, "head", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    with pytest.raises(MurmurError, match="ImageNet weights cannot be fetched"):
        make("backbone", arch=TINY, weights="imagenet")
    assert during == [(10, True)]
    assert socket.getdefaulttimeout() is None and constants.HF_HUB_OFFLINE is False


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The folder of the network's files in huggingface_hub's cache, with one file in it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(backbone, "_offline_if_unreachable", nullcontext)
    blobs = tmp_path / "models--timm--test_resnet.r160_in1k/blobs"
    blobs.mkdir(parents=True)
    (blobs / hashlib.sha256(b"weights").hexdigest()).write_bytes(b"weights")
    (blobs / hashlib.sha1(b"blob 5\0small").hexdigest()).write_bytes(b"small")  # as git names it
    (blobs / f"{'0' * 64}.incomplete").write_bytes(b"received in part")
    return blobs


@pytest.mark.parametrize("fails", [False, True])
def test_weights_of_the_hub_with_another_checksum_are_not_kept(hub, monkeypatch, fails):
    state = timm.create_model(TINY).state_dict()

    def load(*_, **__):
        if fails:
            raise OSError("damaged")
        return dict(state)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", load)
    if not fails:
        make("backbone", arch=TINY, weights="imagenet")
        assert len(list(hub.iterdir())) == 3
    for kind, name in (("sha256", "a" * 64), ("sha1", "a" * 40)):
        (hub / name).write_bytes(b"<html>")
        with pytest.raises(
            MurmurError, match=rf"cannot be fetched \(.* has the {kind} \w+, not {name}\); go"
        ):
            make("backbone", arch=TINY, weights="imagenet")
        assert len(list(hub.iterdir())) == 3


@pytest.mark.parametrize("wrong", [False, True])
def test_weights_of_vgg16_are_compared_with_their_checksum(monkeypatch, tmp_path, wrong):
    state = TinyVGG(1000).state_dict()
    torch.save(state, tmp_path / "weights")
    digest = "0" * 8 if wrong else hashlib.sha256((tmp_path / "weights").read_bytes()).hexdigest()[:8]
    url = (tmp_path / "weights").rename(tmp_path / f"vgg-{digest}.pth").as_uri()
    monkeypatch.setattr(vgg16, "vgg16", TinyVGG)
    monkeypatch.setattr(vgg16.VGG16_Weights, "url", url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    if wrong:
        with pytest.raises(MurmurError, match=r'cannot be fetched \(invalid hash value \(expected "0+"'):
            make("vgg16", channels=3, weights="imagenet")
        assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]
    else:
        filled = make("vgg16", channels=3, weights="imagenet").state_dict()
        assert torch.equal(filled["features.0.weight"], state["features.0.weight"])


def test_a_download_of_weights_without_an_end_is_given_up(monkeypatch):
    monkeypatch.setattr(_weights, "MAX_SECONDS", 0.05)
    with pytest.raises(
        MurmurError, match=r"these weights cannot be fetched \(no answer within 0\.05 s\); go on"
    ):
        download_weights("these weights", threading.Event().wait)


def test_a_download_error_without_a_message_is_named_by_its_class():
    def fail():
        raise TimeoutError

    with pytest.raises(MurmurError, match=r"these weights cannot be fetched \(TimeoutError\)"):
        download_weights("these weights", fail)


def test_imagenet_weights_for_one_channel_are_the_mean_over_the_colours(offline, monkeypatch):
    pretrained = timm.create_model(TINY).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(pretrained))
    network = make("backbone", arch=TINY, weights="imagenet")
    filled = network.state_dict()
    torch.testing.assert_close(filled["conv1.0.weight"], pretrained["conv1.0.weight"].mean(1, keepdim=True))
    assert torch.equal(filled["layer1.0.conv1.weight"], pretrained["layer1.0.conv1.weight"])
    assert filled["fc.weight"].shape[0] == 3


class TinyVGG(nn.Module):
    """A small network whose first and last layer have the names of those of VGG16."""

    def __init__(self, num_classes, dropout=0.5, init_weights=True):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        between = [nn.Linear(4, 4), *(nn.Identity() for _ in range(4))]
        self.classifier = nn.Sequential(nn.Flatten(), *between, nn.Linear(4, num_classes))

    def forward(self, x):
        return self.classifier(self.features(x))


@pytest.fixture
def tiny_vgg(monkeypatch):
    """Replaces VGG16 by `TinyVGG`, and returns its ImageNet weights."""
    state = TinyVGG(1000).state_dict()
    monkeypatch.setattr(vgg16, "vgg16", TinyVGG)
    monkeypatch.setattr(vgg16.VGG16_Weights, "get_state_dict", lambda *_, **__: state)
    return state


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("source", ["imagenet", "file"])
def test_vgg16_has_the_given_weights_except_for_the_last_layer(tiny_vgg, tmp_path, source, channels):
    torch.save(tiny_vgg, tmp_path / "vgg.pth")
    weights = "imagenet" if source == "imagenet" else str(tmp_path / "vgg.pth")
    network = make("vgg16", channels=channels, weights=weights)
    filled = network.state_dict()
    for key in ("features.0.bias", "classifier.1.weight"):
        assert torch.equal(filled[key], tiny_vgg[key])
    assert filled["classifier.6.weight"].shape == (3, 4)
    grey = torch.randn(2, 1, 8, 8)  # equal in all colours
    expected = nn.functional.conv2d(
        grey.expand(-1, 3, -1, -1) / 3, tiny_vgg["features.0.weight"], tiny_vgg["features.0.bias"], padding=1
    )
    if channels == 1:
        torch.testing.assert_close(network.features[0](grey), expected)
    else:
        assert network.features[0](grey.expand(-1, channels, -1, -1)).shape == expected.shape
    if channels == 3:
        assert torch.equal(filled["features.0.weight"], tiny_vgg["features.0.weight"])


@pytest.fixture
def weights(tmp_path):
    """A weights file of a residual network of timm for 1000 classes and three colours."""
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model(TINY).state_dict(), path)
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("classes", [3, 1000])
def test_a_local_file_is_loaded_except_for_a_last_layer_of_other_classes(tmp_path, suffix, classes):
    state = timm.create_model(TINY).state_dict()
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    filled = make("backbone", arch=TINY, channels=3, classes=classes, weights=str(path)).state_dict()
    same = {
        key
        for key in filled
        if filled[key].shape == state[key].shape and torch.equal(filled[key], state[key])
    }
    assert set(filled) - same == ({"fc.weight", "fc.bias"} if classes == 3 else set())
    assert filled["fc.weight"].shape[0] == classes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("layer2.0.conv1.weight"), r"layer2\.0\.conv1\.weight is missing"),
        (lambda s: s.update({"more.weight": torch.ones(1)}), r"the network has no more\.weight"),
        (
            lambda s: s.update({"layer1.0.conv1.weight": torch.ones(2, 3)}),
            r"layer1\.0\.conv1\.weight is \(2, 3\), not \(\d+, \d+, 3, 3\)",
        ),
        (lambda s: s.pop("fc.bias"), r"fc\.bias is missing"),
        (lambda s: s.clear(), r"conv1\.0\.weight is missing"),
    ],
)
def test_weights_of_another_architecture_are_refused_with_the_first_key(tmp_path, change, words):
    state = timm.create_model(TINY, num_classes=3).state_dict()
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(MurmurError, match=rf"other\.pth: weights of another architecture: {words}"):
        make("backbone", arch=TINY, channels=3, weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.fill_(float("nan")), "contains a number that is not finite"),
        (lambda t: t / 0, "contains a number that is not finite"),
        (lambda t: t.to(torch.complex64), "is not a plain array of real numbers"),
        (lambda t: t.to_sparse(), "is not a plain array of real numbers"),
        (lambda t: t.to("meta"), "is not a plain array of real numbers"),
    ],
)
def test_weights_that_are_not_finite_real_numbers_are_refused(tmp_path, spoil, words):
    state = timm.create_model(TINY, num_classes=3).state_dict()
    torch.save(state | {"fc.bias": spoil(state["fc.bias"])}, tmp_path / "odd.pth")
    with pytest.raises(MurmurError, match=rf"odd\.pth: fc\.bias {words}"):
        make("backbone", arch=TINY, channels=3, weights=str(tmp_path / "odd.pth"))


def test_a_compressed_weights_file_is_not_decompressed(tmp_path):
    torch.save({"fc.weight": torch.zeros(1000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(MurmurError, match=r"bomb\.pth: cannot be read as weights .*its parts are compressed"):
        make("backbone", arch=TINY, channels=3, weights=str(tmp_path / "bomb.pth"))


def test_a_file_for_three_colours_gives_one_channel_their_mean(weights):
    network = make("backbone", arch=TINY, channels=1, weights=str(weights))
    given = load_file(weights)["conv1.0.weight"]
    torch.testing.assert_close(network.state_dict()["conv1.0.weight"], given.mean(1, keepdim=True))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("attention", {"trunk": "resnet99"}, r"train\.model attention .*Unknown model \(resnet99\)"),
        ("conv_blocks", {"widths": 32}, r"train\.model\.widths: .*\(it is 32\)"),
        ("site_transformer", {"sites": ["AV"], "missing": "mask"}, r"train\.model\.missing: Input should be"),
        ("site_transformer", {"sites": ["AV"], "trunk": "cnnn"}, r"train\.model\.trunk: Input should be"),
        (
            "site_transformer",
            {"sites": ["AV"], "attention_heads": 3},
            r"train\.model site_transformer .*divis",
        ),
        ("site_transformer", {"sites": ["AV"], "heads": 0}, r"train\.model\.heads: .* greater than"),
        ("site_transformer", {"sites": ["AV"], "layers": 0}, r"train\.model\.layers: .* greater than"),
        ("conv_blocks", {"widths": []}, r"conv_blocks .*no block"),
        (
            "conv_blocks",
            {"widths": [8], "block_dropout": [0.1, 0.2]},
            r"conv_blocks .*more dropouts than layers",
        ),
        ("conv_blocks", {"widths": [8], "dropout": [0.1, 0.2]}, r"conv_blocks .*more dropouts than layers"),
        ("conv_blocks", {"widths": [8], "gate_after": 2}, r"gate_after 2: there is no such block"),
        ("conv_blocks", {"widths": [2], "gate_after": 1}, r"gate_after 1: .*fewer than 4 channels"),
        ("bilstm", {"dropout": "much"}, r"train\.model\.dropout: Input should be a valid number"),
    ],
    ids=str,
)
def test_invalid_options_are_an_error_that_names_them(name, options, words):
    with pytest.raises(MurmurError, match=words):
        make(name, **options)


def test_vgg16_has_no_adaptive_pooling_at_its_original_image_size(tiny_vgg):
    assert isinstance(make("vgg16", channels=3, mels=224, frames=224).avgpool, nn.Identity)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("content", [b"", b"neither this nor that", None])
def test_a_damaged_file_is_named(tmp_path, suffix, content):
    path, state = tmp_path / f"weights.{suffix}", timm.create_model(TINY).state_dict()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    made.cut(path) if content is None else path.write_bytes(content)
    with pytest.raises(
        MurmurError, match=rf"weights\.{suffix}: cannot be read as weights .*fetch the file ag"
    ):
        make("backbone", arch=TINY, channels=3, weights=str(path))


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), {"epoch": 3}, {1: torch.ones(1)}], ids=str)
def test_a_file_without_a_state_dict_is_named(tmp_path, content):
    torch.save(content, tmp_path / "what.pth")
    with pytest.raises(MurmurError, match=r"what\.pth: expected a state dict, tensors by name"):
        make("backbone", arch=TINY, channels=3, weights=str(tmp_path / "what.pth"))


def test_code_in_a_weights_file_is_not_executed(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save({"fc.weight": Malicious()}, tmp_path / "trap.pth")
    with pytest.raises(MurmurError, match=r"trap\.pth: cannot be read as weights"):
        make("backbone", arch=TINY, weights=str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_is_named():
    with pytest.raises(
        MurmurError, match=r"train\.model\.weights: no file no\.pth; name a weights file, imagenet"
    ):
        make("backbone", arch=TINY, weights="no.pth")


def is_trained(network):
    return [isinstance(p, nn.Parameter) and p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize("name", MODELS)
def test_with_freeze_0_all_parameters_are_trained(name):
    network = make(name, **MODELS[name])
    assert freeze(network, 0) == [] and all(is_trained(network))


def test_the_first_layers_and_their_batch_normalisation_are_frozen():
    network = make("conv_blocks", widths=[4, 8, 16])
    frozen = freeze(network, 2)
    convolutions = [k for k, layer in enumerate(network) if isinstance(layer, nn.Conv2d)]
    assert frozen == list(network[: convolutions[2]])
    expected = [k < convolutions[2] for k, layer in enumerate(network) for _ in layer.parameters()]
    assert is_trained(network) == [not present for present in expected] and any(is_trained(network))


def test_freezing_all_layers_is_an_error():
    network = make("conv_blocks", widths=[4, 8])
    freeze(network, 2)
    with pytest.raises(MurmurError, match=r"train\.freeze 3: the network has 3 layers; leave some to train"):
        freeze(network, 3)


SITES = ["AV", "MV", "PV", "TV"]


def transformer(**options):
    small = {"width": 16, "layers": 2, "attention_heads": 2, "feedforward": 8, "sites": SITES}
    return make("site_transformer", mels=12, frames=6, **small | options)


def patients(present, seed=0):
    """Random segments [patients, sites, n, 1, 12, 6], and the mask of those that are not padding."""
    present = torch.tensor(present, dtype=torch.bool)
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*present.shape, 1, 12, 6, generator=draw), present


PRESENT = [
    [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]],
    [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]],
    [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],  # no recording at any site
]
KINDS = [{}, {"trunk": "cnn"}, {"missing": "zero"}, {"heads": 1}, {"late_fusion": True}, {"drop_sites": 0.5}]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_logits_of_each_patient_and_head_are_finite(options):
    model = transformer(**options)
    for train in (False, True):
        logits = model.train(train)(*patients(PRESENT))
        heads = 2 if options.get("late_fusion") else options.get("heads", 3)
        assert logits.shape == (3, heads, 3) and logits.isfinite().all()
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_padding_does_not_change_the_logits(options):
    model, (x, present) = transformer(**options), patients(PRESENT)
    expected = model(x, present)
    for filler in (1e6, torch.nan):
        assert torch.equal(model(torch.where(present[..., None, None, None], x, filler), present), expected)


def test_a_masked_site_has_no_effect_and_a_zeroed_site_has_one():
    """A masked site has the same effect as a model without that site."""
    x, present = patients([[[1], [1], [0], [1]]])
    for missing, same in (("masked", True), ("zero", False)):
        model = transformer(missing=missing)
        fewer = [0, 1, 3]
        assert torch.allclose(model(x[:, fewer], present[:, fewer]), model(x, present), atol=1e-6) == same


@pytest.mark.parametrize("trunk", ["none", "cnn"])
def test_the_order_of_segments_and_the_amount_of_padding_do_not_change_the_logits(trunk):
    model, (x, present) = transformer(trunk=trunk), patients(PRESENT)
    expected = model(x, present)
    order = [2, 0, 1]
    torch.testing.assert_close(model(x[:, :, order], present[:, :, order]), expected, atol=1e-5, rtol=1e-4)
    wider, spare = torch.cat([x, x], dim=2), torch.cat([present, present & False], dim=2)
    torch.testing.assert_close(model(wider, spare), expected, atol=1e-5, rtol=1e-4)
    for k in range(3):
        alone = model(x[k : k + 1], present[k : k + 1])
        torch.testing.assert_close(alone, expected[k : k + 1], atol=1e-5, rtol=1e-4)


def test_a_site_is_the_mean_of_its_segments_and_a_segment_the_mean_of_its_frames():
    model, (x, present) = transformer(), patients(PRESENT)
    mean = (x * present[..., None, None, None]).sum(2) / present.sum(2).clamp(min=1)[..., None, None, None]
    mean = mean.mean(dim=-1, keepdim=True).expand_as(x[:, :, 0])
    one = present.any(dim=2, keepdim=True)
    torch.testing.assert_close(model(mean[:, :, None], one), model(x, present), atol=1e-5, rtol=1e-4)


def test_every_segment_changes_the_logits_of_its_patient_only():
    model, (x, present) = transformer(), patients(PRESENT)
    expected = model(x, present)
    for index in present.nonzero():
        changed_x = x.clone()
        changed_x[tuple(index)] += 1
        changed = (model(changed_x, present) - expected).abs().amax(dim=(1, 2)) > 1e-6
        assert changed.tolist() == [k == index[0] for k in range(3)]


def test_late_fusion_adds_a_perceptron_on_the_mean_over_the_sites():
    model, (x, present) = transformer(late_fusion=True), patients(PRESENT)
    fused, plain = model(x, present).unbind(dim=1)
    means = x.mean(dim=-1)[..., 0, :]
    sites = (means * present[..., None]).sum(2) / present.sum(2).clamp(min=1)[..., None]
    n = present.any(2).sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(plain, model.plain(sites.sum(1) / n), atol=1e-5, rtol=1e-4)
    model.plain = None
    torch.testing.assert_close(fused, model(x, present).mean(dim=1), atol=1e-5, rtol=1e-4)


def test_sites_are_dropped_in_training_only_and_one_remains():
    model = transformer(drop_sites=0.5)
    recorded = torch.tensor([[True] * 4, [False, True, False, False], [False] * 4]).repeat(500, 1)
    assert torch.equal(model._drop_sites(recorded), recorded)
    remaining = model.train()._drop_sites(recorded)
    assert not (remaining & ~recorded).any()
    assert torch.equal(remaining.any(dim=1), recorded.any(dim=1))
    share = remaining[::3].float().mean()
    assert 0.5 < share < 0.6  # above half: a patient who would lose all sites keeps them


def test_a_batch_without_any_segment_has_finite_logits():
    for options in KINDS:
        assert transformer(**options)(*patients([PRESENT[2]])).isfinite().all()
