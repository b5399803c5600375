"""A descriptor's folder: `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dorib import DoribError, ModelFolder, require_finite
from dorib_sscd.views import read_views

WEIGHTS = "model.safetensors"
CONFIGURATION = "config.json"


class DescriptorFolder:
    """The files of one descriptor."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self.what = f"descriptor {self.path}"
        self._files = ModelFolder(self.path, self.path, self.what)

    def configuration(self) -> dict[str, Any]:
        """The configuration, its `views` checked.

        Raises:
            DoribError: it is missing, no JSON object, or a link that leads elsewhere; or its views
                make no sense.
        """
        self._files.check()
        content = self._files.configuration(CONFIGURATION)
        where = f"{self.what}: {CONFIGURATION}"
        return content | {"views": read_views(content.get("views", {}), f"{where}: views")}

    def fill(self, network: nn.Module) -> None:
        """Load the weights into `network`, as float32.

        Raises:
            DoribError: they are missing, truncated, of another shape, a link that leads elsewhere,
                or not finite.
        """
        with self.refused():
            weights = load_file(self._files.file(WEIGHTS))
            network.load_state_dict({name: value.float() for name, value in weights.items()})
        require_finite(network.state_dict(), self.what)
        network.eval().requires_grad_(False)

    @contextmanager
    def refused(self) -> Iterator[None]:
        """What goes wrong on reading the files becomes one line that names them."""
        try:
            yield
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RuntimeError,
            SafetensorError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise DoribError(
                f"{self.what}: cannot be loaded ({reason}); restore its files"
            ) from error

    def write(self, configuration: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Write both files; the same content, the same bytes."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(configuration, indent=2, sort_keys=True) + "\n"
        (self.path / CONFIGURATION).write_text(text)
        save_file({n: value.contiguous() for n, value in weights.items()}, self.path / WEIGHTS)
