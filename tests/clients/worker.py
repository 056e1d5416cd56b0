"""A client that does what it is told on stdin and tells on stdout what it saw.

Orders, one a line: `append NUMBER REQUEST`, over one session for all; `follow NUMBER OBJECT`;
`settle`: end each follow at its next heartbeat. Answers: `appended NUMBER ANSWER`, `refused NUMBER
STATUS`, `event FOLLOW EVENT`, `settled FOLLOW HEAD`, and `resumed WHAT` whenever a call broke and
was made again. Messages are in base64. It ends with its stdin.
"""

import asyncio
import os
import sys
from base64 import b64decode, b64encode
from collections import deque

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "gen"))
from streamgate.v1 import event_store_pb2 as v1
from streamgate.v1.event_store_pb2_grpc import EventStoreServiceStub

AGAIN_SECONDS = 0.1
HEARTBEAT_SECONDS = 5
LINE_BYTES_MAX = 16 * 1024 * 1024


def say(*words: object) -> None:
    print(*words, flush=True)


def encoded(message) -> str:
    return b64encode(message.SerializeToString()).decode()


def reason(error: grpc.aio.AioRpcError) -> str:
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # The connection broke in the middle of an answer.
        return ""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info) and info.domain == "streamgate":
            return info.reason
    return ""


class Session:
    """Appends in order. What was not answered when the call broke is sent again, with its ids."""

    def __init__(self, stub: EventStoreServiceStub) -> None:
        self.stub = stub
        self.unanswered: deque[v1.AppendSessionRequest] = deque()
        self.sent = 0
        self.more = asyncio.Event()

    def append(self, number: int, request: v1.AppendRequest) -> None:
        self.unanswered.append(v1.AppendSessionRequest(sequence=number, append=request))
        self.more.set()

    async def send(self, call) -> None:
        while True:
            while self.sent < len(self.unanswered):
                self.sent += 1
                await call.write(self.unanswered[self.sent - 1])
            self.more.clear()
            await self.more.wait()

    async def receive(self, call) -> None:
        while (answer := await call.read()) is not grpc.aio.EOF:
            request = self.unanswered.popleft()
            self.sent -= 1
            if answer.sequence != request.sequence:
                raise ValueError(f"{answer.sequence} answered instead of {request.sequence}")
            if answer.HasField("appended"):
                say("appended", answer.sequence, encoded(answer.appended))
            else:
                say("refused", answer.sequence, encoded(answer.error))

    async def run(self) -> None:
        while True:
            call = self.stub.AppendSession(wait_for_ready=True)
            sender = asyncio.create_task(self.send(call))
            try:
                await self.receive(call)
            except grpc.aio.AioRpcError:
                pass
            sender.cancel()
            # It may have seen the end of the call, too.
            await asyncio.gather(sender, return_exceptions=True)
            say("resumed", "session")
            self.sent = 0
            await asyncio.sleep(AGAIN_SECONDS)


class Follower:
    """Tells each event of an object, over any number of calls."""

    def __init__(self, stub: EventStoreServiceStub, number: str, ref: v1.ObjectRef) -> None:
        self.stub = stub
        self.number = number
        self.ref = ref
        self.token = b""
        self.settling = False

    async def run(self) -> None:
        while True:
            request = v1.ReadRequest(object=self.ref, follow=v1.FollowOptions())
            request.follow.heartbeat_interval.FromSeconds(HEARTBEAT_SECONDS)
            if self.token:
                request.resume_token = self.token
            try:
                async for message in self.stub.Read(request):
                    self.token = message.resume_token or self.token
                    for event in message.batch.events:
                        say("event", self.number, encoded(event))
                    if message.HasField("heartbeat") and self.settling:
                        say("settled", self.number, message.heartbeat.head_version)
                        return
            except grpc.aio.AioRpcError as error:
                if reason(error) != "OBJECT_NOT_FOUND":
                    say("resumed", self.number)
            await asyncio.sleep(AGAIN_SECONDS)


async def main() -> None:
    server = os.environ["STREAMGATE_SERVER"].removeprefix("http://")
    # Without it a broken connection is made again after a second at the earliest.
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)]
    async with grpc.aio.insecure_channel(server, options=options) as channel:
        stub = EventStoreServiceStub(channel)
        session = Session(stub)
        followers: dict[str, Follower] = {}
        tasks: list[asyncio.Task] = []

        def start(work) -> None:
            tasks.append(asyncio.create_task(work))
            tasks[-1].add_done_callback(ended)

        def ended(task: asyncio.Task) -> None:
            # A mistake of this program ends it.
            if not task.cancelled() and task.exception():
                task.print_stack()
                os._exit(70)

        start(session.run())
        orders = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while order := (await orders.readline()).decode().split():
            match order:
                case ["append", number, request]:
                    session.append(int(number), v1.AppendRequest.FromString(b64decode(request)))
                case ["follow", number, ref]:
                    follower = Follower(stub, number, v1.ObjectRef.FromString(b64decode(ref)))
                    followers[number] = follower
                    start(follower.run())
                case ["settle"]:
                    for follower in followers.values():
                        follower.settling = True
        for task in tasks:
            task.cancel()


asyncio.run(main())
