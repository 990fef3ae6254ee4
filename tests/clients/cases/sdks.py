"""A request of any dialect sent with the SDK of that dialect, in Python and in JavaScript.

Streams go through the SDKs' own helpers, which insist on the order of events.
"""

import json
import os
import shutil
import subprocess

import anthropic
import openai

TIMEOUT_SECONDS = 30


class Python:
    name = "python"

    def __init__(self, world):
        key, own = world.customer.token, {"timeout": TIMEOUT_SECONDS, "max_retries": 0}
        self.openai = openai.OpenAI(base_url=f"{world.base_url}/v1", api_key=key, **own)
        self.anthropic = anthropic.Anthropic(base_url=world.base_url, api_key=key, **own)

    def send(self, dialect, body, stream):
        """The whole answer as JSON. Errors: the SDK's."""
        act = getattr(self, f"{dialect}_streamed" if stream else dialect)
        return act(body).model_dump(mode="json")

    def responses(self, body):
        return self.openai.responses.create(**body)

    def responses_streamed(self, body):
        # `get_final_response` knows no answer that a limit ended.
        ends = ("response.completed", "response.incomplete")
        with self.openai.responses.stream(**body) as stream:
            for event in stream:
                if event.type in ends:
                    return event.response
        raise RuntimeError("the stream ended without an answer")

    def chat(self, body):
        return self.openai.chat.completions.create(**body)

    def chat_streamed(self, body):
        with self.openai.chat.completions.stream(**body, stream_options={"include_usage": True}) as stream:
            try:
                return stream.get_final_completion()
            except openai.LengthFinishReasonError as ended:
                return ended.completion

    def completions(self, body):
        return self.openai.completions.create(**body)

    def completions_streamed(self, body):
        options = {"include_usage": True}
        chunks = list(self.openai.completions.create(**body, stream=True, stream_options=options))
        said = [chunk.choices[0] for chunk in chunks if chunk.choices]
        whole = next(chunk for chunk in chunks if chunk.usage)
        choice = said[-1].model_copy(update={"text": "".join(each.text for each in said)})
        return whole.model_copy(update={"choices": [choice]})

    def messages(self, body):
        return self.anthropic.messages.create(**body)

    def messages_streamed(self, body):
        with self.anthropic.messages.stream(**body) as stream:
            return stream.get_final_message()

    def close(self):
        self.openai.close()
        self.anthropic.close()


class JavaScript:
    """One process for all requests of a case."""

    name = "javascript"

    def __init__(self, world):
        script = world.clients / "npm" / "scenarios" / "any.mjs"
        environment = {"PATH": os.environ["PATH"], "BASE_URL": world.base_url, "TOKEN": world.customer.token}
        self.process = subprocess.Popen(
            [shutil.which("node"), script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def try_to_send(self, dialect, body, stream):
        """`{"result"}` or `{"error", "status", "message"}`."""
        self.process.stdin.write(json.dumps({"dialect": dialect, "body": body, "stream": stream}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or '{"error":"the process has ended"}')

    def send(self, dialect, body, stream):
        outcome = self.try_to_send(dialect, body, stream)
        assert "result" in outcome, f"the SDK threw {outcome}"
        return outcome["result"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(TIMEOUT_SECONDS)
        self.process.stdout.close()


SDKS = (Python, JavaScript)
