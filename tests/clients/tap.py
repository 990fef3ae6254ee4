"""Counts the requests a client makes, by passing its bytes on untouched.

Command-line clients do not tell how often they tried, and a refused request never reaches the simulator; so every
client is pointed at this tap, which knows a request by its first line. No body can be mistaken for one: JSON escapes
line ends.
"""

import re
import socket
import threading
from urllib.parse import urlsplit

CONNECT_TIMEOUT_SECONDS = 10
PIECE_BYTES = 65536
LONGEST_LINE_BYTES = 512
REQUEST_LINE = re.compile(rb"\b(GET|HEAD|POST|PUT|PATCH|DELETE|CONNECT|OPTIONS) (\S{1,300}) HTTP/1\.[01]\r\n")


class Tap:
    """Listens on a free loopback port until it is closed."""

    def __init__(self, target_url):
        target = urlsplit(target_url)
        self.target = (target.hostname, target.port)
        self.lock = threading.Lock()
        self.seen = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base_url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def requests(self):
        """`POST /v1/responses` and so on, in the order they came."""
        with self.lock:
            return list(self.seen)

    def close(self):
        """Takes no more connections; those that are open go on."""
        # Wakes the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, CONNECT_TIMEOUT_SECONDS)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            threading.Thread(target=self.up, args=(client, server), daemon=True).start()
            threading.Thread(target=pass_on, args=(server, client, lambda piece: None), daemon=True).start()

    def up(self, client, server):
        tail = b""

        def count(piece):
            nonlocal tail
            text, end = tail + piece, 0
            for line in REQUEST_LINE.finditer(text):
                with self.lock:
                    self.seen.append(b" ".join(line.groups()).decode("latin-1"))
                end = line.end()
            tail = text[end:][-LONGEST_LINE_BYTES:]

        pass_on(client, server, count)


def pass_on(source, sink, look):
    """Until either side goes; then both sockets are shut, so that a client that leaves is seen to leave."""
    try:
        while True:
            piece = source.recv(PIECE_BYTES)
            if not piece:
                break
            look(piece)
            sink.sendall(piece)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    sink.close()
