/**
 * Books seats of a show at two box offices that do not talk to each other.
 *
 * What every client of Streamgate does is here: append behind what it knows and decide again when
 * others were faster, read a history, repeat an append whose answer was lost, and follow.
 */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import {
  type AppendRequest,
  AppendRequestSchema,
  type AppendResponse,
  EventStoreService,
  type ExpectedVersionSchema,
  type ObjectRef,
  ObjectRefSchema,
  type RecordedEvent,
} from "./gen/streamgate/v1/event_store_pb.js";

type Store = Client<typeof EventStoreService>;

const TRIES_MAX = 10;
const TIMEOUT_MS = 10_000;

/** What may pass when the same call is made again. Whether the append was done is not known. */
const PASSING = new Set([
  Code.Unavailable,
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.ResourceExhausted,
  // As this library calls connections that break under a call.
  Code.Aborted,
  Code.Canceled,
  Code.Internal,
]);

/** The reason that Streamgate gave; empty if the error is not of its making. */
function reason(error: unknown): string {
  const [info] = ConnectError.from(error).findDetails(ErrorInfoSchema);
  return info?.domain === "streamgate" ? info.reason : "";
}

/** Waits before the next try, as long as the server said, else longer each time; or gives up. */
async function passing(error: unknown, tries: number): Promise<void> {
  const failure = ConnectError.from(error);
  const conflict = failure.code === Code.Aborted && reason(error) !== "";
  if (!PASSING.has(failure.code) || conflict || tries === TRIES_MAX) {
    throw error;
  }
  const [retry] = failure.findDetails(RetryInfoSchema);
  const told = retry?.retryDelay;
  const ms = told ? Number(told.seconds) * 1000 + told.nanos / 1e6 : Math.min(50 * 2 ** tries, 2000);
  await sleep(ms);
}

/**
 * Sends the same request again until it is known what became of it. This is safe because every
 * event of it has an id that was made before the first try.
 */
async function append(store: Store, request: AppendRequest): Promise<AppendResponse> {
  for (let tries = 1; ; tries++) {
    try {
      return await store.append(request, { timeoutMs: TIMEOUT_MS });
    } catch (error) {
      await passing(error, tries);
    }
  }
}

/** The history of an object from a version on; nothing if it has none yet. */
async function* read(store: Store, object: ObjectRef, from = 0n): AsyncGenerator<RecordedEvent> {
  for (let tries = 1; ; tries++) {
    try {
      const start = { case: "fromVersion", value: from } as const;
      for await (const { message } of store.read({ object, start }, { timeoutMs: TIMEOUT_MS })) {
        for (const event of message.case === "batch" ? message.value.events : []) {
          yield event;
          from = event.version + 1n;
          tries = 0;
        }
      }
      return;
    } catch (error) {
      if (reason(error) === "OBJECT_NOT_FOUND") {
        return;
      }
      await passing(error, tries);
    }
  }
}

interface Followed {
  events: RecordedEvent[];
  /** Whoever stores this together with what the events did sees each event once. */
  token: Uint8Array;
}

/** Events as they come, and behind each batch the token to go on from. */
async function* follow(
  store: Store,
  object: ObjectRef,
  token?: Uint8Array,
): AsyncGenerator<Followed> {
  for (let tries = 1; ; tries++) {
    try {
      const start = token && ({ case: "resumeToken", value: token } as const);
      for await (const { message, resumeToken } of store.read({ object, start, follow: {} })) {
        tries = 0;
        token = resumeToken.length > 0 ? resumeToken : token;
        if (message.case === "batch") {
          yield { events: message.value.events, token: resumeToken };
        }
      }
    } catch (error) {
      if (reason(error) !== "OBJECT_NOT_FOUND") {
        await passing(error, tries);
      } else {
        await sleep(50);
      }
    }
  }
}

interface Booking {
  seat: string;
  name: string;
}

function booking(event: RecordedEvent): Booking {
  return JSON.parse(new TextDecoder().decode(event.payload)) as Booking;
}

/** What one box office knows of a show. */
class BoxOffice {
  private readonly store: Store;
  private readonly show: ObjectRef;
  private readonly seats = new Map<string, string>();
  private nextVersion = 0n;

  constructor(store: Store, show: ObjectRef) {
    this.store = store;
    this.show = show;
  }

  /** Books a seat; gives the request that did it, or undefined if the seat is taken. */
  async book(seat: string, name: string): Promise<AppendRequest | undefined> {
    while (!this.seats.has(seat)) {
      const kind: MessageInitShape<typeof ExpectedVersionSchema>["kind"] =
        this.nextVersion === 0n
          ? { case: "noStream", value: {} }
          : { case: "exact", value: this.nextVersion - 1n };
      const request = create(AppendRequestSchema, {
        object: this.show,
        expectedVersion: { kind },
        events: [
          {
            eventId: randomUUID(),
            eventType: "SeatBooked",
            contentType: "application/json",
            payload: new TextEncoder().encode(JSON.stringify({ seat, name })),
            occurredAt: timestampNow(),
          },
        ],
      });
      try {
        const { lastVersion } = await append(this.store, request);
        this.seats.set(seat, name);
        this.nextVersion = lastVersion + 1n;
        console.log(`${seat} is booked for ${name}: version ${lastVersion}`);
        return request;
      } catch (error) {
        if (reason(error) !== "WRONG_EXPECTED_VERSION") {
          throw error;
        }
        // Somebody was faster: see what they did, then decide again.
        for await (const news of read(this.store, this.show, this.nextVersion)) {
          this.learn(news);
        }
      }
    }
    console.log(`${seat} is taken by ${this.seats.get(seat)}, not free for ${name}`);
    return undefined;
  }

  private learn(event: RecordedEvent): void {
    const { seat, name } = booking(event);
    this.seats.set(seat, name);
    this.nextVersion = event.version + 1n;
  }
}

function tell(word: string, event: RecordedEvent): void {
  const { seat, name } = booking(event);
  console.log(`${word} ${event.version}: ${seat} for ${name}`);
}

/** The first batch of a follower that ends with it. */
async function followOnce(store: Store, show: ObjectRef, token?: Uint8Array): Promise<Followed> {
  for await (const followed of follow(store, show, token)) {
    return followed;
  }
  throw new Error("a follower does not end by itself");
}

const baseUrl = process.env["STREAMGATE_SERVER"] ?? "http://127.0.0.1:7400";
const store = createClient(EventStoreService, createGrpcTransport({ baseUrl }));
const show = create(ObjectRefSchema, { objectName: "show", objectId: randomUUID() });

const north = new BoxOffice(store, show);
const south = new BoxOffice(store, show);
await north.book("A1", "Ada");
await south.book("A1", "Bob");
await south.book("A2", "Bob");
const request = await north.book("A3", "Cyd");

if (request) {
  // As if the answer had been lost.
  const again = await append(store, request);
  console.log(`sent again: version ${again.lastVersion}, replay ${again.replay}`);
}

for await (const event of read(store, show)) {
  tell("read", event);
}

// A follower that ends, and another that goes on behind it.
const { events, token } = await followOnce(store, show);
for (const event of events) {
  tell("followed", event);
}
await north.book("A4", "Dan");
for (const event of (await followOnce(store, show, token)).events) {
  tell("went on with", event);
}
