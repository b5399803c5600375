"""Bad input: one line that says what, where and what to do; exit code 2; nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import SafetensorError

from dorib.cli.app import main
from fixtures import web

Refused = Callable[..., str]

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
NO_SPACE_IN_SAFETENSORS = SafetensorError(
    "Error while serializing: I/O error: No space left on device (os error 28)"
)
LONG = "x" * 5000
"""More than a path may have."""
UNET = "pipeline/unet/diffusion_pytorch_model.safetensors"


def run_main(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert isinstance(exit.value.code, int)
    return exit.value.code


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], out: Path) -> Refused:
    """Runs `dorib run`, sees that it refuses as it should, and gives the line it prints."""

    def refuse(suite: Path, *options: str) -> str:
        code = run_main(["run", "--suite", str(suite), "--out", str(out), *options])
        printed = capfd.readouterr().err
        assert code == 2, printed
        assert printed.endswith("\n")
        # Before it may stand how far the run had come.
        *progress, line = printed.splitlines()
        assert line.startswith("dorib: error: ")
        assert not [said for said in progress if "rror:" in said or "Traceback" in said], printed
        assert not list(half_written(out))
        return line + "\n"

    return refuse


def half_written(out: Path) -> Iterator[Path]:
    """Results without a leaderboard of finished cells, and what is on its way to its place."""
    if not out.is_dir():
        return
    finished = (out / "leaderboard.json").exists()
    for path in out.rglob("*"):
        result = path.name in ("entries", "records.jsonl", "pictures")
        if result and path.parent == out and not finished:
            yield path
        if path.name.startswith("."):
            yield path
        if path.name.startswith("batch-") and not (path / "index.json").exists():
            yield path


OPTIONS: dict[str, tuple[list[str], list[str]]] = {
    "unknown mitigation": (["-m", "nosuch"], ["unknown mitigation 'nosuch'", "wanda"]),
    "unknown attack": (["-a", "nosuch"], ["unknown attack 'nosuch'", "dori"]),
    "unknown metric": (["--metric", "nosuch"], ["unknown metric 'nosuch'", "sscd"]),
    "unknown suite": (["--suite", "nosuch"], ["unknown suite 'nosuch'", "tiny"]),
    "plugin name with a slash": (["-m", "../wanda"], ["unknown mitigation '../wanda'", "wanda"]),
    "no name": (["-m", ":sparsity=0.1"], ["unknown mitigation ''", "wanda"]),
    "bad parameter name": (["-m", "wanda:sparsness=0.1"], ["wanda", "'sparsness'", "sparsity"]),
    "bad parameter value": (["-m", "wanda:sparsity=much"], ["wanda", "'sparsity'", "number"]),
    "parameter out of range": (["-m", "wanda:sparsity=2"], ["wanda", "'sparsity'", "less than 1"]),
    "parameter that is no number": (["-m", "wanda:sparsity=.nan"], ["wanda", "'sparsity'"]),
    "parameter without value": (["-m", "wanda:sparsity"], ["parameter=value", "wanda:sparsity"]),
    "parameter not YAML": (["-m", "wanda:sparsity=[1"], ["'[1'", "quote it"]),
    "parameter given twice": (
        ["-m", "wanda:sparsity=0.1,sparsity=0.2"],
        ["'sparsity' stands twice", "one value"],
    ),
    "parameter a truth value": (
        ["-m", "wanda:timesteps=true"],
        ["'timesteps'", "a truth value where a number belongs"],
    ),
    "parameters for all": (["-m", "all:sparsity=0.1"], ["mitigation all", "no parameters"]),
    "budgets falling": (["--budgets", "48,24"], ["'budgets'", "strictly rising"]),
    "budget zero": (["--budgets", "0,24"], ["'budgets'", "positive"]),
    "budgets no numbers": (["--budgets", "few,many"], ["'budgets.0'", "integer"]),
    "no budgets": (["--budgets", ""], ["'budgets.0'", "integer"]),
    "unknown split": (["--split", "nosuch"], ["'nosuch'", "choose from: dev, test"]),
    "unknown device": (["--device", "abacus"], ["--device abacus", "give 'cpu'"]),
    "device without values": (["--device", "meta"], ["--device meta", "give 'cpu'"]),
    "unknown dtype": (["--dtype", "int8"], ["'dtype'", "float32"]),
    "limit zero": (["--limit", "0"], ["'limit'", "greater than 0"]),
    "limit no number": (["--limit", "few"], ["'--limit'", "integer"]),
    "seeds negative": (["--seeds", "-1"], ["'seeds'", "greater than 0"]),
    "batch size zero": (["--batch-size", "0"], ["'batch_size'", "greater than 0"]),
    "batch size beyond any": (["--batch-size", str(2**62)], ["'batch_size'", f"not {2**62}"]),
    "limit beyond JSON's numbers": (["--limit", str(2**62)], ["'limit'", "beyond 2**53"]),
    "parameter beyond JSON's numbers": (
        ["-a", f"dori:restarts={2**62}"],
        ["'attack'", "beyond 2**53"],
    ),
    "out of no name": (["--out", ""], ["'--out'", "is empty; name a folder"]),
    "out of too long a name": (["--out", LONG], ["File name too long", "name another"]),
    "parameter of too long a name": (
        ["-m", f"checkpoint:path={LONG}"],
        ["File name too long", "name another"],
    ),
    "unknown option": (["--limt", "3"], ["--limt", "--limit"]),
    "run file missing": (["--config", "nosuch.yaml"], ["nosuch.yaml", "no such run file"]),
    "metric without its file": (
        ["--metric", "sscd:backend=onnx,path=nosuch.onnx,threshold=0.5"],
        ["metric sscd: nosuch.onnx: no such file", "give the path of one"],
    ),
    "two metrics of one quantity": (
        ["--metric", "clip", "--metric", "clip:batch_size=2"],
        ["metrics clip and clip:batch_size=2 both report clip_alignment", "leave one out"],
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(case: str, tiny_suite_folder: Path, refused: Refused, out: Path) -> None:
    options, words = OPTIONS[case]
    line = refused(tiny_suite_folder, *options)
    assert not [word for word in words if word not in line], line
    assert not out.exists()


RUN_FILES: dict[str, tuple[str, list[str]]] = {
    "not YAML": ("mitigation: [wanda", ["run.yaml", "not readable as YAML"]),
    "no mapping": ("- wanda", ["run.yaml", "holds no mapping", "mitigation: [wanda]"]),
    "unknown key": ("mitigations: [wanda]", ["run.yaml", "'mitigations'", "mitigation,"]),
    "bad value": ("limit: many", ["run.yaml", "'limit'", "integer"]),
    "truth value": ("seeds: true", ["run.yaml", "'seeds'", "a truth value where a number"]),
    "truth values in a list": ("budgets: [yes, 48]", ["run.yaml", "'budgets'", "a truth value"]),
    "method of no kind": ("attack: 3", ["run.yaml", "'attack'", "list of methods"]),
    "bad parameter": ("mitigation: [{name: wanda, sparsity: 7}]", ["wanda", "less than 1"]),
    "code": ("!!python/object/apply:os.getcwd []", ["run.yaml", "not readable as YAML"]),
}


@pytest.mark.parametrize("case", RUN_FILES)
def test_run_file(
    case: str, tiny_suite_folder: Path, refused: Refused, out: Path, tmp_path: Path
) -> None:
    content, words = RUN_FILES[case]
    (tmp_path / "run.yaml").write_text(content)
    line = refused(tiny_suite_folder, "--config", str(tmp_path / "run.yaml"))
    assert not [word for word in words if word not in line], line
    assert not out.exists()


def test_an_option_beside_a_run_file_is_not_blamed_on_it(
    tiny_suite_folder: Path, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("limit: 1")
    line = refused(tiny_suite_folder, "--config", str(tmp_path / "run.yaml"), "--seeds", "0")
    assert "command line: 'seeds'" in line


def manifest(**changes: Any) -> Callable[[Path], None]:
    """Changes entries of `suite.yaml`; None removes one."""

    def damage(suite: Path) -> None:
        path = suite / "suite.yaml"
        content = yaml.safe_load(path.read_text()) | changes
        left = {key: value for key, value in content.items() if value is not None}
        path.write_text(yaml.safe_dump(left))

    return damage


def first_sample(**changes: Any) -> Callable[[Path], None]:
    """Changes entries of the first row of the sample table; None removes one."""

    def damage(suite: Path) -> None:
        path = suite / "samples.jsonl"
        first, *others = path.read_text().splitlines()
        row = json.loads(first) | changes
        left = {key: value for key, value in row.items() if value is not None}
        path.write_text("\n".join([json.dumps(left), *others]) + "\n")

    return damage


def missing(name: str) -> Callable[[Path], None]:
    return lambda suite: (suite / name).unlink()


def holding(name: str, content: str | bytes) -> Callable[[Path], None]:
    def damage(suite: Path) -> None:
        (suite / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def truncated(name: str) -> Callable[[Path], None]:
    def damage(suite: Path) -> None:
        content = (suite / name).read_bytes()
        (suite / name).write_bytes(content[: len(content) // 2])

    return damage


def pickled(suite: Path) -> None:
    weights = suite / UNET
    weights.unlink()
    torch.save({"conv_in.bias": torch.zeros(1)}, weights.with_suffix(".bin"))


def pickled_under_another_name(suite: Path) -> None:
    torch.save({"conv_in.bias": torch.zeros(1)}, suite / UNET)


SUITES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no suite.yaml": (missing("suite.yaml"), ["no suite.yaml"]),
    "suite.yaml not YAML": (
        holding("suite.yaml", "name: [random"),
        ["suite.yaml", "not readable as YAML"],
    ),
    "suite.yaml with code": (
        holding("suite.yaml", "!!python/object/apply:os.getcwd []"),
        ["suite.yaml", "not readable as YAML"],
    ),
    "seeds beyond any": (
        manifest(quick={"seeds": 10**9, "budgets": [24], "utility": 1}),
        ["suite.yaml", "'quick.seeds'", "less than or equal to 1000"],
    ),
    "images beyond any": (
        manifest(sampling={"height": 2**40, "width": 8, "steps": 1, "guidance_scale": 1}),
        ["suite.yaml", "'sampling.height'", "less than or equal to"],
    ),
    "missing key": (manifest(sampling=None), ["suite.yaml", "'sampling'", "is missing"]),
    "unknown key": (manifest(colour="red"), ["suite.yaml", "'colour'", "fields: name"]),
    "samples missing": (missing("samples.jsonl"), ["samples.jsonl", "missing", "restore"]),
    "samples empty": (holding("samples.jsonl", "\n"), ["samples.jsonl", "at least one row"]),
    "samples not JSON": (
        holding("samples.jsonl", "id,caption\n1,a cat\n"),
        ["samples.jsonl, row 1", "not JSON"],
    ),
    "column missing": (first_sample(caption=None), ["samples.jsonl, row 1", "'caption'"]),
    "unknown column": (first_sample(prompt="a cat"), ["samples.jsonl, row 1", "'prompt'"]),
    "column of another type": (first_sample(duplication="often"), ["row 1", "'duplication'"]),
    "role of no kind": (first_sample(role="judge"), ["row 1", "'role'", "'control'"]),
    "id twice": (first_sample(id="test-memorized-1"), ["row 2", "test-memorized-1", "row 1"]),
    "id holding ../": (first_sample(id="../x"), ["row 1", "'id'", "letters, digits"]),
    "image outside": (
        first_sample(images=["../../etc/passwd"]),
        ["test-memorized-0", "'../../etc/passwd'", "inside"],
    ),
    "image by an absolute path": (
        first_sample(images=["/etc/passwd"]),
        ["test-memorized-0", "'/etc/passwd'", "inside"],
    ),
    "picture missing": (
        missing("images/test-memorized-0.png"),
        ["test-memorized-0.png", "missing", "restore"],
    ),
    "no picture": (
        holding("images/test-memorized-0.png", "no picture"),
        ["test-memorized-0.png", "not a readable picture", "PNG"],
    ),
    "picture truncated": (
        truncated("images/test-memorized-0.png"),
        ["test-memorized-0.png", "not a readable picture"],
    ),
    "picture with a broken chunk": (
        holding("images/test-memorized-0.png", web.picture_with_a_broken_chunk()),
        ["test-memorized-0.png", "not a readable picture"],
    ),
    "captions with wrong columns": (
        holding("utility.jsonl", '{"text": "a cat"}\n'),
        ["utility.jsonl, row 1", "'caption'"],
    ),
    "descriptor truncated": (truncated("descriptor/model.safetensors"), ["descriptor", "restore"]),
    "CLIP truncated": (truncated("clip/model.safetensors"), ["metric clip", "safetensors"]),
    "weights missing": (missing(UNET), ["pipeline", "unet", "safetensors alone"]),
    "weights truncated": (truncated(UNET), ["pipeline", UNET, "restore"]),
    "weights pickled": (pickled, ["pipeline", "unet", "safetensors alone"]),
    "weights pickled, named otherwise": (pickled_under_another_name, ["pipeline", "safetensors"]),
}


@pytest.mark.parametrize("case", SUITES)
def test_suite(case: str, suite_copy: Path, refused: Refused) -> None:
    damage, words = SUITES[case]
    damage(suite_copy)
    line = refused(suite_copy)
    assert not [word for word in words if word not in line], line


def test_a_budget_that_buys_no_step_costs_the_attack_its_rows(
    suite_copy: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest(oracle=None)(suite_copy)
    short = ["--limit", "1", "--seeds", "1", "--metric", "sscd"]
    where = ["--suite", str(suite_copy), "--out", str(out)]
    assert run_main(["run", "-a", "dori", "--budgets", "5,48", *short, *where]) == 1
    [line] = [said for said in capfd.readouterr().out.splitlines() if said.startswith("failed: ")]
    assert "a budget of 5 buys no step" in line
    assert "raise the budget" in line
    assert json.loads((out / "leaderboard.json").read_text())


def test_out_is_a_file(tiny_suite_folder: Path, refused: Refused, out: Path) -> None:
    out.write_text("mine")
    assert "another --out" in refused(tiny_suite_folder)
    assert out.read_text() == "mine"


def test_out_below_a_file(tiny_suite_folder: Path, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    line = refused(tiny_suite_folder, "--out", str(tmp_path / "file" / "out"))
    assert "another --out" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable to root")
def test_out_unwritable(tiny_suite_folder: Path, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    line = refused(tiny_suite_folder, "--out", str(tmp_path / "locked" / "out"))
    assert "another --out" in line


@pytest.fixture(scope="module")
def small_suite(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite without an oracle, for runs that go through all verbs in a second or two."""
    folder = tmp_path_factory.mktemp("small") / "suite"
    shutil.copytree(tiny_suite_folder, folder)
    manifest(oracle=None)(folder)
    return folder


SHORT = ["-m", "wanda:sparsity=0.1", "--limit", "1", "--seeds", "1", "--metric", "sscd"]


@pytest.fixture(scope="module")
def finished_store(small_suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a short run."""
    out = tmp_path_factory.mktemp("finished")
    assert run_main(["run", "--suite", str(small_suite), "--out", str(out), *SHORT]) == 0
    return out / "store"


@pytest.mark.parametrize(
    ("writer", "error"),
    [
        ("dorib.contracts.edit_files.save_file", NO_SPACE_IN_SAFETENSORS),
        ("dorib.contracts.triggers.save_file", NO_SPACE_IN_SAFETENSORS),
        ("dorib.verbs.generate.write_image", NO_SPACE),
        ("dorib.verbs.measure.write_records", NO_SPACE),
    ],
)
def test_disk_full_while_computing(
    writer: str,
    error: Exception,
    small_suite: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, raising(error))
    line = refused(small_suite, *SHORT, "-a", "dori", "--budgets", "24")
    assert "No space left on device" in line
    assert "free some space or choose another --out" in line


@pytest.mark.parametrize(
    "writer",
    [
        "dorib.report.pictures.Image.Image.save",
        "dorib.store.boards.write_text",
        "dorib.ranking.entry_files.write_json",
    ],
)
def test_disk_full_at_the_end(
    writer: str,
    small_suite: Path,
    finished_store: Path,
    out: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished_store, out / "store")
    monkeypatch.setattr(writer, raising(NO_SPACE))
    assert run_main(["run", "--suite", str(small_suite), "--out", str(out), *SHORT]) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert "No space left on device" in line
    assert not (out / "leaderboard.json").exists()


def raising(error: Exception) -> Callable[..., None]:
    def write(*_: Any, **__: Any) -> None:
        raise error

    return write


@pytest.fixture
def eight_kilobytes(tmp_path: Path) -> Iterator[Path]:
    """A disk that is full after two small files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_full_in_truth(small_suite: Path, refused: Refused, eight_kilobytes: Path) -> None:
    line = refused(small_suite, "--out", str(eight_kilobytes / "out"), *SHORT)
    assert "No space left on device" in line
    assert not list(half_written(eight_kilobytes / "out"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["params", "mitigation", "nosuch"],
        ["params", "suite", "tiny"],
        ["suites", "show", "nosuch"],
        ["plugins", "--jsn"],
        ["report", LONG],
        ["site", LONG],
        ["verify", LONG],
        ["compare", LONG, LONG],
        ["store", "ls", LONG],
        ["store", "prune", LONG],
        ["export", LONG, "--csv"],
        ["new", "attack", "one", "--to", LONG],
        ["new", "attack", "one", "--to", ""],
        ["new", "attack", "one", "--to", f"{__file__}/below"],
        ["cliques", "--to", f"{__file__}/below"],
        ["cliques", "--to", "new", "--images", "4", "--smallest", "5"],
        ["plugins", "--plugin", LONG],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG").replace(__file__, "FILE"),
)
def test_other_commands(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run_main(arguments) == 2
    printed = capfd.readouterr()
    assert printed.err.startswith("dorib: error: ")
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_without_a_command_the_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_main([]) == 0
    printed = capfd.readouterr()
    assert "Usage: dorib" in printed.out
    assert not printed.err


def test_in_a_process_of_its_own(suite_copy: Path, out: Path) -> None:
    """Whatever libraries print on their way would stand beside our line here."""
    truncated(UNET)(suite_copy)
    program = [sys.executable, "-c", "from dorib.cli.app import main; main()"]
    options = ["run", "--suite", str(suite_copy), "--out", str(out)]
    done = subprocess.run([*program, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("dorib: error: pipeline ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert not list(half_written(out))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mitigation", "wnada"], "unknown mitigation 'wnada' (did you mean wanda?)"),
        (["--attack", "dory"], "unknown attack 'dory' (did you mean dori?)"),
        (["--mitigation", "wanda:sparsty=0.1"], "such name (did you mean sparsity?); mend it"),
        (["--mitigation", "wanda", "sparsity=0.1"], "after a colon: wanda:sparsity=0.02"),
    ],
)
def test_what_was_meant_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["run", *arguments, "--out", str(tmp_path / "out")])
    assert exit.value.code == 2
    assert said in capsys.readouterr().err
