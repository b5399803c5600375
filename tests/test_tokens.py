"""The search for words: its projections against plain transcriptions, and what it finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dorib import DoribError, Ledger, Target, TargetModel
from dorib.kit import open_words
from dorib.kit.open_words import OpenWords, plain_tokens
from dorib.target.model import DiffusersModel
from dorib_tokens import TokensParams
from dorib_tokens.attack import TokenSearch, typed
from dorib_tokens.optimisers import Projection, Simplex, onto_simplex
from fixtures.searches import SEEDS, search, targets_of


def by_bisection(row: Tensor) -> Tensor:
    """The projection as UnlearnDiffAtk finds it: the shift at which the positive parts add to 1."""
    values = row.double()
    low, high = float(values.min()) - 1, float(values.max())
    for _ in range(100):
        middle = (low + high) / 2
        if float((values - middle).clamp_min(0).sum()) > 1:
            low = middle
        else:
            high = middle
    return (values - high).clamp_min(0)


@pytest.mark.parametrize("spread", [1e-4, 0.1, 10.0])
@pytest.mark.parametrize("length", [1, 2, 700])
def test_the_projection_onto_the_simplex_is_bisections(spread: float, length: int) -> None:
    points = spread * torch.randn(3, 2, length, generator=torch.Generator().manual_seed(length))
    projected = onto_simplex(points)
    wanted = torch.stack([by_bisection(row) for row in points.flatten(0, 1)]).view_as(points)
    torch.testing.assert_close(projected, wanted.float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(onto_simplex(projected), projected, atol=1e-5, rtol=0)


def test_a_step_on_the_simplex_is_adam_straight_through() -> None:
    generator = torch.Generator().manual_seed(1)
    table, plain = torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, 3, 5])
    simplex = Simplex({"text_encoder": table}, plain, 2, [generator], 0.05, 0.1)
    drawn = simplex.tokens()
    assert drawn.shape == (1, 2)
    assert set(drawn.flatten().tolist()) <= set(plain.tolist())
    slope = torch.randn(1, 2, 4, generator=generator)
    simplex.step({"text_encoder": slope})
    gradient = (slope @ table[plain].T).clamp(-1, 1) + 0.1 / 5
    moved = 1 / 5 - 0.05 * gradient / (gradient.abs() + 1e-8)
    wanted = torch.stack([by_bisection(row) for row in moved[0]]).float()
    # Tokens are drawn from it: the shares of many draws are its own.
    counts = torch.zeros(2, 6)
    for _ in range(3000):
        for position, token in enumerate(simplex.tokens()[0].tolist()):
            counts[position, token] += 1
    torch.testing.assert_close(counts[:, plain] / 3000, wanted, atol=0.04, rtol=0)
    assert counts[:, 4].sum() == 0


def test_the_projection_takes_gradients_at_the_nearest_tokens() -> None:
    generator = torch.Generator().manual_seed(2)
    table, plain = torch.randn(9, 4, generator=generator), torch.tensor([0, 1, 2, 3, 4, 6, 8])
    start = torch.tensor([[3, 8]])
    projection = Projection({"text_encoder": table}, plain, start, 0.7, 0.1)
    assert projection.tokens().tolist() == start.tolist()
    vectors, moments = table[start[0]].clone(), torch.zeros(2, 2, 4)
    for number in range(1, 4):
        gradient = torch.randn(2, 4, generator=generator)
        projection.step({"text_encoder": gradient[None]})
        moments[0] = 0.9 * moments[0] + 0.1 * gradient
        moments[1] = 0.999 * moments[1] + 0.001 * gradient**2
        first, second = moments[0] / (1 - 0.9**number), moments[1] / (1 - 0.999**number)
        vectors = vectors * (1 - 0.7 * 0.1) - 0.7 * first / (second.sqrt() + 1e-8)
        nearest = []
        for vector in vectors:
            cosines = [float(torch.cosine_similarity(vector, table[one], dim=0)) for one in plain]
            nearest.append(int(plain[cosines.index(max(cosines))]))
        assert projection.tokens()[0].tolist() == nearest


@pytest.mark.parametrize("optimiser", ["simplex", "projection"])
@pytest.mark.parametrize("beside", ["caption", "nothing"])
def test_what_is_found_is_a_prompt_with_its_own_ids(
    tiny_model: TargetModel, optimiser: str, beside: str
) -> None:
    params = TokensParams.model_validate(
        {"optimiser": optimiser, "beside": beside, "tokens": 4, "pairs": 1, "judging_pairs": 2}
    )
    targets = targets_of(tiny_model)
    triggers = search(TokenSearch(params), tiny_model, targets, [5, 50])
    for trigger in triggers:
        assert trigger.kind == "tokens" and trigger.prompt
        read = tiny_model.tokenize([trigger.prompt])
        assert torch.equal(read.ids, tiny_model.tokens_of([trigger.tokens]).ids)
        target = targets[int(trigger.sample[1:])]
        assert trigger.prompt.endswith(target.caption) == (beside == "caption")
        # The trace is the lowest judged loss so far, and the loss is that of the prompt.
        assert list(trigger.trace) == sorted(trigger.trace, reverse=True)
        assert trigger.loss == pytest.approx(judged(tiny_model, target, trigger.prompt), rel=1e-4)
    late = {t.sample: t.trace for t in triggers if t.budget == 50}
    assert any(trace[-1] < trace[0] for trace in late.values())


def judged(model: TargetModel, target: Target, prompt: str) -> float:
    """The mean denoising loss on the two judging pairs."""
    generator = SEEDS.generator(target.sample, "judging")
    latents = model.encode_image(target.original[None])
    losses = []
    for _ in range(2):
        timestep = torch.randint(model.timesteps, (1,), generator=generator)
        noise = torch.randn((1, *model.latent_shape), generator=generator)
        index = torch.tensor([target.index])
        with torch.no_grad():
            losses.append(
                model.denoising_loss(latents, noise, timestep, model.encode_prompt([prompt]), index)
            )
    return float(torch.stack(losses).mean())


def test_more_tokens_than_the_encoder_reads_are_refused(tiny_model: DiffusersModel) -> None:
    with pytest.raises(DoribError, match="this text encoder reads 14 tokens; ask for fewer"):
        search(
            TokenSearch(TokensParams(tokens=15)), tiny_model, targets_of(tiny_model), [99], Ledger()
        )


def test_open_words_are_the_first_and_the_caption_follows(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)
    words = OpenWords(tiny_model, targets, 2, "caption")
    [table] = tiny_model.token_embeddings().values()
    ids = words.drawn([SEEDS.generator(target.sample) for target in targets])
    encoded = words.encoded({"text_encoder": table[ids]})["prompt_embeds"]
    rows = [
        [*row, *caption(tiny_model, t)][:14] for row, t in zip(ids.tolist(), targets, strict=True)
    ]
    wanted = tiny_model.encode_tokens(tiny_model.tokens_of(rows))["prompt_embeds"]
    torch.testing.assert_close(encoded, wanted)
    special = set(tiny_model.tokens_of([[]]).ids.flatten().tolist())
    assert special.isdisjoint(plain_tokens(tiny_model).tolist())
    assert len(plain_tokens(tiny_model)) == len(table) - len(special)


def caption(model: TargetModel, target: Target) -> list[int]:
    read = model.tokenize([target.caption])
    return read.ids[0, 1 : int(read.lengths[0]) - 1].tolist()  # type: ignore[no-any-return]


def test_a_prompt_holds_no_character_that_no_text_holds(
    tiny_model: DiffusersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte-level vocabulary has tokens that are NUL: of those alone the caption is left."""
    nul = [t for t in plain_tokens(tiny_model).tolist() if "\0" in tiny_model.detokenize([t])]
    assert nul
    monkeypatch.setattr(open_words, "plain_tokens", lambda _: torch.tensor(nul))
    targets = targets_of(tiny_model)
    for trigger in search(TokenSearch(TokensParams(tokens=4)), tiny_model, targets, [99]):
        assert trigger.prompt == targets[int(trigger.sample[1:])].caption


@given(st.text(st.characters(), max_size=20))
def test_typed_words_are_text(words: str) -> None:
    for spelt in (typed(words), typed(f"{words}\0{words}\ud83d")):
        assert "\0" not in spelt
        assert spelt.encode().decode() == spelt
    if words.isprintable():
        assert typed(words) == words.strip()
