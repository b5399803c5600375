"""Seeds: the same names give the same noise, whatever else is drawn."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dorib import DoribError
from dorib.contracts import seeds as module
from dorib.contracts.seeds import Seeds

NAMES = st.lists(
    st.one_of(st.text(st.characters(categories=["L", "N"]), min_size=1), st.integers(0)),
    min_size=1,
    max_size=3,
)


def test_numbers_stay_the_same_between_versions() -> None:
    assert Seeds(0, ("search", "dori")).integer("sample-1", 0) == 8950641989297000208


@given(root=st.integers(0, 10), names=NAMES)
def test_the_same_names_give_the_same_seed(root: int, names: list[str | int]) -> None:
    number = Seeds(root).integer(*names)
    assert 0 <= number < 2**63
    assert number == Seeds(root).integer(*names)
    assert number == Seeds(root).child(*names[:-1]).integer(names[-1])


@given(first=NAMES, second=NAMES, roots=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_other_names_or_roots_give_another_seed(
    first: list[str | int], second: list[str | int], roots: tuple[int, int]
) -> None:
    same = roots[0] == roots[1] and [*map(str, first)] == [*map(str, second)]
    assert (Seeds(roots[0]).integer(*first) == Seeds(roots[1]).integer(*second)) == same


def test_an_items_noise_does_not_depend_on_what_was_drawn_before() -> None:
    seeds = Seeds(3).child("evaluation")
    alone = torch.randn(4, generator=seeds.generator("b", 1))
    torch.randn(9, generator=seeds.generator("a", 0))
    torch.rand(5)
    assert torch.equal(torch.randn(4, generator=seeds.generator("b", 1)), alone)


def test_purposes_do_not_share_noise() -> None:
    drawn = [
        torch.randn(4, generator=Seeds(0).child(purpose).generator("a", 0))
        for purpose in ("fit", "search", "evaluation")
    ]
    assert not any(torch.equal(drawn[i], drawn[j]) for i in range(3) for j in range(i))


@given(root=st.integers(0, 10), scope=NAMES, names=NAMES)
def test_sealed_seeds_give_the_same_numbers(
    root: int, scope: list[str | int], names: list[str | int]
) -> None:
    open_seeds = Seeds(root).child(*scope)
    sealed = open_seeds.sealed()
    assert sealed.integer(*names) == open_seeds.integer(*names)
    assert sealed.child(names[0]).integer(*names) == open_seeds.child(names[0]).integer(*names)


def test_sealed_seeds_do_not_tell_root_and_scope() -> None:
    seeds = Seeds(123456789, ("search", "dori")).sealed().child("sample")
    told = [repr(seeds), repr(vars(seeds)), seeds.root, *seeds.scope]
    assert not any("123456789" in str(one) or "search" in str(one) for one in told)


@pytest.mark.parametrize("root", [0, 123456789])
def test_sealed_seeds_lead_to_no_other_branch(root: int) -> None:
    seeds = Seeds(root, ("search", "dori")).sealed().child("sample")
    evaluation = Seeds(root, ("evaluation",)).integer("sample", 0)
    derived = [
        Seeds(seeds.root, ("evaluation",)).integer("sample", 0),
        seeds.child("evaluation").integer("sample", 0),
        Seeds(seeds.root).child(*seeds.scope, "evaluation").integer("sample", 0),
    ]
    assert evaluation not in derived


class SameLowBits(Seeds):
    """Seeds that differ in their high bits alone."""

    def integer(self, *names: str | int) -> int:
        return 5 + (int(names[0]) << 32)


def test_every_bit_of_a_seed_decides() -> None:
    # torch's manual_seed alone takes the low 32 bits.
    low = [torch.Generator().manual_seed(5 + (high << 32)) for high in (0, 1, 2**30)]
    assert len({float(torch.randn(1, generator=generator)) for generator in low}) == 1
    seeds = SameLowBits()
    drawn = [torch.randn(4, generator=seeds.generator(high)) for high in (0, 1, 2**30)]
    assert not any(torch.equal(drawn[i], drawn[j]) for i in range(3) for j in range(i))


def test_numbers_are_those_of_numpy_s_twister_of_the_same_seed() -> None:
    names = "sample-1", 0
    twister = np.random.MT19937(np.random.SeedSequence(Seeds(0).integer(*names)))
    # numpy starts with the last word of the seeded state, torch with the round after it.
    twister.random_raw()
    # An integer of torch takes two words, and modulo a power of two shows the second.
    expected = [int(word) % 2**31 for word in twister.random_raw(1400)[1::2]]
    drawn = torch.randint(2**31, (700,), generator=Seeds(0).generator(*names))
    assert drawn.tolist() == expected


def test_sealed_seeds_give_the_same_noise() -> None:
    seeds = Seeds(0).child("search")
    drawn = [torch.randn(4, generator=one.generator("a", 1)) for one in (seeds, seeds.sealed())]
    assert torch.equal(*drawn)


class Shifted(torch.Generator):
    """A generator as another torch may have it: its state begins with something else."""

    def get_state(self) -> torch.Tensor:
        return super().get_state().roll(8)

    def set_state(self, state: torch.Tensor) -> torch.Generator:
        return super().set_state(state.roll(-8))


class Deaf(torch.Generator):
    """One whose numbers no longer come from the words of its state."""

    def set_state(self, state: torch.Tensor) -> torch.Generator:
        return self


@pytest.mark.parametrize("other", [Shifted, Deaf])
def test_a_torch_with_another_state_is_refused(
    monkeypatch: pytest.MonkeyPatch, other: type[torch.Generator]
) -> None:
    # Anew, since the form is looked at once.
    seeds = runpy.run_path(str(module.__file__))["Seeds"](0)
    monkeypatch.setattr(torch, "Generator", other)
    with pytest.raises(DoribError, match="in another form"):
        seeds.generator("a")


def test_noise_is_standard_normal() -> None:
    drawn = torch.randn(20_000, generator=Seeds(0).generator("sample-1", 0), dtype=torch.float64)
    assert abs(float(drawn.mean())) < 0.03 and abs(float(drawn.std()) - 1) < 0.03
