"""A plain HTTP server on $PORT: healthy once it has warmed up, until it is told to break."""
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WARM_AT = time.monotonic() + 0.4
BROKEN = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        global BROKEN
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        if self.path == os.environ["HEALTH_CHECK_PATH"]:
            status = 500 if BROKEN else 200 if time.monotonic() > WARM_AT else 204
            return self.send(status, b"")
        if self.path == "/break":
            BROKEN = True
        seen = {"method": self.command, "path": self.path, "body": body, "pid": os.getpid(), "port": os.environ["PORT"]}
        self.send(200, json.dumps(seen).encode())

    def send(self, status, body):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
