"""Where do the processes start? In the image's working directory, or in one of links to its entries."""

from __future__ import annotations

import os
from pathlib import Path


def writable(image: Path, substitute: Path) -> Path:
    """`image` if this uid may write there, else `substitute` with a link to every entry of `image`.

    So a script that writes beside itself runs also as a user whom the image does not know.

    Raises:
        OSError: `substitute` cannot be made.
    """
    return image if os.access(image, os.W_OK | os.X_OK) else linked(image, substitute)


def linked(image: Path, substitute: Path) -> Path:
    """`substitute`, with a link to every entry of `image`: what is no link there was made by the processes.

    Raises:
        OSError: `substitute` cannot be made.
    """
    substitute.mkdir(parents=True, exist_ok=True)
    try:
        entries = list(image.iterdir())
    except OSError:  # not even readable: start in an empty directory
        return substitute
    for entry in entries:
        link = substitute / entry.name
        # The substitute may lie in the image's own directory, as it does in local runs.
        if not link.is_symlink() and not link.exists() and entry not in (substitute, *substitute.parents):
            link.symlink_to(entry)
    return substitute
