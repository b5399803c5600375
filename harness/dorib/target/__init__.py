"""The target model: what mitigations, attacks and the runner may ask of a diffusion pipeline.

What knows diffusers lives here and nowhere else: loading, the layers' names, installing edits,
sampling.
"""

from dorib.target.conditioning import Embeddings, stacked, unstacked
from dorib.target.loading import load_pipeline, load_unet_weights
from dorib.target.model import TargetModel

__all__ = [
    "Embeddings",
    "TargetModel",
    "load_pipeline",
    "load_unet_weights",
    "stacked",
    "unstacked",
]
