/**
 * A client that does what it is told on stdin and tells on stdout what it saw.
 *
 * Orders, one a line: `append NUMBER REQUEST`, over one session for all; `follow NUMBER OBJECT`;
 * `settle`: end each follow at its next heartbeat. Answers: `appended NUMBER ANSWER`, `refused
 * NUMBER STATUS`, `event FOLLOW EVENT`, `settled FOLLOW HEAD`, and `resumed WHAT` whenever a call
 * broke and was made again. Messages are in base64. It ends with its stdin.
 */

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import {
  create,
  type DescMessage,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import {
  type AppendRequest,
  AppendRequestSchema,
  AppendResponseSchema,
  type AppendSessionRequest,
  AppendSessionRequestSchema,
  type AppendSessionResponse,
  EventStoreService,
  type ObjectRef,
  ObjectRefSchema,
  RecordedEventSchema,
} from "./gen/streamgate/v1/event_store_pb.js";

type Store = Client<typeof EventStoreService>;

const AGAIN_MS = 100;
const HEARTBEAT_SECONDS = 5n;

function say(...words: (string | number | bigint)[]): void {
  process.stdout.write(`${words.join(" ")}\n`);
}

function encoded<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): string {
  return base64Encode(toBinary(schema, message));
}

/** What a call ends with when it breaks; anything else is a mistake of this program. */
function broken(error: unknown): ConnectError {
  if (error instanceof ConnectError) {
    return error;
  }
  throw error;
}

/** Appends in order. What was not answered when the call broke is sent again, with its ids. */
class Session {
  private readonly store: Store;
  private readonly unanswered: AppendSessionRequest[] = [];
  private sent = 0;
  private more = Promise.withResolvers<void>();

  constructor(store: Store) {
    this.store = store;
  }

  append(number: bigint, append: AppendRequest): void {
    this.unanswered.push(create(AppendSessionRequestSchema, { sequence: number, append }));
    this.more.resolve();
  }

  private async *requests(ended: AbortSignal): AsyncGenerator<AppendSessionRequest> {
    while (!ended.aborted) {
      const request = this.unanswered[this.sent];
      if (request) {
        this.sent += 1;
        yield request;
      } else {
        this.more = Promise.withResolvers();
        await this.more.promise;
      }
    }
  }

  private receive({ sequence, outcome }: AppendSessionResponse): void {
    const request = this.unanswered.shift();
    this.sent -= 1;
    if (request?.sequence !== sequence) {
      throw new Error(`${sequence} answered instead of ${request?.sequence}`);
    }
    if (outcome.case === "appended") {
      say("appended", sequence, encoded(AppendResponseSchema, outcome.value));
    } else if (outcome.case === "error") {
      say("refused", sequence, encoded(StatusSchema, outcome.value));
    }
  }

  async run(): Promise<never> {
    for (;;) {
      const ended = new AbortController();
      try {
        for await (const answer of this.store.appendSession(this.requests(ended.signal))) {
          this.receive(answer);
        }
      } catch (error) {
        broken(error);
      }
      ended.abort();
      this.more.resolve();
      say("resumed", "session");
      await sleep(AGAIN_MS);
      this.sent = 0;
    }
  }
}

/** Tells each event of an object, over any number of calls. */
class Follower {
  settling = false;
  private readonly store: Store;
  private readonly number: string;
  private readonly object: ObjectRef;
  private token: Uint8Array = new Uint8Array();

  constructor(store: Store, number: string, object: ObjectRef) {
    this.store = store;
    this.number = number;
    this.object = object;
  }

  async run(): Promise<void> {
    const follow = { heartbeatInterval: { seconds: HEARTBEAT_SECONDS } };
    for (;;) {
      const resumed = { case: "resumeToken", value: this.token } as const;
      const start = this.token.length > 0 ? resumed : undefined;
      const request = { object: this.object, start, follow };
      try {
        for await (const { message, resumeToken } of this.store.read(request)) {
          this.token = resumeToken.length > 0 ? resumeToken : this.token;
          if (message.case === "batch") {
            for (const event of message.value.events) {
              say("event", this.number, encoded(RecordedEventSchema, event));
            }
          } else if (message.case === "heartbeat" && this.settling) {
            say("settled", this.number, message.value.headVersion ?? "none");
            return;
          }
        }
      } catch (error) {
        const [info] = broken(error).findDetails(ErrorInfoSchema);
        if (info?.reason !== "OBJECT_NOT_FOUND") {
          say("resumed", this.number);
        }
      }
      await sleep(AGAIN_MS);
    }
  }
}

const baseUrl = process.env["STREAMGATE_SERVER"];
if (!baseUrl) {
  throw new Error("STREAMGATE_SERVER names no server");
}
const store = createClient(EventStoreService, createGrpcTransport({ baseUrl }));
const session = new Session(store);
const followers: Follower[] = [];
// A rejection that nobody handles ends the program.
void session.run();

for await (const order of createInterface({ input: process.stdin })) {
  const [verb, number = "", message = ""] = order.split(" ");
  switch (verb) {
    case "append":
      session.append(BigInt(number), fromBinary(AppendRequestSchema, base64Decode(message)));
      break;
    case "follow": {
      const object = fromBinary(ObjectRefSchema, base64Decode(message));
      const follower = new Follower(store, number, object);
      followers.push(follower);
      void follower.run();
      break;
    }
    case "settle":
      for (const follower of followers) {
        follower.settling = true;
      }
      break;
    default:
      throw new Error(`no such order: ${order}`);
  }
}
process.exit(0);
