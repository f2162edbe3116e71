"""Serves one path: 200 where `check` finds nothing wrong, else 503 with what is."""

import http.server


def serve(port, path, check):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                wrong = [f"no {self.path} here"] if self.path != path else check()
            except Exception as error:
                wrong = [f"{type(error).__name__}: {error}"]
            self.send_response(503 if wrong else 200)
            self.end_headers()
            self.wfile.write(("\n".join(wrong) or "as provisioned").encode())
            for line in wrong:
                print(line, flush=True)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()
