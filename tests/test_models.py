"""Every model: the published sizes, shapes that fit, weights that load, and what cannot be, told."""

import importlib
import socket
import time
import zipfile

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn

from murmur.errors import MurmurError
from murmur.features.mel import n_frames
from murmur.models import backbone, vgg16
from murmur.models._construction import build, freeze
from murmur.models._weights import download_weights
from murmur.models.conv_blocks import Gate
from murmur.params.validation import check
from murmur.sections.experiment import Params
from murmur.sections.train import Model
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
SHAPES = {  # of a spectrogram, as published
    "bmd_hs_cnn": (3, 224, 224),
    "cinc2016_attention": (1, 128, 79),
    "cinc2016_cnn": (1, 128, 79),
    "cinc2016_cnn_light": (1, 128, 79),
    "cinc2016_resnet18": (1, 128, 79),
    "circor_attention": (1, 128, 241),
    "circor_bilstm": (1, 128, 241),
    "circor_cnn": (1, 128, 241),
    "circor_m2d_transformer": (1, 3840, 1),
    "circor_resnet18": (1, 128, 241),
    "circor_resnet34": (1, 128, 241),
    "circor_resnet34_multiwindow": (3, 128, 301),
    "pascal_vgg16": (3, 224, 224),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make(name, *, classes=3, channels=1, mels=32, frames=40, **options):
    model = Model(name=name, **options)
    return build(model, classes=classes, channels=channels, mels=mels, frames=frames).eval()


def recipe(name):
    return check(Params, made.changed({}, name), where=name)


def shape(p):
    """Channels, mels and frames of what the recipe's network sees."""
    if p.train.features == "embedding":
        assert "m2d_vit_base-80x608p16x16" in p.embed.weights and p.embed.pool == "mean"
        return 1, 80 // 16 * 768, 1
    if p.mel.image:
        return 3, p.mel.image.size, p.mel.image.size
    frames = n_frames(round(p.segment.length * p.clean.sample_rate), p.mel)
    return len(p.mel.windows), p.mel.n_mels, frames


@pytest.mark.parametrize("name", SHAPES)
def test_a_recipe_s_network_has_the_published_shape_and_number_of_parameters(name):
    p = recipe(name)
    assert shape(p) == SHAPES[name]
    task = importlib.import_module(f"murmur.datasets.{p.dataset}").TASKS[p.task]
    classes = {p.class_map.get(label, label) for label in task.classes} - {None}
    model = p.train.model
    if model.options.get("weights") == "imagenet":
        model = Model(name=model.name, **model.options | {"weights": "none"})
    with torch.device("meta" if model.name == "vgg16" else "cpu"):  # 134 million numbers need not be drawn
        channels, mels, frames = shape(p)
        network = build(model, classes=len(classes), channels=channels, mels=mels, frames=frames)
    size = sum(parameter.numel() for parameter in network.parameters())
    assert size == PUBLISHED.get(name, size)  # of the plain CNN for CirCor none is published
    assert name in PUBLISHED or name == "circor_cnn"


TINY = "test_resnet"  # timm's own for tests
MODELS = {
    "cnn": {"width": 4},
    "conv_blocks": {"widths": [4, 8], "convolutions": 2, "gate_after": 1, "hidden": [6], "dropout": [0, 0.1]},
    "attention": {"trunk": TINY},
    "bilstm": {"width": 8},
    "backbone": {"arch": TINY, "dropout": 0.1},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(1, 40, 161), (3, 32, 40), (2, 128, 65)])
def test_a_model_turns_spectrograms_of_any_shape_into_logits(name, size):
    channels, mels, frames = size
    model = make(name, classes=5, channels=channels, mels=mels, frames=frames, **MODELS[name])
    x = torch.randn(3, *size)
    logits = model(x)
    assert logits.shape == (3, 5) and logits.isfinite().all()
    torch.testing.assert_close(model(x[1:2]), logits[1:2], atol=1e-5, rtol=1e-4)
    other = x.clone()
    other[0, -1, -1] += 3
    assert not torch.allclose(model(other)[0], logits[0], atol=1e-7), "every channel and band counts"


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns(name):
    model = make(name, **MODELS[name]).train()
    model(torch.randn(4, 1, 32, 40)).square().sum().backward()
    idle = [key for key, p in model.named_parameters() if p.grad is None]
    assert not idle


def test_the_blocks_are_built_as_they_are_said():
    model = make(
        "conv_blocks", widths=[4, 6], convolutions=2, block_dropout=[0.1, 0.2], hidden=[5], dropout=[0.5, 0.3]
    )
    names = [type(layer).__name__ for layer in model]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Dropout2d"]
    head = ["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert names == [*block, *block, *head]
    assert [layer.p for layer in model if "Dropout" in type(layer).__name__] == [0.1, 0.2, 0.5, 0.3]


def test_the_gate_weighs_channels_by_their_means():
    gate, x = Gate(8), torch.randn(2, 8, 5, 6)
    share = gate(x) / x
    torch.testing.assert_close(share, share[..., :1, :1].expand_as(share))
    assert ((share > 0) & (share < 1)).all()
    means = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(gate(means) / means, share[..., :1, :1])


def test_attention_does_not_depend_on_the_order_of_its_tokens():
    model = make("attention", trunk=TINY, mels=64, frames=96)
    seen = model.trunk.forward_features(torch.randn(2, 1, 64, 96))
    model.trunk.forward_features = lambda x: x
    torch.testing.assert_close(model(seen.flip(2, 3)), model(seen), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(seen * 2), model(seen))
    expected = model(seen)
    tokens = seen.flatten(2).mean(dim=2)
    project = model.attention.out_proj
    with torch.no_grad():
        project.weight.zero_()  # nothing is seen: what is left is the way past
    torch.testing.assert_close(model(seen), model.head(tokens))
    assert not torch.allclose(model(seen), expected)


def test_the_bilstm_reads_time_forwards_and_backwards():
    model = make("bilstm", width=8, layers=1)
    x = torch.randn(1, 1, 32, 40)
    forwards, backwards = x.clone(), x.clone()
    forwards[..., -4] += 1  # only the forward half of the last step has seen this frame
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
def test_unknown_names_are_told(model, message):
    with pytest.raises(MurmurError, match=message):
        build(model, classes=2, channels=1, mels=16, frames=16)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (Model(name="conv_blocks"), "8 x 100"),  # halved four times
        (Model(name="backbone", arch="vgg11"), "16 x 16"),
    ],
    ids=str,
)
def test_a_network_that_needs_a_larger_spectrogram_is_told(model, size):
    mels, frames = (int(n) for n in size.split(" x "))
    words = rf"train\.model {model.name}: cannot take a spectrogram of {size} \(mels x frames\): .*larger one"
    with torch.device("meta"), pytest.raises(MurmurError, match=words):
        build(model, classes=2, channels=1, mels=mels, frames=frames)


def test_a_network_that_fails_without_a_word_is_told(monkeypatch):
    class Mute(nn.Module):
        def forward(self, x):
            raise AssertionError

    monkeypatch.setattr(backbone, "build", lambda *, classes, channels, mels, frames: Mute())
    with pytest.raises(MurmurError, match=r"spectrogram of 32 x 40 .*: AssertionError; give"):
        make("backbone")


def test_a_network_of_fixed_size_is_made_for_the_spectrogram():
    assert make("backbone", arch="test_vit", mels=64, frames=96)(torch.zeros(2, 1, 64, 96)).shape == (2, 3)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No name can be looked up and no address reached; the caches are empty."""

    def refuse(*_args, **_keys):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # put back after the test
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.mark.parametrize("model", [{"name": "backbone", "arch": TINY}, {"name": "vgg16"}], ids=str)
def test_without_a_network_imagenet_is_an_error_within_seconds(offline, model):
    begun, words = (
        time.monotonic(),
        "ImageNet weights cannot be fetched .*go online once, name a local weights",
    )
    with (
        torch.device("meta"),
        pytest.raises(MurmurError, match=rf"train\.model\.weights imagenet: .*{words}"),
    ):
        make(**model, channels=3, weights="imagenet")
    assert time.monotonic() - begun < 5
    assert socket.getdefaulttimeout() is None


def test_a_downloader_that_fails_without_a_word_is_told_by_its_kind():
    def fail():
        raise TimeoutError

    with pytest.raises(MurmurError, match=r"these weights cannot be fetched \(TimeoutError\)"):
        download_weights("these weights", fail)


def test_imagenet_weights_of_a_backbone_are_the_mean_over_colours(offline, monkeypatch):
    pretrained = timm.create_model(TINY).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(pretrained))
    network = make("backbone", arch=TINY, weights="imagenet")
    own = network.state_dict()
    torch.testing.assert_close(own["conv1.0.weight"], pretrained["conv1.0.weight"].mean(1, keepdim=True))
    assert torch.equal(own["layer1.0.conv1.weight"], pretrained["layer1.0.conv1.weight"])
    assert own["fc.weight"].shape[0] == 3


class TinyVGG(nn.Module):
    """The names of VGG16's first and last layer, and hardly anything between them."""

    def __init__(self, num_classes, dropout=0.5, init_weights=True):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        between = [nn.Linear(4, 4), *(nn.Identity() for _ in range(4))]
        self.classifier = nn.Sequential(nn.Flatten(), *between, nn.Linear(4, num_classes))

    def forward(self, x):
        return self.classifier(self.features(x))


@pytest.fixture
def tiny_vgg(monkeypatch):
    """VGG16 made small, and ImageNet weights of that."""
    state = TinyVGG(1000).state_dict()
    monkeypatch.setattr(vgg16, "vgg16", TinyVGG)
    monkeypatch.setattr(vgg16.VGG16_Weights, "get_state_dict", lambda *_, **__: state)
    return state


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("source", ["imagenet", "file"])
def test_vgg16_s_weights_are_those_given_but_for_the_last_layer(tiny_vgg, tmp_path, source, channels):
    torch.save(tiny_vgg, tmp_path / "vgg.pth")
    weights = "imagenet" if source == "imagenet" else str(tmp_path / "vgg.pth")
    network = make("vgg16", channels=channels, weights=weights)
    own = network.state_dict()
    for key in ("features.0.bias", "classifier.1.weight"):
        assert torch.equal(own[key], tiny_vgg[key])
    assert own["classifier.6.weight"].shape == (3, 4)
    grey = torch.randn(2, 1, 8, 8)  # the same in all colours
    expected = nn.functional.conv2d(
        grey.expand(-1, 3, -1, -1) / 3, tiny_vgg["features.0.weight"], tiny_vgg["features.0.bias"], padding=1
    )
    if channels == 1:
        torch.testing.assert_close(network.features[0](grey), expected)
    else:
        assert network.features[0](grey.expand(-1, channels, -1, -1)).shape == expected.shape
    if channels == 3:
        assert torch.equal(own["features.0.weight"], tiny_vgg["features.0.weight"])


@pytest.fixture
def weights(tmp_path):
    """A file of resnet weights for 1000 classes and three colours, as timm has them."""
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model(TINY).state_dict(), path)
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("classes", [3, 1000])
def test_a_local_file_fills_the_network_but_for_a_head_of_other_classes(tmp_path, suffix, classes):
    state = timm.create_model(TINY).state_dict()
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    own = make("backbone", arch=TINY, channels=3, classes=classes, weights=str(path)).state_dict()
    same = {key for key in own if own[key].shape == state[key].shape and torch.equal(own[key], state[key])}
    assert set(own) - same == ({"fc.weight", "fc.bias"} if classes == 3 else set())
    assert own["fc.weight"].shape[0] == classes


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
def test_weights_of_another_architecture_name_the_first_key(tmp_path, change, words):
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
def test_weights_that_are_no_plain_numbers_are_told(tmp_path, spoil, words):
    state = timm.create_model(TINY, num_classes=3).state_dict()
    torch.save(state | {"fc.bias": spoil(state["fc.bias"])}, tmp_path / "odd.pth")
    with pytest.raises(MurmurError, match=rf"odd\.pth: fc\.bias {words}"):
        make("backbone", arch=TINY, channels=3, weights=str(tmp_path / "odd.pth"))


def test_a_packed_archive_of_weights_is_not_unpacked(tmp_path):
    torch.save({"fc.weight": torch.zeros(1000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(MurmurError, match=r"bomb\.pth: cannot be read as weights .*its parts are compressed"):
        make("backbone", arch=TINY, channels=3, weights=str(tmp_path / "bomb.pth"))


def test_a_file_for_three_colours_serves_one_channel_as_their_mean(weights):
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
        ("site_transformer", {"sites": ["AV"], "heads": 0}, r"train\.model site_transformer .*non-empty"),
        ("site_transformer", {"sites": ["AV"], "layers": 0}, r"train\.model site_transformer .*out of range"),
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
def test_an_option_that_makes_no_network_is_told(name, options, words):
    with pytest.raises(MurmurError, match=words):
        make(name, **options)


def test_vgg16_at_its_own_size_needs_no_pooling_that_cuda_cannot_repeat(tiny_vgg):
    assert isinstance(make("vgg16", channels=3, mels=224, frames=224).avgpool, nn.Identity)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("content", [b"", b"neither this nor that", None])
def test_a_damaged_file_is_told(tmp_path, suffix, content):
    path, state = tmp_path / f"weights.{suffix}", timm.create_model(TINY).state_dict()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    made.cut(path) if content is None else path.write_bytes(content)
    with pytest.raises(
        MurmurError, match=rf"weights\.{suffix}: cannot be read as weights .*fetch the file ag"
    ):
        make("backbone", arch=TINY, channels=3, weights=str(path))


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), {"epoch": 3}, {1: torch.ones(1)}], ids=str)
def test_a_file_that_holds_no_weights_is_told(tmp_path, content):
    torch.save(content, tmp_path / "what.pth")
    with pytest.raises(MurmurError, match=r"what\.pth: expected a state dict, tensors by name"):
        make("backbone", arch=TINY, channels=3, weights=str(tmp_path / "what.pth"))


def test_no_code_in_a_weights_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save({"fc.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(MurmurError, match=r"trap\.pth: cannot be read as weights"):
        make("backbone", arch=TINY, weights=str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(
        MurmurError, match=r"train\.model\.weights: no file no\.pth; name a weights file, imagenet"
    ):
        make("backbone", arch=TINY, weights="no.pth")


def learning(network):
    return [isinstance(p, nn.Parameter) and p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_frozen_unless_asked(name):
    network = make(name, **MODELS[name])
    assert freeze(network, 0) == [] and all(learning(network))


def test_the_first_layers_and_the_norms_among_them_are_frozen():
    network = make("conv_blocks", widths=[4, 8, 16])
    frozen = freeze(network, 2)
    convolutions = [k for k, layer in enumerate(network) if isinstance(layer, nn.Conv2d)]
    assert frozen == list(network[: convolutions[2]])
    expected = [k < convolutions[2] for k, layer in enumerate(network) for _ in layer.parameters()]
    assert learning(network) == [not there for there in expected] and any(learning(network))


def test_a_network_without_a_layer_to_train_is_told():
    network = make("conv_blocks", widths=[4, 8])
    freeze(network, 2)
    with pytest.raises(MurmurError, match=r"train\.freeze 3: the network has 3 layers; leave some to train"):
        freeze(network, 3)


SITES = ["AV", "MV", "PV", "TV"]


def transformer(**options):
    small = {"width": 16, "layers": 2, "attention_heads": 2, "feedforward": 8, "sites": SITES}
    return make("site_transformer", mels=12, frames=6, **small | options)


def patients(there, seed=0):
    """Random segments [patients, sites, n, 1, 12, 6] and which are there."""
    there = torch.tensor(there, dtype=torch.bool)
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*there.shape, 1, 12, 6, generator=draw), there


THERE = [
    [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]],
    [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]],
    [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],  # heard nowhere
]
KINDS = [{}, {"trunk": "cnn"}, {"missing": "zero"}, {"heads": 1}, {"late_fusion": True}, {"drop_sites": 0.5}]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_each_patient_has_a_finite_answer_of_each_head(options):
    model = transformer(**options)
    for train in (False, True):
        logits = model.train(train)(*patients(THERE))
        heads = 2 if options.get("late_fusion") else options.get("heads", 3)
        assert logits.shape == (3, heads, 3) and logits.isfinite().all()
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_what_is_not_there_cannot_change_the_answer(options):
    model, (x, there) = transformer(**options), patients(THERE)
    expected = model(x, there)
    for filler in (1e6, torch.nan):
        assert torch.equal(model(torch.where(there[..., None, None, None], x, filler), there), expected)


def test_a_missing_site_is_hidden_unless_it_is_only_zeroed():
    """A masked site is as if the model had no such site; a zeroed one has its say."""
    x, there = patients([[[1], [1], [0], [1]]])
    for missing, same in (("masked", True), ("zero", False)):
        model = transformer(missing=missing)
        fewer = [0, 1, 3]
        assert torch.allclose(model(x[:, fewer], there[:, fewer]), model(x, there), atol=1e-6) == same


@pytest.mark.parametrize("trunk", ["none", "cnn"])
def test_the_order_of_segments_in_a_site_and_the_spare_places_do_not_matter(trunk):
    model, (x, there) = transformer(trunk=trunk), patients(THERE)
    expected = model(x, there)
    order = [2, 0, 1]
    torch.testing.assert_close(model(x[:, :, order], there[:, :, order]), expected, atol=1e-5, rtol=1e-4)
    wider, spare = torch.cat([x, x], dim=2), torch.cat([there, there & False], dim=2)
    torch.testing.assert_close(model(wider, spare), expected, atol=1e-5, rtol=1e-4)
    for k in range(3):
        alone = model(x[k : k + 1], there[k : k + 1])
        torch.testing.assert_close(alone, expected[k : k + 1], atol=1e-5, rtol=1e-4)


def test_a_site_is_the_mean_of_its_segments_and_a_segment_that_of_its_frames():
    model, (x, there) = transformer(), patients(THERE)
    mean = (x * there[..., None, None, None]).sum(2) / there.sum(2).clamp(min=1)[..., None, None, None]
    mean = mean.mean(dim=-1, keepdim=True).expand_as(x[:, :, 0])
    one = there.any(dim=2, keepdim=True)
    torch.testing.assert_close(model(mean[:, :, None], one), model(x, there), atol=1e-5, rtol=1e-4)


def test_every_segment_that_is_there_counts():
    model, (x, there) = transformer(), patients(THERE)
    expected = model(x, there)
    for place in there.nonzero():
        other = x.clone()
        other[tuple(place)] += 1
        changed = (model(other, there) - expected).abs().amax(dim=(1, 2)) > 1e-6
        assert changed.tolist() == [k == place[0] for k in range(3)]


def test_late_fusion_adds_a_plain_network_over_the_mean_of_the_sites():
    model, (x, there) = transformer(late_fusion=True), patients(THERE)
    fused, plain = model(x, there).unbind(dim=1)
    means = x.mean(dim=-1)[..., 0, :]
    sites = (means * there[..., None]).sum(2) / there.sum(2).clamp(min=1)[..., None]
    n = there.any(2).sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(plain, model.plain(sites.sum(1) / n), atol=1e-5, rtol=1e-4)
    model.plain = None
    torch.testing.assert_close(fused, model(x, there).mean(dim=1), atol=1e-5, rtol=1e-4)


def test_sites_are_dropped_in_training_only_and_never_the_last():
    model = transformer(drop_sites=0.5)
    heard = torch.tensor([[True] * 4, [False, True, False, False], [False] * 4]).repeat(500, 1)
    assert torch.equal(model._drop_sites(heard), heard)
    kept = model.train()._drop_sites(heard)
    assert not (kept & ~heard).any()
    assert torch.equal(kept.any(dim=1), heard.any(dim=1))
    share = kept[::3].float().mean()
    assert 0.5 < share < 0.6  # a little more than half: a patient whose sites all fell keeps them all


def test_a_batch_without_any_segment_has_finite_answers():
    for options in KINDS:
        assert transformer(**options)(*patients([THERE[2]])).isfinite().all()
