// The official Node client of OpenAI, unmodified, against our gateway and a worker with two models. Prints a line of JSON
// for each case, as suite.py does.
const assert = require("node:assert");
const { OpenAI, BadRequestError, NotFoundError } = require("openai");

const client = new OpenAI({ baseURL: `${process.env.FLASH_URL}/v1`, apiKey: "a-key-of-a-client", timeout: 60_000 });
const messages = (content) => [{ role: "user", content }];

const cases = {
  async a_chat_is_answered() {
    const answer = await client.chat.completions.create({ model: "parrot", messages: messages("hello there") });
    assert.equal(answer.choices[0].message.content, "hello there");
    assert.equal(answer.usage.total_tokens, 13);
  },

  async a_chat_streams_and_its_last_chunk_has_the_usage() {
    const stream = await client.chat.completions.create({
      model: "parrot",
      messages: messages("one two"),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    assert.equal(text, "one two");
    assert.equal(chunks.at(-1).usage.completion_tokens, 2);
  },

  async embeddings_come_as_numbers() {
    const answer = await client.embeddings.create({ model: "org/letters", input: ["abba", "cab"] });
    assert.deepEqual(answer.data.map((data) => [...data.embedding]), [[2, 2, 0, 0], [1, 1, 1, 0]]);
  },

  async models_are_listed() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.ok(names.includes("parrot") && names.includes("org/letters"), names.join());
  },

  async what_cannot_be_done_is_refused_with_its_field() {
    const tools = [{ type: "function", function: { name: "look", parameters: { type: "object" } } }];
    const ask = (more) => client.chat.completions.create({ model: "parrot", messages: messages("hi"), ...more });
    await assert.rejects(ask({ tools }), (error) => error instanceof BadRequestError && error.param === "tools");
    await assert.rejects(ask({ model: "gpt-5" }), (error) => {
      return error instanceof NotFoundError && error.code === "model_not_found";
    });
  },

  async a_failure_in_a_stream_is_raised_there() {
    const stream = await client.chat.completions.create({ model: "parrot", messages: messages("fail"), stream: true });
    const read = async () => {
      for await (const _ of stream);
    };
    await assert.rejects(read(), /the parrot flew away/);
  },
};

async function main() {
  for (const [name, run] of Object.entries(cases)) {
    const started = Date.now();
    let detail = "";
    try {
      await run();
    } catch (error) {
      detail = error.stack ?? String(error);
    }
    const seconds = (Date.now() - started) / 1000;
    console.log(JSON.stringify({ case: name, ok: detail === "", detail, seconds }));
  }
}

main();
