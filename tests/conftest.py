"""Fixtures: tiny random pipelines, target models over them, and a whole suite folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from dorib.contracts.suite_view import SamplingSettings
from dorib.host.registry import GROUP
from dorib.target.loading import load_pipeline
from dorib.target.model import DiffusersModel
from dorib.testing.pipelines import Prediction, save_pipeline
from fixtures.suites import SIDE, save_suite

# How long an example takes says more about the machine than about the code.
settings.register_profile("dorib", deadline=None, print_blob=True)
settings.load_profile("dorib")

MakeModel = Callable[..., DiffusersModel]


@pytest.fixture(scope="module", autouse=True)
def forget_written_plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two test files may write a plugin of the same name: neither finds the other's module."""
    yield
    folder = tmp_path_factory.getbasetemp().resolve()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and folder in Path(file).parents:
            del sys.modules[name]


@pytest.fixture(scope="session")
def built_in_plugins() -> list[EntryPoint]:
    """The entry points of the distribution `dorib` itself, without those of other packages."""
    return list(distribution("dorib").entry_points.select(group=GROUP))


@pytest.fixture(scope="session")
def pipeline_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Prediction, Path]:
    """A pipeline folder for each prediction type."""
    root = tmp_path_factory.mktemp("pipelines")
    return {
        "epsilon": save_pipeline(root / "epsilon", prediction="epsilon", vae="kl"),
        "v_prediction": save_pipeline(root / "v_prediction", prediction="v_prediction"),
    }


@pytest.fixture(scope="session")
def tiny_pipeline_folder(pipeline_folders: dict[Prediction, Path]) -> Path:
    """A `StableDiffusionPipeline` folder: v-prediction, zero terminal SNR, `AutoencoderTiny`."""
    return pipeline_folders["v_prediction"]


@pytest.fixture(scope="session")
def make_model(pipeline_folders: dict[Prediction, Path]) -> MakeModel:
    """Builds a fresh target model, for tests that change its scheduler or its settings."""

    def make(
        prediction: Prediction = "v_prediction", guidance_scale: float = 3.0, steps: int = 4
    ) -> DiffusersModel:
        sampling = SamplingSettings(
            height=SIDE, width=SIDE, steps=steps, guidance_scale=guidance_scale
        )
        folder = pipeline_folders[prediction]
        return DiffusersModel(
            load_pipeline(str(folder), torch.device("cpu"), torch.float32), sampling
        )

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model: MakeModel) -> DiffusersModel:
    """Shared by all tests: leave it as you found it. 32 x 32 pixels, 4 steps, guidance 3."""
    return make_model()


@pytest.fixture(scope="session", params=["epsilon", "v_prediction"])
def either_model(request: pytest.FixtureRequest, make_model: MakeModel) -> DiffusersModel:
    """`tiny_model` once with each prediction type: leave it as you found it."""
    return make_model(request.param)


@pytest.fixture(scope="session")
def tiny_suite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete suite, not to be changed; `suite_copy` may be."""
    return save_suite(tmp_path_factory.mktemp("suite") / "random")


@pytest.fixture(scope="session")
def small_board(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run on the random suite leaves, pictures and all; not to be changed."""
    from dorib.config import make_config
    from dorib.host.registry import discover
    from dorib.runner import run

    out = tmp_path_factory.mktemp("board")
    config = {"suite": str(tiny_suite_folder), "out": str(out), "metric": ["sscd"]}
    methods = {"mitigation": ["wanda:sparsity=0.1"], "attack": ["dori"]}
    run(make_config({**config, **methods, "seeds": 1, "budgets": [24]}), discover())
    return out


@pytest.fixture
def suite_copy(tiny_suite_folder: Path, tmp_path: Path) -> Path:
    """The test's own copy of the suite folder."""
    return Path(shutil.copytree(tiny_suite_folder, tmp_path / "suite"))
