"""Components that are broken, partial or malicious: one line before any work, and no code run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.store.store import Store
from dorib.suites.suite import Suite
from dorib.suites.view import suite_view
from dorib.verbs.context import RunContext
from dorib.verbs.preparation.readiness import require_ready
from fixtures.planted import (
    WEIGHTS,
    Damage,
    another_shape,
    configuration,
    half_precision,
    holding,
    in_shards,
    index,
    lacks_a_tensor,
    moved_out,
    one_number,
    scheduler,
    several,
    shards,
    unfused_adapter,
    update,
    with_tensors,
)

UNET = "pipeline/unet/diffusion_pytorch_model.safetensors"
TEXT = "pipeline/text_encoder"
KERNEL = "evil/kernel:run"

TENSORS: dict[str, tuple[Callable[..., object], tuple[str, ...]]] = {
    "a tensor missing": (lacks_a_tensor, ("lacks",)),
    "an adapter that was not fused": (unfused_adapter, ("no layer", "Unexpected")),
    "a tensor of another shape": (another_shape, ("shape", "size mismatch", "lacks")),
    "NaN": (one_number(float("nan")), ("numbers are NaN or infinite",)),
    "infinity": (one_number(float("inf")), ("numbers are NaN or infinite",)),
}


def pickled(suite: Path) -> None:
    path = suite / UNET
    torch.save({"conv_in.bias": torch.zeros(1)}, path.with_suffix(".bin"))
    path.unlink()


def first(place: str) -> Callable[[Path, dict[str, str]], None]:
    def change(folder: Path, places: dict[str, str]) -> None:
        places[min(places)] = place.format(elsewhere=folder.parents[2] / "elsewhere")

    return change


def astray(folder: Path, places: dict[str, str]) -> None:
    files = sorted(set(places.values()))
    name = min(places)
    places[name] = files[1] if places[name] == files[0] else files[0]


def of_a_pipe(suite: Path) -> None:
    (suite / UNET).unlink()
    os.mkfifo(suite / UNET)


def a_folder_instead(suite: Path) -> None:
    (suite / UNET).unlink()
    (suite / UNET).mkdir()


def both(suite: Path) -> None:
    kept = (suite / UNET).read_bytes()
    shards("pipeline/unet")(suite)
    (suite / UNET).write_bytes(kept)


def blobs_elsewhere(suite: Path) -> None:
    """As if of the hub's cache, but its blobs are a link to anything."""
    home = suite / "models--owner--name"
    snapshot = home / "snapshots" / ("1" * 40)
    shutil.copytree(suite / "pipeline", snapshot)
    (suite.parent / "elsewhere").mkdir()
    (home / "blobs").symlink_to(suite.parent / "elsewhere")
    file = snapshot / "unet" / "config.json"
    shutil.move(file, suite.parent / "elsewhere" / "blob")
    file.symlink_to("../../../blobs/blob")
    text = (suite / "suite.yaml").read_text()
    named = f"pipeline: {snapshot.relative_to(suite)}\n"
    (suite / "suite.yaml").write_text(text.replace("pipeline: pipeline\n", named))


def blobs_of_no_snapshot(suite: Path) -> None:
    blobs = suite.parent / "blobs"
    blobs.mkdir()
    shutil.move(suite / UNET, blobs / "1")
    (suite / UNET).symlink_to(blobs / "1")


def too_large(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    """Finite weights whose products are not."""
    return lambda tensors: tensors[name].fill_(3e38)


def narrower(suite: Path) -> None:
    """A U-Net that is whole by itself, and made for another text encoder."""
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel.from_pretrained(suite / "pipeline" / "unet")
        changed = UNet2DConditionModel.from_config({**unet.config, "cross_attention_dim": 24})
        changed.save_pretrained(suite / "pipeline" / "unet")


def smaller_oracle(suite: Path) -> None:
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel.from_pretrained(suite / "oracle")
        changed = UNet2DConditionModel.from_config({**unet.config, "layers_per_block": 1})
        changed.save_pretrained(suite / "oracle")


PLANTED: dict[str, tuple[Damage, str]] = {
    f"{part}: {kind}": (with_tensors(part, change), "|".join(says))
    for part in WEIGHTS
    if part.startswith(("pipeline", "oracle"))
    for kind, (change, says) in TENSORS.items()
} | {
    # What an index may name.
    "index: a pickle": (
        in_shards("pipeline/unet", first("pytorch_model.bin")),
        "'pytorch_model.bin', which is no safetensors file of this folder",
    ),
    "index: ../": (in_shards(TEXT, first("../../../elsewhere/x.safetensors")), "no safetensors"),
    "index: an absolute path": (
        in_shards("pipeline/vae", first("{elsewhere}/x.safetensors")),
        "which is no safetensors file of this folder",
    ),
    "index: a file that leads on": (
        in_shards(TEXT, first("x.safetensors/../../x.bin")),
        "no safetensors",
    ),
    "index: of the oracle, ../": (in_shards("oracle", first("../x.safetensors")), "'../x.safe"),
    "index: a number": (
        several(
            shards(TEXT),
            holding(f"{TEXT}/model.safetensors.index.json", '{"metadata":{},"weight_map":{"a":3}}'),
        ),
        "names '3'",
    ),
    "index: no map": (
        several(shards(TEXT), holding(f"{TEXT}/model.safetensors.index.json", '{"metadata": {}}')),
        "names no shard",
    ),
    "index: no JSON": (
        several(shards(TEXT), holding(f"{TEXT}/model.safetensors.index.json", "{")),
        "not readable as JSON",
    ),
    "index: a shard is missing": (
        in_shards("pipeline/unet", lambda f, m: (f / max(m.values())).unlink()),
        "00002-of-00002.safetensors is missing",
    ),
    "index: a tensor in another shard": (in_shards(TEXT, astray), "1 tensors are not where it"),
    "index: a tensor that no shard has": (
        in_shards("pipeline/unet", lambda f, m: m.update(more=min(m.values()))),
        "more among them",
    ),
    "index: a tensor left out": (
        in_shards("pipeline/unet", lambda f, m: m.pop("conv_in.weight")),
        "lacks|not where it says|does not name",
    ),
    "index beside whole weights": (both, "holds both"),
    # Files that are none of the component's own.
    "link: the U-Net's folder": (moved_out("pipeline/unet"), "leads out of|is a link"),
    "link: the text encoder's weights": (
        moved_out(f"{TEXT}/model.safetensors"),
        "a link that leads out of",
    ),
    "link: a configuration": (moved_out("pipeline/vae/config.json"), "a link that leads out of"),
    "link: the index": (moved_out("pipeline/model_index.json"), "a link that leads out of"),
    "link: the vocabulary": (
        moved_out("pipeline/tokenizer/tokenizer.json"),
        "a link that leads out of",
    ),
    "link: the scheduler": (
        moved_out("pipeline/scheduler/scheduler_config.json"),
        "a link that leads out of",
    ),
    "link: the oracle's weights": (
        moved_out("oracle/diffusion_pytorch_model.safetensors"),
        "a link that leads out of",
    ),
    "link: the pipeline": (moved_out("pipeline"), "leads out of the suite folder"),
    "link: the hub's blobs": (blobs_elsewhere, "a link that leads out of"),
    "link: blobs beside what is no snapshot": (blobs_of_no_snapshot, "a link that leads out of"),
    "link: into nothing": (
        lambda s: ((s / UNET).unlink(), (s / UNET).symlink_to("nothing.safetensors")),
        "is missing; restore",
    ),
    "link: to itself": (
        lambda s: ((s / UNET).unlink(), (s / UNET).symlink_to(UNET.rpartition("/")[2])),
        "a link to itself",
    ),
    "a pipe": (of_a_pipe, "is no plain file"),
    "a folder in place of weights": (a_folder_instead, "is no plain file"),
    # What is no safetensors.
    "a pickle alone": (pickled, "weights are read from safetensors alone"),
    "a pickle under another name": (
        lambda s: torch.save({"conv_in.bias": torch.zeros(1)}, s / UNET),
        "cannot be read as safetensors",
    ),
    "weights empty": (holding(UNET, b""), "cannot be read as safetensors"),
    "weights cut off": (
        lambda s: (s / UNET).write_bytes((s / UNET).read_bytes()[:-1000]),
        "cannot be read as safetensors",
    ),
    "a header beyond the file": (holding(UNET, b"\xff" * 64), "cannot be read as safetensors"),
    "weights gone": (lambda s: (s / UNET).unlink(), "is missing, and so are shards"),
    "configuration no JSON": (holding("pipeline/unet/config.json", "{"), "not readable as JSON"),
    "configuration a list": (holding("pipeline/unet/config.json", "[]"), "it holds no object"),
    "configuration too deep": (
        holding(f"{TEXT}/config.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
        "not readable as JSON",
    ),
    "configuration gone": (
        lambda s: (s / "pipeline/vae/config.json").unlink(),
        "config.json is missing",
    ),
    "a thousand layers": (configuration(TEXT, num_hidden_layers=1000), "asks for more layers"),
    "a billion layers": (configuration(TEXT, num_hidden_layers=10**9), "asks for more layers"),
    "layers by the million": (
        configuration("pipeline/unet", layers_per_block=10**6),
        "asks for more layers",
    ),
    "an adapter beside": (
        holding(f"{TEXT}/adapter_config.json", '{"base_model_name_or_path": "evil/model"}'),
        "holds an adapter",
    ),
    # What names code.
    "code: attention of the hub": (
        configuration(TEXT, attn_implementation=KERNEL),
        f"asks for the attention '{KERNEL}'",
    ),
    "code: attention, by its other name": (
        configuration(TEXT, _attn_implementation=KERNEL),
        "asks for the attention",
    ),
    "code: attention, further down": (
        configuration(TEXT, text_config={"attn_implementation": {"": KERNEL}}),
        "asks for the attention",
    ),
    "code: attention, in a list": (
        configuration(TEXT, configs=[{"attn_implementation": KERNEL}]),
        "asks for the attention",
    ),
    "code: attention of a package": (
        configuration(TEXT, attn_implementation="flash_attention_2"),
        "asks for the attention",
    ),
    "code: auto_map of the text encoder": (
        configuration(TEXT, auto_map={"AutoModel": "mine.Mine"}),
        "custom code (auto_map)",
    ),
    "code: auto_map of the U-Net": (
        configuration("pipeline/unet", auto_map={"AutoModel": "mine.Mine"}),
        "custom code (auto_map)",
    ),
    "code: auto_map of the oracle": (
        configuration("oracle", auto_map={"AutoModel": "mine.Mine"}),
        "custom code (auto_map)",
    ),
    "code: auto_map of the tokenizer": (
        lambda s: update(
            s / "pipeline/tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["m.M", ""]}
        ),
        "custom code (auto_map)",
    ),
    "code: trusted": (configuration(TEXT, trust_remote_code=True), "custom code (trust_remote"),
    "code: quantized": (
        configuration("pipeline/unet", quantization_config={"quant_method": "torchao"}),
        "asks for quantized weights",
    ),
    "code: a pipeline of its own": (index(_class_name=["mine", "Mine"]), "custom code"),
    "code: a module of its own": (index(unet=["mine", "Mine"]), "custom code (unet:"),
    "code: a module of Python's": (index(scheduler=["os", "system"]), "custom code (scheduler:"),
    "code: a module inside a library": (
        index(vae=["diffusers.utils", "import_utils"]),
        "custom code (vae:",
    ),
    # Classes that are none.
    "class: ONNX": (
        index(vae=["diffusers", "OnnxRuntimeModel"]),
        "asks for the vae diffusers.Onnx",
    ),
    "class: a text encoder that is a pipeline": (
        index(text_encoder=["transformers", "pipeline"]),
        "which is none",
    ),
    "class: a U-Net of another kind": (index(unet=["diffusers", "UNet2DModel"]), "which is none"),
    "class: an autoencoder that is a U-Net": (
        index(vae=["diffusers", "UNet2DConditionModel"]),
        "which is none",
    ),
    "class: unknown": (index(scheduler=["diffusers", "NoSuch"]), "diffusers.NoSuch"),
    "class: private": (index(tokenizer=["transformers", "__class__"]), "which is none"),
    "index: no class": (index(_class_name=None), "names no class"),
    "index: a component of another kind": (
        index(controlnet=["diffusers", "ControlNetModel"]),
        "names a component 'controlnet'",
    ),
    "index: no scheduler": (index(scheduler=[None, None]), "names no scheduler"),
    # Parts that do not work, or not together.
    "schedule: more steps than LCM has": (
        several(
            scheduler("LCMScheduler", original_inference_steps=2, prediction_type="epsilon"),
        ),
        "LCMScheduler with 3 steps",
    ),
    "schedule: EDM": (
        scheduler("EDMEulerScheduler", prediction_type="epsilon"),
        "EDMEulerScheduler, which knows no alphas_cumprod",
    ),
    "schedule: a package that is not there": (
        scheduler("DPMSolverSDEScheduler", prediction_type="epsilon"),
        "torchsde; install",
    ),
    "schedule: flow matching": (scheduler("FlowMatchEulerDiscreteScheduler"), "predicts none of"),
    "schedule: of no use": (
        scheduler("DDIMScheduler", beta_start=float("nan"), prediction_type="epsilon"),
        "not finite|not readable",
    ),
    "a U-Net for another text encoder": (narrower, "do not fit together"),
    "an oracle of another size": (smaller_oracle, "are not those of the pipeline's U-Net"),
    "no tokenizer": (lambda s: shutil.rmtree(s / "pipeline/tokenizer"), "tokenizer is missing"),
    "no vocabulary": (
        lambda s: (s / "pipeline/tokenizer/tokenizer.json").unlink(),
        "tokenizer",
    ),
    "no oracle": (lambda s: shutil.rmtree(s / "oracle"), "oracle is missing; restore"),
    "a text encoder that overflows": (
        with_tensors(TEXT, too_large("final_layer_norm.weight")),
        "the text encoder's prompt_embeds is not finite",
    ),
    "a U-Net that overflows": (
        with_tensors("pipeline/unet", too_large("conv_out.weight")),
        "the U-Net's output is not finite",
    ),
    "an oracle that overflows": (
        with_tensors("oracle", too_large("conv_out.weight")),
        "oracle: the U-Net's output is not finite",
    ),
    "a decoder that overflows": (
        with_tensors("pipeline/vae", too_large("decoder.layers.0.bias")),
        "the autoencoder's image is not finite",
    ),
    "an encoder that overflows": (
        with_tensors("pipeline/vae", too_large("encoder.layers.0.weight")),
        "the autoencoder's latents is not finite",
    ),
    "half precision that overflows": (
        several(with_tensors(TEXT, one_number(1e30)), half_precision(TEXT)),
        "is not finite",
    ),
}

JUDGES: dict[str, tuple[Damage, str]] = {
    f"{part}: {kind}": (with_tensors(part, change), "|".join((*says, "cannot be loaded")))
    for part in ("descriptor", "clip")
    for kind, (change, says) in TENSORS.items()
} | {
    "CLIP: attention of the hub": (
        configuration("clip", attn_implementation=KERNEL),
        "asks for the attention",
    ),
    "CLIP: auto_map": (configuration("clip", auto_map={"AutoModel": "m.M"}), "custom code"),
    "CLIP: index, ../": (in_shards("clip", first("../x.safetensors")), "no safetensors file"),
    "CLIP: a link": (moved_out("clip/model.safetensors"), "a link that leads out of"),
    "descriptor: a link": (moved_out("descriptor/model.safetensors"), "a link that leads out of"),
}
"""What metrics load: in a run of the metric alone, before any work as well."""


def says(message: str, wanted: str) -> bool:
    return any(one in message for one in wanted.split("|"))


@pytest.fixture
def context(suite_copy: Path, tmp_path: Path) -> Callable[[], RunContext]:
    def make() -> RunContext:
        suite, settings = Suite.load(suite_copy), make_config({})
        return RunContext(
            suite, settings, suite.manifest.quick, Store(tmp_path / "store"), registry=discover()
        )

    return make


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_not_whole_is_refused_in_one_line(
    case: str, suite_copy: Path, context: Callable[[], RunContext], recwarn: object
) -> None:
    damage, wanted = PLANTED[case]
    damage(suite_copy)
    with pytest.raises(DoribError) as refusal:
        require_ready(context())
    message = str(refusal.value)
    assert says(message, wanted), message
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize("case", JUDGES)
def test_a_judge_that_is_not_whole_is_refused_in_one_line(
    case: str, suite_copy: Path, built_in_plugins: object
) -> None:
    damage, wanted = JUDGES[case]
    damage(suite_copy)
    suite = Suite.load(suite_copy)
    with pytest.raises(DoribError) as refusal:
        prepare_judges(suite)
    message = str(refusal.value)
    assert says(message, wanted), message
    assert "\n" not in message


def prepare_judges(suite: Suite) -> None:
    from dorib.host.configure import configure_all

    config = make_config({"metric": ["sscd", "clip"]})
    for metric in configure_all(discover(), "metric", config.metric):
        metric.metric.prepare(suite_view(suite), torch.device("cpu"))
