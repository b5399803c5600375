"""Whether the model and the oracle load and work, seen before any work and once for good."""

from __future__ import annotations

from pathlib import Path

from dorib.contracts.edits import Edit, ReplaceWeights
from dorib.errors import DoribError
from dorib.store.code import closure_digest
from dorib.store.fingerprint import model_digest
from dorib.target.loading import check_oracle_files, check_pipeline, load_unet_weights
from dorib.target.model import DiffusersModel
from dorib.target.trial import try_out
from dorib.verbs.context import RunContext

LOADED = "loaded"


def require_ready(context: RunContext) -> None:
    """See that the target model and the oracle can be loaded and make an image.

    Their files are looked at in every run. They are loaded once: that all went well is kept in the
    store, under a key that names their bytes, the settings, the libraries and dorib's numerics, so
    that a run with nothing to compute loads no model.

    Raises:
        DoribError: a file is missing, broken or leads elsewhere, a module is not complete and
            finite, or the components do not work together.
    """
    manifest, suite = context.suite.manifest, context.suite
    check_pipeline(suite.component(manifest.pipeline), suite.pipeline_configuration)
    oracle = Path(suite.component(manifest.oracle)) if manifest.oracle else None
    if oracle:
        check_oracle_files(oracle)
    if context.pipeline_version is None:
        # Nothing tells whether it is the same as before.
        _load(context.model, oracle)
        return
    key = {
        "model": context.model_key,
        "code": closure_digest(__name__),
        "oracle": model_digest(oracle) if oracle else None,
    }
    shelf = context.store.shelf("checks", key)
    if LOADED not in shelf:
        _load(context.model, oracle)
        with shelf.batch([LOADED]):
            pass


def _load(model: DiffusersModel, oracle: Path | None) -> None:
    if oracle is None:
        return
    what = f"oracle {oracle}"
    weights = load_unet_weights(oracle)
    own = {name: value.shape for name, value in model.unet.named_parameters()}
    other = sorted(
        name
        for name in own.keys() | weights.keys()
        if name not in own or name not in weights or own[name] != weights[name].shape
    )
    if other:
        raise DoribError(
            f"{what}: {len(other)} tensors are not those of the pipeline's U-Net, {other[0]} among "
            "them; an oracle is the same U-Net, trained without the memorized samples"
        )
    with model.edited(Edit(ReplaceWeights(weights))):
        try_out(model, what)
