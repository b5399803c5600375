"""What a fit costs, told before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dorib import Attack, Method, Mitigation, PlannedWork, Scale, drawn_general_pictures
from dorib_adversarial_finetune import AdversarialFinetuneParams

WORK_PER_GRADIENT = 3
"""One item through the U-Net forward (1) and backward (2)."""


def planned_work(
    params: AdversarialFinetuneParams, methods: Mapping[str, Method[Any]], scale: Scale
) -> PlannedWork | None:
    """That of the searches, of the steps and of all pictures; None where a part cannot say."""
    search = methods["search"]
    assert isinstance(search, Attack)
    one = search.planned(scale, params.search_budget)
    searched = PlannedWork(gradient=params.search_budget, exact=False) if one is None else one.work
    found = params.epochs * scale.memorized * params.embeddings_per_image
    lessons = found * params.steps_per_search * params.gradient_accumulation
    together = 2 if params.utility_weight else 1
    # An image without a surrogate is trained towards a prediction that a pass of its own makes.
    blank = PlannedWork(forward=lessons, exact=params.target == "empty_prompt")
    trained = PlannedWork(gradient=lessons * together * WORK_PER_GRADIENT)
    pictures = _pictures(params, methods, scale)
    return None if pictures is None else pictures + searched * found + trained + blank


def _pictures(
    params: AdversarialFinetuneParams, methods: Mapping[str, Method[Any]], scale: Scale
) -> PlannedWork | None:
    general = 0
    if params.utility_weight:
        general = drawn_general_pictures(scale, params.general, params.general_images)
    if params.target == "empty_prompt":
        return PlannedWork(forward=general * scale.image)
    maker = methods["surrogate"]
    assert isinstance(maker, Mitigation)
    made = maker.planned(scale)
    if made is None or made.work is None:
        return None
    drawn = general + params.surrogates * scale.memorized
    return made.work + PlannedWork(forward=drawn * scale.image)
