"""The DVC remote that a data set's licence requires."""

from types import ModuleType

from pydantic import BaseModel

from murmur.datasets import is_shareable
from murmur.errors import MurmurError


def check_remote(reader: ModuleType, dataset: str, options: BaseModel, remote: str | None) -> bool:
    """Check that data which must not be shared have a DVC remote of their own.

    Parameters
    ----------
    reader : module
        The reader of the data set.
    dataset : str
        Its name.
    options : BaseModel
        Its section `download.<name>` of params.yaml.
    remote : str or None
        `download.remote`.

    Returns
    -------
    bool
        Whether the data may be shared.

    Raises
    ------
    MurmurError
        If they must not be shared and `remote` is None.
    """
    shareable = is_shareable(reader, options.model_dump())
    if shareable or remote is not None:
        return shareable
    owner = "; if their owner permits sharing them: -S download.folder.may_be_passed_on=true"
    raise MurmurError(
        f"download.remote: {dataset}'s licence ({reader.LICENCE}) does not permit sharing its data: "
        "name a DVC remote that only you use (-S download.remote=private); until it has an address, "
        f"`dvc push` refuses{owner if dataset == 'folder' else ''}"
    )
