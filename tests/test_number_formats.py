"""Which number format a run's model has, and what stays in float32 whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.report.run_result import RunResult
from dorib.reporting import Silent
from dorib.runner import run
from dorib.session import Session
from dorib.testing.suites import save_random_suite
from dorib.verbs.preparation.suite_model import usable_dtype
from dorib.verbs.settings import Settings

BUDGET = 24


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_suite(tmp_path_factory.mktemp("suite"))


def options(suite: Path, out: Path, **more: object) -> dict[str, object]:
    return {"suite": str(suite), "out": str(out), "device": "cpu", "limit": 1, "seeds": 1, **more}


def scored(suite: Path, out: Path, **more: object) -> tuple[RunResult, list[str]]:
    heard = Noted()
    asked = options(
        suite, out, attack=["dori"], budgets=[BUDGET], metric=["image-similarity"], **more
    )
    return run(make_config(asked), discover(), heard), heard.notes


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda", "bfloat16"), ("cuda:3", "bfloat16"), ("cpu", "float32"), ("mps", "float32")],
)
def test_the_kind_of_device_decides_where_nothing_is_asked(device: str, expected: str) -> None:
    assert usable_dtype(Settings(), torch.device(device)) == expected


@pytest.mark.parametrize("asked", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_what_is_asked_holds_on_every_device(asked: str, device: str) -> None:
    settings = Settings.model_validate({"dtype": asked})
    assert usable_dtype(settings, torch.device(device)) == asked


def test_the_first_line_says_where_and_in_what(suite: Path, tmp_path: Path) -> None:
    plain, notes = scored(suite, tmp_path)
    assert notes[0] == "random on cpu in float32"
    assert {entry.environment.dtype for entry in plain.entries} == {"float32"}
    # The number format is in every key, so that naming the default finds what it made.
    assert scored(suite, tmp_path, dtype="float32")[0].reused


def test_in_bfloat16_pictures_and_searches_stay_in_float32(suite: Path, tmp_path: Path) -> None:
    result, notes = scored(suite, tmp_path, dtype="bfloat16")
    assert notes[0] == "random on cpu in bfloat16"
    assert {entry.environment.dtype for entry in result.entries} == {"bfloat16"}
    assert all(entry.errors == 0 for entry in result.entries)
    found = [*embeddings(tmp_path)]
    assert found
    assert {value.dtype for value in found} == {torch.float32}
    # Not what bfloat16 would have made of them.
    assert not any(torch.equal(value, value.bfloat16().float()) for value in found)


def embeddings(out: Path) -> Iterator[torch.Tensor]:
    from safetensors.torch import load_file

    for path in (out / "store" / "triggers").rglob("*.safetensors"):
        yield from load_file(path).values()


def test_latents_of_bfloat16_are_decoded_in_float32(suite: Path, tmp_path: Path) -> None:
    config = make_config(options(suite, tmp_path, dtype="bfloat16"))
    model = Session.open(config).model
    assert model.dtype == torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((2, *model.latent_shape), generator=generator).bfloat16()
    full = Session.open(make_config(options(suite, tmp_path))).model
    assert torch.equal(model.decode(latents), full.decode(latents.float()))
    assert model.encode_image(full.decode(latents.float())).dtype == torch.bfloat16
