"""Discovery: a broken plugin is listed with its reason, and everything else works."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dorib import Attack, DoribError
from dorib.contracts.registration import BUILT_IN_COMMANDS
from dorib.host.registry import GROUP, Registry, discover

MakePlugin = Callable[..., EntryPoint]

HEADER = """
from dorib import Params, hookimpl

dorib_contract = 2
"""
GOOD = """
@hookimpl
def register_attacks(register):
    register("{name}", "{module}_impl:Method", summary="does nothing")
"""

COMMAND = """
@hookimpl
def register_commands(register):
    register("{name}", "{module}_impl:act", summary="acts")
"""


@pytest.fixture
def make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlugin:
    """Writes a plugin module and gives its entry point."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(module: str, body: str, header: str = HEADER) -> EntryPoint:
        (tmp_path / f"{module}.py").write_text(header + textwrap.dedent(body))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)
        return EntryPoint(name=module, value=module, group=GROUP)

    return make


@pytest.fixture
def good(make_plugin: MakePlugin) -> EntryPoint:
    return make_plugin("zz_good", GOOD.format(name="quiet", module="zz_good"))


def only_reason(registry: Registry, plugin: str) -> str:
    """The reason of the one broken plugin, which is `plugin`; the good one works beside it."""
    assert [r.name for r in registry.of_kind("attack") if r.plugin == "zz_good"] == ["quiet"]
    (broken,) = registry.broken
    assert broken.plugin == plugin
    assert "\n" not in broken.reason
    return broken.reason


def test_a_plugin_brings_its_methods(good: EntryPoint) -> None:
    registry = discover([good])
    registration = registry.get("attack", "quiet")
    assert (registration.plugin, registration.summary) == ("zz_good", "does nothing")
    assert registry.broken == []


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('no\\nluck')", "import surely_not_installed", "def broken(:"]
)
def test_a_plugin_that_fails_on_import(
    make_plugin: MakePlugin, good: EntryPoint, body: str
) -> None:
    registry = discover([make_plugin("aa_raises", body), good])
    assert only_reason(registry, "aa_raises").startswith("import failed: ")


def test_a_plugin_that_leaves_the_interpreter_on_import(
    make_plugin: MakePlugin, good: EntryPoint
) -> None:
    registry = discover([make_plugin("aa_exits", "raise SystemExit(3)"), good])
    assert "SystemExit" in only_reason(registry, "aa_exits")


def test_a_module_that_is_not_there(good: EntryPoint) -> None:
    registry = discover([EntryPoint("ghost", "no_such_module", GROUP), good])
    assert "no_such_module" in only_reason(registry, "ghost")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            "dorib_contract = 1",
            "built for contract 1, this is contract 2: docs/plugins.md, section "
            '"From contract 1 to 2", says what changed',
        ),
        (
            "dorib_contract = 99",
            "built for contract 99, this is contract 2: install a newer dorib",
        ),
        ("", "names no contract: write `dorib_contract = 2` into its module"),
        (
            "dorib_contract = '2'",
            "has dorib_contract = '2': write `dorib_contract = 2` into its module",
        ),
        (
            "dorib_contract = True",
            "has dorib_contract = True: write `dorib_contract = 2` into its module",
        ),
    ],
)
def test_a_plugin_for_another_contract(
    make_plugin: MakePlugin, good: EntryPoint, header: str, reason: str
) -> None:
    registry = discover([make_plugin("aa_old", "", header=header), good])
    assert only_reason(registry, "aa_old") == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "@hookimpl\ndef register_mitigation(register): ...\n",
            "there is no hook register_mitigation (did you mean register_mitigations?)",
        ),
        (
            "def register_attacks(register): ...\n",
            "register_attacks is not marked as a hook: write @hookimpl above it",
        ),
        ("@hookimpl\ndef register_attacks(reg): ...\n", "PluginValidationError"),
    ],
)
def test_a_hook_that_would_not_be_called(
    make_plugin: MakePlugin, good: EntryPoint, body: str, reason: str
) -> None:
    header = "from dorib import hookimpl\ndorib_contract = 2\n"
    registry = discover([make_plugin("aa_wrong", body, header=header), good])
    said = only_reason(registry, "aa_wrong")
    assert said.startswith(("there is", "register_", "registration failed: Plugin"))
    assert reason in said
    assert "\n" not in said
    assert "\\n" not in said


def test_an_unknown_name_tells_of_plugins_that_cannot_be_used(good: EntryPoint) -> None:
    registry = discover([EntryPoint("ghost", "no_such_module", GROUP), good])
    with pytest.raises(DoribError, match="what plugin ghost brings is not used: `dorib plugins`"):
        registry.get("attack", "haunt")


@pytest.mark.parametrize(
    ("field", "refused"),
    [
        ("scale: float = Field(1.5, ge=0, le=1)", "scale has the default 1.5, which it refuses"),
        ("scale: float = 'abc'", "scale has the default 'abc', which it refuses"),
        ("scale: float = Field(0.5, ge=0, le=1)", None),
        ("scale: float", None),
    ],
)
def test_a_default_that_its_own_parameter_refuses(
    make_plugin: MakePlugin, good: EntryPoint, field: str, refused: str | None
) -> None:
    header = (
        "from pydantic import Field\nfrom dorib import Params, hookimpl\ndorib_contract = 2\n"
        f"class P(Params):\n    {field}\n"
    )
    body = '@hookimpl\ndef register_attacks(register):\n    register("x", "m:C", params=P)\n'
    registry = discover([make_plugin("aa_default", body, header=header), good])
    if refused is None:
        assert registry.broken == []
    else:
        assert refused in only_reason(registry, "aa_default")


def test_a_name_already_taken(make_plugin: MakePlugin, good: EntryPoint) -> None:
    body = GOOD.format(name="quiet", module="zz_thief") + (
        '    register("loud", "zz_thief_impl:Method")\n'
    )
    registry = discover([make_plugin("zz_thief", body), good])
    reason = only_reason(registry, "zz_thief")
    assert reason == "attack 'quiet' is already registered by plugin zz_good"
    assert registry.get("attack", "loud").plugin == "zz_thief"


@pytest.mark.parametrize("package", ["aa_thief", "dorib_aa_thief"])
def test_a_third_party_cannot_take_a_built_in_name(make_plugin: MakePlugin, package: str) -> None:
    thief = make_plugin(package, GOOD.format(name="none", module=package))
    registry = discover([thief, EntryPoint("reference", "dorib_reference", GROUP)])
    assert registry.get("attack", "none").plugin == "reference"
    assert registry.get("attack", "none").built_in
    assert [broken.plugin for broken in registry.broken] == [package]


def test_parameters_that_are_no_params_are_refused(
    make_plugin: MakePlugin, good: EntryPoint
) -> None:
    body = """
    @hookimpl
    def register_attacks(register):
        register("loose", "aa_loose:Method", params=dict)
    """
    reason = only_reason(discover([make_plugin("aa_loose", body), good]), "aa_loose")
    assert reason == "attack 'loose': its params are no subclass of dorib.Params"


@pytest.mark.parametrize("name", ["../evil", "Upper", "", "a b", "x" * 65])
def test_a_name_that_is_none(make_plugin: MakePlugin, good: EntryPoint, name: str) -> None:
    plugin = make_plugin("aa_named", GOOD.format(name=name, module="aa_named"))
    assert "a name is lower-case letters" in only_reason(discover([plugin, good]), "aa_named")


def test_a_plugin_brings_a_command(make_plugin: MakePlugin) -> None:
    plugin = make_plugin("aa_commands", COMMAND.format(name="act", module="aa_commands"))
    [command] = discover([plugin]).of_kind("command")
    assert (command.name, command.summary) == ("act", "acts")
    assert "aa_commands_impl" not in sys.modules


@pytest.mark.parametrize("name", BUILT_IN_COMMANDS)
def test_a_built_in_command_cannot_be_taken(
    make_plugin: MakePlugin, good: EntryPoint, name: str
) -> None:
    body = COMMAND.format(name=name, module="aa_thief") + GOOD.format(name="own", module="aa_thief")
    registry = discover([make_plugin("aa_thief", body), good])
    assert only_reason(registry, "aa_thief") == f"command {name!r} is one of dorib's own"
    assert registry.of_kind("command") == []
    # What it brings beside is there all the same.
    assert registry.get("attack", "own").plugin == "aa_thief"


def test_a_command_of_another_plugin_cannot_be_taken(make_plugin: MakePlugin) -> None:
    first, second = (
        make_plugin(module, COMMAND.format(name="act", module=module))
        for module in ("aa_first", "bb_second")
    )
    registry = discover([second, first])
    assert [command.plugin for command in registry.of_kind("command")] == ["aa_first"]
    [broken] = registry.broken
    assert broken.plugin == "bb_second"
    assert broken.reason == "command 'act' is already registered by plugin aa_first"


def test_a_hook_that_does_not_exist(make_plugin: MakePlugin, good: EntryPoint) -> None:
    plugin = make_plugin("aa_hook", "@hookimpl\ndef register_spells(register): ...")
    assert "register_spells" in only_reason(discover([plugin, good]), "aa_hook")


def test_a_hook_that_raises(make_plugin: MakePlugin, good: EntryPoint) -> None:
    body = GOOD.format(name="early", module="aa_late") + "    raise ValueError('too late')\n"
    registry = discover([make_plugin("aa_late", body), good])
    assert "too late" in only_reason(registry, "aa_late")


def test_a_class_that_cannot_be_loaded_is_refused_when_it_is_used(good: EntryPoint) -> None:
    registration = discover([good]).get("attack", "quiet")
    with pytest.raises(DoribError, match="reinstall, mend or remove the plugin") as refusal:
        registration.load()
    assert "zz_good_impl" in str(refusal.value)


def test_a_class_is_loaded_by_its_path() -> None:
    registry = discover([EntryPoint("reference", "dorib_reference", GROUP)])
    assert issubclass(registry.get("attack", "none").load(), Attack)


def test_an_unknown_name_lists_those_there_are(good: EntryPoint) -> None:
    registry = discover([good])
    with pytest.raises(DoribError, match=r"unknown attack 'loud'; choose from: quiet"):
        registry.get("attack", "loud")
    with pytest.raises(DoribError, match=r"unknown metric 'sscd'; choose from: none is"):
        registry.get("metric", "sscd")


def test_every_built_in_plugin_works(built_in_plugins: list[EntryPoint]) -> None:
    registry = discover(built_in_plugins)
    assert registry.broken == []
    assert {r.plugin for r in registry.registrations.values()} == {
        point.name for point in built_in_plugins
    }
    for kind in ("mitigation", "attack", "metric", "command"):
        for registration in registry.of_kind(kind):
            assert registration.load()
            assert registration.summary
