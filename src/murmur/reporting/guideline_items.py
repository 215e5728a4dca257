"""The items of two reporting guidelines, and the section of metrics/reporting.md that has content for each.

References
----------
Collins et al., TRIPOD+AI statement, BMJ 385:e078378, 2024 (CC BY 4.0).
Sounderajah et al., The STARD-AI reporting guideline, Nature Medicine 31, 3283-3289, 2025.
"""

from typing import NamedTuple

DATA, PARTICIPANTS, OUTCOME = "Data", "Participants and flow", "Outcome and reference standard"
PREDICTORS, MISSING = "Predictors and preprocessing", "Missing data"
PROTOCOL, AUDIT, MODEL = "Split and analysis", "Leakage audit", "Model and training"
RESULTS, POINTS, CALIBRATION = "Results", "Operating points", "Calibration"
SUBGROUPS, CROSS_TABULATION = "Factors: subgroups", "Cross-tabulation"
LIMITS, CODE = "Limits", "Availability and software"


class Item(NamedTuple):
    """An item of a guideline.

    Attributes
    ----------
    number, topic : str
        As in the guideline.
    sections : tuple of str
        The sections of metrics/reporting.md with content for it.
    author : str
        What the author must add, in short; empty if nothing.
    """

    number: str
    topic: str
    sections: tuple[str, ...]
    author: str


TRIPOD_AI = (
    Item("1", "Title", (), "development or evaluation of a prediction model, target population, outcome"),
    Item("2", "Abstract", (), "see the checklist TRIPOD+AI for Abstracts"),
    Item("3a", "Background", (), "healthcare context, reasons for the model, existing models"),
    Item("3b", "Background", (), "target population, purpose in the care pathway, intended users"),
    Item("3c", "Background", (), "known health inequalities between sociodemographic groups"),
    Item("4", "Objectives", (), "objectives; development, evaluation or both"),
    Item("5a", "Data", (DATA,), "reasons for these data, and how representative they are"),
    Item("5b", "Data", (), "dates of the data collection"),
    Item("6a", "Participants", (), "setting; number and location of centres"),
    Item("6b", "Participants", (PARTICIPANTS,), "eligibility criteria of the data collection"),
    Item("6c", "Participants", (), "treatments, if relevant"),
    Item("7", "Data preparation", (PREDICTORS, AUDIT), "quality checks before the recordings were collected"),
    Item("8a", "Outcome", (OUTCOME,), "how and when it was assessed, and why it was chosen"),
    Item("8b", "Outcome", (), "qualifications and demographic characteristics of the assessors"),
    Item("8c", "Outcome", (), "whether the assessors were blinded"),
    Item("9a", "Predictors", (PREDICTORS,), "reasons for these predictors"),
    Item("9b", "Predictors", (PREDICTORS,), "how and when the recordings were made; blinding"),
    Item("9c", "Predictors", (), "qualifications of those who made the recordings"),
    Item("10", "Sample size", (DATA, PARTICIPANTS), "how the size was arrived at; is it sufficient"),
    Item("11", "Missing data", (MISSING,), ""),
    Item("12a", "Analytical methods", (PROTOCOL, AUDIT), ""),
    Item("12b", "Analytical methods", (PREDICTORS,), ""),
    Item(
        "12c",
        "Analytical methods",
        (MODEL, PROTOCOL),
        "reasons for the model; choice of its parameters",
    ),
    Item(
        "12d",
        "Analytical methods",
        (SUBGROUPS,),
        "differences between hospitals, if examined",
    ),
    Item("12e", "Analytical methods", (PROTOCOL, RESULTS), "reasons for these measures"),
    Item("12f", "Analytical methods", (CALIBRATION,), "other updating of the model, if any"),
    Item("12g", "Analytical methods", (MODEL, PROTOCOL), ""),
    Item("13", "Class imbalance", (MODEL, CALIBRATION), "reasons for train.balance, train.class_weights"),
    Item("14", "Fairness", (SUBGROUPS,), "approaches to fairness, if any, and their reasons"),
    Item("15", "Model output", (PROTOCOL, POINTS), "reasons for the thresholds"),
    Item("16", "Training versus evaluation", (PROTOCOL,), "differences, if evaluated on other data"),
    Item("17", "Ethical approval", (), "ethics committee, informed consent or its waiver"),
    Item("18a", "Funding", (), "source of funding and role of the funders"),
    Item("18b", "Conflicts of interest", (), "for all authors"),
    Item("18c", "Protocol", (), "where the study protocol is, or that there is none"),
    Item("18d", "Registration", (), "register and number, or that the study was not registered"),
    Item("18e", "Data sharing", (DATA, CODE), "where the data can be obtained"),
    Item("18f", "Code sharing", (CODE,), "address of the repository"),
    Item("19", "Patient and public involvement", (), "details, or that there was none"),
    Item("20a", "Participants", (PARTICIPANTS,), ""),
    Item("20b", "Participants", (PARTICIPANTS, MISSING), "key dates, treatments, other characteristics"),
    Item("20c", "Participants", (), "comparison of the data, if evaluated on other data"),
    Item("21", "Model development", (PARTICIPANTS, PROTOCOL), ""),
    Item("22", "Model specification", (MODEL, CODE), "restrictions to access or reuse"),
    Item("23a", "Model performance", (RESULTS, CALIBRATION, SUBGROUPS), ""),
    Item("23b", "Model performance", (SUBGROUPS,), "results by hospital, if examined"),
    Item("24", "Model updating", (), "results of the updating, if any"),
    Item("25", "Interpretation", (), "interpretation, with fairness and previous studies"),
    Item("26", "Limitations", (LIMITS,), "effects on bias, uncertainty and generalisability"),
    Item("27a", "Usability in current care", (MISSING,), "how poor or missing recordings should be handled"),
    Item("27b", "Usability in current care", (), "interaction with the model, and expertise of its users"),
    Item("27c", "Usability in current care", (), "next steps for research"),
)
STARD_AI = (
    Item("1", "Title", (), "AI-centred diagnostic accuracy, with at least one measure of accuracy"),
    Item("2", "Abstract", (), "see STARD for Abstracts"),
    Item("3", "Scientific background", (), "intended use of the index test, and its place in the workflow"),
    Item("4", "Objectives", (), "objectives and hypotheses"),
    Item("5", "Study design", (), "prospective or retrospective data collection"),
    Item("6", "Ethics approval", (), "ethics committee, or why it is not required"),
    Item(
        "7",
        "Eligibility criteria",
        (PARTICIPANTS,),
        "criteria of the data collection, in their order",
    ),
    Item("8", "Identification of participants", (), "such as symptoms, previous tests, a registry"),
    Item("9", "Setting and dates", (), "setting, location and dates"),
    Item("10", "Participant series", (), "consecutive, random or convenience"),
    Item("11", "Data source", (DATA,), "collected in routine, for the study, or from a repository"),
    Item("12", "Dataset annotation", (), "who annotated, with what experience, and how"),
    Item("13", "Devices and software", (CODE,), "manufacturer and model of the stethoscope"),
    Item("14", "Acquisition and preprocessing", (PREDICTORS,), "how the recordings were made"),
    Item("15a", "Index test", (MODEL, PREDICTORS), ""),
    Item("15b", "Index test: development", (PROTOCOL, MODEL), "evaluation on other data, if any"),
    Item("15c", "Index test: cut-offs", (POINTS, PROTOCOL), "reasons; prespecified or exploratory"),
    Item("15d", "Index test: end-user", (), "end-user and required expertise"),
    Item("16a", "Reference standard", (OUTCOME,), "its procedure, in sufficient detail"),
    Item("16b", "Reference standard: rationale", (), "why it was chosen"),
    Item("16c", "Reference standard: cut-offs", (OUTCOME,), "its categories; prespecified or exploratory"),
    Item("17a", "Blinding: index test", (PREDICTORS,), ""),
    Item("17b", "Blinding: reference standard", (), "what its assessors knew"),
    Item("18", "Statistical methods", (PROTOCOL,), ""),
    Item("19", "Indeterminate results", (MISSING,), "those of the reference standard"),
    Item("20", "Missing data", (MISSING,), ""),
    Item("21", "Variability analyses", (SUBGROUPS,), "prespecified or exploratory"),
    Item("22", "Sample size", (DATA, PARTICIPANTS), "intended sample size, and how it was determined"),
    Item("23", "Fairness assessment", (SUBGROUPS,), "assessment of bias and fairness, if undertaken"),
    Item("24", "Flow diagram", (PARTICIPANTS,), "the diagram"),
    Item("25", "Baseline characteristics", (PARTICIPANTS, PROTOCOL), "clinical characteristics"),
    Item("26a", "Severity of disease", (), "distribution in those with the target condition"),
    Item("26b", "Alternative diagnoses", (), "distribution in those without the target condition"),
    Item("27", "Time interval", (), "between recording and reference standard, with interventions"),
    Item("28", "Representativeness", (), "distribution of the target condition in the intended population"),
    Item("29", "External evaluation", (), "differences of the other data, if any"),
    Item("30", "Cross-tabulation", (CROSS_TABULATION,), ""),
    Item("31", "Accuracy estimates", (RESULTS, POINTS), ""),
    Item("32", "Adverse events", (), "of recording or reference standard"),
    Item("33", "Study limitations", (LIMITS,), "sources of bias, generalisability"),
    Item("34", "Implications for practice", (), "intended use and clinical role of the index test"),
    Item("35", "Ethics and fairness", (), "ethical considerations of the use of the index test"),
    Item("36", "Registration", (), "number and name of the registry"),
    Item("37", "Protocol", (), "where the study protocol is"),
    Item("38", "Funding", (), "sources of funding, role of the funders"),
    Item("39", "Commercial interests", (), "if any"),
    Item("40a", "Data and code availability", (DATA, CODE), "addresses, restrictions on reuse"),
    Item("40b", "Audit and evaluation", (CODE,), "who can have access to the outputs"),
)
GUIDELINES = {"TRIPOD+AI": TRIPOD_AI, "STARD-AI": STARD_AI}
