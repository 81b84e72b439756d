// What the Node clients share; see harness.py, which does the same for Python.

import { readFileSync } from "node:fs";
import { isDeepStrictEqual, inspect } from "node:util";

export const FACTS = JSON.parse(readFileSync(new URL("facts.json", import.meta.url), "utf8"));
export const { BASE, UPSTREAM, KEY } = process.env;
export const DIRECT = process.env.DIRECT === "1";
const ONLY = process.env.ONLY ?? "";
export const STATUSES = [400, 401, 403, 404, 413, 429, 500, 503, 529];

export const TEXT = FACTS.text.join("");
export const THINKING = FACTS.thinking.join("");
export const PREFACE = FACTS.preface.join("");
export const FINAL = FACTS.final.join("");
export const MESSAGE = FACTS.error_message;

const scenarios = [];
let tags = 0;

/** Fails unless both are equal. */
export function same(got, want, what = "value") {
  if (!isDeepStrictEqual(got, want)) {
    throw new Error(`${what}: expected ${inspect(want)}, got ${inspect(got, { depth: 6 })}`);
  }
}

/** Fails unless `part` is in `whole`. */
export function isIn(part, whole, what = "value") {
  if (!whole?.includes?.(part)) {
    throw new Error(`${what}: expected ${inspect(part)} in ${inspect(whole)}`);
  }
}

/** The exception of that kind which `action` ends with. */
export async function raises(kind, action) {
  let result;
  try {
    result = await action();
  } catch (error) {
    if (error instanceof kind) return error;
    throw new Error(`expected ${kind.name}, got ${error?.constructor?.name}: ${error}`);
  }
  throw new Error(`expected ${kind.name}, got a result: ${inspect(result)}`);
}

/** The arguments of a scripted tool call, parsed. */
export function argumentsOf(at) {
  return JSON.parse(FACTS.tools[at].pieces.join(""));
}

/** One scenario against one upstream (`way`: `messages` or `chat`). */
class Test {
  constructor(client, way) {
    this.client = client;
    this.way = way;
    this.models = [];
  }

  /** The model that makes the upstream play `scenario`, for this test alone. */
  model(scenario) {
    const prefix = this.way === "chat" ? "chat" : "msg";
    tags += 1;
    const name = `${prefix}-${scenario}.${this.client}-${process.pid}-${tags}`;
    this.models.push(name);
    return name;
  }

  /** What the upstream received under one of this test's models. */
  async log(state, at = -1) {
    const url = `${UPSTREAM}/_log?model=${this.models.at(at)}${state ? `&state=${state}` : ""}`;
    return (await fetch(url)).json();
  }

  /** The body of the last request that the upstream received. */
  async sent() {
    return (await this.log()).at(-1).body;
  }

  /** Fails unless the upstream saw its connection close; waits for that. */
  async closed() {
    const states = (await this.log("closed")).map((entry) => entry.state);
    same(states, ["closed"], "the upstream's side");
  }

  /** Lets a held stream go on. */
  async release() {
    await fetch(`${UPSTREAM}/_release?model=${this.models.at(-1)}`, { method: "POST" });
  }
}

/** Registers a scenario: how many requests the upstream is to see, whether a gateway is needed. */
export function scenario(name, options, action) {
  scenarios.push({ name, requests: 1, gatewayOnly: false, ...options, action });
}

/** Runs all scenarios. */
export async function run(client) {
  for (const way of process.env.WAYS.split(",")) {
    for (const { name, requests, gatewayOnly, action } of scenarios) {
      if ((gatewayOnly && DIRECT) || !name.includes(ONLY)) continue;
      const test = new Test(client, way);
      let why = null;
      try {
        await action(test);
        const logs = await Promise.all(test.models.map((_, at) => test.log(undefined, at)));
        same(logs.flat().length, requests, "requests the upstream saw");
      } catch (error) {
        const line = /_sdk\.mjs:(\d+)/.exec(error?.stack ?? "")?.[1] ?? "?";
        why = `line ${line}: ${error?.name}: ${error?.message}`;
      }
      console.log(JSON.stringify({ client, upstream: way, scenario: name, why }));
    }
  }
}
