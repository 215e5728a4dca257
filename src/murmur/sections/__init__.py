"""The sections of params.yaml, a module each, so that an edit re-runs only the stages that read it."""
