// What an application in a browser does with Streamgate, over gRPC-web from a page of another
// origin. Each step is called by `drive.mjs` and answers plain values, which it judges.

import { createClient, Code, ConnectError } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { EventStoreService, type ReadResponse } from "./gen/streamgate/v1/event_store_pb.js";
import { MigrationPhase, MigrationService } from "./gen/streamgate/v1/migration_pb.js";

const baseUrl = new URL(location.href).searchParams.get("server") ?? "";
const transport = createGrpcWebTransport({ baseUrl });
const events = createClient(EventStoreService, transport);
const migrations = createClient(MigrationService, transport);

const object = { objectName: "order", objectId: "from a page" };

function event(text: string, eventId: string = crypto.randomUUID()) {
  const payload = new TextEncoder().encode(text);
  return { eventId, eventType: "Clicked", contentType: "text/plain", payload };
}

/** An error as a page sees it: the code, and what `grpc-status-details-bin` held. */
function seen(error: unknown) {
  const failure = ConnectError.from(error);
  const [info] = failure.findDetails(ErrorInfoSchema);
  const { domain, reason, metadata } = info ?? {};
  return { code: Code[failure.code], message: failure.rawMessage, domain, reason, metadata };
}

/** Appends what the texts say; with `expected`, only behind that version. */
async function append(texts: string[], expected?: number, eventId?: string) {
  const exact = (version: number) => ({ case: "exact" as const, value: BigInt(version) });
  try {
    const { firstVersion, lastVersion, replay } = await events.append({
      object,
      events: texts.map((text) => event(text, eventId)),
      expectedVersion: expected === undefined ? undefined : { kind: exact(expected) },
    });
    return { first: Number(firstVersion), last: Number(lastVersion), replay };
  } catch (error) {
    return { error: seen(error) };
  }
}

function told(response: ReadResponse) {
  const { message } = response;
  const batch = message.case === "batch" ? message.value.events : [];
  const text = (payload: Uint8Array) => new TextDecoder().decode(payload);
  return batch.map(({ version, payload }) => ({ version: Number(version), text: text(payload) }));
}

async function read() {
  try {
    const found: ReturnType<typeof told> = [];
    for await (const response of events.read({ object })) {
      found.push(...told(response));
    }
    return found;
  } catch (error) {
    return { error: seen(error) };
  }
}

/** What a follower has heard so far; it goes on listening until it is told to stop. */
const followed: { version: number; text: string }[] = [];
const marks: string[] = [];
const stop = new AbortController();

/** Starts to follow, and answers when everything that there was has come. */
function follow() {
  return new Promise((caughtUp, failed) => {
    const listen = async () => {
      const options = { signal: stop.signal };
      for await (const response of events.read({ object, follow: {} }, options)) {
        followed.push(...told(response));
        marks.push(response.message.case ?? "");
        if (response.message.case === "caughtUp") {
          caughtUp(followed.length);
        }
      }
    };
    listen().catch((error: unknown) => {
      if (!stop.signal.aborted) {
        marks.push(`ended: ${JSON.stringify(seen(error))}`);
        failed(error);
      }
    });
  });
}

/** Moves the object, and watches that to its end. */
async function migrate(targetStore: string) {
  try {
    const requestId = crypto.randomUUID();
    const { migration } = await migrations.migrate({ requestId, object, targetStore });
    const migrationId = migration?.migrationId ?? "";
    const phases: string[] = [];
    let copied = 0;
    for await (const change of migrations.watchMigration({ migrationId })) {
      const phase = MigrationPhase[change.migration?.phase ?? 0] ?? "";
      if (phases.at(-1) !== phase) {
        phases.push(phase);
      }
      copied = Number(change.migration?.certificate?.events ?? 0);
    }
    return { phases, copied };
  } catch (error) {
    return { error: seen(error) };
  }
}

const heard = () => ({ followed, marks });
const streamgate = { append, read, follow, migrate, heard, stop: () => stop.abort() };
Object.assign(window, { streamgate });
