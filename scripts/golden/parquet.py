"""Parquet files as pyarrow writes them, in every codec and page format, and their rows as JSON:
what src/data/parquet.ts must read.

Makes test/golden/parquet/*.parquet and rows.json. Run from anywhere:

    python scripts/golden/parquet.py
"""

import datetime
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parents[2] / "test" / "golden" / "parquet"
COUNT = 40


def row(i):
    turns = [
        {"role": "user", "content": f"Frage {i}: 1\u20282 ü 🙂"},
        {"role": "assistant", "content": "ja " * (i % 5)},
    ]
    return {
        "id": f"row-{i}",
        "number": i * 1000 - 3,
        "real": i / 4,
        "flag": i % 3 == 0,
        "messages": None if i % 7 == 3 else turns[: i % 3],
        "choices": {"label": ["A", "B"][: i % 3], "text": ["ice", None]} if i % 5 else None,
        "lists": [[["a"], []], None][: i % 3],
        "nothing": None,
        "same": "constant",
        "when": datetime.datetime(2024, 2, 29, 12, 0, i),
        "day": datetime.date(2024, 2, 1 + i % 28),
    }


def as_json(value):
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    if isinstance(value, datetime.date):
        return value.strftime("%Y-%m-%dT00:00:00.000Z")
    return value


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = [row(i) for i in range(COUNT)]
    table = pa.Table.from_pylist(rows)
    (FOLDER / "rows.json").write_text(
        json.dumps(
            [{k: as_json(v) for k, v in r.items()} for r in table.to_pylist()], ensure_ascii=True
        )
        + "\n"
    )
    for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
        for version in ["1.0", "2.0"]:
            pq.write_table(
                table,
                FOLDER / f"{codec}-{version[0]}.parquet",
                compression=codec,
                data_page_version=version,
                row_group_size=17,
                write_statistics=codec == "none",
            )
    encodings = {
        "number": "DELTA_BINARY_PACKED",
        "id": "DELTA_LENGTH_BYTE_ARRAY",
        "real": "BYTE_STREAM_SPLIT",
        "same": "PLAIN",
    }
    pq.write_table(
        table, FOLDER / "encodings.parquet", use_dictionary=False, column_encoding=encodings
    )
    pq.write_table(
        pa.table({"id": pa.array([1, 2**53 + 1], pa.int64()), "text": ["a", "b"]}),
        FOLDER / "int64.parquet",
    )
    pq.write_table(
        pa.table({"text": pa.array(["a"]), "image": pa.array([b"\xff\xfe"])}),
        FOLDER / "bytes.parquet",
    )
    pq.write_table(table.slice(0, 0), FOLDER / "empty.parquet")
    types = {
        "price": pa.array([Decimal("1.10"), Decimal("-0.05")], pa.decimal128(9, 2)),
        "key": pa.array([Decimal(12345678901234567890), Decimal(-7)], pa.decimal128(38, 0)),
        "small": pa.array([0.1, -2.5], pa.float32()),
        "at": pa.array([datetime.time(10, 30), datetime.time(23, 59, 1, 250)], pa.time64("us")),
    }
    pq.write_table(pa.table(types), FOLDER / "types.parquet")
    large = pa.table(
        {
            "prompt": [f"{i} " + "words " * 300 for i in range(3000)],
            "messages": [[{"role": "user", "content": f"{i} " + "x" * 900}] for i in range(3000)],
        }
    )
    pq.write_table(large, FOLDER / "large.parquet", compression="zstd", row_group_size=2000)
    twins = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(twins, FOLDER / "twins.parquet")
    pq.write_table(
        pa.table({"text": ["unmistakable"]}),
        FOLDER / "checksum.parquet",
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


if __name__ == "__main__":
    main()
