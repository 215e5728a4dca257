"""The web application of the local page.

Only the page itself may call it: requests for another host (DNS rebinding), from another origin or without
the header of the page are refused, and there are no CORS headers.
"""

import base64
import logging
import secrets
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
from flask import Flask, Response, current_app, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from murmur.errors import MurmurError
from murmur.files import temporary_folder
from murmur.formatting import format_figure
from murmur.inference.page.facts import describe_model
from murmur.inference.page.sound import MAX_FREQUENCY, convert_for_player, draw_spectrogram, encode_wav
from murmur.inference.page.uploads import Upload, list_patients, save_uploads
from murmur.inference.prediction import Model
from murmur.inference.reading import read_any
from murmur.inference.results import RecordingPrediction

logger = logging.getLogger(__name__)

MAX_UPLOAD = 50  # MB
MAX_POINTS = 3000  # of a curve
OWN_HEADER = ("X-Murmur", "page")  # another site cannot send it without a CORS preflight, which fails
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
    "media-src blob:; connect-src 'self' blob:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
MESSAGES = {
    413: f"These files are larger than {MAX_UPLOAD} MB in all. Send fewer or shorter recordings.",
    404: "This address does not exist. Go to the start of the page.",
    405: "This address does not accept this kind of request.",
    500: "The program has a fault and could not answer. The terminal of `murmur serve` shows the details.",
    507: "The memory is not enough for this recording. Send a shorter part of it.",
}


def make_app(model: Model, port: int) -> Flask:
    """Make the web application.

    Parameters
    ----------
    model : Model
        From `load_model`.
    port : int
        The port of the server, which the Host header of each request must name.

    Returns
    -------
    flask.Flask
    """
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=MAX_UPLOAD * 2**20, PORT=port, MODEL=model, LOCK=Lock())
    app.jinja_env.filters["figure"] = format_figure
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(_refuse_strangers)
    app.after_request(_add_headers)
    app.register_error_handler(MurmurError, lambda error: _fail(str(error), 400))
    app.register_error_handler(HTTPException, _describe_http_error)
    app.register_error_handler(Exception, _describe_fault)
    app.add_url_rule("/", view_func=show_page)
    app.add_url_rule("/status", view_func=confirm_running)
    app.add_url_rule("/predict", view_func=predict, methods=["POST"])
    app.add_url_rule("/wav", view_func=convert_to_wav, methods=["POST"])
    return app


def show_page() -> str:
    """Return the page."""
    facts = describe_model(current_app.config["MODEL"].info)
    return render_template("index.html", model=facts, nonce=_nonce(), max_upload=MAX_UPLOAD)


def confirm_running() -> ResponseReturnValue:
    """Return an empty answer, by which the page sees that the program runs."""
    return "", 204


def predict() -> ResponseReturnValue:
    """Predict the class of a patient.

    The request is multipart/form-data with `files`, `sites` (one for each file, may be empty) and, to confirm
    that names with different patient IDs are of one patient, `one_patient=yes`.
    """
    model = current_app.config["MODEL"]
    with _received_recordings() as uploads:
        patients = list_patients(uploads)
        if len(patients) > 1 and request.form.get("one_patient") != "yes":
            return _refuse_patients(patients)
        with current_app.config["LOCK"]:  # one prediction at a time needs the memory of one
            prediction = model.predict(
                [path for path, _ in uploads],
                sites=[site for _, site in uploads],
                patient_id=patients[0] if len(patients) == 1 else None,
            )
            pictures = [_draw(upload) for upload in uploads]
    content = prediction.to_dict()
    for recording, predicted, picture in zip(
        content["recordings"], prediction.recordings, pictures, strict=True
    ):
        recording |= {"path": None, "spectrogram": picture, "murmur_track": _list_track(predicted)}
    return jsonify(content | {"model": describe_model(model.info)})


def convert_to_wav() -> ResponseReturnValue:
    """Return one recording (`files`, `sites` as for `predict`) as a WAV file for the player."""
    with _received_recordings() as uploads, current_app.config["LOCK"]:
        samples = convert_for_player(*read_any(uploads[0].path))
    return Response(encode_wav(samples), mimetype="audio/wav")


@contextmanager
def _received_recordings() -> Iterator[list[Upload]]:
    """Yield the recordings of the request; their files exist within the block only."""
    with temporary_folder() as folder:
        try:
            yield save_uploads(request.files.getlist("files"), request.form.getlist("sites"), folder)
        except MurmurError as error:
            raise MurmurError(str(error).replace(f"{folder}/", "")) from error


def _list_track(recording: RecordingPrediction) -> list[list[float]] | None:
    """The time (s) and the probability of a murmur, as exact as a screen shows them.

    Of long recordings the highest probability in each of at most `MAX_POINTS` parts.
    """
    if recording.murmur_track is None:
        return None
    times, murmur = recording.murmur_track.T
    first = np.arange(0, len(times), -(-len(times) // MAX_POINTS))
    points = np.stack([times[first], np.maximum.reduceat(murmur, first)], axis=1)
    return [[round(value, 3) for value in point] for point in points.tolist()]


def _draw(upload: Upload) -> dict[str, Any]:
    image = base64.b64encode(draw_spectrogram(convert_for_player(*read_any(upload.path)))).decode()
    return {"image": f"data:image/png;base64,{image}", "max_frequency": MAX_FREQUENCY}


def _refuse_strangers() -> ResponseReturnValue | None:
    """Refuse requests that do not come from the page, or from a person who opens it."""
    port = current_app.config["PORT"]
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    if request.headers.get("Host") not in hosts:
        return _fail(f"This page is only at http://127.0.0.1:{port}.", 403)
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and origin not in {f"http://{host}" for host in hosts}
    if is_foreign or request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return _fail("Other sites may not use this page. Open its address in a window of its own.", 403)
    name, value = OWN_HEADER
    if request.method not in {"GET", "HEAD"} and request.headers.get(name) != value:
        return _fail(f"Requests need the header {name}: {value}.", 403)
    return None


def _nonce() -> str:
    """Return the nonce of the styles in this response, a new one for each response."""
    g.nonce = g.get("nonce") or secrets.token_urlsafe(16)
    return str(g.nonce)


def _add_headers(response: Response) -> Response:
    response.headers.update(HEADERS | {"Content-Security-Policy": POLICY.format(nonce=_nonce())})
    return response


def _refuse_patients(patients: list[str]) -> ResponseReturnValue:
    number = "two" if len(patients) == 2 else str(len(patients))
    names = ", ".join(patients)
    error = f"These recordings seem to be of {number} patients: {names}. A prediction is for one patient."
    return jsonify(error=error, patients=patients), 409


def _fail(message: str, status: int) -> ResponseReturnValue:
    return jsonify(error=message), status


def _describe_http_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    return _fail(MESSAGES.get(status, error.description or "The request is wrong."), status)


def _describe_fault(error: Exception) -> ResponseReturnValue:
    """Log an unexpected error for the terminal; the browser gets no details."""
    details = "".join(traceback.format_exception(error))
    logger.error(f"the page could not answer a request:\n{details}")
    status = 507 if isinstance(error, MemoryError) else 500
    return _fail(MESSAGES[status], status)
