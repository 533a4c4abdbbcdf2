"""A server of docs/protocol.md that answers as it is told, over a real TCP socket on loopback."""

import threading
import time

import msgpack
import zmq

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "cached_tokens": 1}
TIMINGS = {"queue_ms": 0.5, "prefill_ms": 12.5, "decode_ms": 30.0}


class FakeServer:
    """Calls `answer(request)`, an iterable of messages, for every `generate` and `status`, and
    sends what all of them yield in turns. `received` holds every message of a client. `address`:
    with the port of an earlier server."""

    def __init__(self, answer, address="tcp://127.0.0.1:*"):
        self.answer, self.received = answer, []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.SNDHWM, 0)  # else a ROUTER drops what a slow reader has no room for
        self._socket.bind(address)
        self.address = self._socket.last_endpoint.decode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()
        self.wait_for_end()

    def stop(self):
        """It goes after what it has said; callable by `answer`."""
        self._stop.set()

    def wait_for_end(self):
        self._thread.join()
        self._context.term()

    def wait_for(self, kind, seconds=5.0):
        """The first message of this type; waits for it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in list(self.received):
                if message["type"] == kind:
                    return message
            time.sleep(0.005)
        raise AssertionError(f"no '{kind}' within {seconds} s: {self.received}")

    def _run(self):
        open_answers = {}  # (client, id) to what is still to be sent
        while not self._stop.is_set():
            while self._socket.poll(0 if open_answers else 10):
                client, frame = self._socket.recv_multipart()
                message = msgpack.unpackb(frame, strict_map_key=False)
                self.received.append(message)
                key = (client, message["id"])
                if message["type"] != "cancel":
                    open_answers[key] = iter(self.answer(message))
                elif open_answers.pop(key, None):
                    self._send(client, {**done("abort"), "id": message["id"]})
            for (client, request_id), messages in list(open_answers.items()):
                message = next(messages, None)
                if message is None:
                    del open_answers[client, request_id]
                else:
                    self._send(client, {"id": request_id, **message})
        self._socket.close(linger=1000)

    def _send(self, client, message):
        frame = message.get("raw") or msgpack.packb(message)
        self._socket.send_multipart([client, frame])


def accepted(seed=7):
    return {"type": "accepted", "prompt_token_ids": [1, 2, 3], "seed": seed}


def delta(text, *token_ids, **more):
    return {"type": "delta", "text": text, "token_ids": list(token_ids), **more}


def done(finish_reason="stop", **more):
    return {"type": "done", "finish_reason": finish_reason, "usage": USAGE, "timings": TIMINGS,
            "system_fingerprint": "avx2-q4_1", **more}


def fault(code, message, **more):
    return {"type": "error", "code": code, "message": message, **more}
