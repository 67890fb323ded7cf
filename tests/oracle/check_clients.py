#!/usr/bin/env python3
"""gguf-serve under the programs that people write on top of the official packages: litellm, langchain-openai, instructor, llm and
llm-ollama.
usage: check_clients.py BUILD DATA"""
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
os.environ["LLM_USER_PATH"] = tempfile.mkdtemp()

from check_serve import BUILD, DATA, PLAIN, Server, same  # noqa: E402


def check_litellm(s):
    import litellm

    litellm.suppress_debug_info = True
    message = [{"role": "user", "content": "Once upon a time"}]
    routes = {"openai/demo": s.url + "/v1", "ollama_chat/demo": s.url, "anthropic/demo": s.url}
    for model, base in routes.items():
        ask = {"model": model, "api_base": base, "api_key": "none", "messages": message, "max_tokens": 8, "temperature": 0}
        whole = litellm.completion(**ask)
        text = whole.choices[0].message.content
        assert text and whole.usage.prompt_tokens > 0, whole
        same(whole.choices[0].finish_reason, "length", model)
        parts = [c.choices[0].delta.content or "" for c in litellm.completion(stream=True, **ask)]
        same("".join(parts), text, model)
    try:
        litellm.completion(model="openai/demo", api_base=s.url + "/v1", api_key="none", max_retries=0,
                           messages=[{"role": "user", "content": "word " * 3000}])
        assert False, "a prompt that is too long was taken"
    except litellm.ContextWindowExceededError:
        pass
    try:
        litellm.completion(model="openai/nobody", api_base=s.url + "/v1", api_key="none", max_retries=0, messages=message)
        assert False, "an unknown model answered"
    except litellm.NotFoundError:
        pass


def check_langchain(s):
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=s.url + "/v1", api_key="none", model="demo", temperature=0, max_tokens=8, stream_usage=True)
    answer = chat.invoke([("system", "Be brief."), ("user", "Once upon a time")])
    assert answer.content, answer
    same(answer.response_metadata["finish_reason"], "length")
    parts = list(chat.stream([("system", "Be brief."), ("user", "Once upon a time")]))
    same("".join(p.content for p in parts), answer.content)
    usage = [p.usage_metadata for p in parts if p.usage_metadata]
    same(usage[-1]["output_tokens"], answer.usage_metadata["output_tokens"])
    many = chat.batch(["one", "two", "three"])
    same(len([m for m in many if m.content]), 3)
    with_logprobs = chat.bind(logprobs=True).invoke("Once")
    assert with_logprobs.response_metadata["logprobs"]["content"], with_logprobs
    responses = ChatOpenAI(base_url=s.url + "/v1", api_key="none", model="demo", temperature=0, max_tokens=8,
                           use_responses_api=True)
    assert responses.invoke("Once upon a time").text, "no text by way of responses"


def check_langchain_embeddings(models):
    from langchain_openai import OpenAIEmbeddings

    s = Server(models / "bert.gguf")
    try:
        embed = OpenAIEmbeddings(base_url=s.url + "/v1", api_key="none", model="bert", check_embedding_ctx_length=False)
        vectors = embed.embed_documents(["one text", "another"])
        same(len(vectors), 2)
        same(embed.embed_query("another"), vectors[1])
    finally:
        s.stop()


def check_instructor(s):
    """Answers have the form of the class that was asked for, from the first attempt."""
    import typing

    import instructor
    import openai
    import pydantic

    class Person(pydantic.BaseModel):
        name: typing.Literal["Ann", "Bob"]
        grown: bool

    client = instructor.from_openai(openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0),
                                    mode=instructor.Mode.JSON_SCHEMA)
    person = client.chat.completions.create(model="demo", response_model=Person, max_retries=0, max_tokens=60, temperature=0,
                                            messages=[{"role": "user", "content": "Ann"}])
    assert person.name in ("Ann", "Bob") and isinstance(person.grown, bool), person


def check_llm(s):
    folder = pathlib.Path(os.environ["LLM_USER_PATH"])
    (folder / "extra-openai-models.yaml").write_text(
        f"- model_id: served\n  model_name: demo\n  api_base: {s.url}/v1\n")
    environment = {**os.environ, "OLLAMA_HOST": s.url, "OPENAI_API_KEY": "none"}
    for model in ("served", "demo:latest"):
        for options in ([], ["--no-stream"]):
            command = [pathlib.Path(sys.executable).parent / "llm", "-m", model, "-n", "Once upon a time", *options]
            if model == "served":
                command += ["-o", "max_tokens", "8"]
            else:
                command += ["-o", "num_predict", "8"]
            answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
            assert answer.returncode == 0 and answer.stdout.strip(), (command, answer.stderr)


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder)
        for source, name in ((DATA / "demo-model", "demo"), (DATA / "models/bert_sentence", "bert")):
            subprocess.run([BUILD / "gguf-convert", source, "-o", models / f"{name}.gguf", "-q"], check=True)
        (models / "plain.jinja").write_text(PLAIN)
        s = Server(models / "demo.gguf", "--template", models / "plain.jinja")
        for check, argument in ((check_litellm, s), (check_langchain, s), (check_langchain_embeddings, models), (check_instructor, s),
                                (check_llm, s)):
            try:
                check(argument)
                print(f"ok {check.__name__}", flush=True)
            except Exception as error:  # every check is run
                failed += 1
                print(f"FAILED {check.__name__}: {type(error).__name__}: {error}", flush=True)
        s.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
