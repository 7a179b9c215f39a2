"""The models: the whole of each in one file, shapes in comments.

Belongs here: torch modules. Does not: training or evaluating them. Spec: section 7.
"""
