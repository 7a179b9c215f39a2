"""Shipping: a checkpoint becomes an ONNX file, an ONNX file a verified bundle.

Belongs here: export, golden cases, writing the bundle. Does not: opening one
(``planner_runtime.bundle``). Spec: section 11.
"""
