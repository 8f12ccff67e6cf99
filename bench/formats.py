"""Copies a .gguf file in the formats for which llama.cpp has fast kernels: python formats.py SOURCE
FOLDER. There is one file per format; norms stay float32. The copies of 4-bit weights gain no
precision; they are for measuring speed."""

import sys
from pathlib import Path

from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

# the type and general.file_type
FORMATS = {"BF16": (Type.BF16, 32), "Q8_0": (Type.Q8_0, 7), "Q4_0": (Type.Q4_0, 2)}


def copy(reader, path, kind, file_type):
    writer = GGUFWriter(path, arch=reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        first, sub = (
            field.types[0],
            field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None,
        )
        writer.add_key_value(name, field.contents(), first, sub_type=sub)
    writer.add_file_type(file_type)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        type_here = kind if values.ndim > 1 else Type.F32
        writer.add_tensor(tensor.name, quantize(values, type_here), raw_dtype=type_here)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


source, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
for name, (kind, file_type) in FORMATS.items():
    copy(GGUFReader(source), folder / f"{name}.gguf", kind, file_type)
