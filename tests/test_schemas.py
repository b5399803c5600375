from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dorib.ranking.schemas import MODELS, committed_schema, generated_schema


@pytest.mark.parametrize("name", MODELS)
def test_committed_schema_is_the_models(name: str) -> None:
    assert json.loads(committed_schema(name)) == generated_schema(name), (
        "the models have changed: run `python -m dorib.ranking.schemas` and commit the result"
    )


@pytest.mark.parametrize("name", MODELS)
def test_schemas_allow_no_unknown_names(name: str) -> None:
    schema = generated_schema(name)
    for part in (schema, *schema.get("$defs", {}).values()):
        assert part["additionalProperties"] is False


def test_ranking_imports_no_torch() -> None:
    code = (
        "import sys, dorib.ranking.rank, dorib.ranking.leaderboard, dorib.ranking.schemas; "
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
