"""Build training data for query_rewrite.

    python scripts/query_rewrite_data.py DATA/query_rewrite OUT

The rows have user turns only, of which the last is to be rewritten; what people wrote for it
becomes `target`. Some conversations get a system message, as other training sets here do.
"""

from __future__ import annotations

import sys
from pathlib import Path

from variety import Row, read, with_system, write


def converted(row: Row) -> Row:
    """The row in the format of `chains train`."""
    kept = {key: row[key] for key in ("id", "messages", "documents", "source", "license")}
    return {**kept, "target": row["rewrite"].strip()}


def main(source: Path, target: Path) -> None:
    """Write OUT/{train,dev,test}.jsonl."""
    for split in ("train", "dev", "test"):
        rows = [with_system(converted(row)) for row in read(source / f"{split}.jsonl")]
        write(target / f"{split}.jsonl", rows)
        same = sum(row["target"] == row["messages"][-1]["content"].strip() for row in rows)
        print(f"{split}: {len(rows)} rows, {same} of them unchanged")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
