"""Which files the datasets library takes for which split → test/golden/splits.json.

    python scripts/golden/splits.py

Each layout is a repository's file names, some with a card; `configs` is what datasets makes of it,
config → split → files in order.
"""

import json
import os
import pathlib
import tempfile

import datasets
from datasets.data_files import DataFilesDict, get_data_patterns, sanitize_patterns
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

OUT = pathlib.Path(__file__).parents[2] / "test" / "golden" / "splits.json"

PLAIN = [
    [
        "data/train-00000-of-00002-ab12cd34ef567890.parquet",
        "data/train-00001-of-00002-0123456789abcdef.parquet",
        "data/test_sft-00000-of-00001.parquet",
    ],
    ["train.jsonl", "dev.jsonl", "my-eval.jsonl"],
    ["train.jsonl", "valid.jsonl", "notes.jsonl"],
    ["train/part-10.json", "train/part-2.json", "test/part-1.json"],
    ["a.jsonl", "b.jsonl"],
    ["latest.jsonl"],
    ["retrain.jsonl", "contest.jsonl"],
    ["train1.jsonl", "test_2.jsonl"],
    ["data/my.train.jsonl", "data/val.jsonl"],
    ["training.json", "testing.json", "validation.json"],
    ["evaluation/x.jsonl", "training/x.jsonl"],
    ["data/train/0000.parquet", "data/validation/0000.parquet"],
    ["TRAIN.jsonl", "Test.jsonl"],
    ["train-v2.jsonl", "all-train-rows.jsonl", "dev_v2.jsonl"],
    ["data/train.jsonl", "data/train-extra.jsonl", "data/test.jsonl"],
    ["train/test.jsonl", "other.jsonl"],
]

CARDS = [
    {
        "configs": [
            {
                "config_name": "main",
                "data_files": [
                    {"split": "train", "path": "main/train-*"},
                    {"split": "test", "path": "main/test-*"},
                ],
            },
            {"config_name": "b", "data_files": "b/*.parquet"},
        ],
        "files": [
            "main/train-00000-of-00001.parquet",
            "main/test-00000-of-00001.parquet",
            "b/x.parquet",
            "b/y.parquet",
        ],
    },
    {
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": ["b.jsonl", "a.jsonl"]},
                    {"split": "held_out", "path": "**/c.jsonl"},
                ],
            }
        ],
        "files": ["a.jsonl", "b.jsonl", "deep/er/c.jsonl"],
    },
    {
        "configs": [{"config_name": "x", "data_dir": "x"}, {"config_name": "y", "data_dir": "y"}],
        "files": ["x/train.jsonl", "x/test.jsonl", "y/rows.jsonl"],
    },
    {
        "configs": [{"config_name": "q", "data_files": ["part-?.jsonl", "extra-[ab].jsonl"]}],
        "files": ["part-1.jsonl", "part-10.jsonl", "extra-a.jsonl", "extra-c.jsonl"],
    },
]


def resolved(patterns, base):
    found = DataFilesDict.from_patterns(patterns, base_path=base)
    return {
        str(split): [os.path.relpath(path, base) for path in paths]
        for split, paths in found.items()
    }


def layout(files, configs=None):
    with tempfile.TemporaryDirectory() as base:
        base = os.path.realpath(base)
        for name in files:
            path = pathlib.Path(base, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        os.chdir(base)
        if configs is None:
            return {"files": files, "configs": {"default": resolved(get_data_patterns(base), base)}}
        card = DatasetCardData(**{"configs": configs})
        made = {}
        for name, config in MetadataConfigs.from_dataset_card_data(card).items():
            where = os.path.join(base, config.get("data_dir", ""))
            patterns = (
                sanitize_patterns(config["data_files"])
                if config.get("data_files")
                else get_data_patterns(where)
            )
            made[name] = {
                split: [os.path.relpath(os.path.join(where, path), base) for path in paths]
                for split, paths in resolved(patterns, where).items()
            }
        return {"files": files, "card": configs, "configs": made}


def main():
    golden = {
        "datasets": datasets.__version__,
        "layouts": [layout(files) for files in PLAIN]
        + [layout(card["files"], card["configs"]) for card in CARDS],
    }
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
