#!/bin/sh
# A virtual environment with what compare.py measures blip against. About 6 GB.
set -eu
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/pip install --quiet numpy pillow torch torchvision transformers onnx onnxruntime \
    openvino nncf
