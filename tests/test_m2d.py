"""M2D compared with a simple reference implementation, with random checkpoints in the official layout."""

import argparse
import os

import pytest
import torch
import torch.nn.functional as F

from murmur.errors import MurmurError
from murmur.models import m2d
from murmur.sections.train import Model
from murmur.training.network import build
from tests import made

FOLDERS = {
    "square": "m2d_vit_tiny-80x64p16x16-220930-mr7",
    "tall": "m2d_s_vit_tiny-80x12p80x2-230220",
    "uneven": "m2d_as_vit_tiny-80x70p16x16p16k-240413_AS-FT_enconly",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    return {kind: made.m2d_checkpoint(root, name) for kind, name in FOLDERS.items()}


@pytest.fixture(scope="module")
def encoders(checkpoints):
    return {kind: m2d.load_encoder(path).eval() for kind, path in checkpoints.items()}


def spectrograms(frames, batch=2, mels=80):
    """Random log-mel spectrograms with the mean and standard deviation of AudioSet."""
    return 4.2 * torch.randn(batch, 1, mels, frames, generator=torch.Generator().manual_seed(frames)) - 7.1


def reference_encoder(path, x, patch, longest, mean=-7.1, sd=4.2):
    """The published computation in simple steps: chunks, patches, blocks, normalisation, order."""
    state = torch.load(path, weights_only=False)["model"]
    width, out = state["norm.weight"].numel(), []
    for start in range(0, x.shape[3], longest):
        piece = (x[..., start : start + longest] - mean) / sd
        bands, steps = 80 // patch[0], -(-piece.shape[3] // patch[1])
        steps = min(steps, longest // patch[1])
        padded = torch.zeros(len(x), 80, steps * patch[1])
        padded[..., : piece.shape[3]] = piece[:, 0, :, : steps * patch[1]]
        tokens = torch.stack(
            [
                padded[:, f * patch[0] : (f + 1) * patch[0], t * patch[1] : (t + 1) * patch[1]].flatten(1)
                @ state["patch_embed.proj.weight"].flatten(1).T
                + state["patch_embed.proj.bias"]
                + state["pos_embed"][:, 1 + f * (longest // patch[1]) + t]
                for f in range(bands)
                for t in range(steps)
            ],
            dim=1,
        )
        cls = (state["cls_token"] + state["pos_embed"][:, :1]).repeat(len(x), 1, 1)
        tokens = transformer(torch.cat([cls, tokens], dim=1), state, width)[:, 1:]
        out += [torch.cat([tokens[:, f * steps + t] for f in range(bands)], dim=1) for t in range(steps)]
    return torch.stack(out, dim=1)


def transformer(x, state, width):
    def norm(x, name):
        return F.layer_norm(x, [width], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for k in range(12):
        block = f"blocks.{k}"
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k_, v = (part.unflatten(2, (3, 64)).transpose(1, 2) for part in qkv.split(width, dim=2))
        heads = F.scaled_dot_product_attention(q, k_, v).transpose(1, 2).flatten(2)
        x = x + linear(heads, f"{block}.attn.proj")
        inner = F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        x = x + linear(inner, f"{block}.mlp.fc2")
    return norm(x, "norm")


@pytest.mark.parametrize(
    ("kind", "frames", "steps"),
    [
        ("square", 64, 4),  # exactly one chunk
        ("square", 16, 1),
        ("square", 1, 1),
        ("square", 40, 3),  # shorter: half a patch is padding, the last positions are not used
        ("square", 128, 8),  # two chunks
        ("square", 150, 10),  # three chunks, the last one shorter
        ("tall", 12, 6),
        ("tall", 29, 15),
        (
            "uneven",
            70,
            4,
        ),  # 70 frames are 4 patches and 6 frames that are not used
        ("uneven", 69, 4),
        ("uneven", 139, 8),
        ("uneven", 75, 5),
    ],
)
@torch.no_grad()
def test_the_encoder_computes_what_the_published_code_computes(checkpoints, encoders, kind, frames, steps):
    x = spectrograms(frames)
    sizes = m2d.parse_sizes(FOLDERS[kind])
    encoded = encoders[kind](x)
    assert encoded.shape == (2, steps, 192 * 80 // sizes.patch[0])
    expected = reference_encoder(checkpoints[kind], x, sizes.patch, sizes.input[1])
    torch.testing.assert_close(encoded, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("band", "step"), [(0, 3), (4, 0), (2, 5)])
@torch.no_grad()
def test_a_patch_changes_only_its_own_part_of_the_output(checkpoints, band, step):
    """Without attention a token depends on its own patch only; bands are adjacent within a time step."""
    encoder = m2d.load_encoder(checkpoints["square"])
    for block in encoder.blocks:
        block.attn.proj.weight.zero_()
    x = spectrograms(150, batch=1)
    before = encoder(x)
    x[..., 16 * band : 16 * band + 16, 16 * step : 16 * step + 16] += 3
    moved = (encoder(x) != before)[0].unflatten(1, (5, 192)).any(dim=2)
    assert moved.nonzero().tolist() == [[step, band]]


def test_the_standardisation_is_that_of_the_checkpoint(tmp_path, encoders):
    """(x + 7.1) / 4.2 if the checkpoint has no statistics."""
    stats = torch.tensor([-10.5, 4.4])
    other = m2d.load_encoder(made.m2d_checkpoint(tmp_path, norm_stats=stats))
    x = torch.randn(1, 1, 80, 64)
    torch.testing.assert_close(other(x * 4.4 - 10.5), encoders["square"](x * 4.2 - 7.1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "layout",
    [{"bare": True}, {"prefix": "backbone."}, {"bare": True, "prefix": "module.ar.runtime.backbone."}],
    ids=str,
)
def test_every_official_file_layout_gives_the_same_encoder(tmp_path, encoders, layout):
    other = m2d.load_encoder(made.m2d_checkpoint(tmp_path, **layout)).state_dict()
    state = encoders["square"].state_dict()
    assert list(state) == list(other)
    assert all(torch.equal(state[key], other[key]) for key in state)


def test_vit_base_has_the_published_number_of_parameters_and_output_shapes():
    """85.4 million parameters, and the output shapes of the official README for 10 s and for 900 frames."""
    with torch.device("meta"):
        encoder = m2d.Encoder(m2d.parse_sizes(m2d.OFFICIAL))
        assert encoder(torch.zeros(3, 1, 80, 1001)).shape == (3, 63, 3840)
        assert encoder(torch.zeros(10, 1, 80, 900)).shape == (10, 57, 3840)
    assert encoder.dims == 3840
    block = 12 * 768**2 + 13 * 768
    expected = 12 * block + 2 * 768 + (16 * 16 + 1) * 768 + 768 + (1 + 5 * 38) * 768
    assert sum(p.numel() for p in encoder.parameters()) == expected == 85_400_832


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (m2d.OFFICIAL, ("vit_base", (80, 608), (16, 16))),
        ("m2d_as_vit_base-80x1001p16x16p16k-240413_AS-FT_enconly", ("vit_base", (80, 1001), (16, 16))),
        ("m2d_vit_base-80x200p16x4-230529", ("vit_base", (80, 200), (16, 4))),
        ("m2d_s_vit_base-80x608p80x2-230220", ("vit_base", (80, 608), (80, 2))),
        ("m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025", ("vit_base", (80, 1001), (16, 16))),
        ("msm_mae_vit_base-80x608p16x16-220924-mr75", ("vit_base", (80, 608), (16, 16))),
        ("m2d_vit_large-80x208p16x16", ("vit_large", (80, 208), (16, 16))),
    ],
)
def test_the_sizes_are_read_from_the_folder_name(name, expected):
    assert m2d.parse_sizes(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("", "weights", "m2d_vit_base", "m2d_vit_base-80p16", "m2d_vit_mega-80x608p16x16"),
        *("m2d_vit_base-80x608p0x16", "m2d_vit_base-80x999999999p16x16"),
    ],
)
def test_a_folder_name_without_sizes_is_an_error(name):
    with pytest.raises(
        MurmurError, match="the name of this folder must contain the sizes of the model, like m2d_vit_base"
    ):
        m2d.parse_sizes(name)


def test_the_error_for_a_missing_file_describes_the_download(tmp_path):
    message = (
        r"checkpoint\.pth: no such file; download m2d_vit_base-80x608p16x16-220930-mr7_enconly\.zip .*"
        r"releases of https://github\.com/nttcslab/m2d, unpack it as data/weights/m2d_vit_base.*-300\.pth and"
    )
    with pytest.raises(MurmurError, match=message):
        m2d.load_encoder(tmp_path / "checkpoint.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm__bias": None}, r"norm\.bias is missing"),
        ({"blocks__12__norm1__weight": torch.ones(192)}, r"the network has no blocks\.12\.norm1\.weight"),
        ({"blocks__0__ls1__gamma": torch.ones(192)}, r"the network has no blocks\.0\.ls1\.gamma"),
        ({"cls_token": torch.ones(1, 1, 768)}, r"cls_token is \(1, 1, 768\), not \(1, 1, 192\)"),
        ({"norm_stats": torch.ones(2, 80)}, r"norm_stats is \(2, 80\), not \(2,\)"),
    ],
)
def test_weights_of_another_architecture_are_refused_with_the_first_key(tmp_path, changes, message):
    path = made.m2d_checkpoint(tmp_path, **changes)
    with pytest.raises(MurmurError, match=rf"checkpoint-300\.pth.*another architecture: {message}"):
        m2d.load_encoder(path)


def test_a_folder_name_with_other_sizes_is_refused(tmp_path, checkpoints):
    path = tmp_path / "m2d_vit_tiny-80x608p16x16" / "checkpoint-300.pth"
    path.parent.mkdir()
    path.hardlink_to(checkpoints["square"])
    with pytest.raises(MurmurError, match=r"pos_embed is \(1, 21, 192\), not \(1, 191, 192\)"):
        m2d.load_encoder(path)


@pytest.mark.parametrize("value", [[["x"]], argparse.Namespace(a=1), 1.0], ids=str)
def test_a_value_that_is_not_a_tensor_is_named(tmp_path, value):
    path = tmp_path / "m2d_vit_tiny-80x608p16x16" / "checkpoint-300.pth"
    path.parent.mkdir()
    torch.save({"model": {"cls_token": value}}, path)
    with pytest.raises(MurmurError, match=r"checkpoint-300\.pth: cls_token is no tensor"):
        m2d.load_encoder(path)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("content", [b"", b"neither this nor that", bytes(range(256)), "half"])
def test_a_damaged_file_is_named(tmp_path, checkpoints, content):
    path = tmp_path / made.M2D / "checkpoint-300.pth"
    path.parent.mkdir()
    padded = checkpoints["square"].read_bytes()
    path.write_bytes(padded[: len(padded) // 2] if content == "half" else content)
    with pytest.raises(MurmurError, match=r"checkpoint-300\.pth: cannot be read"):
        m2d.load_encoder(path)


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    path = tmp_path / made.M2D / "checkpoint-300.pth"
    path.parent.mkdir()
    torch.save({"model": Malicious(str(tmp_path / "made"))}, path)
    with pytest.raises(MurmurError, match="cannot be read"):
        m2d.load_encoder(path)
    assert not (tmp_path / "made").exists()


def test_a_file_without_a_state_dict_is_named(tmp_path):
    path = tmp_path / made.M2D / "checkpoint-300.pth"
    path.parent.mkdir()
    torch.save([torch.ones(3)], path)
    with pytest.raises(MurmurError, match="expected a state dict, found list"):
        m2d.load_encoder(path)


def test_all_parameters_but_the_position_embedding_have_a_gradient(checkpoints):
    model = Model(name="m2d", weights=str(checkpoints["square"]))
    network = build(model, classes=3, channels=1, mels=80, frames=100)
    logits = network(spectrograms(100))
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits, network[2](network[0](spectrograms(100)).mean(dim=1)))
    logits.square().sum().backward()
    without_gradient = {name for name, p in network.named_parameters() if p.grad is None}
    assert without_gradient == {"0.pos_embed"}


@pytest.mark.parametrize(
    ("channels", "mels", "message"),
    [(1, 64, "M2D takes 80 mel bands, these spectrograms have 64"), (3, 80, "1 channel, these have 3")],
)
def test_spectrograms_of_another_shape_are_refused(checkpoints, encoders, channels, mels, message):
    model = Model(name="m2d", weights=str(checkpoints["square"]))
    with pytest.raises(MurmurError, match=message):
        build(model, classes=3, channels=channels, mels=mels, frames=100)
    with pytest.raises(MurmurError, match=message):
        encoders["square"](torch.zeros(2, channels, mels, 64))
