"""The knock-out experiment: which layers are silenced, at which steps, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from dorib import Seeds, Session, TargetModel
from dorib.config import make_config
from knock_out.__main__ import main
from knock_out.layers import KINDS, Kind, knocked_out, layers_of
from knock_out.measure import Measuring
from knock_out.rows import Part, Table, parts_of

MakeModel = Callable[..., TargetModel]
SEEDS = Seeds(4)
CAPTIONS = ("a red star", "cat on a mat")


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> TargetModel:
    return make_model(steps=3, guidance_scale=3.0)


def drawn(
    model: TargetModel, layers: list[str], steps: range, caption: str = CAPTIONS[0]
) -> Tensor:
    with knocked_out(model.unet, layers, steps):
        return model.sample(
            model.encode_prompt([caption]), [SEEDS.generator("noise")], torch.tensor([0])
        )


def test_the_layers_are_those_that_each_part_speaks_through(model: TargetModel) -> None:
    assert layers_of(model.unet, "value") == list(model.cross_attention_value_layers())
    assert layers_of(model.unet, "feed-forward") == list(model.feed_forward_layers())
    assert len(layers_of(model.unet, "self-attention")) == len(model.feed_forward_layers())
    blocks = [name for name, _ in model.unet.named_modules() if name.endswith("conv2")]
    assert set(layers_of(model.unet, "convolution")) == set(blocks)
    stages = [name.split("_")[0] for name in layers_of(model.unet, "convolution")]
    assert list(dict.fromkeys(stages)) == ["down", "mid", "up"]


def test_without_values_the_prompt_is_not_read(model: TargetModel) -> None:
    values, every = layers_of(model.unet, "value"), range(3)
    assert not torch.allclose(
        *(drawn(model, [], every, caption) for caption in CAPTIONS), atol=1e-3
    )
    torch.testing.assert_close(*(drawn(model, values, every, caption) for caption in CAPTIONS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_silent_at_the_steps_asked_for_and_no_other(
    model: TargetModel, kind: Kind
) -> None:
    name = layers_of(model.unet, kind)[-1]
    loud: list[bool] = []
    before = {n: weight.clone() for n, weight in model.unet.state_dict().items()}
    with knocked_out(model.unet, [name], range(1, 2)):
        handle = model.unet.get_submodule(name).register_forward_hook(
            lambda module, arguments, output: loud.append(bool(output.any()))
        )
        model.sample(
            model.encode_prompt([CAPTIONS[0]]), [SEEDS.generator("noise")], torch.tensor([0])
        )
        handle.remove()
    assert loud == [True, False, True]
    whole = drawn(model, [], range(3))
    assert not torch.equal(drawn(model, [name], range(3)), whole)
    # Afterwards, and at steps that are not taken, the model is as it was.
    assert torch.equal(drawn(model, [name], range(3, 9)), whole)
    assert all(torch.equal(w, before[n]) for n, w in model.unet.state_dict().items())
    assert not model.unet.get_submodule(name)._forward_hooks


def test_windows_cut_the_steps_into_equal_parts(model: TargetModel) -> None:
    parts = list(parts_of(model.unet, ["value"], steps=7, windows=3))
    layers = layers_of(model.unet, "value")
    assert [part.layer for part in parts] == [None, None, *layers, None, None, None]
    assert [(p.first_step, p.last_step) for p in parts[-3:]] == [(0, 1), (2, 3), (4, 6)]
    few = list(parts_of(model.unet, ["value"], steps=2, windows=5))
    assert [(p.first_step, p.last_step) for p in few[-2:]] == [(0, 0), (1, 1)]


def call(folder: Path, out: Path, **changes: str) -> None:
    options = {"suite": str(folder), "out": str(out), "limit": "2", "seeds": "1", "windows": "2"}
    options |= {"utility": "3", "device": "cpu", **changes}
    main([part for n, v in options.items() for part in (f"--{n}", v)] + ["--kinds", "value"])


def test_the_experiment_runs_on_any_suite_and_goes_on_where_it_was(
    tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call(tiny_suite_folder, out)
    text = (out / "knock-out.json").read_text()
    table = Table.model_validate_json(text)
    whole, *others = table.rows
    assert whole.part.kind is None
    # The suite's random CLIP cannot tell captions apart: no share of its span is made up.
    assert {row.utility for row in table.rows} == {None}
    assert {row.part.kind for row in others} == {"value"}
    assert others[-2].part.last_step == others[-1].part.first_step - 1
    for row in table.rows:
        assert row.memorization_low <= row.memorization_rate <= row.memorization_high
        assert row.replication_rate <= row.memorization_rate
    assert len(capfd.readouterr().out.splitlines()) == len(table.rows) + 1
    assert (out / "knock-out.svg").read_text().startswith("<?xml")
    with Image.open(out / "knock-out.png") as picture:
        assert len(picture.convert("L").getcolors()) > 10

    content: dict[str, Any] = json.loads(text)
    content["rows"][1]["replication_rate"] = 0.125
    content["rows"] = content["rows"][:3]
    (out / "knock-out.json").write_text(json.dumps(content))
    call(tiny_suite_folder, out)
    again = Table.model_validate_json((out / "knock-out.json").read_text())
    # The stored row is taken as it is, and the lost ones are made anew.
    assert again.rows[1].replication_rate == 0.125
    assert again.rows[0] == whole
    assert again.rows[2:] == table.rows[2:]


def test_without_what_reads_the_prompt_nothing_memorized_is_drawn() -> None:
    """On real weights: the embedded model draws its photographs, and without values none."""
    config = make_config({"suite": "tiny", "limit": 2, "seeds": 1, "device": "cpu"})
    session = Session.open(config)
    session.profile = session.profile.model_copy(update={"utility": 8})
    measuring, steps = Measuring(session), session.suite.sampling.steps
    with pytest.raises(ValueError, match="the whole model"):
        measuring.measure(Part(kind="value", layer=None, first_step=0, last_step=0))
    whole, without, *_ = parts_of(session.model.unet, ["value"], steps, windows=1)
    as_it_is, silenced = measuring.measure(whole), measuring.measure(without)
    assert (as_it_is.memorization_rate, as_it_is.utility) == (1, pytest.approx(1))
    assert silenced.memorization_rate == 0
    assert silenced.utility is not None
    assert silenced.utility < 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": "2"}, "of other settings; name another --out"),
        ({"suite": "nosuch"}, "unknown suite 'nosuch'"),
        ({"limit": "0"}, "'limit'"),
    ],
)
def test_bad_input_is_one_line(
    changes: dict[str, str],
    words: str,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "knock-out.json").write_text('{"settings": {"suite": "another"}, "rows": []}')
    with pytest.raises(SystemExit) as exit:
        call(Path(tiny_suite_folder), out, **changes)
    line = capfd.readouterr().err.splitlines()[-1]
    assert exit.value.code == 2
    assert line.startswith("error: ")
    assert words in line
