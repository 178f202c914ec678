"""Checks an ONNX file and runs pictures through it; prints JSON.

    python3 onnx_run.py FILE.onnx PIXELS N     PIXELS: bytes, [N, 3, crop, crop]

Needs the wheels of tests/onnx-tools.txt.
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime

path, pixels, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
[reads] = session.get_inputs()
crop = reads.shape[2]
batch = np.fromfile(pixels, dtype=np.uint8).reshape(n, 3, crop, crop)
logits, probabilities = session.run(["logits", "probabilities"], {reads.name: batch})
print(json.dumps({
    "input": [reads.name, reads.type, reads.shape],
    "logits": logits.tolist(),
    "probabilities": probabilities.tolist(),
    "metadata": {entry.key: entry.value for entry in model.metadata_props},
    "values": len(inferred.graph.value_info),
}))
