"""The sections of params.yaml, one module each, so that an edit re-runs only the stages that use the section.

The comments in params.yaml explain the meaning and the units of the values.
"""
