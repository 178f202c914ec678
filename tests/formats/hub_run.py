"""Loads a folder of `alexnet export --hub` by the module in it, and runs pictures; prints JSON.

    python3 hub_run.py FOLDER PIXELS N     PIXELS: bytes, [N, 3, crop, crop]

Needs torch and nothing else.
"""
import json
import sys

import torch

folder, pixels, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, folder)
sys.dont_write_bytecode = True
from modeling_alexnet import AlexNet  # noqa: E402

torch.set_num_threads(1)
net = AlexNet.load(folder)
crop = net.config["crop"]
batch = torch.frombuffer(bytearray(open(pixels, "rb").read()), dtype=torch.uint8).reshape(n, 3, crop, crop)
with torch.no_grad():
    logits = net(batch)
# In training a unit is silent or whole, never scaled: the mean of many passes is what the test pass has.
net.train()
with torch.no_grad():
    differs = bool((net(batch) != logits).any())
print(json.dumps({
    "logits": logits.tolist(),
    "differs_in_training": differs,
    "dropout": net.config["dropout"],
    "parameters": sum(p.numel() for p in net.parameters()),
}))
