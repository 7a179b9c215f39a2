"""Judging predictions: calibration, diagnostics with intervals, the report.

Belongs here: everything computed from predictions. Does not: models or torch; a prediction is a
row of a table. Spec: section 8.
"""
