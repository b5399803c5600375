"""Edits and triggers from elsewhere: read, or refused in one line, whatever their files hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import dorib

Load = Callable[[Path], Any]
LOADERS = [(dorib.load_edit, "edit.json"), (dorib.load_trigger, "trigger.json")]

NAMES = ("name", "params", "samples", "kind", "note")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=10,
)
KINDS = st.sampled_from([None, "SamplingRule", "ScaleOutputs", "MaskWeights", "ReplaceWeights"])
EDITS = st.fixed_dictionaries(
    {
        "kind": KINDS | JSON,
        "scope": st.sampled_from(["global", "per_sample"]) | JSON,
        "samples": st.lists(st.text(max_size=3), max_size=2) | JSON,
        "notes": JSON,
    },
    optional={"rule": JSON},
)
TRIGGERS = st.fixed_dictionaries(
    dict.fromkeys(["sample", "budget", "restart", "prompt", "loss", "trace", "work"], JSON)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tensors that suit some edits, and some that suit none."""
    folder = tmp_path_factory.mktemp("artefact")
    tensors = {"to_v": torch.zeros(()), "to_v@0": torch.zeros(2), "to_v@x": torch.zeros(2)}
    save_file(tensors, folder / "edit.safetensors")
    return folder


def read_or_refused(load: Load, folder: Path) -> None:
    try:
        assert repr(load(folder))
    except dorib.DoribError as error:
        assert str(folder) in str(error)
        assert "\n" not in str(error)


@given(content=EDITS | JSON)
def test_any_edit(folder: Path, content: Any) -> None:
    (folder / "edit.json").write_text(json.dumps(content))
    read_or_refused(dorib.load_edit, folder)


@given(content=TRIGGERS | JSON)
def test_any_trigger(folder: Path, content: Any) -> None:
    (folder / "trigger.json").write_text(json.dumps(content))
    read_or_refused(dorib.load_trigger, folder)


@pytest.mark.parametrize(("load", "name"), LOADERS, ids=["edit", "trigger"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"", b"{"])
def test_what_is_no_json_is_refused(load: Load, name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(dorib.DoribError, match="not a readable"):
        load(tmp_path)
