"""Comparing names that people typed: different spellings of the same name."""

import re
import unicodedata

JOINERS = "\u200c\u200d"  # invisible, but they change how letters are written: they stay inside a word
LOOKALIKES = str.maketrans(  # letters that look like Latin ones; the dot that lower case of \u0130 leaves
    "авекмнорстухіјѕԁαβεζηικμνορτυχı", "abekmhopctyxijsdabezhikmnoptyxi", "\u0307"
)


def remove_invisible(text: str) -> str:
    """Remove invisible characters from a text, and join runs of white space to one space.

    These are white space at its ends, and characters of no width. Letters get Unicode's normal form C.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = "".join(c for c in text if unicodedata.category(c) != "Cf" or c in JOINERS)
    return " ".join(text.split()).strip(JOINERS)


def normalise_name(text: str) -> str:
    """Reduce a name to a form that is the same for all its spellings.

    P1, p-01, `P_1.` and P1 with a Cyrillic letter that looks like P have the same form, and so have 7, 007
    and 7.0; 1-1 and 11 have different ones.
    """
    text = remove_invisible(text).strip("'\"") or text
    text = unicodedata.normalize("NFKC", text).casefold().translate(LOOKALIKES)
    text = "".join(c for c in text if c not in JOINERS)
    text = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text)
    if number := re.fullmatch(r"\+?(\d+)([.,]0*)?", text):
        return number[1].lstrip("0") or "0"
    if re.fullmatch(r"\d+([.,]\d+)?e[+-]?\d{1,2}", text):
        value = float(text.replace(",", "."))
        return str(int(value)) if value.is_integer() else text
    text = "".join("-" if _is_separator(c) else c for c in text)
    text = re.sub(r"(?<![\d.,])0+(?=\d)", "", text.rstrip(".,;:") or text)  # not 01 in 1.01, which is not 1.1
    return re.sub(r"(?<=\D)-+|-+(?=\D)", "", text)  # not between digits: 1-1 is not 11


def _is_separator(character: str) -> bool:
    """Whether a character is a dash, an underscore, a space or the minus sign."""
    return unicodedata.category(character) in ("Pd", "Pc", "Zs") or character == "\u2212"
