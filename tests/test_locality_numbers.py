"""The numbers of a locality study, by their properties."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dorib import DoribError, Edit, MaskWeights, ScaleOutputs
from dorib_locality.activations import Recording
from dorib_locality.agreement import MethodTable, agreement
from dorib_locality.agreement_of_methods import agreement_of_methods
from dorib_locality.discrepancy import discrepancies
from dorib_locality.embedding_space import Embedded, embedding_space
from dorib_locality.geometry import distances, principal_projection, row_by_row
from dorib_locality.overlap import (
    Picks,
    expected_iou,
    picks_of,
    random_counts,
    random_iou,
    share_overlap,
    tabulate,
    transformer_block,
)
from dorib_locality.pairs import between, separation, superiority, upper, within

PLACES = {"down.transformer_blocks.0.a": 30, "mid.transformer_blocks.0.a": 50}
seeds = st.integers(0, 2**32 - 1)


def random_picks(rng: np.random.Generator, count: int, size: int = 8) -> list[Picks]:
    return [
        {layer: rng.choice(n, size, replace=False) for layer, n in PLACES.items()}
        for _ in range(count)
    ]


def flat(picks: Picks) -> set[tuple[str, int]]:
    return {(layer, int(place)) for layer, places in picks.items() for place in places}


@given(seed=seeds)
def test_distances_do_not_change_under_rotation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(6, 4))
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    for measure in ("l2", "cosine"):
        turned = distances(vectors @ rotation, measure)
        np.testing.assert_allclose(turned, distances(vectors, measure), atol=1e-9)
    moved = distances(vectors @ rotation + 3, "l2")
    np.testing.assert_allclose(moved, distances(vectors, "l2"), atol=1e-9)
    projected = principal_projection(vectors)
    turned = principal_projection(vectors @ rotation + 3)
    np.testing.assert_allclose(turned.coordinates, projected.coordinates, atol=1e-7)
    assert turned.explained == pytest.approx(projected.explained)


def test_distances_are_what_they_are_called() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [5.0, 0.0]])
    expected = [[0, 5**0.5, 4, 4], [5**0.5, 0, 13**0.5, 29**0.5]]
    np.testing.assert_allclose(distances(vectors, "l2")[:2], expected)
    np.testing.assert_allclose(distances(vectors, "cosine")[0], [0, 1, 2, 0], atol=1e-12)
    assert row_by_row(vectors[:2], vectors[2:], "l2") == pytest.approx([4, 29**0.5])


def test_a_plane_is_projected_onto_itself() -> None:
    rng = np.random.default_rng(0)
    plane, _ = np.linalg.qr(rng.normal(size=(10, 2)))
    points = rng.normal(size=(12, 2)) * (5, 1)
    projection = principal_projection(points @ plane.T)
    assert sum(projection.explained) == pytest.approx(1)
    assert projection.explained[0] > projection.explained[1]
    flattened = distances(projection.coordinates, "l2")
    np.testing.assert_allclose(flattened, distances(points, "l2"), atol=1e-9)
    furthest = np.abs(projection.coordinates).argmax(axis=0)
    assert (projection.coordinates[furthest, [0, 1]] > 0).all()


def test_each_pair_is_counted_once() -> None:
    matrix = np.arange(16.0).reshape(4, 4)
    labels = ["a", "a", "b", "a"]
    assert within(matrix, labels).tolist() == [1, 3, 7]
    assert between(matrix, labels).tolist() == [2, 6, 11]
    assert len(upper(matrix)) == 6


def test_superiority_is_the_share_of_comparisons_won() -> None:
    larger, smaller = np.array([1.0, 3.0, 3.0]), np.array([2.0, 3.0])
    won = [(a > b) + 0.5 * (a == b) for a in larger for b in smaller]
    assert superiority(larger, smaller) == pytest.approx(np.mean(won))


def test_separation_sees_clusters_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    labels = [label for label in "abcd" for _ in range(5)]
    noise = rng.normal(size=(20, 30))
    centres = np.repeat(rng.normal(size=(4, 30)) * 3, 5, axis=0)
    clustered = separation(distances(noise + centres, "l2"), labels, rng, 500)
    assert clustered is not None
    assert clustered.superiority == 1
    assert clustered.p_value == pytest.approx(1 / 501)
    assert clustered.within < clustered.between
    p_values = []
    for _ in range(40):
        found = separation(distances(rng.normal(size=(20, 30)), "l2"), labels, rng, 99)
        assert found is not None
        p_values.append(found.p_value)
    # Uniform where there is nothing to see: 40 draws, well within three standard errors.
    assert 0.35 < np.mean(p_values) < 0.65


def test_separation_needs_both_kinds_of_pairs() -> None:
    matrix = distances(np.random.default_rng(0).normal(size=(3, 2)), "l2")
    rng = np.random.default_rng(0)
    assert separation(matrix, ["a", "b", "c"], rng) is None
    assert separation(matrix, ["a", "a", "a"], rng) is None
    holed = matrix.copy()
    holed[0, 1] = holed[1, 0] = np.nan
    assert separation(holed, ["a", "a", "b"], rng) is None


@given(seed=seeds)
@settings(max_examples=25)
def test_overlap_is_that_of_the_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picks = [*random_picks(rng, 3), {}]
    picks.append(picks[0])
    overlap = tabulate(picks, PLACES).overlap()
    for i, j in combinations((0, 1, 2, 4), 2):
        one, other = flat(picks[i]), flat(picks[j])
        assert overlap[i, j] == pytest.approx(len(one & other) / len(one | other))
        assert 0 <= overlap[i, j] == overlap[j, i] <= 1
    assert overlap[0, 4] == overlap[0, 0] == 1
    assert np.isnan(overlap[3]).all()
    layers = [tabulate(picks, PLACES).layer_overlap(layer)[0, 1] for layer in range(2)]
    assert min(layers) - 1e-12 <= overlap[0, 1] <= max(layers) + 1e-12


def exact_expectation(a: int, b: int, n: int) -> float:
    """Over all subsets of size b, against one fixed subset of size a."""
    fixed = set(range(a))
    values = [len(fixed & set(s)) / len(fixed | set(s)) for s in combinations(range(n), b)]
    return float(np.mean(values))


@pytest.mark.parametrize(("a", "b", "n"), [(3, 4, 12), (1, 1, 10), (6, 6, 12), (2, 9, 14)])
def test_random_overlap_is_the_hypergeometric_expectation(a: int, b: int, n: int) -> None:
    first, second, places = np.array([[a]]), np.array([[b]]), np.array([n])
    exact = exact_expectation(a, b, n)
    assert expected_iou(first, second, places)[0] == pytest.approx(exact)
    drawn = random_iou(first, second, places, np.random.default_rng(0), 20_000)
    error = 5 * drawn.std() / 20_000**0.5
    assert drawn.mean() == pytest.approx(exact, abs=error)


def test_the_expectation_holds_for_layers_of_many_weights() -> None:
    first, second = np.array([[60_000, 900]]), np.array([[70_000, 800]])
    places = np.array([400_000, 20_000])
    drawn = random_iou(first, second, places, np.random.default_rng(0), 2000)
    error = 5 * drawn.std() / 2000**0.5
    assert expected_iou(first, second, places)[0] == pytest.approx(drawn.mean(), abs=error)


def test_random_overlap_is_that_of_drawn_picks() -> None:
    rng = np.random.default_rng(1)
    table = tabulate(random_picks(rng, 150), PLACES)
    seen = upper(table.overlap())
    expected = expected_iou(table.sizes[:1], table.sizes[1:2], table.populations)[0]
    assert seen.mean() == pytest.approx(expected, rel=0.02)
    assert np.isnan(expected_iou(np.zeros((1, 2)), np.zeros((1, 2)), table.populations)).all()


def test_picks_are_read_from_edits() -> None:
    scales = ScaleOutputs({"v": torch.tensor([[1.0, 0.0, 1.0, 0.5]])})
    assert picks_of(Edit(scales, "per_sample", ("s",)))["v"].tolist() == [1, 3]
    masks = MaskWeights({"f": (torch.tensor([5, 7]),)})
    assert picks_of(Edit(masks, "per_sample", ("s",)))["f"].tolist() == [5, 7]
    with pytest.raises(DoribError, match="leave the other mitigations out"):
        picks_of(Edit(None))


def test_spreads_over_blocks() -> None:
    counts = np.array([[2, 2], [40, 40], [4, 0], [0, 0]])
    assert share_overlap(counts, counts[[1, 0, 1, 0]]) == pytest.approx(
        [1, 1, 0.5 / 1.5, np.nan], nan_ok=True
    )
    drawn = random_counts(np.array([[3, 5], [0, 2]]), np.array([10, 10]), np.random.default_rng(0))
    assert drawn.sum(axis=1).tolist() == [8, 2]
    value = "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_v"
    feed_forward = "down_blocks.0.attentions.1.transformer_blocks.0.ff.net.2"
    assert transformer_block(value) == transformer_block(feed_forward)


def table_of(picks: list[Picks], triggers: int, samples: list[str]) -> MethodTable:
    return MethodTable(
        mitigation="m",
        unit="weights",
        picks=picks,
        populations=PLACES,
        table=tabulate(picks, PLACES),
        there=np.ones(len(picks), bool),
        triggers=triggers,
        prompts={sample: 2 * triggers + i for i, sample in enumerate(samples)},
    )


def test_agreement_of_picks_that_depend_on_the_image_alone() -> None:
    rng = np.random.default_rng(0)
    of_image = random_picks(rng, 3)
    labels = [name for name in "abc" for _ in range(4)]
    picks = [of_image["abc".index(label)] for label in labels]
    table = table_of([*picks, *picks, *of_image], 12, ["a", "b", "c"])
    found = agreement(table, np.arange(12), labels, rng)
    assert found.triggers_of_one_image.mean == found.one_trigger_other_noise.mean == 1
    assert found.trigger_and_prompt.mean == 1
    assert found.triggers_of_different_images.mean is not None
    assert found.triggers_of_different_images.mean < 0.5
    assert found.triggers_of_one_image.n == 3 * 6
    assert found.test is not None
    assert found.test.superiority == 1
    assert found.test.p_value < 0.01
    pair = agreement_of_methods(table, table, np.arange(12), labels, rng)
    assert pair.same_places is not None
    assert pair.same_places.mean == pair.one_trigger.mean == 1
    assert pair.first_shares == pytest.approx([0.5, 0.5])


def test_agreement_of_random_picks_is_what_random_picks_give() -> None:
    rng = np.random.default_rng(0)
    labels = [name for name in "abcdef" for _ in range(6)]
    picks = random_picks(rng, 72 + 6)
    found = agreement(table_of(picks, 36, list("abcdef")), np.arange(36), labels, rng)
    assert found.random is not None
    assert found.random.expected == pytest.approx(found.random.mean, rel=0.05)
    assert found.triggers_of_one_image.mean == pytest.approx(found.random.mean, rel=0.2)
    assert found.test is not None
    assert found.test.p_value > 0.01


def test_triggers_without_picks_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(0)
    picks = random_picks(rng, 8 + 2)
    picks[0] = {}
    table = table_of(picks, 4, ["a", "b"])
    table.there[1] = False
    found = agreement(table, np.arange(4), ["a", "a", "b", "b"], rng)
    assert found.empty == 1
    assert found.sizes.n == 3
    assert found.triggers_of_one_image.n == 1
    assert found.triggers_of_different_images.n == 0
    pair = agreement_of_methods(table, table, np.arange(4), ["a", "a", "b", "b"], rng)
    assert pair.one_trigger.n == 2


def test_empty_picks_are_left_out_or_agree_with_each_other() -> None:
    """As the paper counts them: 1 for two that are empty, 0 for one that is."""
    first, second = PLACES
    picks: list[Picks] = [
        {first: np.array([1, 2])},
        {first: np.array([2, 3])},
        {},
        {first: np.array([1, 2]), second: np.array([7])},
    ]
    # The same again with other noise; then the two prompts, of which the second picks nothing.
    table = table_of([*picks, *picks, {first: np.array([1])}, {}], 4, ["a", "b"])
    found = agreement(table, np.arange(4), ["a", "a", "b", "b"], np.random.default_rng(0))
    assert found.empty == 1
    # Pairs of one image: a third, and an empty pick with another.
    assert found.triggers_of_one_image.mean == pytest.approx(1 / 3)
    assert found.counting_empty.triggers_of_one_image == pytest.approx(1 / 6)
    one, other = found.layers
    assert (one.layer, one.empty, other.layer, other.empty) == (first, 1, second, 3)
    # In the second layer nothing but the last trigger picks: no pair is left.
    assert other.triggers_of_one_image is None
    assert other.counting_empty.triggers_of_one_image == pytest.approx((1 + 0) / 2)
    assert other.counting_empty.triggers_of_different_images == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert one.prompts_of_different_images is None
    assert one.counting_empty.prompts_of_different_images == 0
    assert other.counting_empty.prompts_of_different_images == 1


def test_picks_that_failed_are_not_empty_ones() -> None:
    table = table_of([{}, {}, {}, {}] * 2 + [{}, {}], 4, ["a", "b"])
    table.there[1] = False
    found = agreement(table, np.arange(4), ["a", "a", "b", "b"], np.random.default_rng(0))
    assert found.empty == 3
    # Of one image, a's only pair has a pick that failed.
    assert found.counting_empty.triggers_of_one_image == 1
    assert found.counting_empty.triggers_of_different_images == 1
    table.there[[2, 3]] = False
    found = agreement(table, np.arange(4), ["a", "a", "b", "b"], np.random.default_rng(0))
    assert found.counting_empty.triggers_of_one_image is None


def test_discrepancies_are_measured_and_tested_by_angle_and_by_length() -> None:
    """Vectors of one direction an image and of any length: near by angle, as far by L2."""
    rng = np.random.default_rng(0)
    labels = [name for name in "abcd" for _ in range(6)]
    directions = {name: rng.normal(size=40) for name in "abcd"}
    lengths = rng.uniform(1, 50, size=(len(labels), 1))
    vectors = np.stack([directions[label] for label in labels]) * lengths
    noisy = np.stack([vectors, vectors], axis=1)[:, :, None]
    recording = Recording((999,), {"v": vectors}, {"f": noisy})
    rows = np.arange(len(labels))
    found = discrepancies(recording, "mean", rows, labels, rows[:3], rng)
    by_measure = {row.measure: row for row in found.layers if row.kind == "value"}
    cosine, l2 = by_measure["cosine"], by_measure["l2"]
    assert cosine.triggers_of_one_image == pytest.approx(0, abs=1e-9)
    assert cosine.superiority == 1
    apart = distances(vectors, "l2")
    assert l2.triggers_of_one_image == pytest.approx(within(apart, labels).mean())
    assert l2.triggers_of_different_images == pytest.approx(between(apart, labels).mean())
    tests = {(test.kind, test.measure): test.test for test in found.tests}
    assert len(tests) == len(found.tests) == 4
    assert tests["value", "cosine"] is not None
    assert tests["value", "l2"] is not None
    assert tests["value", "l2"].superiority < tests["value", "cosine"].superiority == 1
    assert tests["value", "l2"].between == pytest.approx(between(apart, labels).mean())


def test_embedding_space_tells_starts_from_searches() -> None:
    """Starts at random, and a step towards the image's own direction: only the step is common."""
    rng = np.random.default_rng(0)
    labels = [name for name in "abcd" for _ in range(5)]
    starts = rng.normal(size=(20, 60)) * 5
    directions = {name: rng.normal(size=60) for name in "abcd"}
    triggers = starts + np.stack([directions[label] for label in labels]) * 0.3
    prompts = {name: rng.normal(size=60) for name in "abcd"}
    embedded = Embedded(6, 10, triggers, starts, prompts, rng.normal(size=(9, 60)) * 5)
    found = embedding_space(embedded, np.arange(20), labels, [0, 1, 2, 3, 4] * 4, rng)
    l2, cosine = found.spreads
    assert l2.share_of_random_prompts == pytest.approx(1, abs=0.1)
    assert cosine.test_of_displacements is not None
    assert cosine.test_of_displacements.superiority == 1
    assert cosine.test_of_displacements.within == pytest.approx(0, abs=1e-9)
    kinds = [point.kind for point in found.points]
    assert kinds.count("trigger") == kinds.count("starting point") == 20
    assert kinds.count("prompt") == 4
    assert kinds.count("random prompt") == 9
