"""The same matrix written in every kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq


def frame_of(values: np.ndarray, names: list[str] | None = None) -> pd.DataFrame:
    """Return a matrix as a DataFrame with named columns."""
    names = [f"class {at}" for at in range(values.shape[1])] if names is None else names
    return pd.DataFrame(values, columns=names)


def arrow_of(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def lists_of(values: np.ndarray, *, fixed: bool = False) -> pa.Table:
    flat = pa.array(values.ravel())
    if fixed:
        return pa.table({"probs": pa.FixedSizeListArray.from_arrays(flat, values.shape[1])})
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.table({"probs": pa.ListArray.from_arrays(offsets, flat)})


def write_npy(values: np.ndarray, folder: Path) -> Path:
    np.save(folder / "m.npy", values)
    return folder / "m.npy"


def write_fortran(values: np.ndarray, folder: Path) -> Path:
    np.save(folder / "m.npy", np.asfortranarray(values))
    return folder / "m.npy"


def write_npz(values: np.ndarray, folder: Path) -> Path:
    np.savez_compressed(folder / "m.npz", probs=values)
    return folder / "m.npz"


def write_parquet(values: np.ndarray, folder: Path) -> Path:
    pq.write_table(arrow_of(frame_of(values)), folder / "m.parquet", row_group_size=7)
    return folder / "m.parquet"


def write_parquet_folder(values: np.ndarray, folder: Path) -> Path:
    """Files of differing sizes, whose row groups are of differing sizes."""
    (folder / "m").mkdir()
    cuts = [0, len(values) // 3, len(values) // 3, len(values) // 2, len(values)]
    for at, (start, stop) in enumerate(pairwise(cuts)):
        part = arrow_of(frame_of(values)).slice(start, stop - start)
        # More than nine: part.10 comes after part.9.
        pq.write_table(part, folder / f"m/part.{7 + at}.parquet", row_group_size=5)
    return folder / "m"


def write_parquet_glob(values: np.ndarray, folder: Path) -> str:
    return f"{write_parquet_folder(values, folder)}/*.parquet"


def write_parquet_lists(values: np.ndarray, folder: Path) -> Path:
    pq.write_table(lists_of(values), folder / "m.parquet", row_group_size=6)
    return folder / "m.parquet"


def write_parquet_fixed_lists(values: np.ndarray, folder: Path) -> Path:
    pq.write_table(lists_of(values, fixed=True), folder / "m.parquet", row_group_size=6)
    return folder / "m.parquet"


def write_feather(values: np.ndarray, folder: Path) -> Path:
    pyarrow.feather.write_feather(frame_of(values), folder / "m.feather", chunksize=8)
    return folder / "m.feather"


def write_arrow_lists(values: np.ndarray, folder: Path) -> Path:
    pyarrow.feather.write_feather(
        lists_of(values), folder / "m.arrow", chunksize=8, compression="uncompressed"
    )
    return folder / "m.arrow"


def write_stream(table: pa.Table, path: Path, rows: int) -> None:
    with pa.ipc.new_stream(path, table.schema) as stream:
        for batch in table.to_batches(max_chunksize=rows):
            stream.write_batch(batch)


def write_dataset(values: np.ndarray, folder: Path) -> Path:
    """Write what save_to_disk of Hugging Face's datasets writes."""
    half = len(values) // 2
    names = []
    for at, part in enumerate((values[:half], values[half:])):
        names.append(f"data-{at:05}-of-00002.arrow")
        write_stream(lists_of(part), folder / names[-1], 9)
    state = {"_data_files": [{"filename": name} for name in names], "_format_columns": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def write_csv(values: np.ndarray, folder: Path) -> Path:
    frame_of(values).to_csv(folder / "m.csv", index=False)
    return folder / "m.csv"


def write_tsv(values: np.ndarray, folder: Path) -> Path:
    frame_of(values).to_csv(folder / "m.tsv", index=False, sep="\t")
    return folder / "m.tsv"


def write_packed_csv(values: np.ndarray, folder: Path) -> Path:
    frame_of(values).to_csv(folder / "m.csv.gz", index=False)
    return folder / "m.csv.gz"


FILES: Mapping[str, Callable[[np.ndarray, Path], Path | str]] = {
    "npy": write_npy,
    "npy of columns": write_fortran,
    "npz": write_npz,
    "Parquet": write_parquet,
    "Parquet folder": write_parquet_folder,
    "Parquet glob": write_parquet_glob,
    "Parquet lists": write_parquet_lists,
    "Parquet fixed lists": write_parquet_fixed_lists,
    "Feather": write_feather,
    "Arrow lists": write_arrow_lists,
    "Hugging Face": write_dataset,
    "CSV": write_csv,
    "TSV": write_tsv,
    "packed CSV": write_packed_csv,
}
