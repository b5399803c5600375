"""Digests of files, folders, code and parameters: what changes them and what does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dorib import DoribError, FileParam, FolderParam, MethodSpec, ModelParam, Params
from dorib.host.configure import Configured, configure, configure_all
from dorib.host.registry import Registration, Registry
from dorib.store.code import closure, package_digest
from dorib.store.fingerprint import (
    deciding_versions,
    file_digest,
    files_below,
    folder_digest,
    library_versions,
    model_digest,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "inner").mkdir(parents=True)
    (root / "a.bin").write_bytes(b"a")
    (root / "inner" / "b.bin").write_bytes(b"b")
    return root


@pytest.mark.parametrize("digest", [folder_digest, model_digest])
def test_a_folder_is_its_files_names_and_contents(folder: Path, digest: Any) -> None:
    before = digest(folder)
    assert digest(folder.rename(folder.with_name("moved"))) == before
    folder = folder.with_name("moved")
    (folder / "a.bin").write_bytes(b"A")
    changed = digest(folder)
    (folder / "a.bin").write_bytes(b"a")
    (folder / "inner" / "b.bin").rename(folder / "inner" / "c.bin")
    renamed = digest(folder)
    assert len({before, changed, renamed}) == 3


@pytest.mark.parametrize("digest", [folder_digest, model_digest])
def test_links_are_followed(folder: Path, digest: Any) -> None:
    before = digest(folder)
    (folder / "inner").rename(folder.parent / "one")
    (folder / "inner").symlink_to(folder.parent / "one")
    (folder / "a.bin").rename(folder.parent / "blob")
    (folder / "a.bin").symlink_to(folder.parent / "blob")
    assert digest(folder) == before
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "b.bin").write_bytes(b"another b")
    (folder / "inner").unlink()
    (folder / "inner").symlink_to(folder.parent / "other")
    assert digest(folder) != before


def test_a_model_is_not_its_card(folder: Path) -> None:
    before, whole = model_digest(folder), folder_digest(folder)
    (folder / "README.md").write_text("# A card")
    (folder / "inner" / "Notes.MD").write_text("# Notes")
    (folder / ".gitattributes").write_text("*.bin")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "b.bin").write_bytes(b"b")
    assert model_digest(folder) == before
    assert folder_digest(folder) != whole
    (folder / "inner" / "merges.txt").write_text("a b")
    assert model_digest(folder) != before


def test_a_circle_of_links_is_one_clear_line(folder: Path) -> None:
    (folder / "inner" / "up").symlink_to(folder)
    with pytest.raises(DoribError, match=r"inner/up: leads back to .*; remove the link"):
        folder_digest(folder)


def test_the_same_folder_twice_is_no_circle(folder: Path) -> None:
    (folder / "again").symlink_to(folder / "inner")
    assert files_below(folder) == ["a.bin", "again/b.bin", "inner/b.bin"]


def test_what_cannot_be_read_is_one_clear_line(folder: Path) -> None:
    with pytest.raises(DoribError, match=r"cannot be read .*; restore the file"):
        file_digest(folder / "nothing")
    with pytest.raises(DoribError, match=r"nothing: cannot be read .*; restore it"):
        folder_digest(folder / "nothing")


def test_every_library_that_decides_a_number_is_named() -> None:
    assert set(deciding_versions()) == {
        "accelerate",
        "diffusers",
        "numpy",
        "pillow",
        "python",
        "safetensors",
        "scipy",
        "tokenizers",
        "torch",
        "torchmetrics",
        "transformers",
    }
    assert "not installed" not in deciding_versions().values()
    assert set(library_versions()) == {"torch", "diffusers", "transformers"}


def test_the_closure_of_a_verb_holds_all_that_it_imports() -> None:
    found = closure("dorib.verbs.attack")
    assert {
        "dorib",
        "dorib.verbs",
        "dorib.verbs.attack",
        "dorib.verbs.mitigate",
        "dorib.verbs.context",
        "dorib.contracts.seeds",
        "dorib.target.sampling",
        "dorib.target.editing",
        "dorib.suites.images",
        "dorib.store.code",
    } <= set(found)
    assert found == sorted(found)
    assert not [name for name in found if name.startswith(("dorib.cli", "dorib.report."))]
    assert "dorib.verbs.generate" not in found
    assert "dorib.runner" not in found


def test_a_public_name_leads_to_the_module_behind_it() -> None:
    found = closure("dorib.starting_embeddings")
    assert {"dorib.kit.starts", "dorib.contracts.embeddings"} <= set(found)
    assert closure("dorib.kit.starts") == found


FILES = {
    "__init__.py": "from dorib import Params\n",
    "method.py": '"""A method."""\nfrom dorib import starting_embeddings\nFACTOR = 2\n',
    "data.json": "{}",
    "inner/more.txt": "more",
    "template.py": "this is {{ no }} python",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plugin's package that can be imported."""
    root = tmp_path / "planted_package"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    sys.modules.pop("planted_package", None)


def digest_of(package: Path) -> str:
    package_digest.cache_clear()
    for function in vars(sys.modules["dorib.store.code"]).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    return package_digest(package.name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("method.py", "from dorib import starting_embeddings\nFACTOR = 3\n"),
        ("method.py", "FACTOR = 2\n"),
        ("method.py", '"""A method."""\nfrom dorib import load_clip\nFACTOR = 2\n'),
        ("data.json", "[]"),
        ("inner/more.txt", "less"),
        ("template.py", "this is {{ another }} template"),
        ("new.py", "X = 1"),
        ("new.bin", "x"),
        ("README.md", "a prompt may stand in Markdown"),
    ],
)
def test_a_plugin_is_all_files_of_its_package(package: Path, name: str, content: str) -> None:
    before = digest_of(package)
    (package / name).write_text(content)
    assert digest_of(package) != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "method.py",
            '"""Said otherwise."""\nfrom dorib import starting_embeddings\n\nFACTOR = (2)\n',
        ),
        ("method.py", "from dorib import starting_embeddings\n# A comment.\nFACTOR = 2\n"),
        ("method.py", 'from dorib import starting_embeddings\nFACTOR = 2\n"""What it is."""\n'),
        ("__pycache__/method.cpython-399.pyc", "compiled"),
        ("__pycache__/method.cpython-399.pyc.1234", "half of it"),
        ("method.pyc", "compiled"),
    ],
)
def test_comments_docstrings_and_bytecode_are_no_part_of_it(
    package: Path, name: str, content: str
) -> None:
    before = digest_of(package)
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text(content)
    assert digest_of(package) == before


def test_code_beside_a_plugin_is_part_of_it(package: Path) -> None:
    helper = package.parent / "planted_helper.py"
    helper.write_text("SHIFT = 1\n")
    (package / "method.py").write_text("def f():\n    import planted_helper\n")
    before = digest_of(package)
    helper.write_text("SHIFT = 2\n")
    assert digest_of(package) != before
    # It imports the plugin in turn: no end would come of following that.
    helper.write_text("SHIFT = 2\nimport planted_package\n")
    digest_of(package)


def test_what_is_imported_for_types_alone_is_no_part_of_it(package: Path) -> None:
    helper = package.parent / "planted_helper.py"
    helper.write_text("SHIFT = 1\n")
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import planted_helper\n"
    (package / "method.py").write_text(source)
    before = digest_of(package)
    helper.write_text("SHIFT = 2\n")
    assert digest_of(package) == before
    (package / "method.py").write_text(source.replace("if ", "if not "))
    before = digest_of(package)
    helper.write_text("SHIFT = 1\n")
    assert digest_of(package) != before


def test_the_version_of_a_library_that_a_plugin_imports_is_part_of_it(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "method.py").write_text("def f():\n    import yaml.nodes, pluggy\n")
    before = digest_of(package)
    version = sys.modules["dorib.store.code"].version
    for library in ("PyYAML", "pluggy"):
        with monkeypatch.context() as patch:
            patch.setattr(
                "dorib.store.code.version",
                lambda name, changed=library: (
                    "9999" if name.lower() == changed.lower() else version(name)
                ),
            )
            assert digest_of(package) != before


def test_a_package_without_source_is_one_clear_line() -> None:
    with pytest.raises(DoribError, match="has no source to fingerprint; install it from source"):
        package_digest("no_such_package")


class Pointing(Params):
    """Parameters that name files."""

    file: FileParam | None = None
    files: tuple[FileParam, ...] = ()
    folder: FolderParam | None = None
    model: ModelParam | None = None


REGISTRY = Registry(
    {
        ("attack", "pointing"): Registration(
            "attack", "pointing", "test", "dorib_reference.attacks:OwnPrompt", Pointing
        )
    }
)


def pointing(**params: Any) -> Configured:
    named = {k: [*map(str, v)] if isinstance(v, list) else str(v) for k, v in params.items()}
    return configure(REGISTRY, "attack", MethodSpec(name="pointing", params=named))


@pytest.mark.parametrize("name", ["file", "files", "folder", "model"])
def test_a_parameter_that_names_a_file_is_its_content(folder: Path, name: str) -> None:
    path = folder / "a.bin" if name.startswith("file") else folder
    value: Any = [path] if name == "files" else path
    before = pointing(**{name: value})
    (folder / "a.bin").write_bytes(b"A")
    after = pointing(**{name: value})
    assert after.fingerprint != before.fingerprint
    assert after.label == before.label
    assert str(folder.parent) not in f"{after.label} {after.params}"
    assert path.name in after.label
    assert file_digest(folder / "a.bin") in str(after.params) or name in ("folder", "model")
    (folder / "a.bin").write_bytes(b"a")
    elsewhere = folder.rename(folder.parent / "elsewhere")
    (folder.parent / "deeper").mkdir()
    moved = elsewhere.rename(folder.parent / "deeper" / "folder")
    path = moved / path.name if name.startswith("file") else moved
    again = pointing(**{name: [path] if name == "files" else path})
    assert again.fingerprint == before.fingerprint


def test_a_model_that_is_no_folder_is_a_hub_id() -> None:
    method = pointing(model="owner/name")
    assert method.label == "pointing:model=owner/name"
    assert method.params["model"] == "owner/name"


def test_a_models_card_changes_no_fingerprint(folder: Path) -> None:
    before = pointing(model=folder).fingerprint
    (folder / "README.md").write_text("# A card")
    assert pointing(model=folder).fingerprint == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"file": "nowhere/a.bin"},
            "attack pointing: nowhere/a.bin: no such file; give the path of one",
        ),
        ({"folder": "nowhere"}, "attack pointing: nowhere: no such folder; give the path of one"),
        ({"model": ""}, "'model.*': is empty; give a folder or a hub id"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_clear_line(params: dict[str, str], message: str) -> None:
    with pytest.raises(DoribError, match=message):
        pointing(**params)


def test_a_file_is_looked_for_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert pointing(file="~/a.bin").method.params.file == folder / "a.bin"


def test_two_files_of_one_name_in_a_run_are_refused(folder: Path) -> None:
    (folder / "inner" / "a.bin").write_bytes(b"another")
    paths = [folder / "a.bin", folder / "inner" / "a.bin"]
    specs = [MethodSpec(name="pointing", params={"file": str(path)}) for path in paths]
    with pytest.raises(DoribError, match="stands for two files of one name; rename one of them"):
        configure_all(REGISTRY, "attack", specs)
    (folder / "inner" / "a.bin").write_bytes(b"a")
    assert len(configure_all(REGISTRY, "attack", specs)) == 1
