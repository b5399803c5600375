"""Memory and time of mitigations and attacks on Stable Diffusion's true size.

`python -m full_size --work FOLDER`: each mitigation in a process of its own, whose peak resident
memory is that of the whole process. The weights are random: what the images show means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from full_size.architectures import SD14, SD21, narrowed
from full_size.suite import save_suite

ARCHITECTURES = {"sd14": SD14, "sd21": SD21}
MITIGATIONS = {
    "none": "none",
    "wanda": "wanda:timesteps=1",
    # A threshold that nothing falls below forces the selection; theta lets two neurons through (in
    # sd14 they deviate by 341 and 256, the next by 205): at most three candidates are looked at.
    "nemo": "nemo:seeds=2,batch_size=2,threshold=1e-9,theta_start=230,theta_min=230",
    "adversarial-finetune": (
        "adversarial-finetune:search=(dori:start=random,pairs=1),search_budget=3,epochs=1,"
        "batch_size=1,surrogates=1,general_images=1,surrogate=(wanda:timesteps=1),"
        "similarity_threshold=1,gradient_checkpointing=true"
    ),
}
"""`none` comes first: the others find it in the store."""
ATTACK = "dori:pairs=1"


def main() -> None:
    """Run what was asked for and write a table of it."""
    parser = argparse.ArgumentParser(prog="python -m full_size", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of suite, store, results")
    parser.add_argument("--mitigation", choices=MITIGATIONS, action="append", help="default: all")
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="sd14")
    parser.add_argument("--narrow", action="store_true", help="an eighth of every width")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    architecture = ARCHITECTURES[asked.architecture]
    architecture = narrowed(architecture) if asked.narrow else architecture
    suite = save_suite(asked.work / "suite", architecture)
    table = asked.work / "results.json"
    rows = json.loads(table.read_text()) if table.exists() else {}
    for name in asked.mitigation or MITIGATIONS:
        rows[name] = _measured(
            [
                *("run", "--suite", str(suite), "--out", str(asked.work / "out")),
                *("--metric", "sscd", "--mitigation", MITIGATIONS[name], "--attack", ATTACK),
                *("--gradient-checkpointing", "--dtype", asked.dtype, "--device", asked.device),
            ]
        )
        table.write_text(json.dumps(rows, indent=2) + "\n")
        print(name, json.dumps(rows[name]), flush=True)


def _measured(arguments: list[str]) -> dict[str, float]:
    """Run dorib; gives wall time and peak resident memory.

    Raises:
        SystemExit: it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", "from dorib.cli.app import main; main()", *arguments]
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(
            f"dorib {' '.join(arguments)}: ended with {os.waitstatus_to_exitcode(status)}"
        )
    kibibytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return {
        "wall_seconds": round(time.perf_counter() - started, 1),
        "peak_gib": round(kibibytes / 2**20, 2),
    }


if __name__ == "__main__":
    main()
