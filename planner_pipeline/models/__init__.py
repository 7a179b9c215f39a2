"""The models: the whole of each in one file, shapes in comments.

Belongs here: torch modules and nothing that trains or evaluates them. Spec: section 7.
"""
