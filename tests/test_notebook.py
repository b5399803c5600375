"""The notebook and the page on Python: both run from nothing, and show what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import dorib
from fixtures.notebook import NOTEBOOK, executed
from fixtures.notebook_html import Shown


def shown(notebook: Any) -> list[dict[str, Any]]:
    """What the cells' last expressions show, by media type."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert {output.output_type for output in outputs} == {"execute_result"}
    return [output.data for output in outputs]


def test_the_notebook_runs_and_shows_what_is_published(tmp_path: Path) -> None:
    published = nbformat.read(NOTEBOOK, as_version=4)
    notebook = executed(tmp_path)
    found, known = shown(notebook), shown(published)
    # After a change of the notebook: `make notebook`.
    assert [set(data) for data in found] == [set(data) for data in known]
    # Another machine rounds otherwise: the numbers may differ, the table may not.
    one, other = Shown(found[0]["text/html"]), Shown(known[0]["text/html"])
    assert [row[0] for row in one.rows] == [row[0] for row in other.rows]
    assert len(one.rows) == 1 + 3 * 3
    assert len(one.images) == len(other.images) == 2
    assert len(dorib.open(tmp_path / "notebook-out").entries) == 6


def test_the_published_notebook_is_small_and_names_no_machine() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 500_000
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)


def test_the_page_on_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_file = "{mitigation: [wanda:sparsity=0.1], attack: dori, limit: 1, seeds: 1, budgets: 24}"
    (tmp_path / "dorib-run.yaml").write_text(run_file)
    blocks = re.findall(
        r"```python\n(.*?)```", NOTEBOOK.with_name("python.md").read_text(), re.DOTALL
    )
    names: dict[str, Any] = {}
    printed = []
    for number, block in enumerate(blocks):
        exec(compile(block, f"python.md, block {number + 1}", "exec"), names)
        printed.append(capsys.readouterr().out)
    assert printed[0] == ""
    assert "'mitigaton': there is no such name" in printed[2]
    assert printed[3].count("\n") == len(names["results"].entries) == 6
    assert names["errors"] == []
    assert names["strip"].is_file()
    assert len(names["best"]) == 6
    assert len(names["edits"]) == 3
    assert names["cheapest"].work == 24
    assert names["entry"] == names["results"].entries[0]
