"""test/golden/event_file.json: bytes of event files as TensorBoard's own writer makes them.

The bytes are read back by TensorBoard's reader, whose values must be those that were written.
"""

import io
import json
import os
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

OUT = Path(__file__).parents[2] / "test" / "golden" / "event_file.json"

EVENTS = [
    {"time": 1700000000.25, "step": 0, "values": [["eval/accuracy", 0.25]]},
    {"time": 1700000001.5, "step": 1, "values": [["train/loss", 0.6931471824645996]]},
    {
        "time": 1700000002.125,
        "step": 300,
        "values": [
            ["train/loss", -1.5e-7],
            ["train/rewards/margins", 3.25],
            ["train/Größe", 1e30],
        ],
    },
    {"time": 1.0, "step": 2**40 + 5, "values": [["a" * 300, 0.0]]},
    {"time": 2.0, "step": 7, "values": []},
]


def written(events: list[event_pb2.Event]) -> bytes:
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for event in events:
        writer.write(event.SerializeToString())
    return stream.getvalue()


def event_of(case: dict) -> event_pb2.Event:
    event = event_pb2.Event(wall_time=case["time"], step=case["step"])
    event.summary.SetInParent()
    for tag, value in case["values"]:
        event.summary.value.add(tag=tag, simple_value=value)
    return event


def check(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "events.out.tfevents.golden")
        Path(path).write_bytes(data)
        read = list(LegacyEventFileLoader(path).Load())
    assert read[0].file_version == "brain.Event:2"
    for case, event in zip(EVENTS, read[1:], strict=True):
        assert (event.wall_time, event.step) == (case["time"], case["step"])
        assert [value.tag for value in event.summary.value] == [tag for tag, _ in case["values"]]


def main() -> None:
    version = written([event_pb2.Event(wall_time=12.5, file_version="brain.Event:2")])
    records = [written([event_of(case)]) for case in EVENTS]
    check(version + b"".join(records))
    cases = [{**case, "hex": data.hex()} for case, data in zip(EVENTS, records, strict=True)]
    text = json.dumps({"version": {"time": 12.5, "hex": version.hex()}, "events": cases}, indent=1)
    OUT.write_text(text + "\n")


main()
