"""A training function becomes bytes, with what it needs of the user's own modules; what cannot is named.

Functions of installed packages go by name: the workers have them. Those of `__main__` go by value: a worker that
imported the script again would call `fit()` once more. Those of the user's other modules go by value where the workers
have no such file, as in a pod with an image of somebody else's. Where they have it, on this machine, they go by name:
a class that went by value is not the class that `import` finds, so that neither `pickle` nor `isinstance` would know
its objects.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import inspect
import pickle
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

_DEPTH = 8
_SITE = {"site-packages", "dist-packages"}
# Modules of ours and of the pickler itself are in every worker, also where they are run from a checkout.
_OURS = {"paceline", "cloudpickle"}


def dumps(whole: Mapping[str, Any], *, module: str | None, same_files: bool) -> bytes:
    """Pickle what the workers of a run need.

    Args:
        whole: By the names that a message shall call it by.
        module: The training function's.
        same_files: The workers find the modules of this process on their path.
    Raises:
        TypeError: Something in it cannot be pickled; the message names the variable and its type.
    """
    import cloudpickle

    own = [found for found in own_modules() if not (same_files and _is_found_again(found))]
    with _by_value(own):
        try:
            return bytes(cloudpickle.dumps(whole))
        except Exception as e:
            error = e
        # A module that the function uses as a whole (`import helpers`) goes with all that is in it, also with what
        # cannot go. Such a one is taken by name, if that helps: the workers must then be able to import it.
        with _by_name([m for m in own if m.__name__ != module]):
            try:
                return bytes(cloudpickle.dumps(whole))
            except Exception:
                pass
        raise TypeError(_told(whole, error)) from error


def own_modules() -> list[ModuleType]:
    """Modules in memory that are neither installed nor of Python itself."""
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not isinstance(module, ModuleType):
            continue
        if name == "__main__" or name.partition(".")[0] in _OURS or module.__name__ != name:
            continue  # what __main__ defines goes by value anyway
        if file.endswith(".py") and not _installed(file):
            found.append(module)
    return found


def _is_found_again(module: ModuleType) -> bool:
    """Whether another process with this one's path would import this very file by its name."""
    parent, _, _ = module.__name__.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if parent and path is None:
        return False
    try:
        spec = importlib.machinery.PathFinder.find_spec(module.__name__, path)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and spec.origin == module.__file__


@functools.cache
def _installed(file: str) -> bool:
    path = Path(file)
    if _SITE & set(path.parts):
        return True
    return any(path.is_relative_to(root) for root in _python())


@functools.cache
def _python() -> tuple[Path, ...]:
    paths = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    return tuple({Path(path) for path in paths} | {Path(path).resolve() for path in paths})


@contextlib.contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    import cloudpickle

    before = set(cloudpickle.list_registry_pickle_by_value())
    new = [module for module in modules if module.__name__ not in before]
    for module in new:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in new:
            with contextlib.suppress(ValueError):
                cloudpickle.unregister_pickle_by_value(module)


@contextlib.contextmanager
def _by_name(modules: list[ModuleType]) -> Iterator[None]:
    import cloudpickle

    registered = set(cloudpickle.list_registry_pickle_by_value())
    held = [module for module in modules if module.__name__ in registered]
    for module in held:
        cloudpickle.unregister_pickle_by_value(module)
    try:
        yield
    finally:
        for module in held:
            cloudpickle.register_pickle_by_value(module)


# --- what cannot be pickled -----------------------------------------------------------------------


def _told(whole: Any, error: Exception) -> str:
    found = next(_culprits(whole, "", frozenset(), _DEPTH), None)
    if found is None:
        return f"the run cannot be handed to the workers ({type(error).__name__}: {error})"
    path, value, why = found
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return (
        f"{path} is a {name}, which cannot be handed to the workers ({why}): make it inside the training function, or"
        " pass what it is made from in train_loop_config"
    )


def _culprits(value: Any, path: str, above: frozenset[int], depth: int) -> Iterator[tuple[str, Any, str]]:
    """The innermost values that cannot be pickled, each with where it is found."""
    if id(value) in above:
        return
    why = _refused(value)
    if not why:
        return
    inner = False
    if depth:
        for name, part in _parts(value, path):
            for found in _culprits(part, name, above | {id(value)}, depth - 1):
                inner = True
                yield found
    if not inner:
        yield path or "the run", value, why


def _refused(value: Any) -> str:
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as e:
        return str(e) if isinstance(e, TypeError | pickle.PicklingError) else f"{type(e).__name__}: {e}"
    return ""


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, FunctionType):
        yield from _variables(value, path)
    elif inspect.ismethod(value):
        yield f"`self` of {value.__qualname__}", value.__self__
    elif isinstance(value, functools.partial):
        yield f"{path}.func", value.func
        yield f"{path}.args", value.args
        yield f"{path}.keywords", value.keywords
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield (f"{path}[{key!r}]" if path else str(key)), item
    elif isinstance(value, list | tuple | set | frozenset):
        for i, item in enumerate(value):
            yield f"{path}[{i}]", item
    elif isinstance(value, ModuleType):
        for name, item in vars(value).items():
            yield f"{value.__name__}.{name}", item
    else:
        for name, item in _attributes(value).items():
            yield (f"{path}.{name}" if path else name), item


def _attributes(value: Any) -> dict[str, Any]:
    slots = [slot for kind in type(value).__mro__ for slot in _slots(kind)]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**found, **getattr(value, "__dict__", {})}


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _variables(function: FunctionType, path: str) -> Iterator[tuple[str, Any]]:
    of = function.__qualname__.replace("<locals>.", "")
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not bound yet
            yield f"the variable `{name}`, which {of} uses,", cell.cell_contents
    for name in sorted(_global_names(function.__code__)):
        if name in function.__globals__:
            yield f"the global variable `{name}`, which {of} uses,", function.__globals__[name]
    for name, default in _defaults(function):
        yield f"the default of {of}'s argument `{name}`", default


def _defaults(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, parameter in inspect.signature(function, follow_wrapped=False).parameters.items():
        if parameter.default is not parameter.empty:
            yield name, parameter.default


def _global_names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names
