"""The weights of CirCor's murmur score, which the data sets and the evaluation use.

References
----------
Reyna et al., PLOS Digital Health 2, 2023: the score of the 2022 PhysioNet challenge.
Oliveira et al., IEEE J. Biomed. Health Inform. 26, 2022: the patients of each class (version 1.0.3).
"""

CIRCOR_WEIGHTS = {"Present": 5, "Unknown": 3, "Absent": 1}
CIRCOR_PATIENTS = {"Present": 179, "Unknown": 68, "Absent": 695}
