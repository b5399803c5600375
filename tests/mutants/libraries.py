"""All that test runs import beside the program, imported once in the process they are forked from.

Nothing of the program: it is mutated in between.
"""

from __future__ import annotations

import contextlib
import io
import os

import accelerate  # noqa: F401
import hypothesis  # noqa: F401
import pydantic  # noqa: F401
import pytest
import scipy.special
import scipy.stats  # noqa: F401
import torch  # noqa: F401
import torchmetrics.functional.image  # noqa: F401
import transformers.models.clip.modeling_clip  # noqa: F401
import yaml  # noqa: F401
from diffusers import (  # noqa: F401
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

# Read by pytest; its plugins from other packages take longer than many a test.
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

# Both import lazily: pytest what it is made of, diffusers all schedulers that are alike.
with contextlib.redirect_stdout(io.StringIO()):
    pytest.main(["--version", "-p", "_hypothesis_pytestplugin"])
assert DDIMScheduler().compatibles
