"""Datasets of a run: files of any store, split over the ranks without a row twice, and streamed in batches.

`open_sources` checks what a trainer was given and makes it into `Source` objects, which travel to the workers; there
`Source.open` gives the rank its `DataShard`. Importing this package takes no third-party module: pyarrow is imported
when a source is opened.
"""

from typing import TYPE_CHECKING

from paceline import _later
from paceline.data._config import DataConfig
from paceline.data._sources import Source, open_sources

if TYPE_CHECKING:
    from paceline.data.shard import Batches, DataShard

__all__ = ["Batches", "DataConfig", "DataShard", "Source", "open_sources"]

__getattr__, __dir__ = _later.names(__name__, {"Batches": "shard", "DataShard": "shard"})
