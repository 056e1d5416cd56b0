"""Writers that know nothing of errors: what they survive, they survive by the service config.

Each appends to an object of its own until stdin ends, and tells `appended OBJECT VERSION REPLAY` for
each answer. The first error ends the program.
"""

import os
import sys
import threading
import uuid
from itertools import count

import grpc

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "gen"))
from streamgate.v1 import event_store_pb2 as v1
from streamgate.v1.event_store_pb2_grpc import EventStoreServiceStub

WRITERS = 8


def write(stub: EventStoreServiceStub, number: int, stopped: threading.Event) -> None:
    ref = v1.ObjectRef(object_name="order", object_id=str(number))
    for version in count():
        if stopped.is_set():
            return
        event = v1.NewEvent(event_id=str(uuid.uuid4()), event_type="Written")
        expected = v1.ExpectedVersion(exact=max(version - 1, 0))
        if version == 0:
            expected.no_stream.SetInParent()
        request = v1.AppendRequest(object=ref, expected_version=expected, events=[event])
        answer = stub.Append(request)
        if answer.first_version != version:
            raise ValueError(f"{version} became {answer.first_version}")
        # In one piece: the others write to the same stream.
        print(f"appended {number} {version} {answer.replay}\n", end="", flush=True)


def main() -> None:
    with open(os.environ["SERVICE_CONFIG"]) as file:
        options = [("grpc.service_config", file.read())]
    server = os.environ["STREAMGATE_SERVER"].removeprefix("http://")
    stopped = threading.Event()

    def fail(failure: threading.ExceptHookArgs) -> None:
        print(failure.exc_value, file=sys.stderr, flush=True)
        os._exit(70)

    threading.excepthook = fail
    with grpc.insecure_channel(server, options=options) as channel:
        stub = EventStoreServiceStub(channel)
        writers = [
            threading.Thread(target=write, args=(stub, number, stopped))
            for number in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        sys.stdin.read()
        stopped.set()
        for writer in writers:
            writer.join()


main()
