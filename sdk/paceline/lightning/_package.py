"""Which of Lightning's two packages? `lightning.pytorch` and `pytorch_lightning` have the same classes twice.

A `Trainer` takes a strategy of its own package alone. So a class here has no base in Lightning until an object is made
of it: by then the script has imported the package of its Trainer.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, new_class
from typing import Any, ClassVar

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


class _LateBase(ABCMeta):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = cls if "_package" in cls.__dict__ else with_base(cls, chosen_package(cls))
        return type.__call__(made, *args, **kwargs)


class Late(metaclass=_LateBase):
    """A class that gets its base in Lightning when an object is made of it, or of a subclass."""

    _base: ClassVar[str]  # module and name, below the package
    _package: ClassVar[str]  # of the class of each object

    def __reduce__(self) -> tuple[Any, ...]:
        # The class of this object has no name of its own that pickle could find.
        public = next(kind for kind in type(self).__mro__ if "_package" not in kind.__dict__)
        return _made_again, (public, self._package), self.__dict__


def _made_again(public: type[Late], package: str) -> Any:
    kind: Any = with_base(public, package)
    return kind.__new__(kind)


@cache
def with_base(public: type, package: str) -> type:
    """`public` with its base in a package of Lightning behind it."""
    base = base_in(public, package)
    parts: Mapping[str, Any] = {
        "__module__": public.__module__,
        "__qualname__": public.__qualname__,
        "__doc__": public.__doc__,
        "_package": package,
    }
    bases = (public,) if issubclass(public, base) else (public, base)
    return new_class(public.__name__, bases, exec_body=lambda namespace: namespace.update(parts))


def base_in(public: Any, package: str) -> type:
    """The class of Lightning that a class here is based on."""
    module, _, name = public._base.rpartition(".")
    found: type = getattr(import_module(f"{package}.{module}"), name)
    return found


def chosen_package(kind: type) -> str:
    """The package that the script uses.

    Raises:
        ImportError: None is installed.
    """
    if named := set(_packages_of(kind.__mro__)):
        return named.pop()
    imported = [package for package in PACKAGES if package in sys.modules]
    if len(imported) > 1:
        return _named_by_caller() or imported[0]
    if imported:
        return imported[0]
    for package in PACKAGES:
        if find_spec(package.partition(".")[0]) is not None:
            return package
    raise ImportError(
        f"paceline.lightning.{kind.__name__} needs PyTorch Lightning: pip install 'paceline[lightning]'",
        name="lightning",
    )


def _named_by_caller() -> str | None:
    """The package whose classes or modules the calling code has names for; the nearest that has some of one alone."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in ("paceline", "lightning", "pytorch_lightning"):
            continue
        found = set(_packages_of((*frame.f_locals.values(), *frame.f_globals.values())))
        if len(found) == 1:
            return found.pop()
    return None


def _packages_of(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, ModuleType):
            names = [value.__name__ + "."]
        else:
            names = [kind.__module__ + "." for kind in (value if isinstance(value, type) else type(value)).__mro__]
        for name in names:
            if name == "lightning.":  # import lightning as L
                yield PACKAGES[0]
            for package in PACKAGES:
                if name.startswith(package + "."):
                    yield package
