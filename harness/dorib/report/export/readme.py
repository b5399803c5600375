"""What an export says of itself: what it is, where it comes from, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from dorib.printable import printable
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import MethodFacts
from dorib.report.export.stored import StoredEdit, StoredTriggers
from dorib.report.export.weights import LORA_FILE, PEFT, Form

_TITLES: dict[Form, str] = {
    "unet": "a U-Net",
    "pipeline": "a text-to-image pipeline",
    "safetensors": "changed weights",
    "lora": "a LoRA",
}
_PIPELINE = """\
from diffusers import DiffusionPipeline

source = "PIPELINE"  # the pipeline that was mitigated: a folder, or an id on the hub
pipeline = DiffusionPipeline.from_pretrained(source)
"""
_WHOLE = """\
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(".")
"""
_UNET = """\
from diffusers import DiffusionPipeline, UNet2DConditionModel

source = "PIPELINE"  # the pipeline that was mitigated: a folder, or an id on the hub
unet = UNet2DConditionModel.from_pretrained(".")
pipeline = DiffusionPipeline.from_pretrained(source, unet=unet)
"""


def edit_readme(stored: StoredEdit, form: Form, files: Mapping[str, str]) -> str:
    """Of an exported edit; `files` are sha256 by place."""
    entry = stored.entry
    dtype = str(stored.model["dtype"])
    paragraphs = [
        f"# {_shown(entry.mitigation.label)} on {_shown(entry.suite.name)}, as {_TITLES[form]}",
        _origin(entry)
        + f" Weights are in {dtype}; they were made by the mitigation, and whatever licence the "
        "suite's pipeline has holds for what was made of it.",
        *_how_to_load(form, files, per_sample=entry.scope == "per_sample"),
        _how_to_score(form, per_sample=entry.scope == "per_sample"),
        _table(entry, {"edit": entry.digests.edit}),
        _files(files),
    ]
    return "\n\n".join(paragraphs) + "\n"


def as_code(text: str, language: str = "python") -> str:
    """Lines of code as Markdown shows them; `text` ends with a line break."""
    return f"```{language}\n{text}```"


def trigger_readme(stored: StoredTriggers, files: Mapping[str, str]) -> str:
    """Of exported triggers."""
    entry = stored.entry
    mitigation, attack = _shown(entry.mitigation.label), _shown(entry.attack.label)
    paragraphs = [
        f"# What {attack} found under {mitigation} on {_shown(entry.suite.name)}",
        _origin(entry) + " A folder holds the trigger of one sample at one budget of work: "
        "`trigger.json` (sample, budget, prompt or token ids, search loss, its trace, work) and, "
        "where there are tensors, `trigger.safetensors` (embeddings without a batch axis, or "
        "`start`: the latents of an image to start from). An edit of the attacker's own lies in "
        "`edit`.",
        "## Loading one",
        as_code(
            "from dorib import load_trigger\n\n"
            f'trigger = load_trigger("{min(stored.triggers, default="SAMPLE")}")\n'
            "print(trigger.kind, trigger.prompt, trigger.embeddings)\n"
        ),
        "Without dorib, embeddings are what a pipeline takes as `prompt_embeds`, with a batch axis "
        "in front:",
        as_code(
            "from safetensors.torch import load_file\n\n"
            'tensors = load_file("SAMPLE.bBUDGET/trigger.safetensors")\n'
            "embeddings = {name: value[None] for name, value in tensors.items()}\n"
            "image = pipeline(**embeddings).images[0]\n"
        ),
        _table(entry, {"edit": entry.digests.edit, "triggers": entry.digests.triggers}),
        _files(files),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _origin(entry: Entry) -> str:
    return (
        f"Exported by dorib {entry.environment.dorib} from a run of the suite "
        f"{_shown(entry.suite.name)} {_shown(entry.suite.version)}, split {_shown(entry.split)}."
    )


def _how_to_load(form: Form, files: Mapping[str, str], *, per_sample: bool) -> list[str]:
    heading = "## Loading it"
    if form == "pipeline":
        return [heading, as_code(_WHOLE)]
    if form == "unet":
        return [heading, as_code(_UNET)]
    if form == "lora":
        components = sorted({name.split("/")[1] for name in files if name.startswith(f"{PEFT}/")})
        adapters = "".join(
            f'pipeline.{one} = PeftModel.from_pretrained(pipeline.{one}, "{PEFT}/{one}")\n'
            for one in components
        )
        return [
            heading,
            as_code(f'{_PIPELINE}pipeline.load_lora_weights(".", weight_name="{LORA_FILE}")\n'),
            f"Or as PEFT's adapters, which lie in `{PEFT}`:",
            as_code(f"from peft import PeftModel\n\n{adapters}"),
            "The scale of the method is part of the matrices: alpha equals the rank.",
        ]
    folder = f"{min(name.split('/')[0] for name in files)}/" if per_sample else ""
    held = sorted(name for name in files if name.startswith(folder) and "README" not in name)
    loads = "".join(
        f'pipeline.{_component(name)}.load_state_dict(load_file("{name}"), strict=False)\n'
        for name in held
    )
    code = _PIPELINE.replace("Pipeline\n", "Pipeline\nfrom safetensors.torch import load_file\n", 1)
    text = "Only the tensors that the mitigation changes are here; the others stay as they are."
    if per_sample:
        text += " There is a folder for each sample: the edit was made for knowing which is asked."
    return [heading, text, as_code(code + loads)]


def _how_to_score(form: Form, *, per_sample: bool) -> str:
    if per_sample:
        return (
            "A sample's folder, as if it were for all samples, is scored by `dorib run -m "
            "checkpoint:path=SAMPLE,partial=true`."
        )
    partial = ",partial=true" if form == "safetensors" else ""
    return f"It is scored again by `dorib run -m checkpoint:path=FOLDER{partial}`."


def _component(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _table(entry: Entry, digests: Mapping[str, str]) -> str:
    rows = {
        "suite": f"{entry.suite.name} {entry.suite.version}",
        "suite's digest": entry.suite.digest,
        "split": entry.split,
        **_method("mitigation", entry.mitigation),
    }
    if "triggers" in digests:
        rows |= {**_method("attack", entry.attack), "knows": ", ".join(entry.knows)}
    rows |= {"model's digest": entry.digests.model}
    rows |= {f"digest of the {name}": value for name, value in digests.items()}
    libraries = ("torch", "diffusers", "transformers")
    rows["made with"] = ", ".join(f"{n} {getattr(entry.environment, n)}" for n in libraries)
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["## Where it comes from", "", "| | |", "|---|---|", *lines])


def _method(kind: str, method: MethodFacts) -> dict[str, str]:
    return {
        kind: f"{method.label} (plugin {method.plugin})",
        f"its parameters ({kind})": json.dumps(method.params, sort_keys=True),
        f"its fingerprint ({kind})": method.fingerprint,
    }


def _files(files: Mapping[str, str]) -> str:
    lines = [f"| {_cell(name)} | {sha256} |" for name, sha256 in files.items()]
    return "\n".join(["## Files", "", "| file | sha256 |", "|---|---|", *lines])


def _shown(text: str) -> str:
    return printable(text)


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")
