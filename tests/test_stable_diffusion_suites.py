"""The Stable Diffusion suites, and a suite of the user's own: prompt tables, fetched data, runs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dorib.cli.app import main
from dorib.config import make_config, read_config
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.report.results import RunResult
from dorib.runner import run
from dorib.suites.fetch import hub
from dorib.suites.fetch.originals import write_whole
from dorib.suites.fetch.sources import original_key
from dorib.suites.suite import Suite, load_suite
from dorib_sscd import OFFICIAL_SHA256
from dorib_sscd import weights as sscd_weights
from fixtures import web
from fixtures.suites import write_manifest
from test_prompt_tables import DATA, published

NAMES = ("sd14-vm", "sd14", "sd2")
ALL_NAMES = (*NAMES, "sd2-mem219")
SHORT = {"metric": ["sscd", "clip"], "seeds": 1, "budgets": [24], "device": "cpu"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def registry(built_in_plugins: list[Any]) -> Registry:
    return discover(built_in_plugins)


@pytest.fixture
def fetched(home: Path) -> Path:
    """The published lists, where `dorib fetch` would put them."""
    folder = home / ".cache" / "dorib" / "data" / "sd14"
    for path in (*DATA.glob("*.csv"), *DATA.glob("*.txt")):
        key = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        (folder / "tables" / key).mkdir(parents=True)
        shutil.copy(path, folder / "tables" / key)
    return folder


@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_suite_says_what_it_lacks(registry: Registry, name: str) -> None:
    suite = load_suite(name, registry)
    assert suite.name == name
    with pytest.raises(DoribError, match=f"missing; run `dorib fetch {name}`"):
        _ = suite.samples


@published
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("sd14-vm", {"verbatim": 112}),
        ("sd14", {"verbatim": 112, "template": 388}),
        ("sd2", {"unknown": 500}),
    ],
)
def test_the_published_lists_fill_the_suites(
    registry: Registry, fetched: Path, name: str, kinds: dict[str, int]
) -> None:
    suite = load_suite(name, registry)
    assert Counter(sample.kind for sample in suite.samples) == kinds
    assert {sample.role for sample in suite.samples} == {"memorized"}
    assert {len(sample.urls) for sample in suite.samples} == {1}
    share = Counter(sample.split for sample in suite.samples)["dev"] / len(suite.samples)
    assert 0.2 < share < 0.3
    assert len(suite.utility_prompts) == 10_000
    assert len(suite.general_captions) == 500


@published
def test_219_prompts_have_no_originals_and_a_run_says_what_makes_some(
    registry: Registry, fetched: Path, tmp_path: Path
) -> None:
    suite = load_suite("sd2-mem219", registry)
    assert len(suite.samples) == len({s.id for s in suite.samples}) == 219
    assert {(sample.kind, sample.role) for sample in suite.samples} == {("unknown", "memorized")}
    assert suite.samples[0].caption.startswith("Hardwood ColorCollection")
    assert not any(sample.urls or suite.originals(sample) for sample in suite.samples)
    assert set(Counter(s.split for s in suite.samples)) == {"dev", "test"}
    config = make_config({"suite": "sd2-mem219", "out": str(tmp_path / "out")})
    with pytest.raises(DoribError, match="nobody publishes them: run `dorib cliques --suite sd2"):
        run(config, registry)
    assert not (tmp_path / "out").exists()


@published
def test_a_sample_is_in_the_same_split_in_every_suite(registry: Registry, fetched: Path) -> None:
    splits = [{s.id: s.split for s in load_suite(name, registry).samples} for name in NAMES]
    assert splits[1] == splits[2]
    assert splits[0].items() <= splits[1].items()
    # Published: another hash would deal the samples anew.
    assert Counter(splits[0].values()) == {"test": 84, "dev": 28}
    assert Counter(splits[1].values()) == {"test": 365, "dev": 135}


@published
@pytest.mark.parametrize("name", ALL_NAMES)
def test_the_pinned_hashes_are_the_lists(registry: Registry, fetched: Path, name: str) -> None:
    spec = load_suite(name, registry).manifest.fetch
    assert spec
    assert len(spec.files) == 3
    for file in spec.files:
        assert hashlib.sha256(spec.place(file).read_bytes()).hexdigest() == file.sha256


@pytest.mark.parametrize("name", ALL_NAMES)
def test_the_descriptor_is_the_official_sscd(registry: Registry, name: str, home: Path) -> None:
    manifest = load_suite(name, registry).manifest
    assert manifest.fetch
    assert manifest.descriptor
    assert (manifest.descriptor.official, manifest.descriptor.threshold) == (True, 0.7)
    [file] = manifest.fetch.weights
    assert (file.url, file.sha256) == (sscd_weights.OFFICIAL_URL, OFFICIAL_SHA256)
    assert home / ".cache" / "dorib" / file.path == sscd_weights.official_path()
    assert manifest.fetch.hub == (manifest.clip,)


def test_the_preset_is_a_run_of_registered_methods(registry: Registry) -> None:
    config = read_config(Path("finding-dori"), {"limit": 1})
    assert (config.suite, config.limit) == ("sd14-vm", 1)
    for kind in ("mitigation", "attack", "metric"):
        for spec in getattr(config, kind):
            registration = registry.get(kind, spec.name)  # type: ignore[arg-type]
            registration.params.model_validate(spec.params)
    starts = [spec.params["start"] for spec in config.attack]
    assert starts == ["prompt", "other", "normal"]
    [tuned] = [spec for spec in config.mitigation if spec.name == "adversarial-finetune"]
    assert tuned.params["search_budget"] == config.budgets[0] == 1200


def test_every_value_of_the_preset_has_a_source() -> None:
    import dorib.presets

    path = Path(dorib.presets.__file__).parent / "finding-dori.yaml"
    for line in path.read_text().splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        if colon and value.strip() and key.strip(" -") not in ("name", "start"):
            assert "#" in line, f"without a source: {line}"


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(DoribError, match=r"no such run file; .* a preset: finding-dori"):
        read_config(Path("finding-nemo"), {})


# A suite of the user's own, without a line of code.


def own_suite(tiny_suite_folder: Path, folder: Path) -> Path:
    """A user's suite: a pipeline, a table as NeMo's, two originals for one sample, controls."""
    shutil.copytree(tiny_suite_folder, folder)
    for name in ("samples.jsonl", "oracle", "images"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_whole(
        folder / "prompts.csv",
        b"\n".join(
            [
                b";Caption;URL;type;mean_sscd;max_sscd;Index",
                b"0;a red barn;https://example.org/1.png;VM;0.8;0.9;11",
                b"1;a blue boat;https://example.org/2.png;TM;0.1;;12",
                b"2;a lost link;https://example.org/3.png;VM;0.8;0.9;13",
                b"",
            ]
        ),
    )
    (folder / "gt_images" / "12").mkdir(parents=True)
    (folder / "gt_images" / "11.png").write_bytes(web.picture(1))
    for number in (2, 3):
        (folder / "gt_images" / "12" / f"{number}.jpg").write_bytes(web.picture(number, "JPEG"))
    (folder / "held-out").mkdir()
    rows = []
    for number in (4, 5):
        (folder / "held-out" / f"{number}.png").write_bytes(web.picture(number))
        rows.append(json.dumps({"file_name": f"{number}.png", "caption": f"control {number}"}))
    (folder / "held-out" / "metadata.jsonl").write_text("\n".join(rows))
    content = yaml.safe_load((folder / "suite.yaml").read_text())
    del content["oracle"]
    samples = {"table": "prompts.csv", "images": "gt_images", "controls": "held-out"}
    profile = content["quick"] | {"memorized": None, "controls": None}
    write_manifest(folder, content | {"name": "own", "samples": samples, "quick": profile})
    return folder


def run_suite(folder: Path, out: Path, registry: Registry, **options: Any) -> RunResult:
    return run(make_config({"suite": str(folder), "out": str(out), **SHORT, **options}), registry)


def test_a_suite_of_ones_own_runs(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    folder = own_suite(tiny_suite_folder, tmp_path / "own")
    result = run_suite(
        folder, tmp_path / "out", registry, mitigation=["wanda:sparsity=0.1"], attack=["dori"]
    )
    for entry in result.entries:
        assert (entry.samples.memorized, entry.samples.controls) == (2, 2)
        assert entry.samples.unscorable == 1
        assert not entry.errors
        assert entry.memorization_rate is not None
        assert entry.memorization_rate.n == 2
        assert entry.gap_reference == "controls"
    records = [json.loads(line) for line in result.records.read_text().splitlines()]
    lost = [record for record in records if record["sample"] == "13"]
    assert len(lost) == len(result.entries)
    assert {record["metric"] for record in lost} == {"unscorable"}
    assert {record["error"] for record in lost} == {"it has no original image"}


def test_an_original_that_comes_later_makes_another_suite(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    folder = own_suite(tiny_suite_folder, tmp_path / "own")
    before = Suite.load(folder).digest()
    (folder / "gt_images" / "13.png").write_bytes(web.picture(9))
    assert Suite.load(folder).digest() != before
    result = run_suite(folder, tmp_path / "out", registry)
    assert {entry.samples.unscorable for entry in result.entries} == {0}


def test_fetched_originals_count_in_the_suite_s_digest(
    tiny_suite_folder: Path, tmp_path: Path, home: Path
) -> None:
    folder = own_suite(tiny_suite_folder, tmp_path / "own")
    content = yaml.safe_load((folder / "suite.yaml").read_text())
    write_manifest(folder, content | {"fetch": {"name": "own"}})
    before = Suite.load(folder).digest()
    originals = home / ".cache/dorib/data/own/originals"
    originals.mkdir(parents=True)
    key = original_key("https://example.org/3.png")
    write_whole(originals / f"{key}.png", web.picture(9))
    suite = Suite.load(folder)
    assert suite.digest() != before
    [lost] = [sample for sample in suite.samples if sample.id == "13"]
    assert [path.stem for path in suite.originals(lost)] == [key]


def test_a_run_without_controls_says_so(
    tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = own_suite(tiny_suite_folder, tmp_path / "own")
    content = yaml.safe_load((folder / "suite.yaml").read_text())
    del content["samples"]["controls"]
    write_manifest(folder, content)
    options = ["--metric", "sscd", "--seeds", "1", "--limit", "1", "--device", "cpu"]
    code = call("run", "--suite", str(folder), "--out", str(tmp_path / "out"), *options)
    out = capfd.readouterr().out
    assert code == 0, out
    assert "no controls: nothing tells what an attack draws" in out
    entry = json.loads(next((tmp_path / "out" / "entries").glob("*.json")).read_text())
    assert entry["samples"]["controls"] == 0
    assert entry["controls_rate"] is None


def test_no_original_at_all_is_refused(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    folder = own_suite(tiny_suite_folder, tmp_path / "own")
    shutil.rmtree(folder / "gt_images")
    with pytest.raises(DoribError, match=r"none of the memorized samples .* give them one"):
        run_suite(folder, tmp_path / "out", registry)
    assert not (tmp_path / "out").exists()


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert isinstance(exit.value.code, int)
    return exit.value.code


def test_offline_fails_before_any_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "is_on_disk", lambda name: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    out = tmp_path / "out"
    assert call("run", "--suite", "sd14-vm", "--offline", "--out", str(out)) == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    for part in (
        "memorized_laion_prompts.csv",
        "coco2014_val_10000.csv",
        "sscd_disc_mixup.torchscript.pt",
        "laion/CLIP-ViT-B-32",
        "`dorib fetch sd14-vm`",
        "`dorib fetch sd14-vm --pipeline` for CompVis/stable-diffusion-v1-4",
    ):
        assert part in line
    assert not out.exists()


def manifest(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = yaml.safe_load((folder / "suite.yaml").read_text())
        write_manifest(folder, content | changes)

    return damage


def table(**changes: Any) -> Callable[[Path], None]:
    return manifest(samples={"table": "prompts.csv", "images": "gt_images"} | changes)


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


PROMPTS, HELD_OUT = "prompts.csv", "held-out/metadata.jsonl"
BAD: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "table missing": (lambda f: (f / PROMPTS).unlink(), [PROMPTS, "missing", "restore"]),
    "table elsewhere": (table(table="../prompts.csv"), ["suite.yaml", "inside"]),
    "images elsewhere": (table(images="/etc"), ["suite.yaml", "'/etc'", "inside"]),
    "controls elsewhere": (table(controls="../x"), ["suite.yaml", "'../x'", "inside"]),
    "controls missing": (table(controls="nosuch"), ["nosuch", "missing", "restore"]),
    "no table named": (manifest(samples={"images": "x"}), ["suite.yaml", "table", "missing"]),
    "unknown key": (table(colour="red"), ["suite.yaml", "colour", "no such name"]),
    "another kind": (table(only="VM"), ["suite.yaml", "only", "'verbatim'"]),
    "all to dev": (table(dev_share=1), ["suite.yaml", "dev_share", "less than 1"]),
    "no sample of the split": (table(dev_share=0.999), ["split 'test'", "choose from: dev"]),
    "no header": (
        replaced(PROMPTS, ";Caption;URL;type;mean_sscd;max_sscd;Index\n", ""),
        ["row 2", "no column", "columns: id"],
    ),
    "another separator": (replaced(PROMPTS, "a red", "a;red"), ["row 2: 8 fields", "mend"]),
    "another type": (replaced(PROMPTS, ";TM;", ";RV;"), ["row 3", "'RV'", "give VM"]),
    "no caption": (replaced(PROMPTS, "a blue boat", ""), ["row 3", "no caption", "add one"]),
    "an id twice": (replaced(PROMPTS, ";12\n", ";11\n"), ["row 3", "row 2 already", "its own"]),
    "an id that is a path": (replaced(PROMPTS, ";12\n", ";../12\n"), ["row 3", "'id'", "letters"]),
    "a local address": (replaced(PROMPTS, "https", "file"), ["row 2", "'URL'", "mend"]),
    "a score beyond 1": (replaced(PROMPTS, ";0.9;", ";9;"), ["row 2", "'max_sscd'", "fetch"]),
    "an open quote": (replaced(PROMPTS, "a red", '"a red'), ["row 2", "not CSV", "quotes"]),
    "control without a picture": (
        replaced(HELD_OUT, '"file_name": "4.png", ', ""),
        ["row 1", "no file_name", "name the control's picture"],
    ),
    "control that is memorized": (
        replaced(HELD_OUT, '"caption"', '"role": "memorized", "caption"'),
        ["row 1", "all are controls"],
    ),
    "control elsewhere": (
        replaced(HELD_OUT, "4.png", "../../secret.png"),
        ["secret.png", "inside"],
    ),
    "control lost": (lambda f: (f / "held-out/4.png").unlink(), ["4.png", "missing", "restore"]),
    "controls not JSON": (replaced(HELD_OUT, "{", ""), ["row 1", "not JSON", "mend"]),
    "picture damaged": (
        lambda f: (f / "gt_images/11.png").write_bytes(b"no picture"),
        ["11.png", "not a readable picture", "PNG"],
    ),
    "nothing pinned": (
        manifest(fetch={"name": "own", "files": [{"path": "x.csv", "url": "https://a.org"}]}),
        ["suite.yaml", "'fetch.files.0.sha256'", "missing"],
    ),
    "two descriptors": (
        manifest(descriptor={"path": "descriptor", "official": True, "threshold": 0.5}),
        ["suite.yaml", "'descriptor'", "not both"],
    ),
    "a column of several": (
        replaced(PROMPTS, "https://example.org/1.png", "[1, 2]"),
        ["row 2", "'URL'", "give texts"],
    ),
    "one utility caption": (
        lambda f: (f / "utility.jsonl").write_text('{"caption": "alone"}\n'),
        ["utility.jsonl", "at least two"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_suite_is_refused_in_a_line(
    case: str, tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damage, words = BAD[case]
    folder = own_suite(tiny_suite_folder, tmp_path / "own")
    damage(folder)
    out = tmp_path / "out"
    code = call("run", "--suite", str(folder), "--out", str(out), "--device", "cpu")
    line = capfd.readouterr().err.splitlines()[-1]
    assert code == 2, line
    assert line.startswith("dorib: error: ")
    assert not [word for word in words if word not in line], line
    assert not out.exists()
