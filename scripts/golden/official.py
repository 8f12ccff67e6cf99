"""What the official code makes of the rewarding files that cream-lm writes
→ test/golden/official/dpo-*.json.

    git clone https://github.com/Raibows/CREAM && pip install loguru simple_parsing pytz
    python scripts/golden/official.py CREAM

test/golden/official/{current,previous}.json are ours (test/data/official-golden.test.ts holds them
to what is written today, and with CREAM_WRITE_GOLDEN=1 writes them); the official
cal_consistency.py ranks them, and its data.py must take the result for training data.
"""

import json
import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).parents[2] / "test" / "golden" / "official"


def main():
    clone = pathlib.Path(sys.argv[1]).resolve()
    for method in ["kendall", "spearman"]:
        out = FOLDER / f"dpo-{method}.json"
        files = [
            "--file1",
            FOLDER / "current.json",
            "--file2",
            FOLDER / "previous.json",
            "--method",
            method,
            "--output",
            out,
        ]
        subprocess.run(
            [sys.executable, "cal_consistency.py", *map(str, files)],
            cwd=clone,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        pairs = json.loads(out.read_text())
        sys.path.insert(0, str(clone))
        from data import check_sanity, convert_data_to_sft

        check_sanity(list(convert_data_to_sft(pairs).values()))
        check_sanity([pair["rejected"] for pair in pairs.values()])
        out.write_text(json.dumps(pairs) + "\n")


if __name__ == "__main__":
    main()
