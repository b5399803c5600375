"""What a stored result depends on: each part changes, and the result is computed anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from fixtures.forks import REPOSITORY, Forks
from fixtures.small_runs import Report, job, report, small_suite
from fixtures.suites import write_manifest, write_noise, write_rows

ALL = ["attack", "generate", "measure", "mitigate"]
FAST = {
    "mitigation": ["shrink"],
    "attack": [],
    "metric": ["sscd"],
    "limit": 1,
    "seeds": 1,
    "batch_size": 1,
}
PLUGIN = {
    "__init__.py": """
'''A mitigation, a metric of its own, and a rule that another package brings.'''
from dorib import FileParam, Params, Register, hookimpl

dorib_contract = 2


class ShrinkParams(Params):
    factor: float = 0.5
    weights: FileParam | None = None


@hookimpl
def register_mitigations(register: Register) -> None:
    register("shrink", "dorib_planted.mitigation:Shrink", params=ShrinkParams)
    register("ruled", "dorib_planted.mitigation:Ruled")
""",
    "mitigation.py": """
import torch
from pathlib import Path
from dorib import Edit, Mitigation, SamplingRule, ScaleOutputs, starting_embeddings
from planted_helper import SHIFT


class Shrink(Mitigation):
    def fit(self, model, view, seeds, ledger):
        # A comment.
        more = float(Path(__file__).with_name("data.txt").read_text())
        factor = self.params.factor + SHIFT + more
        layers = model.cross_attention_value_layers().items()
        return Edit(ScaleOutputs({n: torch.full((l.out_features,), factor) for n, l in layers}))


class Ruled(Mitigation):
    def fit(self, model, view, seeds, ledger):
        return Edit(SamplingRule("planted", {}))
""",
    "data.txt": "0.0",
}
RULE = {
    "__init__.py": """
from dorib import Register, hookimpl

dorib_contract = 2


@hookimpl
def register_rules(register: Register) -> None:
    register("planted", "dorib_planted_rule.rule:Planted")
""",
    "rule.py": """
from dorib import PromptRule


class Planted(PromptRule):
    def rewrite(self, model, prompts, generators):
        return [prompt + " planted" for prompt in prompts]
""",
}
PLANT = """
import importlib.metadata as metadata
found = metadata.entry_points
def with_planted(**named):
    points = list(found(**named))
    if named.get("group") == "dorib":
        planted = ("dorib_planted", "dorib_planted_rule")
        points += [metadata.EntryPoint(name, name, "dorib") for name in planted]
    return points
metadata.entry_points = with_planted
"""


class Place:
    """A suite, plugins, a copy of the harness, and a store that a first run has filled."""

    def __init__(self, root: Path, forks: Forks) -> None:
        self.root = root
        self.suite = root / "suite"
        self.harness = root / "harness" / "dorib"
        self.plugin = root / "plugins" / "dorib_planted"
        self.rule = root / "plugins" / "dorib_planted_rule"
        self.helper = root / "plugins" / "planted_helper.py"
        self.weights = root / "weights.bin"
        self._forks = forks

    def run(self, before: str = "", **options: object) -> Report:
        asked = job(
            self.suite,
            self.root / "out",
            path=(self.harness.parent, self.plugin.parent),
            before=PLANT + before,
            **FAST | {"mitigation": [f"shrink:weights={self.weights}", "ruled"]} | options,
        )
        # What is changed in between makes another board, begun on the same store.
        (self.root / "out" / "leaderboard.json").unlink(missing_ok=True)
        [ended] = self._forks.together([asked])
        return report(ended)


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("logs")) as parent:
        yield parent


@pytest.fixture(scope="module")
def filled(
    forks: Forks, tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    place = Place(tmp_path_factory.mktemp("keys"), forks)
    small_suite(tiny_suite_folder, place.suite)
    shutil.copytree(
        REPOSITORY / "harness" / "dorib",
        place.harness,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for folder, files in ((place.plugin, PLUGIN), (place.rule, RULE)):
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_text(content)
    place.helper.write_text("SHIFT = 0.0\n")
    place.weights.write_bytes(b"first")
    assert place.run().verbs == ALL
    assert place.run().reused
    return place


@pytest.fixture
def place(filled: Place, forks: Forks, tmp_path: Path) -> Place:
    """A copy that a test may change; the store is that of the first run."""
    root = tmp_path / "place"
    shutil.copytree(filled.root, root, symlinks=True)
    return Place(root, forks)


def rewrite(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content, path
    path.write_text(content.replace(old, new))


def change_manifest(place: Place, **changes: object) -> None:
    content = yaml.safe_load((place.suite / "suite.yaml").read_text())
    write_manifest(place.suite, content | changes)


def change_rows(path: Path, number: int, **changes: object) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number] |= changes
    write_rows(path, rows)


def core(module: str) -> Callable[[Place], None]:
    """Add a statement to a module of dorib."""

    def change(place: Place) -> None:
        path = place.harness / module
        path.write_text(path.read_text() + "\n_PLANTED = 1\n")

    return change


def weights(place: Place) -> None:
    path = place.suite / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value * 1.5 for name, value in load_file(path).items()}, path)


def linked_weights(place: Place) -> None:
    """The U-Net's file is a link within the pipeline; now it leads to another of its files."""
    pipeline = place.suite / "pipeline"
    unet = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(unet)
    unet.rename(pipeline / ".one")
    save_file({name: value * 1.5 for name, value in weights.items()}, pipeline / ".other")
    unet.symlink_to(pipeline / ".one")
    assert place.run().reused
    unet.unlink()
    unet.symlink_to(pipeline / ".other")


def scheduler(place: Place) -> None:
    rewrite(place.suite / "pipeline" / "scheduler" / "scheduler_config.json", "0.012", "0.013")


CHANGES: dict[str, tuple[Callable[[Place], None], list[str]]] = {
    "code of mitigate": (core("verbs/mitigate.py"), ALL),
    "code of attack": (core("verbs/attack.py"), ["attack", "generate", "measure"]),
    "code of generate": (core("verbs/generate.py"), ["generate", "measure"]),
    "code of measure": (core("verbs/measure.py"), ["measure"]),
    "code of judging": (core("verbs/judging.py"), ["measure"]),
    "code of the target model": (core("target/sampling.py"), ALL),
    "code of reading images": (core("suites/images.py"), ALL),
    "code of the seeds": (core("contracts/seeds.py"), ALL),
    "code of the records": (core("ranking/records.py"), ["measure"]),
    "weights": (weights, ALL),
    "a link's target": (linked_weights, ALL),
    "the scheduler": (scheduler, ALL),
    "a caption of the attacked": (
        lambda p: change_rows(p.suite / "samples.jsonl", 0, caption="another caption"),
        ALL,
    ),
    "a general caption": (
        lambda p: change_rows(p.suite / "general.jsonl", 0, caption="another caption"),
        ALL,
    ),
    "a memorized original": (
        lambda p: write_noise(p.suite / "images" / "test-memorized-0.png", seed=99),
        ALL,
    ),
    "a control's original": (
        lambda p: write_noise(p.suite / "images" / "test-control-0.png", seed=99),
        ["attack", "generate", "measure"],
    ),
    "a control's cluster": (
        lambda p: change_rows(p.suite / "samples.jsonl", 4, cluster="another"),
        ["measure"],
    ),
    "steps of sampling": (
        lambda p: change_manifest(
            p, sampling={"height": 32, "width": 32, "steps": 2, "guidance_scale": 3.0}
        ),
        ALL,
    ),
    "the descriptor's threshold": (
        lambda p: change_manifest(
            p,
            descriptor={"path": "descriptor", "threshold": 0.6, "false_positive_rate": 0.001},
        ),
        ["measure"],
    ),
    # Fitted anew; what was found under the edit holds, as long as the edit is the same.
    "code behind a public name that the plugin imports": (core("kit/starts.py"), ["mitigate"]),
    "code of the plugin": (
        lambda p: rewrite(p.plugin / "mitigation.py", "+ SHIFT", "- SHIFT"),
        ["mitigate"],
    ),
    "code of the plugin, and the edit": (
        lambda p: rewrite(p.plugin / "mitigation.py", "+ SHIFT", "+ 0.1"),
        ALL,
    ),
    "a data file of the plugin": (lambda p: rewrite(p.plugin / "data.txt", "0.0", "0.1"), ALL),
    "code beside the plugin": (lambda p: rewrite(p.helper, "0.0", "0.1"), ALL),
    "the rule's package": (
        # It acts on prompts, which a search does not pass.
        lambda p: rewrite(p.rule / "rule.py", '" planted"', '" replanted"'),
        ["generate", "measure"],
    ),
    "a file that a parameter names": (
        lambda p: p.weights.write_bytes(b"other") and None,
        ["mitigate"],
    ),
}


@pytest.mark.parametrize("part", CHANGES)
def test_what_depends_on_a_changed_part_is_computed_anew(place: Place, part: str) -> None:
    change, computed = CHANGES[part]
    change(place)
    assert place.run().verbs == computed


def test_a_probe_asks_anew_where_a_rule_has_changed(place: Place) -> None:
    place.run(probe=["magnitude"])
    assert "probe" not in place.run(probe=["magnitude"]).verbs
    rewrite(place.rule / "rule.py", '" planted"', '" replanted"')
    assert "probe" in place.run(probe=["magnitude"]).verbs


@pytest.mark.parametrize("library", ["torch", "scipy"])
def test_another_version_of_a_library_that_decides_a_number_is_another_key(
    place: Place, library: str
) -> None:
    other = f"""
import importlib.metadata as metadata
version = metadata.version
metadata.version = lambda name: "9999.0" if name == {library!r} else version(name)
"""
    assert version(library) != "9999.0"
    assert place.run(before=other).verbs == ALL


@pytest.mark.parametrize(
    ("options", "computed"),
    [
        ({"dtype": "bfloat16"}, ALL),
        ({"root_seed": 1}, ALL),
        ({"mitigation": ["shrink:factor=0.25"]}, ALL),
        ({"metric": ["sscd:threshold=0.4"]}, ["measure"]),
        ({"seeds": 2}, ["generate", "measure"]),
        ({"metric": ["sscd", "clip"]}, ["generate", "measure"]),
        ({"limit": 2}, ["attack", "generate", "measure"]),
    ],
)
def test_another_setting_is_another_result(
    place: Place, options: dict[str, object], computed: list[str]
) -> None:
    assert place.run(**options).verbs == computed


def with_comments(place: Place) -> None:
    for path in [*place.harness.rglob("*.py"), *place.plugin.parent.rglob("*.py")]:
        path.write_text("# A comment.\n\n" + path.read_text() + "\n\n# Another one.\n")
    rewrite(place.plugin / "mitigation.py", "# A comment.\n        more", "more")


def with_docstrings(place: Place) -> None:
    rewrite(place.plugin / "__init__.py", "'''A mitigation, a metric", "'''Another docstring")
    rewrite(place.harness / "verbs" / "mitigate.py", '"""Fit `method`', '"""Fits `method`')
    rewrite(place.harness / "contracts" / "triggers.py", '"""The work', '"""All the work')


def with_a_model_card(place: Place) -> None:
    (place.suite / "pipeline" / "README.md").write_text("# What the model is\n")
    (place.suite / "pipeline" / "unet" / "Card.MD").write_text("# What the U-Net is\n")
    (place.suite / "pipeline" / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (place.suite / "README.md").write_text("# What the suite is\n")


def with_the_weights_elsewhere(place: Place) -> None:
    """A model's file as a link within the model, as the hub's cache has them."""
    pipeline = place.suite / "pipeline"
    unet = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    unet.rename(pipeline / ".blob")
    unet.symlink_to(pipeline / ".blob")


def with_compiled_plugins(place: Place) -> None:
    cache = place.plugin / "__pycache__"
    cache.mkdir()
    (cache / "mitigation.cpython-399.pyc").write_bytes(b"compiled")


def with_another_command(place: Place) -> None:
    core("cli/run.py")(place)
    core("runner.py")(place)
    core("report/results.py")(place)
    core("ranking/rank.py")(place)


@pytest.mark.parametrize(
    "change",
    [
        with_comments,
        with_docstrings,
        with_a_model_card,
        with_the_weights_elsewhere,
        with_compiled_plugins,
        with_another_command,
    ],
)
def test_what_decides_no_number_leaves_the_results(
    place: Place, change: Callable[[Place], None]
) -> None:
    change(place)
    assert place.run().reused


def test_a_file_moved_elsewhere_is_the_same_parameter(place: Place) -> None:
    elsewhere = place.root / "elsewhere"
    elsewhere.mkdir()
    place.weights.rename(elsewhere / place.weights.name)
    place.weights = elsewhere / place.weights.name
    assert place.run().reused
    entries = (place.root / "out" / "entries").glob("*.json")
    labels = {json.loads(path.read_text())["mitigation"]["label"] for path in entries}
    assert labels == {"none", "shrink:weights=weights.bin", "ruled"}


def test_a_changed_picture_or_caption_changes_its_row(place: Place) -> None:
    """Not only its images: the values in the records are those of the new ones."""

    def values() -> dict[tuple[str, str], list[float]]:
        lines = (place.root / "out" / "records.jsonl").read_text().splitlines()
        found: dict[tuple[str, str], list[float]] = {}
        for line in map(json.loads, lines):
            found.setdefault((line["sample"], line["metric"]), []).append(line["value"])
        return found

    options = {"metric": ["sscd", "clip"], "batch_size": 4}
    place.run(**options)
    before = values()
    write_noise(place.suite / "images" / "test-control-0.png", seed=99)
    change_rows(place.suite / "utility.jsonl", 1, caption="another caption altogether")
    place.run(**options)
    after = values()
    assert after.keys() == before.keys()
    assert {key: len(value) for key, value in after.items()} == {
        key: len(value) for key, value in before.items()
    }
    changed = {key for key in after if after[key] != before[key]}
    assert changed >= {
        ("test-control-0", "sscd_original"),
        ("utility-0001", "clip_alignment"),
        ("utility-0000", "clip_alignment_shuffled"),
    }
    assert {sample for sample, _ in changed} <= {"test-control-0", "utility-0000", "utility-0001"}
