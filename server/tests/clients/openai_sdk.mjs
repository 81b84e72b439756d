// The official Node SDK of OpenAI (Chat Completions) against the gateway or the upstream.

import OpenAI from "openai";
import {
  BASE, DIRECT, FACTS, FINAL, KEY, MESSAGE, PREFACE, STATUSES, TEXT, THINKING,
  argumentsOf, isIn, raises, run, same, scenario,
} from "./harness.mjs";

const CLIENT = new OpenAI({ baseURL: BASE, apiKey: KEY, maxRetries: 0, timeout: 30_000 });
const USER = [{ role: "user", content: "How is the weather?" }];
const WITH_USAGE = { include_usage: true };
const TOOLS = FACTS.tools.map(({ name, description, schema }) => ({
  type: "function", function: { name, description, parameters: schema },
}));
// What a Chat client sees of each status: the class of the SDK.
const ERRORS = {
  400: OpenAI.BadRequestError,
  401: OpenAI.AuthenticationError,
  403: OpenAI.PermissionDeniedError,
  404: OpenAI.NotFoundError,
  413: OpenAI.APIError,
  429: OpenAI.RateLimitError,
  500: OpenAI.InternalServerError,
  503: OpenAI.InternalServerError,
  529: OpenAI.InternalServerError,
};

function create(test, name, more = {}, options = {}) {
  const request = { model: test.model(name), messages: USER, ...more };
  return CLIENT.chat.completions.create(request, options);
}

/** What an answer says, from a whole completion. */
async function whole(test, name, more = {}) {
  const completion = await create(test, name, more);
  same([completion.object, completion.choices.length], ["chat.completion", 1], "completion");
  const [{ message, finish_reason: finish }] = completion.choices;
  same(message.role, "assistant", "role");
  return {
    text: message.content ?? "",
    thinking: message.reasoning_content ?? "",
    calls: (message.tool_calls ?? []).map(({ id, function: { name, arguments: text } }) => ({
      id, name, text,
    })),
    finish,
    usage: completion.usage,
  };
}

/** The same from a stream. */
async function streamed(test, name, more = {}) {
  const options = { stream: true, stream_options: WITH_USAGE, ...more };
  const answer = { text: "", thinking: "", calls: [], finish: null, usage: null };
  const finishes = [];
  for await (const chunk of await create(test, name, options)) {
    same(chunk.object, "chat.completion.chunk", "object");
    answer.usage = chunk.usage ?? answer.usage;
    for (const { delta, finish_reason: finish } of chunk.choices) {
      addDelta(answer, delta);
      if (finish) finishes.push(finish);
    }
  }
  same(finishes.length, 1, "finish reasons in the stream");
  return { ...answer, finish: finishes[0] };
}

function addDelta(answer, delta) {
  answer.text += delta.content ?? "";
  answer.thinking += delta.reasoning_content ?? "";
  for (const call of delta.tool_calls ?? []) {
    if (call.index === answer.calls.length) {
      answer.calls.push({ id: call.id, name: call.function.name, text: "" });
    }
    answer.calls[call.index].text += call.function.arguments ?? "";
  }
}

function checkUsage(usage) {
  const { fresh, cached, output } = FACTS.usage;
  same(usage.prompt_tokens, fresh + cached, "prompt_tokens");
  same(usage.prompt_tokens_details.cached_tokens, cached, "cached_tokens");
  same(usage.completion_tokens, output, "completion_tokens");
  same(usage.total_tokens, fresh + cached + output, "total_tokens");
}

function checkText(answer) {
  same([answer.text, answer.calls, answer.finish], [TEXT, [], "stop"], "answer");
  checkUsage(answer.usage);
}

scenario("text", {}, async (test) => {
  checkText(await whole(test, "text"));
});

scenario("request id", { gatewayOnly: true }, async (test) => {
  same(Boolean((await create(test, "text"))._request_id), true, "request id");
});

scenario("text, compressed upstream", {}, async (test) => {
  checkText(await whole(test, "gzip"));
});

scenario("stream", {}, async (test) => {
  checkText(await streamed(test, "text"));
});

scenario("stream, by the helper", {}, async (test) => {
  const request = { model: test.model("text"), messages: USER, stream_options: WITH_USAGE };
  const events = CLIENT.chat.completions.stream(request);
  let text = "";
  events.on("content", (piece) => (text += piece));
  same(await events.finalContent(), TEXT, "text");
  same(text, TEXT, "text of the deltas");
  checkUsage((await events.finalChatCompletion()).usage);
});

scenario("stream without usage", {}, async (test) => {
  for await (const chunk of await create(test, "text", { stream: true })) {
    same([Boolean(chunk.usage), chunk.choices.length], [false, 1], "usage and choices");
  }
  if (test.way !== "chat" || DIRECT) return;
  // The gateway wants to know it all the same.
  same((await test.sent()).stream_options?.include_usage, true, "include_usage");
});

scenario("stream flows", {}, async (test) => {
  let text = "";
  for await (const chunk of await create(test, "held", { stream: true })) {
    const piece = chunk.choices[0]?.delta.content ?? "";
    if (piece && !text) await test.release();
    text += piece;
  }
  same(text, TEXT, "text");
});

scenario("stream without [DONE]", {}, async (test) => {
  checkText(await streamed(test, "nodone"));
});

scenario("parameters", {}, async (test) => {
  const more = { temperature: 0.25, top_p: 0.5, stop: ["END", "STOP"] };
  await whole(test, "text", { ...more, max_tokens: 2000 });
  const sent = await test.sent();
  same(sent.temperature, 0.25, "temperature");
  if (test.way === "chat") same(sent.top_p, 0.5, "top_p");
  const stop = test.way === "chat" ? sent.stop : sent.stop_sequences;
  same(stop, ["END", "STOP"], "stop sequences");
  isIn(2000, [sent.max_tokens, sent.max_completion_tokens], "max tokens");
});

scenario("system", {}, async (test) => {
  const messages = [{ role: "developer", content: FACTS.system }, ...USER];
  await whole(test, "text", { messages });
  const sent = await test.sent();
  if (test.way === "chat") return same(sent.messages, messages, "messages");
  const system = typeof sent.system === "string" ? sent.system : sent.system[0].text;
  same(system, FACTS.system, "system");
  same(sent.messages.map((message) => message.role), ["user"], "messages");
});

async function toolRounds(test, name, count, ask) {
  const tools = { tools: TOOLS.slice(0, count), tool_choice: "auto" };
  const first = await ask(test, name, tools);
  const names = tools.tools.map((tool) => tool.function.name);
  same(first.calls.map((call) => call.name), names, "tools");
  const parsed = first.calls.map((call) => JSON.parse(call.text));
  same(parsed, names.map((_, at) => argumentsOf(at)), "arguments");
  same(first.finish, "tool_calls", "finish reason");
  checkUsage(first.usage);
  const assistant = {
    role: "assistant",
    content: first.text || null,
    tool_calls: first.calls.map((call) => ({
      id: call.id, type: "function", function: { name: call.name, arguments: call.text },
    })),
  };
  const results = first.calls.map((call, at) => ({
    role: "tool", tool_call_id: call.id, content: FACTS.tools[at].result,
  }));
  const second = await ask(test, name, { ...tools, messages: [...USER, assistant, ...results] });
  same([second.text, second.finish], [FINAL, "stop"], "final answer");
  await checkToolTurn(test, parsed);
  return first;
}

/** The second request as the upstream saw it: ids and arguments are its own. */
async function checkToolTurn(test, parsed) {
  const sent = (await test.sent()).messages;
  let ids, answered, inputs;
  if (test.way === "chat") {
    const calls = sent[1].tool_calls;
    ids = calls.map((call) => call.id);
    inputs = calls.map((call) => JSON.parse(call.function.arguments));
    answered = sent.slice(2).map((message) => message.tool_call_id);
  } else {
    same(sent.map((message) => message.role), ["user", "assistant", "user"], "roles");
    const calls = sent[1].content.filter((block) => block.type === "tool_use");
    ids = calls.map((call) => call.id);
    inputs = calls.map((call) => call.input);
    answered = sent[2].content.map((block) => block.tool_use_id);
  }
  same(answered, ids, "ids of the results");
  same(inputs, parsed, "arguments in the history");
}

for (const [kind, ask] of [["", whole], [" streamed", streamed]]) {
  scenario(`tool round trip${kind}`, { requests: 2 }, async (test) => {
    same((await toolRounds(test, "tool", 1, ask)).text, "", "text before the call");
    const [tool] = (await test.sent()).tools;
    const schema = test.way === "chat" ? tool.function.parameters : tool.input_schema;
    same(schema, TOOLS[0].function.parameters, "schema");
  });

  scenario(`parallel tools${kind}`, { requests: 2 }, async (test) => {
    same((await toolRounds(test, "parallel", 2, ask)).text, PREFACE, "text before the calls");
  });

  scenario(`thinking${kind}`, {}, async (test) => {
    const answer = await ask(test, "thinking", { reasoning_effort: "high" });
    same([answer.thinking, answer.text], [THINKING, TEXT], "answer");
    const sent = await test.sent();
    if (test.way === "messages") return same(sent.thinking.type, "enabled", "the request");
    same(sent.reasoning_effort, "high", "the request");
    const details = answer.usage.completion_tokens_details;
    same(details.reasoning_tokens, FACTS.usage.reasoning, "reasoning tokens");
  });

  scenario(`thinking with tools${kind}`, { requests: 2 }, async (test) => {
    same((await toolRounds(test, "thinktool", 1, ask)).thinking, THINKING, "reasoning");
  });

  scenario(`max tokens${kind}`, {}, async (test) => {
    const answer = await ask(test, "max", { max_completion_tokens: 17 });
    same(answer.finish, "length", "finish reason");
    same(answer.text, FACTS.text.slice(0, 2).join(""), "text");
  });

  scenario(`broken off${kind}`, {}, async (test) => {
    const error = await raises(DIRECT ? Error : OpenAI.APIError, () => ask(test, "cut"));
    // The gateway tells it; nothing breaks toward the client.
    if (!DIRECT) same(error instanceof OpenAI.APIConnectionError, false, "connection error");
  });

  for (const status of STATUSES) {
    scenario(`error ${status}${kind}`, {}, async (test) => {
      const error = await raises(OpenAI.APIError, () => ask(test, `error${status}`));
      // OpenAI has no status of its own for a model that is too busy.
      checkError(error, test.way === "messages" && status === 529 ? 503 : status);
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
    await raises(OpenAI.APIUserAbortError, () => call);
    await test.closed();
  });
}

scenario("stop sequence", {}, async (test) => {
  same((await whole(test, "sequence", { stop: ["END"] })).finish, "stop", "finish reason");
});

scenario("image", {}, async (test) => {
  const { media_type, data, url } = FACTS.image;
  const urls = [`data:${media_type};base64,${data}`, url];
  const content = [
    ...urls.map((one) => ({ type: "image_url", image_url: { url: one } })),
    { type: "text", text: "What is this?" },
  ];
  await whole(test, "text", { messages: [{ role: "user", content }] });
  const sent = (await test.sent()).messages[0].content;
  if (test.way === "chat") return same(sent, content, "content");
  const sources = [{ type: "base64", media_type, data }, { type: "url", url }];
  same(sent.map((block) => block.type), ["image", "image", "text"], "blocks");
  same(sent.slice(0, 2).map((block) => block.source), sources, "images");
});

function checkError(error, status) {
  same(error.constructor.name, ERRORS[status].name, "exception");
  same(error.status, status, "status");
  isIn(MESSAGE, error.error?.message, "message");
  for (const member of ["type", "code", "param"]) isIn(member, Object.keys(error.error), "body");
}

scenario("error page", {}, async (test) => {
  const error = await raises(OpenAI.InternalServerError, () => whole(test, "html"));
  if (!DIRECT) same(Boolean(error.error?.message), true, "message in the body");
});

scenario("error before the first event", {}, async (test) => {
  const error = await raises(OpenAI.APIError, () => streamed(test, "early"));
  isIn(MESSAGE, error.message, "message");
  if (!DIRECT) checkError(error, 503);
});

scenario("error in the stream", {}, async (test) => {
  let text = "";
  const error = await raises(OpenAI.APIError, async () => {
    for await (const chunk of await create(test, "broken", { stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
  });
  isIn(MESSAGE, error.message, "message");
  same(text, FACTS.text.slice(0, 2).join(""), "text before the error");
});

scenario("truncated stream", { gatewayOnly: true }, async (test) => {
  const error = await raises(OpenAI.APIError, () => streamed(test, "truncated"));
  same(error instanceof OpenAI.APIConnectionError, false, "a connection error");
});

scenario("cancel in the stream", {}, async (test) => {
  for await (const chunk of await create(test, "endless", { stream: true })) {
    if (chunk.choices[0]?.delta.content) break;
  }
  await test.closed();
});

scenario("many at once", { requests: 8 }, async (test) => {
  const calls = Array.from({ length: 8 }, () => whole(test, "text"));
  for (const answer of await Promise.all(calls)) checkText(answer);
});

scenario("models", { requests: 0 }, async () => {
  const ids = [];
  for await (const model of CLIENT.models.list()) ids.push(model.id);
  for (const id of Object.values(FACTS.listed)) {
    isIn(id, ids, "models");
    same((await CLIENT.models.retrieve(id)).id, id, "model");
  }
  await raises(OpenAI.NotFoundError, () => CLIENT.models.retrieve("nowhere"));
});

scenario("unknown model", { requests: 0 }, async () => {
  const request = { model: "nowhere", messages: USER };
  const ask = () => CLIENT.chat.completions.create(request);
  isIn("nowhere", (await raises(OpenAI.NotFoundError, ask)).error.message, "message");
});

scenario("keys", { requests: 0, gatewayOnly: true }, async (test) => {
  const request = { model: test.model("text"), messages: USER };
  for (const more of [{}, { defaultHeaders: { Authorization: null } }]) {
    const client = new OpenAI({ baseURL: BASE, apiKey: "wrong", maxRetries: 0, ...more });
    const ask = () => client.chat.completions.create(request);
    const error = await raises(OpenAI.AuthenticationError, ask);
    same(Boolean(error.error?.message), true, "message");
  }
});

await run("openai-node");
