"""Section `download` of params.yaml."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from murmur.params.types import Folder, Name, whole_number

_FOLDER = TypeAdapter(Folder)


class Download(BaseModel):
    """Section `download`: `limit`, `on_bad`, `remote`, and a section for each data set.

    The reader of a data set checks the section of that data set.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    limit: Annotated[int, whole_number(1, 10**9)] | None
    on_bad: Literal["error", "leave_out"]
    remote: Name | None

    @model_validator(mode="after")
    def _check_data_sets_are_sections(self) -> "Download":
        for key, value in (self.model_extra or {}).items():
            if not isinstance(value, dict):
                raise ValueError(
                    f"unknown key download.{key}; known are limit, on_bad, remote and the data sets"
                )
        return self

    @model_validator(mode="after")
    def _check_folder(self) -> "Download":
        """Refuse a folder with outputs: in dvc.yaml download depends on it, also for other data sets."""
        section = (self.model_extra or {}).get("folder", {})
        if "path" not in section:
            return self
        try:
            path = Path(os.path.abspath(_FOLDER.validate_python(section["path"])))
        except ValidationError as error:
            raise ValueError(f"download.folder.path: {error.errors()[0]['msg']}") from None
        project = Path.cwd()
        if path in (project, project / "data", *project.parents):
            raise ValueError(
                f"download.folder.path: {section['path']} holds what the stages write; name another folder"
            )
        return self
