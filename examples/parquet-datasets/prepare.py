"""Write scikit-learn's 1,797 handwritten digits as Parquet: a stand-in for the dataset that you have in a bucket.

python prepare.py /tmp/digits
python prepare.py s3://bucket/digits
"""

from __future__ import annotations

import argparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

from paceline.storage import join, resolve, to_arrow

FILES = 4
ROW_GROUP = 90  # rows; yours have some ten thousand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a directory or a URI")
    data = parser.parse_args().data
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    validation, *parts = np.array_split(order, FILES + 1)
    for number, part in enumerate(parts):
        write(join(data, "train", f"{number}.parquet"), x[part], y[part])
    write(join(data, "validation", "0.parquet"), x[validation], y[validation])
    print(f"{len(order) - len(validation)} images to train with and {len(validation)} to validate are in {data}")


def write(uri: str, x: np.ndarray, y: np.ndarray) -> None:
    images = pa.FixedSizeListArray.from_arrays(pa.array((x / 16).astype("float32").ravel()), 64)
    filesystem, path = to_arrow(*resolve(uri))
    filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    table = pa.table({"image": images, "label": pa.array(y, pa.int64())})
    pq.write_table(table, path, filesystem=filesystem, row_group_size=ROW_GROUP)


if __name__ == "__main__":
    main()
