"""Commands of plugins: listed by their registration alone, and loaded when one is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from dorib.errors import DoribError

if TYPE_CHECKING:
    from dorib.host.registry import Registration


class WithPlugins(TyperGroup):
    """The built-in commands, and after them those that plugins register.

    Plugins are looked for only where that matters: to list all commands, and to run one that is
    not built in.
    """

    @override
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [*super().list_commands(ctx), *_registered(ctx)]

    @override
    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return built_in
        registration = _registered(ctx).get(cmd_name)
        return None if registration is None else _Registered(registration)


class _Registered(TyperCommand):
    """Stands for a plugin's command until it is run, or asked for its own help."""

    def __init__(self, registration: Registration) -> None:
        super().__init__(registration.name, help=registration.summary)
        self._registration = registration

    @override
    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        return _loaded(self._registration).make_context(*arguments, **settings)


def _registered(context: typer.Context) -> dict[str, Registration]:
    """By name; looked for once for each run of `dorib`."""
    from dorib.host.registry import discover

    found: dict[str, Registration] | None = context.meta.get(__name__)
    if found is None:
        found = {one.name: one for one in discover().of_kind("command")}
        context.meta[__name__] = found
    return found


def _loaded(registration: Registration) -> Any:
    """The command as Typer makes it.

    Raises:
        DoribError: the function cannot be imported, or is none that Typer can make a command of.
    """
    function = registration.load()
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    try:
        app.command(registration.name)(function)
        command: Any = typer.main.get_command(app)
    except Exception as error:
        # Typer raises of many kinds at a signature that it cannot read.
        raise DoribError(
            f"plugin {registration.plugin}: {registration.target} makes no command "
            f"{registration.name!r} ({error}); reinstall or remove the plugin"
        ) from error
    # A single command does not take this from its app.
    command.rich_markup_mode = None
    return command
