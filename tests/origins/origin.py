"""An origin that does what the query says, over HTTP/2 (prior knowledge, or TLS) or HTTP/1.1.

    origin.py [--h1] [--streams N] [--tls CERT KEY]      prints its port, ends with its input

The query:
    id=X         what /seen?id=X counts
    do=HOW       reset.CODE, close, goaway.above, goaway.below, goaway.close, freeze, hang; none: it answers well
    at=PLACE     before (the head), begun (after it), middle, end (all bytes, no end)
    once=1       only the first time that this id is seen
    length=L     right, none, short (more is announced than comes), long
    size=N       of the body
    status=N
    head=N       fields of so many bytes
    wait=MS      before the answer
    crowd=N      is answered, over HTTP/2, when so many wait at once
    pause=MS     before what goes wrong
    trailers=1
    unread=1     its content takes the windows, and is not read; /seen?id=reset-X tells by what it was reset
    piece=N      bytes in a DATA frame at most
    empty=N      empty DATA frames before the body
    early=1      answers when the head is there; /seen?id=got-X tells how much content came all the same
    enough=1     with early: and then says by NO_ERROR that it wants no content
"""

import select
import socket
import ssl
import sys
import threading
import time
from urllib.parse import parse_qsl, urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame
from h2.settings import SettingCodes

seen = {}
crowd = []
lock = threading.Lock()


class Case:
    """What one request asks for."""

    def __init__(self, path, content):
        query = dict(parse_qsl(urlsplit(path).query))
        self.id = query.get("id", "")
        if urlsplit(path).path == "/seen":
            with lock:
                self.body = str(seen.get(self.id, 0)).encode()
            query = {}
        else:
            with lock:
                seen[self.id] = seen.get(self.id, 0) + 1
                again = seen[self.id] > 1
            if again and query.get("once"):
                query = {"id": self.id, "size": query.get("size", "1000")}
            self.body = content or b"x" * int(query.get("size", 1000))
        self.do = query.get("do", "")
        self.at = query.get("at", "")
        self.wait = int(query.get("wait", 0)) / 1000
        self.pause = int(query.get("pause", 0)) / 1000
        self.crowd = int(query.get("crowd", 0))
        self.head = [("cache-control", "max-age=60")]
        if "head" in query:
            # In pieces: hpack takes the square of a value's length.
            self.head += [("x-head", "h" * 10000)] * (int(query["head"]) // 10000)
        self.trailers = [("x-trailer", "t")] if query.get("trailers") else []
        self.status = query.get("status", "200")
        self.length = query.get("length", "right")
        self.piece = int(query.get("piece", 16384))
        self.empty = int(query.get("empty", 0))

    def announced(self):
        """The value of Content-Length, if there is one."""
        wrong = {"none": None, "short": len(self.body) + 10, "long": len(self.body) - 10}
        length = wrong.get(self.length, len(self.body))
        return [] if length is None else [("content-length", str(length))]

    def until(self):
        """How much of the body comes before what goes wrong."""
        return {"middle": len(self.body) // 2, "end": len(self.body)}.get(self.at, 0)


class Two:
    """A connection of HTTP/2."""

    def __init__(self, sock, streams):
        self.sock = sock
        self.lock = threading.RLock()
        config = h2.config.H2Configuration(
            client_side=False, validate_outbound_headers=False, header_encoding="latin-1"
        )
        self.conn = h2.connection.H2Connection(config)
        # Set later, it would be announced after it counts.
        self.conn.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: self.conn.DEFAULT_MAX_HEADER_LIST_SIZE,
            },
        )
        self.conn.initiate_connection()
        self.asked = {}
        self.leaving = {}
        self.frozen = False
        self.flush()

    def flush(self):
        self.sock.sendall(self.conn.data_to_send())

    def run(self):
        while not self.frozen:
            data = self.sock.recv(65536)
            if not data:
                return
            with self.lock:
                for event in self.conn.receive_data(data):
                    self.event(event)
                self.flush()
        time.sleep(3600)

    def event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            fields = dict(event.headers)
            self.asked[event.stream_id] = [fields[":path"], b""]
            if "early=1" in fields[":path"]:
                self.answer(event.stream_id, Case(fields[":path"], b"early"))
                if "enough=1" in fields[":path"]:
                    self.conn.reset_stream(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)
                    del self.asked[event.stream_id]
        elif isinstance(event, h2.events.DataReceived):
            asked = self.asked.get(event.stream_id, ["", b""])
            asked[1] += event.data
            if "unread=1" not in asked[0]:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            path, content = self.asked.pop(event.stream_id)
            if "early=1" in path:
                with lock:
                    seen["got-" + dict(parse_qsl(urlsplit(path).query)).get("id", "")] = len(content)
                return
            case = Case(path, content)
            if case.crowd:
                self.wait_for_crowd(event.stream_id, case)
            elif case.wait:
                threading.Timer(case.wait, self.late, (event.stream_id, case, self.answer)).start()
            else:
                self.answer(event.stream_id, case)
        elif isinstance(event, h2.events.WindowUpdated):
            self.pour()
        elif isinstance(event, h2.events.StreamReset):
            self.leaving.pop(event.stream_id, None)
            path, _ = self.asked.pop(event.stream_id, ("", b""))
            if "unread=1" in path:
                with lock:
                    seen["reset-" + dict(parse_qsl(urlsplit(path).query)).get("id", "")] = int(event.error_code)

    def wait_for_crowd(self, stream, case):
        with lock:
            crowd.append((self, stream, case))
            if len(crowd) < case.crowd:
                return
            all_of_them, crowd[:] = list(crowd), []
        for connection, stream, case in all_of_them:
            # In threads of their own: each takes the lock of a connection.
            threading.Thread(target=connection.late, args=(stream, case, connection.answer)).start()

    def late(self, stream, case, then):
        with self.lock:
            try:
                then(stream, case)
                self.flush()
            except (OSError, h2.exceptions.ProtocolError):
                pass

    def answer(self, stream, case):
        if case.do == "freeze":
            self.frozen = True
            return
        if case.do == "hang":
            return
        if case.do and case.at == "before":
            return self.wrong(stream, case)
        self.conn.send_headers(stream, [(":status", case.status)] + case.announced() + case.head)
        body = case.body[: case.until()] if case.do else case.body
        for _ in range(case.empty):
            self.conn.send_data(stream, b"")
        self.leaving[stream] = [body, case]
        self.pour()

    def pour(self):
        for stream, (body, case) in list(self.leaving.items()):
            try:
                while body:
                    room = min(self.conn.local_flow_control_window(stream), case.piece)
                    if room <= 0:
                        break
                    self.conn.send_data(stream, body[:room])
                    body = body[room:]
            except h2.exceptions.StreamClosedError:
                self.leaving.pop(stream, None)
                continue
            self.leaving[stream][0] = body
            if body:
                continue
            self.leaving.pop(stream)
            if case.do:
                self.later(stream, case)
            elif case.trailers:
                self.conn.send_headers(stream, case.trailers, end_stream=True)
            else:
                self.conn.send_data(stream, b"", end_stream=True)

    def later(self, stream, case):
        if case.pause:
            pause, case.pause = case.pause, 0
            threading.Timer(pause, self.late, (stream, case, self.wrong)).start()
        else:
            self.wrong(stream, case)

    def wrong(self, stream, case):
        how, _, code = case.do.partition(".")
        if how == "reset":
            self.conn.reset_stream(stream, int(code))
        elif how == "close":
            self.flush()
            raise ConnectionAbortedError
        elif how == "goaway":
            last = stream - 2 if code == "above" else stream
            self.flush()
            frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=max(last, 0), error_code=0)
            self.sock.sendall(frame.serialize())
            if code == "close":
                raise ConnectionAbortedError
            if code == "below":
                case.do, body = "", case.body[case.until():]
                if case.at == "before":
                    return self.answer(stream, case)
                self.leaving[stream] = [body, case]
                self.pour()


class One:
    """A connection of HTTP/1.1; a reset and a GOAWAY are a close there."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""

    def read(self, enough):
        while True:
            found = enough(self.data)
            if found is not None:
                part, self.data = self.data[:found], self.data[found:]
                return part
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionAbortedError
            self.data += data

    def run(self):
        while True:
            head = self.read(lambda data: data.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else None)
            lines = head.decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            content = b""
            if "chunked" in fields.get("transfer-encoding", ""):
                while size := int(self.read(lambda data: data.find(b"\n") + 1 or None), 16):
                    content += self.read(lambda data: size + 2 if len(data) >= size + 2 else None)[:-2]
                self.read(lambda data: 2 if len(data) >= 2 else None)
            elif length := int(fields.get("content-length", 0)):
                content = self.read(lambda data: length if len(data) >= length else None)
            self.answer(Case(lines[0].split(" ")[1], content))

    def answer(self, case):
        time.sleep(case.wait)
        if case.do in ("freeze", "hang"):
            time.sleep(3600)
        if case.do and case.at == "before" and case.do != "goaway.below":
            raise ConnectionAbortedError
        announced = case.announced()
        chunked = not announced or case.trailers
        fields = [("transfer-encoding", "chunked")] if chunked else announced
        if case.trailers:
            fields.append(("trailer", "x-trailer"))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields + case.head)
        self.sock.sendall(f"HTTP/1.1 {case.status} OK\r\n{head}\r\n".encode("latin-1"))
        wrong = case.do and case.do != "goaway.below"
        body = case.body[: case.until()] if wrong else case.body
        if chunked and body:
            body = b"%x\r\n%s\r\n" % (len(body), body)
        self.sock.sendall(body)
        if wrong or case.length in ("short", "long"):
            raise ConnectionAbortedError
        if chunked:
            trailers = "".join(f"{name}: {value}\r\n" for name, value in case.trailers)
            self.sock.sendall(f"0\r\n{trailers}\r\n".encode("latin-1"))


def serve(sock, tls, make):
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            sock = tls.wrap_socket(sock, server_side=True)
        make(sock).run()
    except (OSError, h2.exceptions.ProtocolError):
        pass
    finally:
        try:
            # What was sent arrives, and then the end: no reset takes it away again.
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        except OSError:
            pass
        sock.close()


def main(words):
    tls = None
    if "--tls" in words:
        at = words.index("--tls")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(words[at + 1], words[at + 2])
        tls.set_alpn_protocols(["http/1.1" if "--h1" in words else "h2"])
    streams = int(words[words.index("--streams") + 1]) if "--streams" in words else 100
    make = One if "--h1" in words else lambda sock: Two(sock, streams)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            return
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, tls, make), daemon=True).start()


main(sys.argv[1:])
