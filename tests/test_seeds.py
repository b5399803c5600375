"""Seeds: the same names give the same noise, whatever else is drawn."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

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
    evaluation = Seeds(123456789, ("evaluation",)).integer("sample", 0)
    derived = [
        Seeds(seeds.root, ("evaluation",)).integer("sample", 0),
        seeds.child("evaluation").integer("sample", 0),
        Seeds(seeds.root).child(*seeds.scope, "evaluation").integer("sample", 0),
    ]
    assert evaluation not in derived
