"""A plugin in a single file, without packaging: imported under the file's name."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from dorib.errors import DoribError


def module_of(file: Path) -> ModuleType:
    """The module that `file` holds; the same one if it is asked for again.

    Raises:
        DoribError: there is no such file, its name is none for a module or is taken, or it raises.
    """
    # Not by `resolve`, which raises another error for a link that leads to itself.
    path = Path(os.path.realpath(file))
    name = path.stem
    if path.is_dir() or path.name == "__init__.py":
        raise DoribError(
            f"{file}: a package, and no single file; install it (`pip install -e FOLDER`)"
        )
    if path.suffix != ".py" or not name.isidentifier():
        raise DoribError(f"{file}: no name for a plugin; name it like a module, my_method.py")
    if not path.is_file():
        raise DoribError(f"{file}: no such file; name a plugin's Python file")
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    found = importlib.util.find_spec(name) if loaded is None else loaded.__spec__
    if found is not None and found.origin != str(path):
        raise DoribError(f"{file}: there is a module {name} already; give the file another name")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise DoribError(f"{file}: cannot be imported ({type(error).__name__}: {error})") from error
    return module
