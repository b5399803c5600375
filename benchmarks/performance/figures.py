"""The figures of docs/performance.md, from the benchmarks' own records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from full_size.throughput import as_table

Results: TypeAlias = Mapping[str, Any]
"""`machine`, and in `measured` what each benchmark found, by its name."""

BEGIN = "<!-- From here to the end of the figures `make bench` writes. -->\n"
END = "<!-- The end of the figures. -->\n"
NOT_MEASURED = "not measured"
AT_MOST = "at most 1.10"
SIGNIFICANT = 4
"""Digits that are kept: more would differ in every run."""


def results_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth keeping of pytest-benchmark's JSON: no names of machines, no times of day."""
    info = record["machine_info"]
    return {
        "machine": {
            "processor": info.get("cpu", {}).get("brand_raw", info["machine"]),
            "processors": info["processors"],
            "threads": info["threads"],
            "load": round(info["load"], 1),
            "python": info["python_version"],
            "torch": info["torch"],
        },
        "measured": {
            one["name"].removeprefix("test_"): _rounded(one["extra_info"])
            for one in record["benchmarks"]
            if one["extra_info"]
        },
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT}g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def with_figures(page: str, results: Results, on_gpu: Results | None) -> str:
    """`page` with its figures anew.

    Raises:
        ValueError: it has no place for them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no place for figures; it needs the lines {BEGIN}{END}")
    return before + BEGIN + "\n" + "\n".join(figures(results, on_gpu)) + "\n\n" + END + after


def figures(results: Results, on_gpu: Results | None) -> Iterator[str]:
    """Lines of Markdown."""
    machine, measured = results["machine"], results["measured"]
    yield (
        f"{machine['processor']}, processors: {machine['processors']}, threads: "
        f"{machine['threads']}, torch {machine['torch']}; load of the machine before: "
        f"{machine['load']:g}."
    )
    yield ""
    yield "| `tiny` on a CPU | | aim |"
    yield "|---|---|---|"
    for title, name, shown, *aim in _ROWS:
        figure = shown(measured[name]) if name in measured else NOT_MEASURED
        yield f"| {title} | {figure} | {''.join(aim)} |"
    yield ""
    yield from _workers(measured.get("workers"))
    yield ""
    yield from _gpu(on_gpu)


def _workers(found: Results | None) -> Iterator[str]:
    if found is None:
        yield f"Several workers: {NOT_MEASURED}; that takes `dorib[cluster]`."
        return
    yield "| way | time | processor time | speed-up | efficiency |"
    yield "|---|---|---|---|---|"
    for way in found["ways"]:
        times = f"{way['seconds']:.0f} s | {way['processor_seconds']:.0f} s"
        yield f"| {way['name']} | {times} | {way['speed_up']:.2f} | {way['efficiency']:.0%} |"


def _gpu(found: Results | None) -> Iterator[str]:
    if found is None:
        yield f"On a GPU: {NOT_MEASURED}; `benchmarks/gpu.py` does."
        return
    yield f"{found['model']}, random weights, torch {found['torch']}:"
    yield ""
    yield from as_table(found["rows"]).splitlines()
    if found["estimate"]:
        planned, taken = found["estimate"]["planned_seconds"], found["estimate"]["seconds"]
        yield ""
        yield f"A small run was planned to take {planned:.0f} s and took {taken:.0f} s."


def _ratio(found: Results) -> str:
    return f"{found['ratio']:.2f}"


def _ratios(found: Results) -> str:
    return f"{found['ratio']:.2f}; by processor time {found['processor_ratio']:.2f}"


def _seconds(found: Results) -> str:
    return f"{found['seconds']:.1f} s; processor time {found['processor_seconds']:.1f} s"


def _whole_seconds(found: Results) -> str:
    spent = found["whole_processor_seconds"]
    return f"{found['whole_seconds']:.1f} s; processor time {spent:.1f} s"


_Shown: TypeAlias = Callable[[Results], str]
_ROWS: tuple[tuple[str, str, _Shown] | tuple[str, str, _Shown, str], ...] = (
    ("`generate`, time over that of the bare loop of U-Net calls", "generate", _ratios, AT_MOST),
    ("`generate`, over diffusers' pipeline with a callback", "generate_as_diffusers", _ratios),
    ("`dori`, over the bare loop of passes forward and backward", "dori", _ratios, AT_MOST),
    ("NeMo, times as fast as one candidate a forward", "localisation", _ratios, "at least 4"),
    ("Wanda, times as fast as all steps and all baselines", "masks", _ratio, "at least 3"),
    ("from `dorib run` to its first picture", "first_image", _seconds),
    ("that run as a whole, one sample", "first_image", _whole_seconds),
    ("peak memory of that run", "first_image", lambda found: f"{found['peak_gib']:.2f} GiB"),
    ("`dorib --help`", "help_with_the_commands_of_plugins", _seconds, "at most 0.4 s"),
    (
        "rate of a large matrix product, a processor",
        "roofline",
        lambda found: f"{found['matrix_gflops']:.0f} GFLOP/s",
    ),
    (
        "U-Net forward, share of that rate",
        "roofline",
        lambda found: f"{found['forward_share']:.0%}",
    ),
    (
        "U-Net backward to the embeddings, share of it",
        "roofline",
        lambda found: f"{found['backward_share']:.0%}",
    ),
)
"""What the table says: title, benchmark, how its figures are shown; and the aim, if it has one."""
