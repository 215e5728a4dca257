"""The command that starts the local page."""

import logging
import os
import socket
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from murmur.errors import MurmurError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"  # this computer only
MAX_RECEIVED = 4  # times the largest upload; larger requests are refused before they are received


def serve_page(
    model: Annotated[Path, typer.Option(help="folder or ONNX file of the model")] = Path("models/murmur"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="port of the page; 0: any free port")] = 8765,
    browser: Annotated[bool, typer.Option(help="open the page in the browser")] = True,
) -> None:
    """Open a local page that predicts recordings.

    Drop recordings of one patient there, or record with the microphone. Only this computer can open the page,
    and nothing is sent to other computers. Ctrl-C ends it.

    Examples
    --------
    murmur serve
    murmur serve --port 8080 --no-browser
    """
    import waitress

    from murmur.inference.page import app
    from murmur.inference.prediction import load_model

    with _listen(port) as listener:
        port = listener.getsockname()[1]
        application = app.make_app(load_model(model), port)
        address = f"http://{HOST}:{port}"
        print(address, flush=True)
        logger.info("the page is open at this address; Ctrl-C ends it")
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        limit = MAX_RECEIVED * app.MAX_UPLOAD * 2**20
        waitress.serve(application, sockets=[listener], ident=None, max_request_body_size=limit, _quiet=True)


def _listen(port: int) -> socket.socket:
    """Return a socket on this computer's own address."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise MurmurError(
            f"port {port} cannot be used ({os.strerror(error.errno or 0)}); end the program that uses it, or "
            "take a free port: murmur serve --port 0"
        ) from error
