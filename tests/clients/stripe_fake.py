"""The fake Stripe as a child process, and who listens to its webhooks."""

import contextlib
import http.server
import json
import threading
import time
import urllib.error
import urllib.request

from service import Process

KEY = "sk_test_clients"
SECRET = "whsec_clients"
TOLD_WITHIN_SECONDS = 20


class FakeStripe:
    """`codexapi-fake-stripe` on a free port, and how tests tell it what to do."""

    def __init__(self, binaries, log):
        self.process = Process([binaries / "codexapi-fake-stripe", "--api-key", KEY], log)
        self.base_url = self.process.ready_line()["baseUrl"]

    def control(self, path, body=None, method=None):
        return ask(f"{self.base_url}/_control{path}", body, method or ("GET" if body is None else "POST"))

    def pay(self, session, card="approves"):
        return self.control(f"/checkout/sessions/{session}/pay", {"card": card})

    def press(self, session_url, action):
        return press(session_url, action)

    def events(self, *kinds):
        """The types of all events told so far, oldest first; of these kinds where any are named."""
        attempts = self.control("/deliveries")["attempts"]
        return [attempt["type"] for attempt in attempts if not kinds or attempt["type"] in kinds]

    def settled(self):
        """The record of deliveries, once none is to come."""
        deadline = time.monotonic() + TOLD_WITHIN_SECONDS
        while True:
            record = self.control("/deliveries")
            if not record["pending"]:
                return record["attempts"]
            assert time.monotonic() < deadline, f"still to come: {record['pending']}"
            time.sleep(0.02)

    def stop(self):
        return self.process.stop()


def press(page, action):
    """Presses a button of a session's page; returns (status, where it leads, text)."""
    opener = urllib.request.build_opener(NoRedirects)
    try:
        with opener.open(urllib.request.Request(page, f"action={action}".encode()), timeout=30) as answer:
            return answer.status, None, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers.get("location"), answer.read().decode()


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(url, body=None, method="GET"):
    """Errors: `Refused` with the envelope."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{method} {url}: {refused.code} {refused.read().decode()}") from None


class Listener:
    """Keeps every webhook as it came: `(signature, raw body)`. Answers with `statuses` first, then 200."""

    def __init__(self, statuses=()):
        self.received, statuses, lock = [], list(statuses), threading.Lock()
        received = self.received

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with lock:
                    received.append((self.headers.get("stripe-signature"), body))
                    status = statuses.pop(0) if statuses else 200
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def fake_stripe(world, statuses=()):
    """A fake of this case's own, whose webhooks are listened to."""
    fake = FakeStripe(world.service.binaries, world.scratch / "fake-stripe.log")
    listener = Listener(statuses)
    try:
        fake.control("/webhooks", {"url": listener.url, "secret": SECRET})
        yield fake, listener
    finally:
        listener.close()
        trouble = fake.stop()
        assert trouble is None, trouble
