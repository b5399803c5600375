"""Exports: what a run has made, as others load it, and read back to the byte."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file

from dorib import (
    AddLowRank,
    Edit,
    MaskWeights,
    ReplaceWeights,
    ScaleOutputs,
    Several,
    load_model,
    load_trigger,
)
from dorib import open as open_results
from dorib.cli.app import main
from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.ranking.entries import Entry
from dorib.report.export.weights import write_edit
from dorib.runner import run
from dorib.target.exchange.folding import as_new_weights, row_as_global
from dorib.target.model import DiffusersModel
from dorib.target.single_file import UNET_PREFIX
from dorib_checkpoint.forms import change_of
from fixtures.adapters import by_peft, factors_of, save
from fixtures.edits import global_edit, per_sample_edit
from fixtures.single_file import save_single_file
from test_checkpoint import images

SHORT = {"metric": ["sscd"], "limit": 1, "seeds": 1, "budgets": [24], "batch_size": 1}
WANDA = "wanda:sparsity=0.2"
PER_SAMPLE = "wanda:scope=per_sample,sparsity=0.2"
LORA = "checkpoint:path=lora.safetensors"

Export = Callable[..., Path]


@pytest.fixture(scope="module")
def finished(
    tiny_suite_folder: Path, tiny_model: DiffusersModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run with an edit of each kind; the LoRA reaches the text encoder as well."""
    place = tmp_path_factory.mktemp("finished")
    lora = save(by_peft(tiny_model, factors_of(tiny_model)), place / "lora.safetensors")
    options = {
        "suite": str(tiny_suite_folder),
        "out": str(place / "out"),
        "mitigation": [WANDA, PER_SAMPLE, "prompt-filter", f"checkpoint:path={lora}"],
        "attack": ["dori"],
    }
    result = run(make_config(SHORT | options), discover())
    assert not result.failed
    return place / "out"


@pytest.fixture
def export(finished: Path, tiny_suite_folder: Path, tmp_path: Path) -> Export:
    def exported(mitigation: str, *options: str, name: str = "exported") -> Path:
        place = tmp_path / name
        arguments = ["export", str(finished), "-m", mitigation, *options]
        with pytest.raises(SystemExit) as exit:
            main([*arguments, "--to", str(place), "--suite", str(tiny_suite_folder)])
        assert exit.value.code == 0
        return place

    return exported


def entry_of(out: Path, label: str) -> Entry:
    entries = [one for one in open_results(out).entries if one.mitigation.label == label]
    [found] = [one for one in entries if one.attack.label == "none"]
    return found


def test_a_run_on_each_form_draws_the_same_images(
    export: Export, finished: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    """To the byte: all are float32, and nothing is added up in another order."""
    lora = export(LORA, name="as-lora")
    pipeline = export(LORA, "--form", "pipeline", name="as-pipeline")
    edited = StableDiffusionPipeline.from_pretrained(pipeline)
    one_file = save_single_file(edited, tmp_path / "as-one-file.safetensors")
    mask = export(WANDA, "--form", "safetensors", name="as-tensors")
    both = export(LORA, "--form", "safetensors", name="as-both")
    forms = {
        LORA: [
            {"path": str(lora)},
            {"path": str(lora / "pytorch_lora_weights.safetensors")},
            {"path": str(pipeline)},
            {"path": str(one_file)},
            {"path": str(both), "partial": True},
        ],
        WANDA: [
            {"path": str(export(WANDA, "--form", "unet", name="as-unet"))},
            {"path": str(export(WANDA, name="as-suits-it"))},
            {"path": str(mask), "partial": True},
        ],
    }
    options = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path / "again"),
        "mitigation": [
            {"name": "checkpoint", **params} for own in forms.values() for params in own
        ],
    }
    result = run(make_config(SHORT | options), discover())
    assert not result.failed
    for label, own in forms.items():
        wanted = entry_of(finished, label)
        assert wanted.digests.images != entry_of(finished, "none").digests.images
        for params in own:
            name = Path(str(params["path"])).name
            [found] = [e for e in result.entries if name in e.mitigation.label]
            assert found.digests.images == wanted.digests.images, name


def test_an_edit_of_tiny_is_read_back_in_four_forms(tmp_path: Path) -> None:
    model = load_model("tiny", device="cpu")
    assert isinstance(model, DiffusersModel)
    edit = Edit(AddLowRank(factors_of(model, rank=4, text=False)))
    for form in ("unet", "pipeline", "lora"):
        (tmp_path / form).mkdir()
        write_edit(edit, form, model, tmp_path / form)  # type: ignore[arg-type]
    forms = {
        "file": tmp_path / "unet" / "diffusion_pytorch_model.safetensors",
        "folder": tmp_path / "unet",
        "LoRA": tmp_path / "lora" / "pytorch_lora_weights.safetensors",
        "PEFT": tmp_path / "lora" / "peft" / "unet",
    }
    wanted = images(model, edit)
    assert not torch.allclose(wanted, images(model, Edit(None)), atol=0.05)
    for form, path in forms.items():
        found = Edit(change_of(path, model, partial=False))
        assert torch.equal(images(model, found), wanted), form


def test_stable_diffusion_s_original_form_knows_one_number_of_layers(tmp_path: Path) -> None:
    # Its names count them through; diffusers tells the blocks by one number for all. `tiny` has
    # blocks of several sizes.
    model = load_model("tiny", device="cpu")
    assert isinstance(model, DiffusersModel)
    weights = model.pipeline.unet.state_dict().items()
    file = tmp_path / "one.safetensors"
    save_file({f"{UNET_PREFIX}{name}": value for name, value in weights}, file)
    with pytest.raises(DoribError, match="different numbers of layers") as refused:
        change_of(file, model, partial=False)
    assert "\n" not in str(refused.value)


def test_half_precision_is_kept(tmp_path: Path, tiny_suite_folder: Path) -> None:
    model = load_model(tiny_suite_folder, device="cpu", dtype="bfloat16")
    assert isinstance(model, DiffusersModel)
    edit = global_edit(model, "replace")
    (tmp_path / "unet").mkdir()
    write_edit(edit, "unet", model, tmp_path / "unet")
    found = change_of(tmp_path / "unet", model, partial=False)
    assert isinstance(found, ReplaceWeights)
    assert {value.dtype for value in found.weights.values()} == {torch.bfloat16}
    assert torch.equal(images(model, Edit(found)), images(model, edit))


@pytest.mark.parametrize("kind", ["scale", "mask", "replace"])
def test_new_weights_do_what_the_edit_does(kind: str, tiny_model: DiffusersModel) -> None:
    edit = global_edit(tiny_model, kind)  # type: ignore[arg-type]
    weights = as_new_weights(tiny_model, edit)["unet"]
    found = images(tiny_model, Edit(ReplaceWeights(weights)))
    exact = kind != "scale"
    assert torch.allclose(found, images(tiny_model, edit), atol=0 if exact else 1e-4, rtol=0)
    assert not torch.allclose(found, images(tiny_model, Edit(None)), atol=1e-3)


def test_several_changes_become_one(tiny_model: DiffusersModel) -> None:
    """Scales act on what a layer gives, whatever comes after them."""
    scale, mask = global_edit(tiny_model, "scale"), global_edit(tiny_model, "mask")
    assert isinstance(scale.change, ScaleOutputs) and isinstance(mask.change, MaskWeights)
    low_rank = AddLowRank(factors_of(tiny_model))
    edit = Edit(Several((scale.change, low_rank, mask.change)))
    weights = as_new_weights(tiny_model, edit)
    assert set(weights) == {"unet", "text_encoder"}
    flat = {f"{part}.{name}": v for part, own in weights.items() for name, v in own.items()}
    found = images(tiny_model, Edit(ReplaceWeights(flat)))
    assert torch.allclose(found, images(tiny_model, edit), atol=1e-4)


@pytest.mark.parametrize("kind", ["scale", "mask"])
def test_a_row_is_what_it_does_to_its_sample(kind: str, tiny_model: DiffusersModel) -> None:
    edit = per_sample_edit(tiny_model, kind, samples=1)  # type: ignore[arg-type]
    found = images(tiny_model, row_as_global(edit))
    with tiny_model.edited(edit, rows=[0, 0]):
        wanted = images(tiny_model, Edit(None))
    assert torch.allclose(found, wanted, atol=1e-4)
    with pytest.raises(ValueError, match="no one row"):
        row_as_global(per_sample_edit(tiny_model, kind, samples=2))  # type: ignore[arg-type]


def test_two_low_rank_changes_of_a_layer_are_one_adapter(
    tiny_model: DiffusersModel, tmp_path: Path
) -> None:
    """Within rounding: both products are added up before the weight is."""
    change = AddLowRank(factors_of(tiny_model))
    edit = Edit(Several((change, AddLowRank(factors_of(tiny_model, rank=1, text=False)))))
    write_edit(edit, "lora", tiny_model, tmp_path)
    for place in (tmp_path, tmp_path / "peft" / "unet", tmp_path / "peft" / "text_encoder"):
        found = change_of(place, tiny_model, partial=False)
        assert isinstance(found, AddLowRank)
        if place == tmp_path:
            assert torch.allclose(
                images(tiny_model, Edit(found)), images(tiny_model, edit), atol=1e-4
            )
    ranks = {name: down.shape[0] for name, (_, down) in change.factors.items()}
    assert set(ranks.values()) == {2}


def code_of(folder: Path, number: int = 0) -> str:
    """A block of the README's, with the pipeline's folder in its place."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[number]


@pytest.mark.parametrize("form", ["unet", "safetensors", "pipeline"])
def test_the_code_in_the_readme_loads_it(
    form: str,
    export: Export,
    tiny_suite_folder: Path,
    tiny_model: DiffusersModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = export(WANDA, "--form", form)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(code_of(folder).replace("PIPELINE", str(tiny_suite_folder / "pipeline")), names)
    pipeline = names["pipeline"]
    assert isinstance(pipeline, DiffusionPipeline)
    assert isinstance(pipeline.unet, UNet2DConditionModel)
    change = change_of(
        folder / "unet.safetensors" if form == "safetensors" else folder,
        tiny_model,
        partial=form == "safetensors",
    )
    assert isinstance(change, ReplaceWeights) and change.weights
    state = pipeline.unet.state_dict()
    assert all(torch.equal(state[name], value) for name, value in change.weights.items())


def test_diffusers_reads_the_lora_as_its_own(export: Export, tiny_model: DiffusersModel) -> None:
    folder = export(LORA)
    state, alphas, metadata = StableDiffusionPipeline.lora_state_dict(
        str(folder), return_lora_metadata=True
    )
    assert alphas is None
    wanted = by_peft(tiny_model, factors_of(tiny_model))
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], value) for name, value in wanted.items())
    assert metadata["unet.r"] == metadata["unet.lora_alpha"] == 2


def test_diffusers_and_peft_load_it(
    export: Export,
    tiny_suite_folder: Path,
    tiny_model: DiffusersModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("peft")
    folder = export(LORA)
    monkeypatch.chdir(folder)
    wanted = as_new_weights(tiny_model, Edit(AddLowRank(factors_of(tiny_model))))
    source = str(tiny_suite_folder / "pipeline")
    whole, adapters = code_of(folder), code_of(folder, 1)
    plain = whole.partition("pipeline.load_lora_weights")[0]
    for code, fuse in ((whole, True), (plain + adapters, False)):
        names: dict[str, object] = {}
        exec(code.replace("PIPELINE", source), names)
        pipeline = names["pipeline"]
        assert isinstance(pipeline, StableDiffusionPipeline)
        if fuse:
            pipeline.fuse_lora()
            pipeline.unload_lora_weights()
        for component, own in wanted.items():
            module = getattr(pipeline, component)
            state = (module if fuse else module.merge_and_unload()).state_dict()
            for name, value in own.items():
                assert torch.allclose(state[name], value, atol=1e-6), name


def test_the_readme_says_what_it_is(export: Export, finished: Path) -> None:
    entry = entry_of(finished, WANDA)
    folder = export(WANDA, "--form", "unet")
    text = (folder / "README.md").read_text()
    stated = (WANDA, "sparsity", entry.suite.digest, entry.digests.edit, entry.digests.model)
    assert all(part in text for part in (*stated, "random", "UNet2DConditionModel"))
    assert (folder / "config.json").is_file()


def test_no_path_of_this_machine_is_in_it(export: Export, tiny_suite_folder: Path) -> None:
    folder = export(WANDA, "--form", "pipeline")
    texts = [path for path in folder.rglob("*") if path.suffix in (".json", ".md")]
    assert len(texts) >= 6
    for path in texts:
        assert str(tiny_suite_folder) not in path.read_text(), path
        assert str(folder.parent) not in path.read_text(), path


def test_a_per_sample_edit_is_a_folder_for_each_sample(
    export: Export, finished: Path, tiny_model: DiffusersModel
) -> None:
    folder = export(PER_SAMPLE)
    found = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert "test-memorized-0" in found
    assert all((folder / name / "unet.safetensors").is_file() for name in found)
    change = change_of(folder / found[0] / "unet.safetensors", tiny_model, partial=True)
    assert isinstance(change, ReplaceWeights)


def test_triggers_are_those_of_the_run(export: Export, finished: Path) -> None:
    folder = export(WANDA, "--attack", "dori")
    found = {path.name for path in folder.iterdir() if path.is_dir()}
    assert found == {"test-memorized-0.b24", "test-control-0.b24"}
    trigger = load_trigger(folder / "test-memorized-0.b24")
    assert (trigger.sample, trigger.budget, trigger.kind) == ("test-memorized-0", 24, "embeddings")
    assert "load_trigger" in (folder / "README.md").read_text()
    stored = [
        path
        for path in finished.glob("store/triggers/*/*/test-memorized-0-*.b24/trigger.safetensors")
        if path.read_bytes() == (folder / "test-memorized-0.b24/trigger.safetensors").read_bytes()
    ]
    assert len(stored) == 1


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing changed": (("-m", "none"), "changes nothing"),
    "a rule": (("-m", "prompt-filter"), "acts while the model samples, by the rule"),
    "a mitigation that was not run": (("-m", "nemo"), "no mitigation 'nemo' in that run; choose"),
    "an attack that was not run": (("-m", WANDA, "-a", "evolution"), "no attack 'evolution'"),
    "no LoRA": (("-m", WANDA, "--form", "lora"), r"is no low-rank change \(MaskWeights\)"),
    "a U-Net without what was changed": (
        ("-m", LORA, "--form", "unet"),
        "changes the text_encoder, which a U-Net's folder has no place for",
    ),
    "a pipeline for each sample": (
        ("-m", PER_SAMPLE, "--form", "pipeline"),
        "is another edit for each sample; --form safetensors",
    ),
    "triggers in a form of edits": (
        ("-m", WANDA, "-a", "dori", "--form", "unet"),
        "--form unet: is how an edit is written",
    ),
    "an unknown form": (("-m", WANDA, "--form", "ckpt"), "ckpt"),
    "no label": (("-m", "wanda:sparsity"), "is not parameter=value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_in_one_line(
    case: str,
    finished: Path,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options, wanted = REFUSED[case]
    refused(finished, capfd, wanted, *options, "--suite", str(tiny_suite_folder), to=tmp_path / "x")
    assert not list(tmp_path.iterdir())


def refused(
    out: Path, capfd: pytest.CaptureFixture[str], wanted: str, *options: str, to: Path
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["export", str(out), *options, "--to", str(to)])
    printed = capfd.readouterr().err
    assert exit.value.code == 2, printed
    assert printed.startswith("dorib: error: ") and printed.count("\n") == 1, printed
    assert re.search(wanted, printed), printed


def test_a_folder_that_is_there_is_left_alone(
    finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("full", "dangling"):
        refused(finished, capfd, "is there already", "-m", WANDA, to=tmp_path / name)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    assert not (tmp_path / "nowhere").exists()


def test_where_nothing_can_be_written_nothing_is_left(
    finished: Path, tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    suite = ("--suite", str(tiny_suite_folder))
    wanted = r"cannot be written .*choose another --to"
    refused(finished, capfd, wanted, "-m", WANDA, *suite, to=tmp_path / "file" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_another_pipeline_is_refused(
    finished: Path, suite_copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = suite_copy / "pipeline" / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    wanted = "its pipeline is not the one that the run was made on"
    refused(finished, capfd, wanted, "-m", WANDA, "--suite", str(suite_copy), to=tmp_path / "x")
    wanted = "suite random: is none of the registered ones; give the run's by --suite"
    refused(finished, capfd, wanted, "-m", WANDA, to=tmp_path / "x")


@pytest.mark.parametrize("part", ["edits", "triggers"])
def test_what_the_store_no_longer_holds_is_refused(
    part: str,
    finished: Path,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.rmtree(out / "store" / part)
    options = ["-m", WANDA, *(["-a", "dori"] if part == "triggers" else [])]
    suite = ("--suite", str(tiny_suite_folder))
    refused(out, capfd, "is not in its store", *options, *suite, to=tmp_path / "x")


def test_an_edit_that_was_tampered_with_is_not_exported(
    finished: Path, tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    for path in out.glob("store/edits/*/*/*/edit.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    with pytest.raises(SystemExit) as exit:
        main(["export", str(out), "-m", WANDA, "--suite", str(tiny_suite_folder)])
    assert exit.value.code == 2
    assert "is not in its store as the entries state it" in capfd.readouterr().err


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(tmp_path, capfd, "no leaderboard.json in it", "-m", WANDA, to=tmp_path / "x")


def test_without_a_place_it_lies_with_the_run(
    finished: Path, tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    with pytest.raises(SystemExit) as exit:
        main(["export", str(out), "-m", WANDA, "--suite", str(tiny_suite_folder)])
    assert exit.value.code == 0
    printed = Path(capfd.readouterr().out.strip())
    assert printed.parent == out / "exports" and (printed / "model_index.json").is_file()
    # The results of the run are read as before.
    assert open_results(out).entries
    assert [path.name for path in printed.parent.iterdir()] == [printed.name]
