// The official Node SDK of Anthropic against the gateway, or against the upstream itself.

import Anthropic from "@anthropic-ai/sdk";
import {
  BASE, DIRECT, FACTS, FINAL, KEY, MESSAGE, PREFACE, STATUSES, TEXT, THINKING,
  argumentsOf, isIn, raises, run, same, scenario,
} from "./harness.mjs";

const CLIENT = new Anthropic({ baseURL: BASE, apiKey: KEY, maxRetries: 0, timeout: 30_000 });
const USER = [{ role: "user", content: "How is the weather?" }];
const THINK = { type: "enabled", budget_tokens: 1024 };
const TOOLS = FACTS.tools.map(({ name, description, schema }) => ({
  name, description, input_schema: schema,
}));
// What a Messages client sees of each status: the class of the SDK.
const ERRORS = {
  400: Anthropic.BadRequestError,
  401: Anthropic.AuthenticationError,
  403: Anthropic.PermissionDeniedError,
  404: Anthropic.NotFoundError,
  413: Anthropic.ContentTooLargeError ?? Anthropic.APIError,
  429: Anthropic.RateLimitError,
  500: Anthropic.InternalServerError,
  503: Anthropic.ServiceUnavailableError ?? Anthropic.InternalServerError,
  529: Anthropic.OverloadedError ?? Anthropic.InternalServerError,
};

function fields(test, name, more) {
  return { model: test.model(name), max_tokens: 2000, messages: USER, ...more };
}

function create(test, name, more = {}, options = {}) {
  return CLIENT.messages.create(fields(test, name, more), options);
}

function stream(test, name, more = {}) {
  return CLIENT.messages.stream(fields(test, name, more)).finalMessage();
}

function textsOf(message) {
  const texts = message.content.filter((block) => block.type === "text");
  return texts.map((block) => block.text).join("");
}

function kindsOf(message) {
  return message.content.map((block) => block.type);
}

function checkUsage(usage) {
  same(usage.input_tokens, FACTS.usage.fresh, "input_tokens");
  same(usage.cache_read_input_tokens, FACTS.usage.cached, "cache_read_input_tokens");
  same(usage.output_tokens, FACTS.usage.output, "output_tokens");
}

function checkText(message) {
  same([message.type, message.role], ["message", "assistant"], "type and role");
  same(kindsOf(message), ["text"], "blocks");
  same(textsOf(message), TEXT, "text");
  same(message.stop_reason, "end_turn", "stop_reason");
  checkUsage(message.usage);
}

scenario("text", {}, async (test) => {
  const message = await create(test, "text");
  checkText(message);
  if (!DIRECT) same(Boolean(message._request_id), true, "request id");
});

scenario("text, compressed upstream", {}, async (test) => {
  checkText(await create(test, "gzip"));
});

scenario("stream", {}, async (test) => {
  const events = CLIENT.messages.stream(fields(test, "text"));
  let text = "";
  events.on("text", (piece) => (text += piece));
  checkText(await events.finalMessage());
  same(text, TEXT, "text of the deltas");
});

scenario("stream, raw events", {}, async (test) => {
  const events = await collect(await create(test, "text", { stream: true }));
  const kinds = events.map((event) => event.type);
  same(kinds[0], "message_start", "first event");
  same(kinds.slice(-2), ["message_delta", "message_stop"], "last events");
  const inner = kinds.slice(1, -2).filter((kind) => kind !== "ping");
  same(inner[0], "content_block_start", "second event");
  same([...new Set(inner.slice(1, -1))], ["content_block_delta"], "deltas");
  same(inner.at(-1), "content_block_stop", "end of the block");
  same(events[0].message.usage.input_tokens > 0, true, "input tokens at the start");
  checkUsage(events.at(-2).usage);
});

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

scenario("stream flows", {}, async (test) => {
  let text = "";
  for await (const event of await create(test, "held", { stream: true })) {
    if (event.type !== "content_block_delta") continue;
    if (!text) await test.release();
    text += event.delta.text;
  }
  same(text, TEXT, "text");
});

scenario("stream without [DONE]", {}, async (test) => {
  checkText(await stream(test, "nodone"));
});

scenario("parameters", {}, async (test) => {
  const sampling = { temperature: 0.25, top_p: 0.5 };
  await create(test, "text", { ...sampling, stop_sequences: ["END", "STOP"] });
  const sent = await test.sent();
  same([sent.temperature, sent.top_p], [0.25, 0.5], "sampling");
  const stop = test.way === "chat" ? sent.stop : sent.stop_sequences;
  same(stop, ["END", "STOP"], "stop sequences");
  isIn(2000, [sent.max_tokens, sent.max_completion_tokens], "max tokens");
});

scenario("system", {}, async (test) => {
  await create(test, "text", { system: FACTS.system });
  const sent = await test.sent();
  if (test.way === "messages") return same(sent.system, FACTS.system, "system");
  isIn(sent.messages[0].role, ["system", "developer"], "role");
  same(sent.messages[0].content, FACTS.system, "system");
  same(sent.messages.length, 2, "messages");
});

async function toolRounds(test, name, count, ask) {
  const tools = { tools: TOOLS.slice(0, count), tool_choice: { type: "auto" } };
  const first = await ask(test, name, tools);
  const uses = first.content.filter((block) => block.type === "tool_use");
  same(uses.map((use) => use.name), tools.tools.map((tool) => tool.name), "tools");
  same(uses.map((use) => use.input), uses.map((_, at) => argumentsOf(at)), "inputs");
  same(first.stop_reason, "tool_use", "stop_reason");
  checkUsage(first.usage);
  const results = uses.map((use, at) => ({
    type: "tool_result", tool_use_id: use.id, content: FACTS.tools[at].result,
  }));
  const messages = [
    ...USER,
    { role: "assistant", content: first.content },
    { role: "user", content: results },
  ];
  const second = await ask(test, name, { ...tools, messages });
  same(textsOf(second), FINAL, "final text");
  same(second.stop_reason, "end_turn", "stop_reason");
  await checkToolTurn(test, uses);
  return first;
}

/** The second request as the upstream saw it: ids and arguments are its own. */
async function checkToolTurn(test, uses) {
  const sent = (await test.sent()).messages;
  let ids, answered, inputs;
  if (test.way === "chat") {
    const calls = sent[1].tool_calls;
    ids = calls.map((call) => call.id);
    inputs = calls.map((call) => JSON.parse(call.function.arguments));
    answered = sent.slice(2).map((message) => message.tool_call_id);
  } else {
    const calls = sent[1].content.filter((block) => block.type === "tool_use");
    ids = calls.map((call) => call.id);
    inputs = calls.map((call) => call.input);
    answered = sent[2].content.map((block) => block.tool_use_id);
  }
  same(answered, ids, "ids of the results");
  same(inputs, uses.map((use) => use.input), "inputs in the history");
}

for (const [kind, ask] of [["", create], [" streamed", stream]]) {
  scenario(`tool round trip${kind}`, { requests: 2 }, async (test) => {
    const first = await toolRounds(test, "tool", 1, ask);
    same(kindsOf(first), ["tool_use"], "blocks");
    const [tool] = (await test.sent()).tools;
    const schema = test.way === "chat" ? tool.function.parameters : tool.input_schema;
    same(schema, TOOLS[0].input_schema, "schema");
  });

  scenario(`parallel tools${kind}`, { requests: 2 }, async (test) => {
    const first = await toolRounds(test, "parallel", 2, ask);
    same(kindsOf(first), ["text", "tool_use", "tool_use"], "blocks");
    same(textsOf(first), PREFACE, "text before the calls");
  });

  scenario(`thinking${kind}`, {}, async (test) => {
    const message = await ask(test, "thinking", { thinking: THINK });
    const [block, redacted] = message.content;
    same([block.type, block.thinking], ["thinking", THINKING], "thinking");
    same(textsOf(message), TEXT, "text");
    const sent = await test.sent();
    if (test.way === "chat") return isIn("reasoning_effort", Object.keys(sent), "the request");
    same(sent.thinking, THINK, "the request");
    same(block.signature, FACTS.signature, "signature");
    same(kindsOf(message), ["thinking", "redacted_thinking", "text"], "blocks");
    same(redacted.data, FACTS.redacted, "redacted thinking");
  });

  scenario(`thinking with tools${kind}`, { requests: 2 }, async (test) => {
    const first = await toolRounds(test, "thinktool", 1, ask);
    same(kindsOf(first), ["thinking", "tool_use"], "blocks");
    if (test.way === "chat") return;
    const want = { type: "thinking", thinking: THINKING, signature: FACTS.signature };
    same((await test.sent()).messages[1].content[0], want, "thinking in the history");
  });

  scenario(`max tokens${kind}`, {}, async (test) => {
    const message = await ask(test, "max", { max_tokens: 17 });
    same(message.stop_reason, "max_tokens", "stop_reason");
    same(textsOf(message), FACTS.text.slice(0, 2).join(""), "text");
  });

  scenario(`broken off${kind}`, {}, async (test) => {
    const error = await raises(DIRECT ? Error : Anthropic.APIError, () => ask(test, "cut"));
    // The gateway tells it; nothing breaks toward the client.
    if (!DIRECT) same(error instanceof Anthropic.APIConnectionError, false, "connection error");
  });

  for (const status of STATUSES) {
    scenario(`error ${status}${kind}`, {}, async (test) => {
      const error = await raises(Anthropic.APIError, () => ask(test, `error${status}`));
      // Chat has one status for both: out of service and too busy.
      const isBusy = test.way === "chat" && status === 503 && error.status === 529;
      checkError(error, isBusy ? 529 : status);
      if (status !== 429) return;
      same(error.headers.get("retry-after"), FACTS.retry_after, "retry");
    });
  }

  scenario(`cancel before the answer${kind}`, {}, async (test) => {
    const abort = new AbortController();
    const more = { stream: kind !== "" };
    const call = create(test, "silent", more, { signal: abort.signal });
    const ended = Promise.allSettled([call]);
    await test.log("received");
    abort.abort();
    await ended;
    await raises(Anthropic.APIUserAbortError, () => call);
    await test.closed();
  });
}

scenario("stop sequence", {}, async (test) => {
  const message = await create(test, "sequence", { stop_sequences: ["END"] });
  if (test.way === "chat") return;
  same([message.stop_reason, message.stop_sequence], ["stop_sequence", "END"], "stop");
});

scenario("image", {}, async (test) => {
  const { media_type, data, url } = FACTS.image;
  const sources = [{ type: "base64", media_type, data }, { type: "url", url }];
  const content = [
    ...sources.map((source) => ({ type: "image", source })),
    { type: "text", text: "What is this?" },
  ];
  await create(test, "text", { messages: [{ role: "user", content }] });
  const sent = (await test.sent()).messages[0].content;
  if (test.way === "messages") return same(sent, content, "content");
  const urls = [`data:${media_type};base64,${data}`, url];
  same(sent.map((block) => block.type), ["image_url", "image_url", "text"], "blocks");
  same(sent.slice(0, 2).map((block) => block.image_url.url), urls, "images");
});

function checkError(error, status) {
  same(error.constructor.name, ERRORS[status].name, "exception");
  same(error.status, status, "status");
  same(error.error?.type, "error", "body");
  isIn(MESSAGE, error.error.error?.message, "message");
}

scenario("error page", {}, async (test) => {
  const error = await raises(Anthropic.InternalServerError, () => create(test, "html"));
  if (!DIRECT) same(error.error?.type, "error", "body");
});

scenario("error before the first event", {}, async (test) => {
  const error = await raises(Anthropic.APIError, () => stream(test, "early"));
  isIn(MESSAGE, error.message, "message");
  if (!DIRECT) checkError(error, 529);
});

scenario("error in the stream", {}, async (test) => {
  let text = "";
  const error = await raises(Anthropic.APIError, async () => {
    const events = CLIENT.messages.stream(fields(test, "broken"));
    events.on("text", (piece) => (text += piece));
    await events.finalMessage();
  });
  isIn(MESSAGE, error.message, "message");
  same(text, FACTS.text.slice(0, 2).join(""), "text before the error");
});

scenario("truncated stream", { gatewayOnly: true }, async (test) => {
  const error = await raises(Anthropic.APIError, () => stream(test, "truncated"));
  same(error instanceof Anthropic.APIConnectionError, false, "a connection error");
});

scenario("cancel in the stream", {}, async (test) => {
  for await (const event of await create(test, "endless", { stream: true })) {
    if (event.type === "content_block_delta") break;
  }
  await test.closed();
});

scenario("many at once", { requests: 8 }, async (test) => {
  const calls = Array.from({ length: 8 }, () => create(test, "text"));
  for (const message of await Promise.all(calls)) checkText(message);
});

scenario("models", { requests: 0 }, async () => {
  const ids = (await collect(CLIENT.models.list({ limit: 1000 }))).map((model) => model.id);
  for (const id of Object.values(FACTS.listed)) {
    isIn(id, ids, "models");
    same((await CLIENT.models.retrieve(id)).id, id, "model");
  }
  await raises(Anthropic.NotFoundError, () => CLIENT.models.retrieve("nowhere"));
});

scenario("unknown model", { requests: 0 }, async () => {
  const request = { model: "nowhere", max_tokens: 9, messages: USER };
  const error = await raises(Anthropic.NotFoundError, () => CLIENT.messages.create(request));
  isIn("nowhere", error.error.error.message, "message");
  same(error.error.error.type, "not_found_error", "type");
});

scenario("keys", { requests: 2 }, async (test) => {
  const request = fields(test, "text");
  const ask = (credentials) => {
    const options = { baseURL: BASE, apiKey: null, maxRetries: 0, ...credentials };
    return new Anthropic(options).messages.create(request);
  };
  const headers = (more) => ({ defaultHeaders: { authorization: null, ...more } });
  await ask({ authToken: KEY });
  await ask(headers({ "x-api-key": KEY }));
  if (DIRECT) return;
  const wrong = [
    { apiKey: "wrong" }, { authToken: "wrong" }, headers({ "x-api-key": "wrong" }), headers({}),
  ];
  for (const credentials of wrong) {
    const error = await raises(Anthropic.AuthenticationError, () => ask(credentials));
    same(error.error.error.type, "authentication_error", "type");
  }
});

await run("anthropic-node");
