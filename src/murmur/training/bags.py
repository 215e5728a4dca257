"""Bags of segments: the input of models that make one prediction for each patient."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from murmur.errors import MurmurError

logger = logging.getLogger(__name__)


def make_bags(facts: pd.DataFrame, sites: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Collect the segments of each patient by auscultation site.

    Reversed segments are not used. A patient without a segment at these sites has an empty bag; the number of
    such patients is logged.

    Parameters
    ----------
    facts : pd.DataFrame
        One row for each segment: the table of segments with the columns of its recording.
    sites : sequence of str
        The sites, in the order of the bags.

    Returns
    -------
    patients : pd.DataFrame
        The first row of each patient.
    bags : np.ndarray of int, shape [patients, sites, n]
        Rows of `facts`, -1 for padding.

    Raises
    ------
    MurmurError
        If a site is missing in the data set, named twice, or no site is named.
    """
    _check_sites(facts, sites)
    patients = facts.drop_duplicates("patient_id")
    used = facts[facts["site"].isin(sites) & ~facts["reversed"]]
    patient = pd.Index(patients["patient_id"]).get_indexer(pd.Index(used["patient_id"]))
    site = pd.Index(sites).get_indexer(pd.Index(used["site"]))
    number = used.groupby(["patient_id", "site"]).cumcount().to_numpy()
    bags = np.full((len(patients), len(sites), number.max() + 1), -1)
    bags[patient, site, number] = used.index
    if empty := (bags < 0).all(axis=(1, 2)).sum():
        logger.info(
            f"patients without a recording at any of {', '.join(sites)}: {empty}; "
            "their prediction is arbitrary"
        )
    return patients, bags


def _check_sites(facts: pd.DataFrame, sites: Sequence[str]) -> None:
    missing = [site for site in sites if site not in set(facts["site"])]
    if missing or not sites:
        available = ", ".join(sorted(set(facts["site"])))
        raise MurmurError(
            f"train.model.sites: no recording was made at {', '.join(missing) or 'any, for none is named'}; "
            f"this data set has the sites {available}"
        )
    if len(set(sites)) < len(sites):
        raise MurmurError(f"train.model.sites: names a site twice: {', '.join(sites)}")


def check_patients_undivided(facts: pd.DataFrame, roles: Mapping[int, np.ndarray]) -> None:
    """Check that all segments of a patient are in the same part of each fold.

    Parameters
    ----------
    facts : pd.DataFrame
        One row for each segment, with a column `patient_id`.
    roles : mapping of int to np.ndarray of str, shape [networks, segments]
        For each fold and network the part of each segment; "" if it is not used.

    Raises
    ------
    MurmurError
        Naming the fold and a patient in two parts.
    """
    for fold, role in ((fold, role) for fold, rows in roles.items() for role in rows):
        parts = facts.assign(role=role)[role != ""].groupby("patient_id")["role"].nunique()
        if (parts > 1).any():
            raise MurmurError(
                f"fold {fold}: patient {parts.index[parts > 1][0]} is in two parts, but this model makes one "
                "prediction for each patient; set split.group_by to person or patient"
            )
