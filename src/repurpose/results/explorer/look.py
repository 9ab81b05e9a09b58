"""Serve a study's results on this machine alone and open explorer.html; ends with Ctrl-C.

    repurpose look results/smollm2

The page opens from its file, too; what this adds is a link that stays the same while the study is made anew, and the
report and tables beside it.
"""

import argparse
import sys
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from repurpose.study.errors import one_line_errors
from repurpose.study.settings import SettingsError

HOST = "127.0.0.1"
PAGE = "explorer.html"


class OwnMachine(SimpleHTTPRequestHandler):
    """Hands files out to this machine's browsers, and to no page of another name that was made to lead here."""

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        name = self.headers.get("Host", "").rpartition(":")[0]
        if name not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "only for this machine")
            return False
        return True

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def make_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder; raises SettingsError where the page is not there or the port is taken."""
    if not (folder / PAGE).is_file():
        raise SettingsError(f"{folder / PAGE}: not there yet; run the study, `make study`")
    try:
        return ThreadingHTTPServer((HOST, port), partial(OwnMachine, directory=str(folder)))
    except (OSError, OverflowError) as problem:
        raise SettingsError(f"--port {port}: {problem}; give another, or 0 for any that is free") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="results/<study>")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--no-browser", action="store_true", help="serve alone, open nothing")
    given = parser.parse_args()
    with one_line_errors("look"), make_server(given.folder, given.port) as server:
        where = f"http://{HOST}:{server.server_port}/{PAGE}"
        sys.stderr.write(f"repurpose look: {where} (Ctrl-C ends it)\n")
        if not given.no_browser:
            webbrowser.open(where)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stderr.write("\n")


if __name__ == "__main__":
    main()
