"""Section `split` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from murmur.params.types import Boolean, Fraction, Run, Section, SplitFile, whole_number

EXAMPLE_SPLIT = "data/splits/synthetic.csv"  # with other methods: DVC always needs a file to depend on


class Split(Section):
    """Section `split`."""

    method: Literal["kfold", "holdout", "role", "file"]
    file: SplitFile
    runs: Annotated[list[Run], Field(min_length=1, max_length=1000)]
    folds: Annotated[int, whole_number(2, 1000)]
    test: Fraction
    validation: Fraction
    inner: Annotated[int, whole_number(2, 100)] | None
    group_by: Literal["person", "patient", "recording", "segment"]
    merge_near_duplicates: Boolean
    on_leak: Literal["error", "warn"]
    validate_on: Literal["validation", "test"]

    @model_validator(mode="after")
    def _check_runs_are_unique(self) -> "Split":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"split.runs names a run twice: {self.runs}")
        return self

    @model_validator(mode="after")
    def _check_inner_folds_are_used(self) -> "Split":
        if self.inner and self.validate_on == "test":
            raise ValueError("split.inner: inner folds are validation parts, but split.validate_on is test")
        return self

    @model_validator(mode="after")
    def _check_file_is_used(self) -> "Split":
        if self.file != EXAMPLE_SPLIT and self.method != "file":
            raise ValueError(f"split.file {self.file} is read only with split.method: file")
        return self
