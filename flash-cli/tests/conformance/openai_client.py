"""The official OpenAI client and LangChain, unmodified, against our gateway and a worker with two models."""

import asyncio

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from suite import KEY, PLATFORM, case, contains, equal, main, raises

ALL = f"{PLATFORM}/v1"
OF_ENDPOINT = f"{PLATFORM}/v2/spoken/openai/v1"


def client(base=ALL, **more):
    """The client as anybody makes one."""
    return openai.OpenAI(base_url=base, api_key=KEY, timeout=60, **more)


def say(text, **more):
    """One message to the parrot, which repeats it."""
    base = more.pop("base", ALL)
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]
    return client(base).chat.completions.create(model="parrot", messages=messages, **more)


@case
def models_are_listed_and_found():
    equal({"parrot", "org/letters", "echo", "echo-latest"} - {model.id for model in client().models.list()}, set())
    equal([model.id for model in client(OF_ENDPOINT).models.list()], ["parrot", "org/letters"])
    equal(client().models.retrieve("org/letters").id, "org/letters")


@case
def a_chat_is_answered():
    for base in [ALL, OF_ENDPOINT]:
        answer = say("hello there, bird", base=base, temperature=0, seed=3, max_completion_tokens=50)
        equal(answer.choices[0].message.content, "hello there, bird")
        equal(answer.choices[0].message.role, "assistant")
        equal(answer.choices[0].finish_reason, "stop")
        equal((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (17, 3, 20))


@case
def a_message_may_have_parts():
    parts = [{"type": "text", "text": "hello "}, {"type": "text", "text": "there"}]
    answer = client().chat.completions.create(model="parrot", messages=[{"role": "user", "content": parts}])
    equal(answer.choices[0].message.content, "hello there")


@case
def a_chat_streams_and_its_last_chunk_has_the_usage():
    chunks = list(say("one two three", stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    equal("".join(texts), "one two three")
    equal([text for text in texts if text], ["one ", "two ", "three"])
    equal([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")
    equal((chunks[-1].choices, chunks[-1].usage.completion_tokens), ([], 3))
    equal([chunk.usage for chunk in chunks[:-1]], [None] * (len(chunks) - 1))


@case
def a_chat_streams_to_the_asynchronous_client():
    async def stream():
        async with openai.AsyncOpenAI(base_url=ALL, api_key=KEY, timeout=60) as caller:
            messages = [{"role": "user", "content": "one two"}]
            chunks = await caller.chat.completions.create(model="parrot", messages=messages, stream=True)
            return [chunk.choices[0].delta.content async for chunk in chunks if chunk.choices[0].delta.content]

    equal(asyncio.run(stream()), ["one ", "two"])


@case
def stop_and_the_limit_end_an_answer():
    stopped = say("one two three", stop=["three"])
    equal((stopped.choices[0].message.content, stopped.choices[0].finish_reason), ("one two ", "stop"))
    cut = say("one two three", max_tokens=2)
    equal((cut.choices[0].message.content, cut.choices[0].finish_reason), ("one two ", "length"))


@case
def several_choices_come_in_order():
    answer = say("hello", n=3)
    equal([(choice.index, choice.message.content) for choice in answer.choices], [(n, "hello") for n in range(3)])


@case
def log_probabilities_have_both_forms():
    chat = say("one two", logprobs=True, top_logprobs=1).choices[0].logprobs.content
    equal([(token.token, token.logprob, token.bytes) for token in chat][1], ("two", -0.25, [116, 119, 111]))
    equal(chat[0].top_logprobs[0].token, "one ")
    plain = client().completions.create(model="parrot", prompt="one two", logprobs=1).choices[0].logprobs
    equal((plain.tokens, plain.token_logprobs, plain.text_offset), (["one ", "two"], [-0.25, -0.25], [0, 4]))


@case
def completions_are_answered_and_stream():
    answer = client().completions.create(model="echo", prompt=["one two", "three"])
    equal([choice.text for choice in answer.choices], ["one two", "three"])
    chunks = client().completions.create(model="echo", prompt="one two", stream=True)
    equal("".join(chunk.choices[0].text for chunk in chunks), "one two")


@case
def embeddings_are_the_same_in_both_encodings():
    # The client asks for base64 unless told otherwise.
    for encoding in [openai.omit, "float"]:
        answer = client().embeddings.create(
            model="org/letters", input=["abba", "cab"], encoding_format=encoding
        )
        equal([list(data.embedding) for data in answer.data], [[2, 2, 0, 0], [1, 1, 1, 0]])
        equal((answer.usage.prompt_tokens, answer.usage.total_tokens), (7, 7))
    short = client().embeddings.create(model="org/letters", input="aaabbbb", dimensions=2)
    equal([round(number, 6) for number in short.data[0].embedding], [0.6, 0.8])


@case
def what_cannot_be_done_is_refused_with_its_field():
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    for more, param in [
        ({"tools": [tool]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"temperature": 3}, "temperature"),
    ]:
        equal(raises(openai.BadRequestError, say, "hello", **more).param, param)
    error = raises(openai.BadRequestError, client().embeddings.create, model="org/letters", input=[5, 6])
    contains(str(error), "check_embedding_ctx_length=False")


@case
def a_prompt_over_the_context_is_refused_with_both_numbers():
    error = raises(openai.BadRequestError, say, "x" * 2000)
    equal((error.code, error.status_code), ("context_length_exceeded", 400))
    contains(error.message, "2000 tokens")
    contains(error.message, "1000 tokens")


@case
def an_unknown_model_is_not_found_and_the_others_are_named():
    messages = [{"role": "user", "content": "hi"}]
    error = raises(openai.NotFoundError, client().chat.completions.create, model="gpt-5", messages=messages)
    equal((error.code, error.param), ("model_not_found", "model"))
    contains(error.message, "parrot")


@case
def a_failure_in_a_stream_is_raised_there():
    seen = []

    def read():
        for chunk in say("fail", stream=True):
            seen.append(chunk.choices[0].delta.content)

    contains(str(raises(openai.APIError, read)), "the parrot flew away")
    contains(seen, "well")
    contains(str(raises(openai.InternalServerError, say, "fail")), "the parrot flew away")


@case
def a_full_model_is_503():
    messages = [{"role": "user", "content": "full"}]
    for stream in [False, True]:
        create = client(max_retries=0).chat.completions.create
        error = raises(openai.InternalServerError, create, model="parrot", messages=messages, stream=stream)
        equal(error.status_code, 503)
        contains(error.message, "the perch is full")


@case
def langchain_chats_streams_and_embeds():
    chat = ChatOpenAI(base_url=ALL, api_key=KEY, model="parrot", temperature=0)
    equal(chat.invoke("hello there").content, "hello there")
    equal("".join(chunk.content for chunk in chat.stream("one two three")), "one two three")
    embeddings = OpenAIEmbeddings(
        base_url=ALL, api_key=KEY, model="org/letters", check_embedding_ctx_length=False
    )
    equal(embeddings.embed_documents(["abba", "cab"]), [[2, 2, 0, 0], [1, 1, 1, 0]])
    equal(embeddings.embed_query("dad"), [1, 0, 0, 2])


if __name__ == "__main__":
    main()
