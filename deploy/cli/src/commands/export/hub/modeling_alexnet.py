"""AlexNet in two halves, as `alexnet export --hub` wrote it beside this file. Needs PyTorch only.

    from modeling_alexnet import AlexNet
    net = AlexNet.load("folder")              # config.json and model.safetensors
    logits = net(pixels)                      # uint8 or float 0..255, RGB, [n, 3, crop, crop]
    print(net.config["id2label"][str(logits[0].argmax().item())])
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


class AlexNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        for l in config["layers"]:
            if l["kind"] == "conv":
                layer = nn.Conv2d(l["inputs"], l["outputs"], l["kernel"], l["stride"], groups=l["groups"])
            else:
                layer = nn.Linear(l["inputs"] // l["groups"], l["outputs"])
            self.add_module(l["name"], layer)
        self.register_buffer("mean", torch.zeros(3, config["side"], config["side"]))

    @classmethod
    def load(cls, folder="."):
        net = cls(json.loads(Path(folder, "config.json").read_text(encoding="utf-8")))
        file = Path(folder, "model.safetensors").read_bytes()
        begin = 8 + int.from_bytes(file[:8], "little")
        tensors = {}
        for name, t in json.loads(file[8:begin]).items():
            if name != "__metadata__":
                first, end = t["data_offsets"]
                numbers = torch.frombuffer(bytearray(file[begin + first : begin + end]), dtype=torch.float32)
                tensors[name] = numbers.reshape(t["shape"])
        net.load_state_dict(tensors)
        return net.eval()

    def forward(self, pixels):
        c, border = self.config, (self.config["side"] - self.config["crop"]) // 2
        x = pixels.float() - self.mean[:, border : border + c["crop"], border : border + c["crop"]]
        for l in c["layers"]:
            layer = self.get_submodule(l["name"])
            if l["kind"] == "conv":  # conv1's last windows read zeros beyond the right and the bottom edge only
                x = layer(F.pad(x, l["pads"]))
            else:  # groups are halves that read only their own units
                parts = (t.chunk(l["groups"], d) for t, d in ((x.flatten(1), 1), (layer.weight, 0), (layer.bias, 0)))
                x = torch.cat([F.linear(*part) for part in zip(*parts)], 1)
            for after in l["after"]:
                x = self.after(after, x)
        return x

    def after(self, name, x):
        c = self.config
        if name == "lrn":  # inside a half; PyTorch divides alpha by the size
            n = c["lrn"]
            halves = x.chunk(c["columns"], 1)
            return torch.cat([F.local_response_norm(h, n["size"], n["alpha"], n["beta"], n["k"]) for h in halves], 1)
        if name == "pool":
            return F.max_pool2d(x, c["pool"]["size"], c["pool"]["stride"], ceil_mode=True)
        if name == "dropout":  # the paper's: units are scaled at test, not in training
            return F.dropout(x, c["dropout"], self.training) * (1 - c["dropout"])
        return {"relu": torch.relu, "tanh": torch.tanh}[name](x)
