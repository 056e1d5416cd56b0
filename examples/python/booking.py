"""Books seats of a show at two box offices that do not talk to each other.

What every client of Streamgate does is here: append behind what it knows and decide again when
others were faster, read a history, repeat an append whose answer was lost, and follow.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "gen"))
from streamgate.v1 import event_store_pb2 as v1
from streamgate.v1.event_store_pb2_grpc import EventStoreServiceStub

TRIES_MAX = 10
TIMEOUT_SECONDS = 10

# What may pass when the same call is made again. Whether the append was done is not known.
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


def details(error: grpc.RpcError) -> list[any_pb2.Any]:
    """What the server said beside the code; nothing if the error is not of its making."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # The connection broke in the middle of an answer: half of it is no answer.
        return []
    return list(status.details) if status else []


def reason(error: grpc.RpcError) -> str:
    """The reason that Streamgate gave, or nothing."""
    info = error_details_pb2.ErrorInfo()
    for detail in details(error):
        if detail.Unpack(info) and info.domain == "streamgate":
            return info.reason
    return ""


def delay_seconds(error: grpc.RpcError, tries: int) -> float:
    """How long to wait: as long as the server said, else longer each time."""
    info = error_details_pb2.RetryInfo()
    for detail in details(error):
        if detail.Unpack(info):
            return info.retry_delay.ToTimedelta().total_seconds()
    return min(0.05 * 2**tries, 2)


def append(stub: EventStoreServiceStub, request: v1.AppendRequest) -> v1.AppendResponse:
    """Sends the same request again until it is known what became of it.

    This is safe because every event of it has an id that was made before the first try.
    """
    tries = 0
    while True:
        try:
            return stub.Append(request, timeout=TIMEOUT_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            tries += 1
            if error.code() not in PASSING or tries == TRIES_MAX:
                raise
            time.sleep(delay_seconds(error, tries))


def read(
    stub: EventStoreServiceStub, ref: v1.ObjectRef, from_version: int = 0
) -> Iterator[v1.RecordedEvent]:
    """The history of an object from a version on; nothing if it has none yet."""
    tries = 0
    while True:
        request = v1.ReadRequest(object=ref, from_version=from_version)
        try:
            for message in stub.Read(request, timeout=TIMEOUT_SECONDS, wait_for_ready=True):
                for event in message.batch.events:
                    yield event
                    from_version, tries = event.version + 1, 0
            return
        except grpc.RpcError as error:
            if reason(error) == "OBJECT_NOT_FOUND":
                return
            tries += 1
            if error.code() not in PASSING or tries == TRIES_MAX:
                raise
            time.sleep(delay_seconds(error, tries))


def follow(
    stub: EventStoreServiceStub, ref: v1.ObjectRef, token: bytes = b""
) -> Iterator[tuple[list[v1.RecordedEvent], bytes]]:
    """Events as they come, and behind each batch the token to go on from.

    Whoever stores the token together with what the events did sees each event once.
    """
    tries = 0
    while True:
        request = v1.ReadRequest(object=ref, follow=v1.FollowOptions())
        if token:
            request.resume_token = token
        try:
            for message in stub.Read(request, wait_for_ready=True):
                tries = 0
                token = message.resume_token or token
                if message.batch.events:
                    yield list(message.batch.events), token
        except grpc.RpcError as error:
            tries += 1
            missing = reason(error) == "OBJECT_NOT_FOUND"
            if not missing and (error.code() not in PASSING or tries == TRIES_MAX):
                raise
            time.sleep(delay_seconds(error, tries))


class BoxOffice:
    """What one box office knows of a show."""

    def __init__(self, stub: EventStoreServiceStub, show: v1.ObjectRef) -> None:
        self.stub = stub
        self.show = show
        self.next_version = 0
        self.seats: dict[str, str] = {}

    def learn(self, event: v1.RecordedEvent) -> None:
        booked = json.loads(event.payload)
        self.seats[booked["seat"]] = booked["name"]
        self.next_version = event.version + 1

    def book(self, seat: str, name: str) -> v1.AppendRequest | None:
        """Books a seat; gives the request that did it, or None if the seat is taken."""
        while seat not in self.seats:
            event = v1.NewEvent(
                event_id=str(uuid.uuid4()),
                event_type="SeatBooked",
                content_type="application/json",
                payload=json.dumps({"seat": seat, "name": name}).encode(),
            )
            event.occurred_at.GetCurrentTime()
            expected = v1.ExpectedVersion()
            if self.next_version == 0:
                expected.no_stream.SetInParent()
            else:
                expected.exact = self.next_version - 1
            request = v1.AppendRequest(object=self.show, expected_version=expected, events=[event])
            try:
                answer = append(self.stub, request)
            except grpc.RpcError as error:
                if reason(error) != "WRONG_EXPECTED_VERSION":
                    raise
                # Somebody was faster: see what they did, then decide again.
                for news in read(self.stub, self.show, self.next_version):
                    self.learn(news)
                continue
            self.seats[seat] = name
            self.next_version = answer.last_version + 1
            print(f"{seat} is booked for {name}: version {answer.last_version}")
            return request
        print(f"{seat} is taken by {self.seats[seat]}, not free for {name}")
        return None


def tell(word: str, event: v1.RecordedEvent) -> None:
    booked = json.loads(event.payload)
    print(f"{word} {event.version}: {booked['seat']} for {booked['name']}")


def main() -> None:
    server = os.environ.get("STREAMGATE_SERVER", "http://127.0.0.1:7400")
    with grpc.insecure_channel(server.removeprefix("http://")) as channel:
        stub = EventStoreServiceStub(channel)
        show = v1.ObjectRef(object_name="show", object_id=str(uuid.uuid4()))

        north, south = BoxOffice(stub, show), BoxOffice(stub, show)
        north.book("A1", "Ada")
        south.book("A1", "Bob")
        south.book("A2", "Bob")
        request = north.book("A3", "Cyd")

        # As if the answer had been lost.
        again = append(stub, request)
        print(f"sent again: version {again.last_version}, replay {again.replay}".lower())

        for event in read(stub, show):
            tell("read", event)

        # A follower that ends, and another that goes on behind it.
        events, token = next(follow(stub, show))
        for event in events:
            tell("followed", event)
        north.book("A4", "Dan")
        events, token = next(follow(stub, show, token))
        for event in events:
            tell("went on with", event)


if __name__ == "__main__":
    main()
