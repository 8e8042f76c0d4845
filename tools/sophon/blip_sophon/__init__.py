"""Exports BLIP's stages to ONNX and compiles them for SOPHON chips. tools/sophon/NETWORKS.md says
what comes out.
"""
