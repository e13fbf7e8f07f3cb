"""What ranks get that do not log: an object that takes everything and does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Nothing:
    """Stands in for a run, an experiment, a writer or a module. False, empty, and the text of it is empty too."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Nothing:
        # What Python itself looks for (`__array__`, `__deepcopy__`, `__len__` ...) is not there.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __delattr__(self, name: str) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Nothing:
        return self

    def __getitem__(self, key: Any) -> Nothing:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __delitem__(self, key: Any) -> None:
        pass

    def __contains__(self, key: Any) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *raised: Any) -> None:
        pass

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return ""

    def __repr__(self) -> str:
        return "<no tracking on this rank>"

    def __reduce__(self) -> tuple[type[Nothing], tuple[()]]:
        return Nothing, ()


NOTHING = Nothing()
