"""Patients as bags of segments, for models that decide once a patient."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from murmur.errors import MurmurError

logger = logging.getLogger(__name__)


def make_bags(facts: pd.DataFrame, sites: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """A row a patient, and the rows of its segments at each site: [patients, sites, n], -1 for none.

    A patient heard at none of the sites stays, with an empty bag, and is told. Mirrored segments take no
    part.

    Parameters
    ----------
    facts: a row a segment, of segments and recordings together.

    Raises
    ------
    MurmurError
        If no segment was heard at one of the sites.
    """
    missing = [site for site in sites if site not in set(facts["site"])]
    if missing or not sites:
        there = ", ".join(sorted(set(facts["site"])))
        raise MurmurError(
            f"train.model.sites: no recording was made at {', '.join(missing) or 'any, for none is named'}; "
            f"this data set has the sites {there}"
        )
    if len(set(sites)) < len(sites):
        raise MurmurError(f"train.model.sites: names a site twice: {', '.join(sites)}")
    patients = facts.drop_duplicates("patient_id")
    used = facts[facts["site"].isin(sites) & ~facts["reversed"]]
    patient = pd.Index(patients["patient_id"]).get_indexer(pd.Index(used["patient_id"]))
    site = pd.Index(sites).get_indexer(pd.Index(used["site"]))
    place = used.groupby(["patient_id", "site"]).cumcount().to_numpy()
    bags = np.full((len(patients), len(sites), place.max() + 1), -1)
    bags[patient, site, place] = used.index
    if empty := (bags < 0).all(axis=(1, 2)).sum():
        logger.info(f"{empty} patients were heard at none of {', '.join(sites)}; their answer is a guess")
    return patients, bags


def check_patients_undivided(facts: pd.DataFrame, roles: Mapping[int, np.ndarray]) -> None:
    """Refuse folds in which a patient stands in two parts.

    Raises
    ------
    MurmurError
        Naming the fold and a patient.
    """
    for fold, role in roles.items():
        parts = facts.assign(role=role)[role != ""].groupby("patient_id")["role"].nunique()
        if (parts > 1).any():
            raise MurmurError(
                f"fold {fold}: patient {parts.index[parts > 1][0]} stands in two parts, but this model "
                "decides once a patient; set split.group_by to person or patient"
            )
